/** What the local Stream sends is what the relay takes for the provider's word: both sides of both kinds of webhooks. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createWebhooks, type WebhooksOptions } from '../../cloud/local-stream/api/webhooks.ts';
import { openCatalogue } from '../../cloud/local-stream/catalogue.ts';
import { createProviderWebhooks } from '../../cloud/provider/provider-webhooks.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { createLog, silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';

const LIVE = new Secret('secret-of-live-events');

interface Received {
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** Keeps what arrives; answers nothing when it is told to hang. */
async function receiver({ hangs = false, redirectsTo = '' } = {}) {
  const received: Received[] = [];
  const waiting: (() => void)[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      if (redirectsTo) response.writeHead(307, { location: redirectsTo });
      if (!hangs) response.end();
      for (const wake of waiting.splice(0)) wake();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    received,
    async count(wanted: number) {
      while (received.length < wanted) await new Promise<void>((resolve) => waiting.push(resolve));
      return received;
    },
  };
}

function sender(options: Partial<WebhooksOptions> = {}) {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const catalogue = openCatalogue({ dataDir: temporaryFolder() });
  const webhooks = createWebhooks({ catalogue, accountId: 'acc', clock, log: silentLog(), redactor, ...options });
  onTestFinished(async () => {
    await webhooks.close();
    catalogue.close();
    expect(clock.pending()).toEqual([]);
  });
  return { webhooks, redactor, clock };
}

function relaySide(recordingSecret: string) {
  const heard: string[] = [];
  const webhooks = createProviderWebhooks({
    secrets: { live: LIVE, recording: new Secret(recordingSecret) },
    streams: { hint: (uid, { kind }) => void heard.push(`${uid} ${kind}`) },
    cleanup: { streamOf: () => 'm1', lookAgain: (uid) => void heard.push(`${uid} look`) },
    inputs: { get: () => Promise.reject(new Error('not asked')) },
    health: { isFull: async () => true },
    playback: { isPlaying: async () => undefined },
    clock: createSystemClock(),
    log: silentLog(),
  });
  return { heard, webhooks };
}
const header = ({ headers }: Received, name: string) => String(headers[name]);

describe('webhooks', () => {
  it('of live inputs carry the secret, and the relay understands them', async () => {
    const hook = await receiver();
    const { webhooks } = sender({ liveTarget: { url: hook.url, secret: LIVE } });
    webhooks.live({ type: 'connected', inputUid: 'in' });
    await hook.count(1);
    webhooks.live({ type: 'disconnected', inputUid: 'in' });
    await hook.count(2);
    webhooks.live({ type: 'errored', inputUid: 'in', code: 'ERR_STORAGE_QUOTA_EXHAUSTED', message: 'full' });
    const { heard, webhooks: relay } = relaySide('-');
    for (const one of await hook.count(3)) relay.live(header(one, 'cf-webhook-auth'), one.body);
    await relay.close();
    expect(heard.slice(0, 2)).toEqual(['in connected', 'in disconnected']);
  });

  it('of recordings are signed over their bytes, by the secret of the last registration', async () => {
    const hook = await receiver();
    const { webhooks, redactor } = sender();
    webhooks.recording({ uid: 'nobody is told' });
    const { secret: former } = webhooks.setRecordingTarget(hook.url);
    const { secret } = webhooks.setRecordingTarget(hook.url);
    webhooks.recording({ uid: 'v', liveInput: 'in', status: { state: 'ready' } });
    const [sent] = await hook.count(1);
    if (!sent) throw new Error('nothing was sent');
    const { heard, webhooks: relay } = relaySide(secret);
    relay.recording(header(sent, 'webhook-signature'), sent.body);
    expect([heard, redactor.redact(secret)]).toEqual([['in look'], '***']);
    const { webhooks: other } = relaySide(former);
    expect(() => other.recording(header(sent, 'webhook-signature'), sent.body)).toThrow(/does not carry the secret/);
    webhooks.removeRecordingTarget();
    expect([former, secret].map((one) => redactor.redact(one))).toEqual([former, secret]);
    webhooks.recording({ uid: 'nobody is told any more' });
    expect(hook.received.length).toBe(1);
  });

  it('of live inputs go where the policies say, by the name of the policy, and what came of it is remembered', async () => {
    const [hook, other] = [await receiver(), await receiver()];
    const outcomes: unknown[] = [];
    const target = { destinationId: 'd', url: hook.url, secret: LIVE, policy: { id: 'p', name: 'mine' } };
    const open = { ...target, destinationId: 'open', url: other.url, secret: undefined };
    const targetsOf = ({ inputUid }: { inputUid: string }) => (inputUid === 'in' ? [target, open] : []);
    const sent = (id: string, isTaken: boolean) => void outcomes.push([id, isTaken]);
    const { webhooks } = sender({ alerts: { targetsOf, sent } });
    webhooks.live({ type: 'connected', inputUid: 'somebody else' });
    webhooks.live({
      ...{ type: 'errored', inputUid: 'in', code: 'ERR_UNSUPPORTED_VIDEO_CODEC', message: 'HEVC', videoCodec: 'hevc' },
    });
    const [[mine], [open1]] = [await hook.count(1), await other.count(1)];
    if (!mine || !open1) throw new Error('nothing was sent');
    expect([header(mine, 'cf-webhook-auth'), open1.headers]).toEqual([
      LIVE.reveal(),
      expect.not.objectContaining({ 'cf-webhook-auth': expect.anything() }),
    ]);
    expect(JSON.parse(mine.body)).toMatchObject({
      ...{ name: 'mine', policy_id: 'p', policy_name: 'mine', alert_type: 'stream_live_notifications' },
      data: {
        event_type: 'live_input.errored',
        live_input_errored: { error: { code: 'ERR_UNSUPPORTED_VIDEO_CODEC', message: 'HEVC' }, video_codec: 'hevc' },
      },
    });
    webhooks.greet({ id: 'new', name: 'n', url: hook.url, secret: LIVE.reveal(), createdMs: 0 });
    const [, greeting] = await hook.count(2);
    expect(JSON.parse(greeting?.body ?? '')).toEqual({ text: expect.stringMatching(/test message/) });
    expect(header(greeting ?? mine, 'cf-webhook-auth')).toBe(LIVE.reveal());
    const gone = { id: 'gone', name: 'n', url: 'http://127.0.0.1:1/', secret: '', createdMs: 0 };
    webhooks.greet(gone);
    await webhooks.close();
    expect(outcomes).toEqual(expect.arrayContaining([['gone', false]]));
    webhooks.greet(gone);
    expect(hook.received).toHaveLength(2);
  });

  it('that nobody takes are no more than so many at once, whoever makes the events', async () => {
    const hung = await receiver({ hangs: true });
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const log = createLog({ program: 'test', level: 'warn', redactor: createRedactor(), destination });
    const { webhooks } = sender({ liveTarget: { url: hung.url, secret: LIVE }, log });
    for (let i = 0; i < 510; i += 1) webhooks.live({ type: 'connected', inputUid: 'in' });
    expect(lines.filter((line) => line.includes('webhook-dropped'))).toHaveLength(10);
  });

  it('are not taken elsewhere by a redirection, secret and all', async () => {
    const elsewhere = await receiver();
    const hook = await receiver({ redirectsTo: elsewhere.url });
    const redactor = createRedactor();
    const outcome = new Promise<string>((resolve) => {
      const log = createLog({ program: 'test', level: 'debug', redactor, destination: { write: resolve } });
      sender({ log, liveTarget: { url: hook.url, secret: LIVE } }).webhooks.live({ type: 'connected', inputUid: 'in' });
    });
    expect(await outcome).toContain('webhook-failed');
    expect(elsewhere.received).toEqual([]);
  });

  it('come late, twice or never when a fault says so; a close waits for none of them', async () => {
    const hook = await receiver({ hangs: true });
    const plan: { sendings: readonly number[] } = { sendings: [] };
    const liveTarget = { url: hook.url, secret: LIVE };
    const { webhooks, clock } = sender({ liveTarget, sendings: () => plan.sendings });
    webhooks.live({ type: 'connected', inputUid: 'never' });
    plan.sendings = [0, 0];
    webhooks.live({ type: 'connected', inputUid: 'twice' });
    plan.sendings = [600_000];
    webhooks.live({ type: 'connected', inputUid: 'late' });
    const [first, second] = await hook.count(2);
    expect(first?.body).toBe(second?.body);
    await webhooks.close();
    webhooks.live({ type: 'connected', inputUid: 'after the end' });
    expect([hook.received.length, clock.pending()]).toEqual([2, []]);
  });
});
