import { describe, expect, it } from 'vitest';
import { openCoreTokens } from '../../cloud/access/core-tokens.ts';
import { createAppCatalog } from '../../cloud/apps/app-catalog.ts';
import { createSharedRecords, type SharedRecords } from '../../cloud/cluster/shared-records.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import type { Store } from '../../cloud/store/store.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';
import { createFakeMeshes } from '../support/mesh-fakes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const APP = 'com.example.cam';
const codeOf = (work: () => Promise<unknown>): Promise<string> =>
  work().then(
    () => 'in',
    ({ code }) => code,
  );
const registration = { publicUrl: 'http://app.example', apiKey: 'right' };

async function world() {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const outage = { isOn: false };
  const failing: Store = {
    ...store,
    apps: {
      ...store.apps,
      all: () => (outage.isOn ? Promise.reject(new GlasscastError('STORE_UNAVAILABLE')) : store.apps.all()),
    },
  };
  const nodes = [];
  for (const mesh of createFakeMeshes('a', 'b')) {
    const changes: string[] = [];
    let shared: SharedRecords | undefined;
    const catalog = createAppCatalog({
      store: failing,
      onChange: (name, app) => void changes.push(app ? name : `${name} gone`),
      onWritten: () => shared?.catalogChanged(),
    });
    const tokens = await openCoreTokens({
      ...{ clock, store, secret: new Secret('a-secret-for-tests') },
      onRevoked: (tokenId) => shared?.tokenRevoked(tokenId),
    });
    shared = createSharedRecords({ mesh, catalog, tokens, clock, log: silentLog() });
    await catalog.list();
    nodes.push({ mesh, catalog, tokens, changes, shared });
  }
  const [a, b] = nodes;
  if (!a || !b) throw new Error('two nodes are wanted');
  return { clock, store, outage, a, b };
}

describe('the catalogue', () => {
  it('changes on every node at once, and tells each of its sessions', async () => {
    const { a, b } = await world();
    await a.catalog.put(APP, registration);
    await settle();
    await b.catalog.verify(APP, 'right');
    await b.catalog.put(APP, { ...registration, apiKey: 'other' });
    await settle();
    expect(await codeOf(() => a.catalog.verify(APP, 'right'))).toBe('INVALID_API_KEY');
    await a.catalog.delete(APP);
    await settle();
    expect([a.changes, b.changes]).toEqual([
      [APP, APP, `${APP} gone`],
      [APP, APP, `${APP} gone`],
    ]);
  });

  it('lets an app in without the store, and is read anew when the store is back', async () => {
    const { a, b, outage, clock } = await world();
    await a.catalog.put(APP, registration);
    await settle();
    outage.isOn = true;
    await b.catalog.verify(APP, 'right');
    a.mesh.cut();
    outage.isOn = false;
    await a.catalog.delete(APP);
    await settle();
    await b.catalog.verify(APP, 'right');
    outage.isOn = true;
    a.mesh.mend();
    await settle();
    outage.isOn = false;
    await clock.advance(2_000);
    expect(await codeOf(() => b.catalog.verify(APP, 'right'))).toBe('PACKAGE_NOT_FOUND');
    for (const { shared } of [a, b]) shared.close();
    expect(clock.pending()).toEqual([]);
  });
});

it('a token that one node revokes opens nothing on another one, and cuts what it had opened', async () => {
  const { a, b } = await world();
  const { tokenId, coreToken } = await a.tokens.issue({ email: 'ada@example.com' });
  const cut: string[] = [];
  const stop = b.tokens.watch(await b.tokens.verify(coreToken.reveal()), () => cut.push('b'));
  await a.tokens.revoke(tokenId);
  await settle();
  expect([cut, await codeOf(() => b.tokens.verify(coreToken.reveal()))]).toEqual([['b'], 'INVALID_TOKEN']);
  stop();
  // What a node missed while it was out of reach it reads when it is found.
  const missed = await a.tokens.issue({ email: 'ada@example.com' });
  b.mesh.cut();
  await a.tokens.revoke(missed.tokenId);
  await settle();
  await b.tokens.verify(missed.coreToken.reveal());
  b.mesh.mend();
  await settle();
  expect(await codeOf(() => b.tokens.verify(missed.coreToken.reveal()))).toBe('INVALID_TOKEN');
});
