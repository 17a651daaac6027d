/** `/healthz` and `/readyz` against a relay whose parts really break. */
import { join } from 'node:path';
import Database from 'libsql';
import { afterEach, expect, it } from 'vitest';
import { createRelayWorld, type RelayWorld } from '../support/relay-world.ts';

interface Answer {
  code: number;
  status: string;
  failed?: string[];
  checks: Record<string, string>;
}

let world: RelayWorld;
afterEach(async () => {
  expect(await world.close()).toEqual([]);
});

async function ask(path: string): Promise<Answer> {
  const response = await fetch(world.url + path);
  return { code: response.status, ...((await response.json()) as Omit<Answer, 'code'>) };
}
async function until(fits: (answer: Answer) => boolean): Promise<Answer> {
  for (let tries = 0; tries < 400; tries += 1) {
    const answer = await ask('/readyz');
    if (fits(answer)) return answer;
    await world.clock.sleep(50);
  }
  throw new Error(`it stays ${JSON.stringify(await ask('/readyz'))}`);
}

it('a relay that works is ready, and says so of each part', async () => {
  world = await createRelayWorld();
  const { code, status, checks, failed } = await until((answer) => answer.checks.provider === 'ok');
  expect({ code, status, failed }).toEqual({ code: 200, status: 'ready', failed: undefined });
  expect(checks).toEqual({ store: 'ok', provider: 'ok', ending: 'ok', loop: 'ok', cluster: 'ok' });
  expect(await ask('/healthz')).toMatchObject({ code: 200, status: 'ok', provider: 'ok', sessions: 0, streams: 0 });
});

it('a provider that fails makes it unready, and its return ready again; it lives all the while', async () => {
  world = await createRelayWorld({ providerHealthIntervalMs: 200 }, { adminPort: 0 });
  const { adminPort, apiToken } = world.provider;
  const fault = (method: string) =>
    fetch(`http://127.0.0.1:${adminPort}/faults/failing`, {
      method,
      headers: {
        authorization: `Bearer ${apiToken.reveal()}`,
        ...(method === 'PUT' ? { 'content-type': 'application/json' } : {}),
      },
      ...(method === 'PUT' ? { body: '{}' } : {}),
    });
  await until(({ code }) => code === 200);
  expect((await fault('PUT')).status).toBe(200);
  expect(await until(({ code }) => code === 503)).toMatchObject({
    failed: ['provider'],
    checks: { provider: 'PROVIDER_FAILED', store: 'ok' },
  });
  // For a load balancer, which has to let everybody come back to what runs.
  expect(await ask('/readyz?without=store,provider')).toMatchObject({
    code: 200,
    checks: { provider: 'PROVIDER_FAILED' },
  });
  expect((await ask('/healthz')).code).toBe(200);
  expect((await fault('DELETE')).status).toBe(200);
  await until(({ code }) => code === 200);
});

it('a store that cannot be written makes it unready, and says nothing of its insides', async () => {
  world = await createRelayWorld();
  await until(({ code }) => code === 200);
  const database = new Database(join(world.folder, 'relay', 'relay.db'));
  database.exec('ALTER TABLE records RENAME TO taken_away');
  expect(await until(({ code }) => code === 503)).toMatchObject({
    failed: ['store'],
    checks: { store: 'the store cannot be written or read', provider: 'ok' },
  });
  expect((await ask('/healthz')).code).toBe(200);
  database.exec('ALTER TABLE taken_away RENAME TO records');
  database.close();
  await until(({ code }) => code === 200);
});

it('an event loop that stood still is told, and forgotten after ten seconds', async () => {
  world = await createRelayWorld();
  await until(({ code }) => code === 200);
  const endMs = performance.now() + 1_600;
  while (performance.now() < endMs) Math.sqrt(endMs);
  await world.clock.sleep(100);
  const stuck = await ask('/readyz');
  expect(stuck).toMatchObject({ code: 503, failed: ['loop'] });
  expect(stuck.checks.loop).toMatch(/stood still for \d{4} ms/);
  expect((await ask('/healthz')).code).toBe(200);
  await until(({ code }) => code === 200);
});

it('a relay that is closing takes nothing new while it still answers', async () => {
  world = await createRelayWorld();
  const glasses = await world.glasses('ada@example.com');
  await world.rest('POST', '/api/users/ada@example.com/managed-stream', {});
  await glasses.inbox.take('START', ({ type }) => type === 'start_rtmp_stream');
  // The end of the stream is waited for: so long the relay answers.
  glasses.state.obeysStop = false;
  const closing = world.relay.close();
  expect(await ask('/readyz')).toMatchObject({ code: 503, failed: ['ending'] });
  expect((await ask('/healthz')).code).toBe(200);
  glasses.status({ status: 'stopped' });
  await closing;
});
