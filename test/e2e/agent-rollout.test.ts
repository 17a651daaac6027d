/** The real relay, the real command line and the real agent on a board in a folder: a roll-out, a broken one, and back. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { SessionView } from '../../cloud/http/event-feed.ts';
import { openReleaseShop } from '../../scripts/bench/release-shop.ts';
import { makeUpdateBoard } from '../../scripts/bench/update-board.ts';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { until } from '../support/local-stream-world.ts';
import { createReleaseWorld } from '../support/release-world.ts';

it('takes a roll-out, comes back from a broken one with its reason, and is sent back', async () => {
  const shop = await openReleaseShop();
  const made = await createReleaseWorld();
  onTestFinished(async () => expect(await made.close()).toEqual([]));
  const { relay, glasscast } = made;
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-rollout-'));
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const email = 'ada@example.com';
  const { coreToken } = await relay.rest<{ coreToken: string }>('POST', '/api/tokens', { email });
  const board = await makeUpdateBoard({
    ...{
      spawn: children.spawn,
      shop,
      folder: join(folder, 'board'),
      flashedVersion: '0.1.0',
      trialMs: 20_000,
      coreToken,
    },
    relayUrl: `${relay.wsUrl}/glasses-ws`,
    ffmpegFile: findOnPath('ffmpeg') ?? bundledFfmpeg() ?? 'ffmpeg',
  });
  onTestFinished(async () => {
    await board.stop();
    await children.close();
    await rm(folder, { recursive: true, force: true });
  });
  const runs = async (version: string) => {
    const { sessions } = await relay.rest<{ sessions: SessionView[] }>('GET', '/api/sessions');
    return sessions.some(({ agent, connected }) => connected && agent?.version === version && !agent.onTrial);
  };
  const publish = async (version: string, code?: Uint8Array) => {
    const body = new Blob([new Uint8Array(shop.seal(version, code))]);
    expect((await made.call('PUT', version, relay.adminToken.reveal(), { body })).status).toBe(201);
  };
  board.start();
  await until(() => runs('0.1.0'));
  await publish('0.2.0');
  const good = await glasscast('device', 'update', '0.2.0', '--soak-minutes', '0', '--watch');
  expect([good.code, await runs('0.2.0')]).toEqual([0, true]);
  await publish('0.3.0', Buffer.from('process.exit(7);'));
  const broken = await glasscast('device', 'update', '0.3.0', email, '--soak-minutes', '0', '--watch');
  expect([broken.code, broken.err]).toEqual([
    1,
    expect.stringMatching(/paused: ada@example\.com: rolled back \(.*code 7/),
  ]);
  await until(() => runs('0.2.0'));
  await glasscast('device', 'update-cancel');
  expect((await glasscast('device', 'rollback', email)).code).toBe(0);
  await until(() => runs('0.1.0'));
});
