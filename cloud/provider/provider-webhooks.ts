/**
 * What the provider tells by itself, as hints: proves who speaks, drops what was heard before, and checks an error
 * against the API before a stream hears of it. Never the truth: webhooks come late, twice or not at all.
 * Live events carry a plain shared secret, events of recordings a signature over their bytes (two schemes of Cloudflare).
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Secret } from '../../shared/secrets.ts';
import type { IngestHint } from '../streams/liveness.ts';
import type { Cleanup } from './cleanup.ts';
import type { LiveInputs } from './live-inputs.ts';
import type { PlaybackLook } from './playback.ts';
import type { ProviderHealth } from './provider-health.ts';

export interface ProviderWebhooks {
  /** Which of the two can prove themselves. */
  readonly accepts: { live: boolean; recording: boolean };
  /**
   * A live event. @param secret the header `cf-webhook-auth`. Errors: INVALID_WEBHOOK_SIGNATURE, MALFORMED_MESSAGE.
   * Returns before an error is checked.
   */
  live(secret: string | undefined, rawBody: string): void;
  /** A recording has landed, or failed. @param signature the header `Webhook-Signature`. Errors: as above. */
  recording(signature: string | undefined, rawBody: string): void;
  /** Waits for the checks that are under way. */
  close(): Promise<void>;
}

export interface ProviderWebhooksOptions {
  /** One that is missing: nobody can prove to be the provider. */
  secrets: { live?: Secret | undefined; recording?: Secret | undefined };
  streams: { hint(liveInputUid: string, hint: IngestHint): void };
  cleanup: Pick<Cleanup, 'lookAgain' | 'streamOf'>;
  inputs: Pick<LiveInputs, 'get'>;
  health: Pick<ProviderHealth, 'isFull'>;
  playback: PlaybackLook;
  clock: Clock;
  log: Log;
}

const liveEvent = z.object({
  data: z.object({
    input_id: z.string().max(100),
    event_type: z.string().max(100),
    updated_at: z.string().max(100).optional().catch(undefined),
    live_input_errored: z
      .object({ error: z.object({ code: z.string() }) })
      .optional()
      .catch(undefined),
  }),
});
type LiveEvent = z.output<typeof liveEvent>['data'];
/** On "Save and test" a sentence comes in place of an event. */
const anyMessage = z.record(z.string(), z.unknown());
const recordingEvent = z.object({
  uid: z.string(),
  liveInput: z.string().nullish(),
  status: z.object({ state: z.string() }).optional(),
});

/** Why the provider lets a publisher not in, in our words. */
const errorCodes: Readonly<Record<string, ErrorCode>> = {
  ERR_STORAGE_QUOTA_EXHAUSTED: 'PROVIDER_STORAGE_FULL',
  ERR_GOP_OUT_OF_RANGE: 'KEY_FRAME_INTERVAL_REFUSED',
  ERR_UNSUPPORTED_VIDEO_CODEC: 'VIDEO_CODEC_REFUSED',
  ERR_UNSUPPORTED_AUDIO_CODEC: 'AUDIO_CODEC_REFUSED',
  ERR_MISSING_SUBSCRIPTION: 'PROVIDER_SUBSCRIPTION_MISSING',
};

const MAX_REMEMBERED = 1_000;
/** A signature's time may be off by so much, either way. */
const STALE_MS = 300_000;
/** The API may be behind its own event: asked so often, so far apart. */
const CHECKS = 3;
const CHECK_GAP_MS = 2_000;
/** Of what the API shows against what is told: a state so much newer is another connection's. */
const NEWER_MS = 30_000;

export function createProviderWebhooks(options: ProviderWebhooksOptions): ProviderWebhooks {
  const { cleanup, clock, log, secrets, streams } = options;
  const closing = new AbortController();
  /** Oldest first. */
  const heard = new Set<string>();
  const checks = new Map<string, Promise<void>>();

  function isNew({ input_id, event_type, updated_at }: LiveEvent): boolean {
    if (updated_at === undefined) return true;
    const key = JSON.stringify([input_id, event_type, updated_at]);
    if (heard.has(key)) return false;
    heard.add(key);
    const [oldest] = heard;
    if (heard.size > MAX_REMEMBERED && oldest !== undefined) heard.delete(oldest);
    return true;
  }

  function check(event: LiveEvent): void {
    const { input_id: uid, live_input_errored: errored } = event;
    const said = errored?.error.code ?? 'unknown';
    const code = errorCodes[said] ?? 'PROVIDER_FAILED';
    // One at a time for each input: a flood of hints is one question.
    if (checks.has(uid)) return;
    const work = isConfirmed(event, code)
      .then((confirmed) => {
        log.info({ streamId: cleanup.streamOf(uid), inputUid: uid, code, confirmed }, 'provider-error-told');
        if (!confirmed || closing.signal.aborted) return;
        const reason = errorCodes[said] ? undefined : said.slice(0, 100);
        streams.hint(uid, { kind: 'errored', error: new GlasscastError(code, { reason }) });
      })
      .catch((thrown: unknown) => {
        log.warn(
          { streamId: cleanup.streamOf(uid), inputUid: uid, code: asGlasscastError(thrown).code },
          'provider-error-not-checked',
        );
      })
      .finally(() => checks.delete(uid));
    checks.set(uid, work);
  }

  async function isConfirmed(event: LiveEvent, code: ErrorCode): Promise<boolean> {
    for (let attempt = 0; attempt < CHECKS; attempt += 1) {
      if (attempt > 0) await clock.sleep(CHECK_GAP_MS, { name: 'provider-error-check', signal: closing.signal });
      const shown = code === 'PROVIDER_STORAGE_FULL' ? await options.health.isFull() : await isDark(event);
      if (shown) return true;
    }
    return false;
  }

  /** Nobody is connected; or somebody is since before the error, and there is no picture. A newer connection is well. */
  async function isDark({ input_id: uid, updated_at: updatedAt }: LiveEvent): Promise<boolean> {
    const { ingestState, ingestStateSinceMs = 0, urls } = await options.inputs.get(uid);
    if (ingestState === 'never-connected') return true;
    const toldAtMs = Date.parse(updatedAt ?? '');
    if (ingestState === 'disconnected') return !(ingestStateSinceMs > toldAtMs + NEWER_MS);
    if (ingestStateSinceMs > (Number.isNaN(toldAtMs) ? 0 : toldAtMs)) return false;
    return (await options.playback.isPlaying(urls.hlsUrl)) === false;
  }

  return {
    accepts: { live: secrets.live !== undefined, recording: secrets.recording !== undefined },
    live(secret, rawBody) {
      if (!isSame(secrets.live?.reveal(), secret)) throw new GlasscastError('INVALID_WEBHOOK_SIGNATURE');
      const message = parse(anyMessage, rawBody);
      const event = liveEvent.safeParse(message).data?.data;
      // The account's other inputs are told of as well.
      if (!event || !cleanup.streamOf(event.input_id) || !isNew(event)) return;
      const { input_id: uid, event_type: type } = event;
      log.debug({ streamId: cleanup.streamOf(uid), inputUid: uid, type }, 'provider-event');
      if (type === 'live_input.connected') streams.hint(uid, { kind: 'connected' });
      else if (type === 'live_input.disconnected') streams.hint(uid, { kind: 'disconnected' });
      else if (type === 'live_input.errored') check(event);
    },
    recording(signature, rawBody) {
      if (!isSigned(secrets.recording, signature, rawBody, clock.now())) {
        throw new GlasscastError('INVALID_WEBHOOK_SIGNATURE');
      }
      const { liveInput } = parse(recordingEvent, rawBody);
      if (liveInput) cleanup.lookAgain(liveInput);
    },
    async close() {
      closing.abort();
      await Promise.all(checks.values());
    },
  };
}

/** `time=<unix s>,sig1=<hex>`: HMAC-SHA256 over `<time>.<body>`. An old one may be a repetition by somebody else. */
function isSigned(secret: Secret | undefined, header: string | undefined, body: string, nowMs: number): boolean {
  const { time, sig1 } = Object.fromEntries((header ?? '').split(',').map((part) => part.trim().split('=', 2)));
  if (secret === undefined || !/^\d{1,12}$/.test(time ?? '')) return false;
  const expected = createHmac('sha256', secret.reveal()).update(`${time}.${body}`).digest('hex');
  return isSame(expected, sig1) && Math.abs(nowMs - Number(time) * 1000) <= STALE_MS;
}

/** In a time that does not tell how far they agree. */
function isSame(expected: string | undefined, said: string | undefined): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(expected ?? ''), digest(said ?? '')) && expected !== undefined && said !== undefined;
}

function parse<T>(schema: z.ZodType<T>, rawBody: string): T {
  try {
    return schema.parse(JSON.parse(rawBody));
  } catch {
    throw new GlasscastError('MALFORMED_MESSAGE', { reason: 'not a message of the provider' });
  }
}
