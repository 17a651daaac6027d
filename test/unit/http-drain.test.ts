/** The HTTP server when it closes: who has asked is answered, events end, and nobody holds it for ever. */
import { expect, it } from 'vitest';
import { createEventFeed } from '../../cloud/http/event-feed.ts';
import { createHttp, type HttpOptions } from '../../cloud/http/http.ts';
import { operatorRoutes } from '../../cloud/http/operator-routes.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

async function world() {
  const clock = createTestClock();
  let answer = () => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  let asked = () => {};
  const isAsked = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const nothing = () => {
    throw new Error('not asked for');
  };
  const guards = {
    adminToken: { matches: () => true },
    attempts: { guard: (_address: unknown, work: () => unknown) => work() },
    callers: { isTrusted: () => false },
    door: { maxConnections: 10, connected: () => true, asked() {}, request() {} },
    browserGuard: { headers: {}, checkOrigin() {}, checkHost() {} },
  } as unknown as Pick<HttpOptions, 'adminToken' | 'attempts' | 'callers' | 'door' | 'browserGuard'>;
  const http = createHttp({
    ...{ host: '127.0.0.1', port: 0, clock, log: silentLog(), ...guards },
    publicRoutes: [
      (server) => {
        server.get('/slow', async () => {
          asked();
          await answered;
          return { done: true };
        });
      },
    ],
    operatorRoutes: [
      operatorRoutes({
        ...{ catalog: nothing as never, apps: { start: nothing, stop: nothing }, events: createEventFeed(), clock },
        operatorStream: {
          ...{ start: nothing, stop: nothing, removeViewer: nothing, addOutput: nothing, removeOutput: nothing },
        },
        history: { timeline: nothing, ended: nothing },
        sessions: () => [],
        streams: () => [],
        endStream: nothing,
      }),
    ],
    onUpgrade: nothing,
  });
  const { port } = await http.start();
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`, { headers: { authorization: 'Bearer x' } });
  return { clock, http, get, answer, isAsked };
}

it('answers who has asked already, and takes nobody else', async () => {
  const { clock, http, get, answer, isAsked } = await world();
  const slow = get('/slow');
  await isAsked;
  const closing = http.close();
  await settle();
  await expect(get('/slow')).rejects.toThrow();
  answer();
  expect(await (await slow).json()).toEqual({ done: true });
  await closing;
  expect(clock.pending()).toEqual([]);
});

it('ends the readers of events, who never end by themselves', async () => {
  const { clock, http, get } = await world();
  const events = await get('/api/events');
  await http.close();
  expect(await events.text()).toContain(': listening');
  expect(clock.pending()).toEqual([]);
});

it('waits 5 s for an answer and no longer', async () => {
  const { clock, http, get, isAsked } = await world();
  const slow = get('/slow').catch((error: Error) => error);
  await isAsked;
  const closing = http.close();
  await settle();
  await clock.advance(5_000);
  await closing;
  expect(await slow).toBeInstanceOf(Error);
});
