import { describe, expect, it } from 'vitest';
import type { RelayApi } from '../../scripts/cli/relay-api.ts';
import { createRelaySide } from '../../scripts/flash/relay-side.ts';
import { createTestClock } from '../support/test-clock.ts';

const USER = 'ada@example.com';
const signal = new AbortController().signal;

/** Answers of each path in turn; the last one stays. */
function fakeRelay(answers: Record<string, object[]>) {
  const asked: string[] = [];
  const api: Pick<RelayApi, 'ask'> = {
    async ask(method, path, answer) {
      const name = `${method} ${path}`;
      asked.push(name);
      const all = answers[name] ?? [{}];
      return answer.parse(all.length > 1 ? all.shift() : all[0]);
    },
  };
  const clock = createTestClock();
  return { clock, asked, relay: createRelaySide({ api, clock, helloTimeoutMs: 5_000, streamTimeoutMs: 5_000 }) };
}
const session = (connected: boolean, version?: string) => ({
  sessions: [{ userId: USER, connected, ...(version ? { agent: { version } } : {}) }],
});

describe('awaitHello', () => {
  it.each<[string, object[], string]>([
    ['the right version', [session(false), session(true, '1.0.0'), session(true, '1.1.0')], `${USER}, version 1.1.0`],
    ['a relay that tells no versions', [session(true)], `${USER}; this relay tells no versions`],
  ])('waits for %s', async (_, answers, said) => {
    const { clock, relay } = fakeRelay({ 'GET /api/sessions': answers });
    const work = relay.awaitHello(USER, '1.1.0-1', signal);
    await clock.advance(2_000);
    expect(await work).toBe(said);
    expect(clock.pending()).toEqual([]);
  });

  it('takes any version when none is asked for', async () => {
    const { relay } = fakeRelay({ 'GET /api/sessions': [session(true, '1.2.0')] });
    expect(await relay.awaitHello(USER, undefined, signal)).toBe(`${USER}, version 1.2.0`);
  });

  it.each<[string, object, string]>([
    ['nobody', { sessions: [] }, `no agent of ${USER} has come to the relay`],
    ['another user', { sessions: [{ userId: 'eve@example.com', connected: true }] }, 'no agent of'],
    ['another version', session(true, '1.0.0'), `is version 1.0.0, not 1.1.0`],
  ])('says that %s came', async (_, answer, reason) => {
    const { clock, relay } = fakeRelay({ 'GET /api/sessions': [answer] });
    const work = relay.awaitHello(USER, '1.1.0', signal);
    work.catch(() => {});
    await clock.advance(10_000);
    await expect(work).rejects.toThrow(reason);
  });
});

describe('testStream', () => {
  const PATH = '/api/users/ada%40example.com/managed-stream';
  const stream = (state: string, more = {}) => ({ streamId: 's1', userId: USER, state, ...more });

  it('starts one, waits until it is active, and stops it', async () => {
    const { clock, relay, asked } = fakeRelay({
      'GET /api/streams': [{ streams: [] }],
      [`POST ${PATH}`]: [stream('initializing')],
      'GET /api/streams/s1': [
        stream('preparing'),
        stream('active', { liveMs: 1_500, stats: { width: 640, height: 360 } }),
      ],
    });
    const work = relay.testStream(USER, signal);
    await clock.advance(2_000);
    expect(await work).toBe('640×360, live after 1.5 s');
    expect(asked.at(-1)).toBe(`DELETE ${PATH}`);
  });

  it('leaves a stream alone that is on the air', async () => {
    const { relay, asked } = fakeRelay({ 'GET /api/streams': [{ streams: [stream('active')] }] });
    expect(await relay.testStream(USER, signal)).toBe('already on the air');
    expect(asked).toEqual(['GET /api/streams']);
  });

  it.each<[string, object, string]>([
    [
      'fails',
      stream('failed', { message: 'The camera was not found' }),
      'the test stream failed: The camera was not found',
    ],
    ['does not come', stream('preparing'), 'the test stream is still preparing after 5 s'],
  ])('stops one that %s', async (_, answer, reason) => {
    const { clock, relay, asked } = fakeRelay({
      'GET /api/streams': [{ streams: [] }],
      [`POST ${PATH}`]: [stream('initializing')],
      'GET /api/streams/s1': [answer],
    });
    const work = relay.testStream(USER, signal);
    work.catch(() => {});
    await clock.advance(10_000);
    await expect(work).rejects.toThrow(reason);
    expect(asked.at(-1)).toBe(`DELETE ${PATH}`);
    expect(clock.pending()).toEqual([]);
  });
});

it('cancels a code by its id', async () => {
  const { relay, asked } = fakeRelay({ 'POST /api/enrolments': [{ enrolmentId: 'e/1', code: 'ABCD-1234' }] });
  const { code, cancel } = await relay.enrol(USER, 'board');
  expect([code.reveal(), String(code)]).toEqual(['ABCD-1234', '***']);
  await cancel();
  expect(asked.at(-1)).toBe('DELETE /api/enrolments/e%2F1');
});
