import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type LaunchFacts, openUpdates } from '../../device/updates/agent-updates.ts';
import { silentLog } from '../../shared/log.ts';
import type { FromGlasses } from '../../shared/protocol/glasses-messages.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-updates-'));
  mkdirSync(join(folder, 'keys'));
  const { publicKey } = generateKeyPairSync('ed25519');
  writeFileSync(join(folder, 'keys', 'one.pem'), publicKey.export({ type: 'spki', format: 'pem' }));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const byLaunch: LaunchFacts = { place: 'flashed', flashedVersion: '0.1.0', isTrial: false, isRestarted: true };

async function opened(launch: LaunchFacts | undefined, keys = 'keys') {
  const clock = createTestClock();
  const told: FromGlasses[] = [];
  const updates = await openUpdates({
    ...{ clock, log: silentLog(), launch, version: '0.1.0', architecture: 'x64', nodeVersion: '20.11.0' },
    ...{ releasesFolder: join(folder, 'releases'), releaseKeysFolder: join(folder, keys), trialMs: 1_000 },
    end: () => {},
  });
  const updater = updates.openUpdater({
    ...{ relayUrl: 'ws://relay.example/glasses-ws', coreToken: new Secret('the-core-token') },
    send: (message) => void told.push(message),
    ...{ isIdle: () => false, announce: () => {} },
  });
  return { updates, updater, told, clock };
}

it.each([
  ['was started without launch', undefined, 'keys', /not started by its package/],
  ['runs at a terminal', { ...byLaunch, isRestarted: false }, 'keys', /at a terminal/],
  ['trusts no key', byLaunch, 'none', /no release key is trusted here; put one into .*none/],
  [
    'has a launcher that does not work',
    { ...byLaunch, flashedVersion: undefined },
    'keys',
    /launcher .* does not work/,
  ],
] as const)('an agent that %s takes no orders, and says why', async (_name, launch, keys, reason) => {
  const { updates, updater, told } = await opened(launch, keys);
  expect(updater.facts()).toEqual({ version: '0.1.0', architecture: 'x64', canUpdate: false });
  updater.update('0.2.0');
  expect(told).toMatchObject([
    { type: 'agent_update_status', state: 'refused', reason: expect.stringMatching(reason) },
  ]);
  await updater.close();
  updates.close();
});

it('of two agents on one folder the first takes orders, and the next one when that has ended', async () => {
  const first = await opened(byLaunch);
  const second = await opened(byLaunch);
  expect([first, second].map(({ updater }) => updater.facts().canUpdate)).toEqual([true, process.platform !== 'linux']);
  first.updates.close();
  const third = await opened(byLaunch);
  expect(third.updater.facts().canUpdate).toBe(true);
  for (const { updater, updates } of [first, second, third]) {
    await updater.close();
    updates.close();
  }
});

it('one on trial has its deadline, which goes with it', async () => {
  const { updater, updates, clock } = await opened({ ...byLaunch, isTrial: true });
  expect([updater.facts().onTrial, clock.pending()]).toEqual([true, ['update-trial']]);
  await updater.close();
  expect(clock.pending()).toEqual([]);
  updates.close();
});
