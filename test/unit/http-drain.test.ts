/** The HTTP server when it closes: who has asked is answered, events end, and nobody holds it for ever. */
import { expect, it } from 'vitest';
import { createEventFeed, type EventFeed } from '../../cloud/http/event-feed.ts';
import { answerError, createHttp, type HttpOptions } from '../../cloud/http/http.ts';
import { operatorRoutes } from '../../cloud/http/operator-routes.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createLog, silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
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
  const readers = new Set<() => void>();
  const feed = createEventFeed();
  const events: EventFeed = {
    ...feed,
    listen(take, missed = nothing) {
      readers.add(missed);
      return feed.listen(take, missed);
    },
  };
  const missed = () => {
    for (const reader of readers) reader();
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
        ...{ catalog: nothing as never, apps: { start: nothing, stop: nothing }, events, clock },
        operatorStream: {
          ...{ start: nothing, stop: nothing, removeViewer: nothing, addOutput: nothing, removeOutput: nothing },
        },
        history: { explain: nothing, ended: nothing },
        sessions: () => [],
        streams: () => [],
        endStream: nothing,
      }),
    ],
    onUpgrade: nothing,
  });
  const { port } = await http.start();
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`, { headers: { authorization: 'Bearer x' } });
  return { clock, http, get, answer, isAsked, missed };
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

it('ends the readers of events when something has gone by unheard: they come back and ask for the whole', async () => {
  const { http, get, missed } = await world();
  const events = await get('/api/events');
  missed();
  expect(await events.text()).toContain(': listening');
  await http.close();
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

it('logs no error for who asks while it closes: that is no defect of ours', () => {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const log = createLog({ program: 'test', level: 'info', redactor: createRedactor(), destination });
  const reply = { code: () => reply, send: () => reply, header: () => reply };
  const answer = (error: unknown) => answerError(error, { routeOptions: {} } as never, reply as never, log);
  answer(new GlasscastError('SHUTTING_DOWN'));
  expect(lines).toEqual([]);
  answer(new Error('a defect'));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('a defect');
});
