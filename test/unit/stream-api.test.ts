import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRequestBudget } from '../../cloud/provider/request-budget.ts';
import { createStreamApi, type StreamApiOptions } from '../../cloud/provider/stream-api.ts';
import { type GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import { createLog, silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

type Answer = { status: number; text?: string; headers?: Record<string, string> } | Error;
const ok = (result: unknown): Answer => ({ status: 200, text: JSON.stringify({ success: true, result }) });
const refusal = (status: number, code: number, headers: Record<string, string> = {}): Answer => ({
  status,
  headers,
  text: JSON.stringify({ success: false, errors: [{ code, message: `code ${code}` }], messages: [], result: null }),
});

function world(answers: Answer[], options: Partial<StreamApiOptions> = {}) {
  const clock = createTestClock();
  const calls: string[] = [];
  const fetchFake = ((url: string, { method }: RequestInit) => {
    calls.push(`${method} ${url.slice(url.indexOf('/stream') + 7)}`);
    const answer = answers.shift() ?? new Error('no more answers');
    if (answer instanceof Error) return Promise.reject(new TypeError('fetch failed', { cause: answer }));
    const { status, text = '', headers = {} } = answer;
    return Promise.resolve(new Response(status === 204 ? null : text, { status, headers }));
  }) as typeof fetch;
  const api = createStreamApi({
    apiBaseUrl: 'https://api.example/client/v4',
    accountId: 'acc',
    apiToken: new Secret('the-api-token'),
    ...{ clock, log: silentLog(), fetch: fetchFake, random: () => 0 },
    ...options,
  });
  const code = (call: Promise<unknown>) => call.then(() => 'ok').catch((error: GlasscastError) => error.code);
  const get = (path: string, isUrgent = false) => code(api.call({ method: 'GET', path, isUrgent }));
  return { clock, calls, api, code, get };
}

describe('a limit', () => {
  it('holds back every call as long as it says, in seconds or as a date', async () => {
    const date = new Date(1_700_000_000_000 + 9_000).toUTCString();
    for (const header of ['9', date]) {
      const { clock, calls, get } = world([refusal(429, 10000, { 'retry-after': header }), ok(1), ok(2)]);
      const both = Promise.all([get('/a'), clock.advance(1_000).then(() => get('/b'))]);
      await clock.advance(8_990);
      expect(calls).toEqual(['GET /a']);
      await clock.advance(1_010);
      expect([await both, calls.length]).toEqual([['ok', 'ok'], 3]);
    }
  });

  it('longer than anybody waits is said at once, to every call, until it is over', async () => {
    const { clock, calls, api, get } = world([refusal(429, 10000, { 'retry-after': '86400' }), ok(1)]);
    const refused = await api.call({ method: 'GET', path: '/a' }).catch((error: GlasscastError) => error);
    expect(refused).toMatchObject({ code: 'PROVIDER_RATE_LIMITED', details: { retryAfterMs: 300_000 } });
    expect([await get('/b'), await get('/c', true), calls.length]).toEqual([
      'PROVIDER_RATE_LIMITED',
      'PROVIDER_RATE_LIMITED',
      1,
    ]);
    // Cloudflare's block is 5 min; nothing longer is believed without asking.
    await clock.advance(300_000);
    expect([await get('/d'), calls.length]).toEqual(['ok', 2]);
  });

  it('that does not say how long is waited for a little, whatever the window is called', async () => {
    const unsaid = world([refusal(429, 10000), refusal(429, 10000), ok(1)]);
    const got = unsaid.get('/a');
    await unsaid.clock.advance(4_000);
    expect(await got).toBe('ok');
    const window = world([refusal(429, 10000, { ratelimit: '"default";r=0;t=6' }), ok(1)]);
    const later = window.get('/a');
    await window.clock.advance(5_990);
    expect(window.calls.length).toBe(1);
    await window.clock.advance(10);
    expect(await later).toBe('ok');
  });

  it('lets a POST without a key be sent again, since it had no effect', async () => {
    const { clock, calls, api, code } = world([refusal(429, 10000, { 'retry-after': '1' }), ok({})]);
    const sent = code(api.call({ method: 'POST', path: '/x', body: {} }));
    await clock.advance(1_000);
    expect([await sent, calls.length]).toEqual(['ok', 2]);
  });
});

describe('a creation', () => {
  const create = { method: 'POST', path: '/live_inputs', body: {}, idempotencyKey: 'k' } as const;

  it.each([
    ['a limit', refusal(429, 10000, { 'retry-after': '300' })],
    ['a refusal', refusal(401, 10000)],
  ])('that may have been done stays so, though %s follows', async (_name, later) => {
    const { clock, api, code } = world([refusal(500, 10001), later]);
    const sent = code(api.call(create));
    await clock.advance(5_000);
    expect(await sent).toBe('PROVIDER_FAILED');
  });
  it('and a stop go before what can wait', async () => {
    const answers = Array.from({ length: 40 }, () => ok(1));
    const { clock, calls, api, get } = world(answers, { maxRequestsPerSecond: 3 });
    const polls = Promise.all(Array.from({ length: 30 }, (_, index) => get(`/poll-${index}`)));
    await settle();
    const made = api.call({ ...create, isUrgent: true });
    await clock.advance(334);
    await made;
    expect(calls.indexOf('POST /live_inputs')).toBeLessThanOrEqual(6);
    await clock.advance(20_000);
    await polls;
    expect(calls.length).toBe(31);
  });
});

describe('a token', () => {
  it('that is new may be refused for a moment, at the start of the program only', async () => {
    const fresh = world([refusal(403, 10000), refusal(403, 10000), ok(1), refusal(403, 10000)]);
    const first = fresh.get('/a');
    await fresh.clock.advance(3_000);
    expect([await first, await fresh.get('/b'), fresh.calls.length]).toEqual(['ok', 'PROVIDER_UNAUTHORIZED', 4]);
    const wrong = world(Array.from({ length: 20 }, () => refusal(403, 10000)));
    const refused = wrong.get('/a');
    await wrong.clock.advance(15_000);
    expect(await refused).toBe('PROVIDER_UNAUTHORIZED');
    expect(wrong.calls.length).toBeLessThanOrEqual(5);
    const old = world([refusal(403, 10000)]);
    await old.clock.advance(60_000);
    expect([await old.get('/a'), old.calls.length]).toEqual(['PROVIDER_UNAUTHORIZED', 1]);
  });
});

describe('answers that are not the API’s', () => {
  const page = '<!doctype html><title>Sign in to the Wi-Fi</title>';
  it.each<[string, string, Answer, string]>([
    ['GET', 'a page', { status: 200, text: page }, 'PROVIDER_FAILED'],
    ['DELETE', 'a page', { status: 200, text: page }, 'PROVIDER_FAILED'],
    ['DELETE', 'a page that says not found', { status: 404, text: page }, 'PROVIDER_FAILED'],
    ['DELETE', 'a refusal with 200', { status: 200, text: '{"success":false,"errors":[]}' }, 'PROVIDER_FAILED'],
    ['DELETE', 'not found with 200', refusal(200, 10003), 'LIVE_INPUT_NOT_FOUND'],
    ['DELETE', 'not found, empty', { status: 404, text: '' }, 'LIVE_INPUT_NOT_FOUND'],
    ['GET', 'no subscription with 200', refusal(200, 10002), 'PROVIDER_SUBSCRIPTION_MISSING'],
    ['GET', 'a filter’s page', { status: 403, text: 'error code: 1010' }, 'PROVIDER_REJECTED'],
    ['GET', 'a timeout', { status: 408, text: '' }, 'PROVIDER_FAILED'],
    ['DELETE', 'nothing at all', { status: 200, text: '' }, 'ok'],
    ['DELETE', 'no content', { status: 204 }, 'ok'],
    ['DELETE', '{}', { status: 200, text: '{}' }, 'ok'],
  ])('to a %s: %s', async (method, _name, answer, expected) => {
    const { clock, api, code } = world([answer, answer, answer]);
    const asked = code(api.call({ method: method as 'GET' | 'DELETE', path: '/x' }));
    await clock.advance(20_000);
    expect(await asked).toBe(expected);
    expect(clock.pending()).toEqual([]);
  });

  it('are survived, whatever they are: one of our errors or a result', async () => {
    const anything = fc.record({
      status: fc.constantFrom(200, 201, 301, 400, 401, 403, 404, 408, 409, 418, 429, 500, 503),
      text: fc.oneof(fc.string(), fc.json(), fc.constant('{"success":true}'), fc.constant('{"errors":null}')),
      headers: fc.oneof(
        fc.constant({}),
        fc.record({
          'retry-after': fc.oneof(fc.constantFrom('-1', '1e9', 'soon', '0', '99999999999'), fc.nat().map(String)),
        }),
      ),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(anything, { minLength: 3, maxLength: 3 }), async (answers) => {
        const { clock, api } = world(answers);
        const outcome = api.call({ method: 'GET', path: '/x' }).then(
          () => true,
          (error: unknown) => isGlasscastError(error) && error.code !== 'INTERNAL',
        );
        await clock.advance(400_000);
        expect(await outcome).toBe(true);
        expect(clock.pending()).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });
});

it('logs no token, header, body or address with a key (defect 29)', async () => {
  const lines: string[] = [];
  const log = createLog({
    ...{ program: 'test', level: 'debug', redactor: createRedactor() },
    destination: { write: (line) => void lines.push(line) },
  });
  const { clock, api, code } = world([refusal(500, 10001), new Error('reset'), ok({ streamKey: 'a-stream-key' })], {
    log,
  });
  const body = { url: 'rtmp://target.example/live', streamKey: 'key-of-the-output' };
  const sent = code(api.call({ method: 'POST', path: '/live_inputs/u/outputs', body, idempotencyKey: 'k' }));
  await clock.advance(10_000);
  expect([await sent, lines.length]).toEqual(['ok', 2]);
  expect(lines.join('')).not.toMatch(/the-api-token|[Bb]earer|key-of-the-output|a-stream-key|target\.example/);
});

describe('the budget', () => {
  it('never lets more than its pace through, and nobody is left behind', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ afterMs: fc.integer({ min: 0, max: 900 }), isUrgent: fc.boolean() }), { maxLength: 40 }),
        async (asks) => {
          const clock = createTestClock();
          const { signal } = new AbortController();
          const budget = createRequestBudget({ clock, perSecond: 3, maxWaitMs: 10_000, signal });
          const wentAtMs: number[] = [];
          for (const { afterMs, isUrgent } of asks) {
            await clock.advance(afterMs);
            void budget.take(isUrgent).then(() => wentAtMs.push(clock.monotonicMs()));
          }
          await clock.advance(30_000);
          expect(wentAtMs.length).toBe(asks.length);
          for (const [index, atMs] of wentAtMs.entries()) {
            const later = wentAtMs.slice(index).filter((other) => other - atMs < 10_000);
            expect(later.length).toBeLessThanOrEqual(5 + 30 + 1);
          }
          expect(clock.pending()).toEqual([]);
        },
      ),
      { numRuns: 50 },
    );
  });
});
