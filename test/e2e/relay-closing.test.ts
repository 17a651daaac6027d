import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRelay } from '../../cloud/relay.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { openPeer } from '../support/relay-world.ts';

const adminToken = new Secret('an-admin-token-for-tests');
const authorization = `Bearer ${adminToken.reveal()}`;
let dataDir = '';
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'glasscast-closing-'));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

/** The provider as a function: creations are made there and never answered. */
function fakeProvider() {
  const existing = new Map<string, unknown>();
  const asked: string[] = [];
  const waiting = new Set<() => void>();
  const answer = (result: unknown) => new Response(JSON.stringify({ success: true, errors: [], messages: [], result }));
  const fake = async (url: string, init: RequestInit) => {
    const path = url.split('/stream')[1] ?? '';
    asked.push(`${init.method} ${path}`);
    for (const look of [...waiting]) look();
    if (init.method === 'POST') {
      existing.set('uid-1', (JSON.parse(String(init.body)) as { meta: unknown }).meta);
      await new Promise((_, reject) => init.signal?.addEventListener('abort', () => reject(init.signal?.reason)));
    }
    if (init.method === 'DELETE') existing.delete(path.split('/')[2] ?? '');
    if (path === '/live_inputs') return answer([...existing].map(([uid, meta]) => ({ uid, meta })));
    return answer(/^\?|videos$|outputs$/.test(path) ? [] : {});
  };
  const until = (wanted: string) =>
    new Promise<void>((resolve) => {
      const look = () => void (asked.some((call) => call.startsWith(wanted)) && resolve());
      waiting.add(look);
      look();
    });
  return { existing, until, fetch: fake as unknown as typeof fetch };
}

function relayWith(provider: ReturnType<typeof fakeProvider>) {
  const clock = createSystemClock();
  const relay = createRelay({
    ...{ clock, log: silentLog(), redactor: createRedactor(), dataDir, adminToken, fetch: provider.fetch },
    provider: { kind: 'local', apiBaseUrl: 'http://127.0.0.1:9', accountId: 'a', apiToken: new Secret('token-x') },
  });
  return { clock, relay };
}

describe('a relay that is closed', () => {
  it('while it starts ends all the same, once, and stays closed', async () => {
    const { clock, relay } = relayWith(fakeProvider());
    const starting = relay.start();
    await Promise.all([relay.close(), relay.close()]);
    const { url } = await starting;
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
    expect(clock.pending()).toEqual([]);
    await expect(relay.start()).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    // And its folder is free.
    const next = relayWith(fakeProvider());
    await next.relay.start();
    await expect(relayWith(fakeProvider()).relay.start()).rejects.toThrow(/another relay uses this data folder/);
    await next.relay.close();
  });

  it('while the provider is making an input leaves none after the next start', async () => {
    const provider = fakeProvider();
    const first = relayWith(provider);
    const { url } = await first.relay.start();
    const post = (path: string, body: object) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    const { coreToken } = (await (await post('/api/tokens', { email: 'a@b.c' })).json()) as { coreToken: string };
    const glasses = await openPeer(`${url.replace('http', 'ws')}/glasses-ws?token=${coreToken}`);
    expect((await post('/api/users/a@b.c/managed-stream', {})).status).toBe(202);
    await provider.until('POST');
    const closed = glasses.closed;
    await first.relay.close();
    expect([await closed, first.clock.pending()]).toEqual([1012, []]);
    expect([...provider.existing.keys()]).toEqual(['uid-1']);

    const second = relayWith(provider);
    await second.relay.start();
    await provider.until('DELETE /live_inputs/uid-1');
    await second.relay.close();
    expect([[...provider.existing.keys()], second.clock.pending()]).toEqual([[], []]);
  });
});
