/** What flashing needs of the relay, through its operator API: a code, the agent's hello, a short real stream. */
import * as z from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { RelayApi } from '../cli/relay-api.ts';

export interface RelaySide {
  /** @param validSeconds of the code; undefined: as the relay has it, which is minutes */
  enrol(user: string, label: string, validSeconds?: number): Promise<{ code: Secret; cancel(): Promise<void> }>;
  /**
   * Until the agent of this user is there, with this version where the relay tells versions.
   * @param version undefined: any
   * @throws GlasscastError FLASH_FAILED: not in time; as RelayApi
   */
  awaitHello(user: string, version: string | undefined, signal: AbortSignal): Promise<string>;
  /**
   * A stream that starts, becomes active and is stopped again; one that is on the air already is proof enough and is left alone.
   * @throws GlasscastError FLASH_FAILED: not in time, or it failed
   */
  testStream(user: string, signal: AbortSignal): Promise<string>;
}

export interface RelaySideOptions {
  api: Pick<RelayApi, 'ask'>;
  clock: Clock;
  helloTimeoutMs?: number;
  streamTimeoutMs?: number;
}

const sessions = z.looseObject({
  sessions: z.array(
    z.looseObject({
      userId: z.string(),
      connected: z.boolean(),
      agent: z.looseObject({ version: z.string() }).nullish().catch(undefined),
    }),
  ),
});
const made = z.looseObject({ enrolmentId: z.string(), code: z.string() });
const stream = z.looseObject({
  streamId: z.string(),
  userId: z.string(),
  state: z.string(),
  liveMs: z.number().optional(),
  message: z.string().optional(),
  stats: z
    .looseObject({ width: z.number().optional(), height: z.number().optional(), fps: z.number().optional() })
    .optional(),
});
const streams = z.looseObject({ streams: z.array(stream) });

const POLL_MS = 500;

export function createRelaySide({ api, clock, ...patience }: RelaySideOptions): RelaySide {
  const { helloTimeoutMs = 60_000, streamTimeoutMs = 60_000 } = patience;
  const failed = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });

  /** @param look undefined: not yet. @param why asked at the end. */
  async function poll<T>(
    ms: number,
    signal: AbortSignal,
    look: () => Promise<T | undefined>,
    why: () => string,
  ): Promise<T> {
    const startedMs = clock.monotonicMs();
    for (;;) {
      signal.throwIfAborted();
      const found = await look();
      if (found !== undefined) return found;
      if (clock.monotonicMs() - startedMs >= ms) throw failed(why());
      await clock.sleep(POLL_MS, { signal, name: 'flash-poll' });
    }
  }

  return {
    async enrol(email, label, expiresInSeconds) {
      const { enrolmentId, code } = await api.ask('POST', '/api/enrolments', made, { email, label, expiresInSeconds });
      const path = `/api/enrolments/${encodeURIComponent(enrolmentId)}`;
      return { code: new Secret(code), cancel: async () => void (await api.ask('DELETE', path, z.unknown())) };
    },
    awaitHello(user, version, signal) {
      let why = `no agent of ${user} has come to the relay`;
      const look = async () => {
        const answer = await api.ask('GET', '/api/sessions', sessions);
        const session = answer.sessions.find((each) => each.userId === user && each.connected);
        if (!session) return undefined;
        const told = session.agent?.version;
        if (told === undefined) return `${user}; this relay tells no versions`;
        if (version === undefined || told === upstreamOf(version)) return `${user}, version ${told}`;
        why = `the agent of ${user} at the relay is version ${told}, not ${upstreamOf(version)}`;
        return undefined;
      };
      return poll(helloTimeoutMs, signal, look, () => why);
    },
    async testStream(user, signal) {
      const all = await api.ask('GET', '/api/streams', streams);
      const running = all.streams.find((each) => each.userId === user && each.state === 'active');
      if (running) return `${pictureOf(running)}already on the air`;
      const managed = `/api/users/${encodeURIComponent(user)}/managed-stream`;
      const started = await api.ask('POST', managed, stream, {});
      let last = started;
      const look = async () => {
        last = await api.ask('GET', `/api/streams/${encodeURIComponent(started.streamId)}`, stream);
        if (/^(failed|error|stopped|ended)$/.test(last.state))
          throw failed(`the test stream ${last.state}: ${last.message ?? ''}`);
        return last.state === 'active' ? last : undefined;
      };
      try {
        const why = () =>
          `the test stream is still ${last.state} after ${streamTimeoutMs / 1000} s${last.message ? `: ${last.message}` : ''}`;
        const { liveMs, ...active } = await poll(streamTimeoutMs, signal, look, why);
        return `${pictureOf(active)}live${liveMs === undefined ? '' : ` after ${(liveMs / 1000).toFixed(1)} s`}`;
      } finally {
        await api.ask('DELETE', managed, z.unknown()).catch(() => {});
      }
    },
  };
}

/** Of Debian's: `1.4.0-1` is `1.4.0`. */
const upstreamOf = (version: string) => version.replace(/^\d+:/, '').replace(/-[^-]*$/, '');

function pictureOf({ stats }: Pick<z.output<typeof stream>, 'stats'>): string {
  return stats?.width && stats.height ? `${stats.width}×${stats.height}, ` : '';
}
