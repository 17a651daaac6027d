import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { createCallers } from '../../cloud/access/callers.ts';
import { createFailedAttempts } from '../../cloud/access/failed-attempts.ts';
import { webhookRoutes } from '../../cloud/http/webhook-routes.ts';
import type { LiveInput } from '../../cloud/provider/live-inputs.ts';
import { createProviderWebhooks } from '../../cloud/provider/provider-webhooks.ts';
import type { IngestHint } from '../../cloud/streams/liveness.ts';
import { errorKinds, type GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const UID = 'a'.repeat(32);
const LIVE = 'secret-of-live-events';
const RECORDING = 'secret-of-recordings';
const TOLD_AT_MS = 1_700_000_000_000;

function world(secrets = { live: new Secret(LIVE), recording: new Secret(RECORDING) }) {
  const clock = createTestClock(TOLD_AT_MS);
  const hints: IngestHint[] = [];
  const looks: string[] = [];
  const provider = {
    isFull: true as boolean | undefined,
    isPlaying: false as boolean | undefined,
    state: 'disconnected' as LiveInput['ingestState'],
    sinceMs: undefined as number | undefined,
    asked: 0,
  };
  const webhooks = createProviderWebhooks({
    secrets,
    streams: { hint: (uid, hint) => void (uid === UID && hints.push(hint)) },
    cleanup: {
      lookAgain: (uid) => void looks.push(uid),
      streamOf: (uid) => (uid === UID ? 'm1' : undefined),
    },
    inputs: {
      async get(uid) {
        provider.asked += 1;
        return {
          ...{ uid, publishUrl: new Secret('rtmp://x/live/k'), urls: { hlsUrl: 'http://x/h', dashUrl: 'http://x/d' } },
          ...{ ingestState: provider.state, ingestStateSinceMs: provider.sinceMs },
        };
      },
    },
    health: { isFull: async () => provider.isFull },
    playback: { isPlaying: async () => provider.isPlaying },
    clock,
    log: silentLog(),
  });
  const errored = (code: string, updatedAt = new Date(TOLD_AT_MS).toISOString()) =>
    webhooks.live(LIVE, event('live_input.errored', updatedAt, { live_input_errored: { error: { code } } }));
  return { clock, hints, looks, provider, webhooks, errored };
}

function event(type: string, updatedAt = '2026-10-09T10:00:00.123456789Z', more: object = {}, envelope: object = {}) {
  const data = { notification_name: 'Stream Live Input', input_id: UID, event_type: type, updated_at: updatedAt };
  return JSON.stringify({ name: 'w', text: 't', data: { ...data, ...more }, ts: 1_700_000_000, ...envelope });
}
const newEnvelope = { account_id: 'acc', policy_id: 'p', policy_name: 'n', alert_type: 'stream_live_notifications' };
const signed = (body: string, timeS = TOLD_AT_MS / 1000, secret = RECORDING) =>
  `time=${timeS},sig1=${createHmac('sha256', secret).update(`${timeS}.${body}`).digest('hex')}`;
const codeOf = (call: () => void) => {
  try {
    call();
    return 'ok';
  } catch (error) {
    return (error as GlasscastError).code;
  }
};

describe('live events', () => {
  it('are hints, in both envelopes, once each, of our own inputs only', () => {
    const { webhooks, hints } = world();
    webhooks.live(LIVE, event('live_input.connected'));
    webhooks.live(LIVE, event('live_input.connected'));
    webhooks.live(LIVE, event('live_input.disconnected', undefined, {}, newEnvelope));
    webhooks.live(LIVE, event('live_input.connected', '2026-10-09T10:00:01Z'));
    webhooks.live(LIVE, event('live_input.connected', undefined, { input_id: 'somebody-else' }));
    webhooks.live(LIVE, event('live_input.of_next_year'));
    expect(hints.map(({ kind }) => kind)).toEqual(['connected', 'disconnected', 'connected']);
  });

  it('of "Save and test" are taken', () => {
    const { webhooks, hints } = world();
    const text = 'Hello World! This is a test message sent from https://cloudflare.com.';
    webhooks.live(LIVE, JSON.stringify({ text }));
    expect(hints).toEqual([]);
  });

  it.each([
    ['no secret', undefined],
    ['an empty one', ''],
    ['another one', 'secret-of-live-eventz'],
    ['a part of it', LIVE.slice(1)],
  ])('with %s are nobody’s', (_name, secret) => {
    const { webhooks, hints } = world();
    expect(codeOf(() => webhooks.live(secret, event('live_input.connected')))).toBe('INVALID_WEBHOOK_SIGNATURE');
    expect(hints).toEqual([]);
  });

  it('are nobody’s when no secret was agreed', () => {
    const { webhooks } = world({} as never);
    expect(codeOf(() => webhooks.live('', event('live_input.connected')))).toBe('INVALID_WEBHOOK_SIGNATURE');
    expect(codeOf(() => webhooks.recording(signed('{}', undefined, ''), '{}'))).toBe('INVALID_WEBHOOK_SIGNATURE');
    expect(webhooks.accepts).toEqual({ live: false, recording: false });
  });

  it('remember a bounded number of events', () => {
    const { webhooks, hints } = world();
    for (let second = 0; second < 3_000; second += 1) webhooks.live(LIVE, event('live_input.connected', `${second}`));
    webhooks.live(LIVE, event('live_input.connected', '2999'));
    webhooks.live(LIVE, event('live_input.connected', '0'));
    expect(hints.length).toBe(3_001);
  });

  it('that are no events at all are refused, whatever they are', () => {
    const { webhooks } = world();
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (body) => {
        for (const take of [() => webhooks.live(LIVE, body), () => webhooks.recording(signed(body), body)]) {
          expect(['ok', 'MALFORMED_MESSAGE']).toContain(codeOf(take));
        }
      }),
    );
  });
});

describe('an error that is told', () => {
  it.each([
    ['ERR_STORAGE_QUOTA_EXHAUSTED', 'PROVIDER_STORAGE_FULL'],
    ['ERR_GOP_OUT_OF_RANGE', 'KEY_FRAME_INTERVAL_REFUSED'],
    ['ERR_UNSUPPORTED_VIDEO_CODEC', 'VIDEO_CODEC_REFUSED'],
    ['ERR_UNSUPPORTED_AUDIO_CODEC', 'AUDIO_CODEC_REFUSED'],
    ['ERR_MISSING_SUBSCRIPTION', 'PROVIDER_SUBSCRIPTION_MISSING'],
    ['ERR_OF_NEXT_YEAR', 'PROVIDER_FAILED'],
  ] as const)('as %s ends the stream with %s, once the API shows it', async (said, code) => {
    const { clock, hints, errored } = world();
    errored(said);
    await settle();
    expect(hints).toMatchObject([{ kind: 'errored', error: { code } }]);
    expect(hints[0]?.kind === 'errored' && hints[0].error.message).toContain(errorKinds[code].sentence);
    expect(clock.pending()).toEqual([]);
  });

  it('and is not so ends nothing: storage is there, the publisher has come back, or there is a picture', async () => {
    const { clock, hints, provider, errored } = world();
    provider.isFull = false;
    errored('ERR_STORAGE_QUOTA_EXHAUSTED');
    await clock.advance(10_000);
    provider.state = 'connected';
    provider.sinceMs = TOLD_AT_MS + 5_000;
    errored('ERR_GOP_OUT_OF_RANGE');
    await clock.advance(10_000);
    provider.sinceMs = TOLD_AT_MS - 5_000;
    provider.isPlaying = true;
    errored('ERR_UNSUPPORTED_VIDEO_CODEC', '2026-10-09T10:00:01Z');
    await clock.advance(10_000);
    expect(hints).toEqual([]);
    provider.isPlaying = false;
    errored('ERR_GOP_OUT_OF_RANGE', '2026-10-09T10:00:02Z');
    await settle();
    expect(hints).toMatchObject([{ kind: 'errored', error: { code: 'KEY_FRAME_INTERVAL_REFUSED' } }]);
  });

  it('late, of a connection long before this one, ends nothing while the publisher is away for a moment', async () => {
    const { clock, hints, provider, errored } = world();
    provider.sinceMs = TOLD_AT_MS + 60_000;
    errored('ERR_GOP_OUT_OF_RANGE');
    await clock.advance(10_000);
    expect(hints).toEqual([]);
    // Refused, and gone a moment later.
    provider.sinceMs = TOLD_AT_MS + 2_000;
    errored('ERR_UNSUPPORTED_VIDEO_CODEC');
    await clock.advance(10_000);
    errored('ERR_GOP_OUT_OF_RANGE', new Date(TOLD_AT_MS + 1).toISOString());
    await settle();
    expect(hints).toMatchObject([{ kind: 'errored', error: { code: 'KEY_FRAME_INTERVAL_REFUSED' } }]);
  });

  it('before the API knows is asked for again, a flood of it once', async () => {
    const { clock, hints, provider, errored } = world();
    provider.state = 'unknown';
    provider.isPlaying = undefined;
    for (let count = 0; count < 100; count += 1) errored('ERR_GOP_OUT_OF_RANGE', `${count}`);
    await clock.advance(1_000);
    expect([hints, provider.asked]).toEqual([[], 1]);
    provider.state = 'disconnected';
    await clock.advance(1_000);
    expect([hints.length, provider.asked]).toEqual([1, 2]);
  });

  it('is dropped when the relay closes', async () => {
    const { clock, hints, provider, errored, webhooks } = world();
    provider.isFull = undefined;
    errored('ERR_STORAGE_QUOTA_EXHAUSTED');
    await settle();
    await webhooks.close();
    expect([hints, clock.pending()]).toEqual([[], []]);
  });
});

describe('a recording', () => {
  const body = JSON.stringify({ uid: 'v', liveInput: UID, status: { state: 'ready' }, readyToStream: true });

  it('that has landed is looked for at once', () => {
    const { webhooks, looks } = world();
    webhooks.recording(signed(body), body);
    webhooks.recording(signed('{"uid":"uploaded"}'), '{"uid":"uploaded"}');
    expect(looks).toEqual([UID]);
  });

  it.each([
    ['nothing', undefined],
    ['another secret', signed(body, undefined, 'another')],
    ['another body', signed(`${body} `)],
    ['an old time', signed(body, TOLD_AT_MS / 1000 - 301)],
    ['a time to come', signed(body, TOLD_AT_MS / 1000 + 301)],
    ['no time', signed(body).replace(/time=\d+,/, '')],
    ['no signature', `time=${TOLD_AT_MS / 1000}`],
    ['half a signature', signed(body).slice(0, -1)],
    ['noise', ',,=,time=,sig1'],
  ])('signed with %s is nobody’s', (_name, signature) => {
    const { webhooks, looks } = world();
    expect(codeOf(() => webhooks.recording(signature, body))).toBe('INVALID_WEBHOOK_SIGNATURE');
    expect(looks).toEqual([]);
  });
});

describe('the routes', () => {
  async function serve(secrets: { live?: Secret; recording?: Secret }) {
    const made = world(secrets as never);
    const server = fastify();
    server.setErrorHandler((error, _request, reply) =>
      reply.code(isGlasscastError(error) ? error.http : 500).send({ message: String(error) }),
    );
    const attempts = createFailedAttempts({ clock: made.clock, callers: createCallers([]) });
    webhookRoutes({ webhooks: made.webhooks, attempts })(server);
    const post = async (
      path: string,
      headers: Record<string, string>,
      payload: string,
      remoteAddress = '203.0.113.7',
    ) => (await server.inject({ method: 'POST', url: path, headers, payload, remoteAddress })).statusCode;
    return { ...made, post };
  }

  it('exist only for what has a secret', async () => {
    const { post } = await serve({ live: new Secret(LIVE) });
    const body = event('live_input.connected');
    expect(await post('/webhooks/cloudflare/live', { 'cf-webhook-auth': LIVE }, body)).toBe(200);
    expect(await post('/webhooks/cloudflare/recording', { 'webhook-signature': signed(body) }, body)).toBe(404);
  });

  it('pass on the bytes as they are, whatever their type, and count wrong secrets', async () => {
    const { post, looks } = await serve({ live: new Secret(LIVE), recording: new Secret(RECORDING) });
    const body = `{ "uid":"v",\n  "liveInput":"${UID}" }`;
    for (const type of ['application/json', 'text/plain', 'application/x-of-next-year']) {
      const headers = { 'webhook-signature': signed(body), 'content-type': type };
      expect(await post('/webhooks/cloudflare/recording', headers, body)).toBe(200);
    }
    expect(looks).toEqual([UID, UID, UID]);
    const codes = [];
    for (let count = 0; count < 40; count += 1) {
      codes.push(await post('/webhooks/cloudflare/live', { 'cf-webhook-auth': `guess-${count}` }, '{}'));
    }
    expect([codes[0], codes.at(-1)]).toEqual([401, 429]);
  });
});
