import { describe, expect, it } from 'vitest';
import { createAppWebhook } from '../../cloud/apps/app-webhook.ts';
import { createTestClock } from '../support/test-clock.ts';

const request = { sessionId: 's-1', userId: 'u', appSocketUrl: 'wss://relay.example/app-ws' };
const never = new AbortController().signal;

function world(answer: () => Promise<Response>) {
  const clock = createTestClock();
  const calls: { url: string; body: Record<string, unknown>; redirect: unknown }[] = [];
  const fetchFake = ((url: string, { body, ...init }: RequestInit) => {
    const fields = body instanceof FormData ? Object.fromEntries(body) : JSON.parse(String(body));
    calls.push({ url, body: fields, redirect: init.redirect });
    return new Promise<Response>((resolve, reject) => {
      init.signal?.addEventListener('abort', () => reject(new Error('aborted')));
      answer().then(resolve, reject);
    });
  }) as typeof fetch;
  return { clock, calls, webhook: createAppWebhook({ clock, fetch: fetchFake }) };
}
const hang = () => new Promise<Response>(() => {});
const networkError = (code: string) => () =>
  Promise.reject(new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) }));

describe('the webhook of an app', () => {
  it('is given the address under all three names', async () => {
    const { webhook, calls } = world(async () => new Response('{"status":"success"}'));
    expect(await webhook.start('http://app.example', request, never)).toEqual({ kind: 'accepted' });
    expect(calls[0]).toMatchObject({
      url: 'http://app.example/webhook',
      redirect: 'error',
      body: {
        type: 'session_request',
        sessionId: 's-1',
        userId: 'u',
        websocketUrl: request.appSocketUrl,
        mentraOSWebsocketUrl: request.appSocketUrl,
        augmentOSWebsocketUrl: request.appSocketUrl,
        timestamp: expect.stringMatching(/Z$/),
      },
    });
  });

  it.each([
    ['ECONNREFUSED', 'refused'],
    ['ENOTFOUND', 'refused'],
    ['ECONNRESET', 'unclear'],
  ])('%s is %s', async (code, kind) => {
    expect(await world(networkError(code)).webhook.start('http://a', request, never)).toEqual({ kind, reason: code });
  });

  it('tells a bad answer by its status', async () => {
    const { webhook } = world(async () => new Response('no', { status: 500 }));
    expect(await webhook.start('http://a', request, never)).toEqual({ kind: 'rejected', status: 500 });
  });

  it('may take a minute to answer a start, and not for ever', async () => {
    const { webhook, clock } = world(hang);
    let outcome: unknown;
    void webhook.start('http://a', request, never).then((got) => {
      outcome = got;
    });
    await clock.advance(60_000);
    expect(outcome).toBeUndefined();
    await clock.advance(30_000);
    expect(outcome).toMatchObject({ kind: 'unclear', reason: expect.stringContaining('90000') });
    expect(clock.pending()).toEqual([]);
  });

  it('is let go when nobody wants the answer any more', async () => {
    const { webhook, clock, calls } = world(hang);
    const over = new AbortController();
    const outcome = webhook.stop('http://a', { ...request, reason: 'user_disabled' }, over.signal);
    over.abort();
    expect(await outcome).toMatchObject({ kind: 'unclear' });
    expect(calls[0]?.body).toMatchObject({ type: 'stop_request', reason: 'user_disabled' });
    expect(clock.pending()).toEqual([]);
  });

  it('says of a photo that it will not come, where the glasses would have put it', async () => {
    const { webhook, calls } = world(async () => new Response('{"success":true}'));
    const failure = { requestId: 'p1', errorCode: 'PHONE_TIMEOUT', errorMessage: 'The glasses did not answer in time' };
    expect(await webhook.photoFailed('http://app.example', failure, never)).toEqual({ kind: 'accepted' });
    expect(calls).toEqual([
      {
        url: 'http://app.example/photo-upload',
        redirect: 'error',
        body: { ...failure, type: 'photo_error', success: 'false' },
      },
    ]);
    expect(await webhook.photoFailed(undefined, failure, never)).toMatchObject({ kind: 'refused' });
  });
});
