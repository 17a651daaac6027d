/** An installed agent that updates itself, with real processes: `launch` by sh, bundles that are real releases, a small relay. */
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createRandom } from '../../device/simulator/timeline.ts';
import { TRIAL_FAILED_EXIT_CODE } from '../../device/updates/updater.ts';
import { openReleaseShop, type ReleaseShop } from '../../scripts/bench/release-shop.ts';
import { isAlive, makeUpdateBoard, type UpdateBoard } from '../../scripts/bench/update-board.ts';
import { drawKills, type KillWorld, killUpdate, settle, updatePhases } from '../../scripts/bench/update-kills.ts';
import { type GlassesWord, startUpdateRelay, type UpdateRelay } from '../../scripts/bench/update-relay.ts';
import { type ChildSpawner, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { type RtmpSink, startRtmpSink } from '../support/rtmp-sink.ts';

const clock = createSystemClock();
let shop: ReleaseShop;
let relay: UpdateRelay;
let sink: RtmpSink;
let board: UpdateBoard;
let children: ChildSpawner;
let folder: string;

beforeAll(async () => {
  shop = await openReleaseShop();
});
beforeEach(async () => {
  children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  relay = await startUpdateRelay();
  sink = await startRtmpSink();
  folder = mkdtempSync(join(tmpdir(), 'glasscast-update-'));
});
afterEach(async ({ task }) => {
  await board.stop();
  if (task.result?.state === 'fail') process.stderr.write(`${board.lines.join('\n')}\n`);
  await children.close();
  await relay.close();
  await sink.close();
  rmSync(folder, { recursive: true, force: true });
});

/** @param version not the flashed one: it has come by an update before */
async function startBoard({ trialMs = 20_000, version = '0.1.0' } = {}): Promise<void> {
  board = await makeUpdateBoard({
    ...{ spawn: children.spawn, shop, folder: join(folder, 'board'), flashedVersion: '0.1.0', trialMs },
    relayUrl: relay.url,
    ffmpegFile: bundledFfmpeg() ?? findOnPath('ffmpeg') ?? 'ffmpeg',
  });
  if (version !== '0.1.0') settle(board, shop, { flashed: '0.1.0', version });
  board.start();
  await hello(version);
}
const hello = (version: string, from = 0) =>
  relay.until(({ type, agent }) => type === 'glasses_connection_state' && agent?.version === version, from);
const state = (wanted: string, from = 0) => relay.until((word) => word.state === wanted, from);
const outcome = (wanted: string, version: string, from = 0): Promise<GlassesWord> =>
  relay.until(
    ({ agent }) => agent?.lastUpdate?.outcome === wanted && agent.lastUpdate.version === version && !agent.onTrial,
    from,
  );
function order(version: string): void {
  relay.send({ type: 'agent_update', version });
}
async function stream(streamId: string): Promise<void> {
  const before = sink.tags.length;
  const rtmpUrl = `rtmp://127.0.0.1:${sink.port}/live/${streamId}-key`;
  const video = { width: 320, height: 180, bitrate: 300_000, frameRate: 15 };
  relay.send({ type: 'start_rtmp_stream', streamId, rtmpUrl, video, audio: {}, stream: {} });
  await sink.until(() =>
    sink.tags.slice(before).some(({ kind, body }) => kind === 'video' && body[0] === 0x17 && body[1] === 1),
  );
}
async function updated(version: string): Promise<void> {
  const from = relay.words.length;
  relay.releases.set(version, shop.seal(version));
  order(version);
  const { agent } = await outcome('installed', version, from);
  expect(agent).toMatchObject({ version, canUpdate: true, lastUpdate: { version, outcome: 'installed' } });
}

test('a good release is fetched, tried and kept; it streams, and a roll-back goes back', async () => {
  await startBoard();
  await updated('0.2.0');
  expect(board.exitCodes).toEqual([0]);
  await stream('m1');
  relay.send({ type: 'stop_rtmp_stream', streamId: 'm1' });
  await relay.until(({ status }) => status === 'stopped');
  await updated('0.3.0');
  expect(readdirSync(board.releasesFolder).sort()).toEqual(['a', 'b', 'slots.json']);
  for (const version of ['0.2.0', '0.1.0']) {
    const from = relay.words.length;
    relay.send({ type: 'agent_rollback' });
    await outcome('installed', version, from);
    expect(relay.words.at(-1)?.agent?.version).toBe(version);
  }
  await stream('m2');
  relay.send({ type: 'agent_rollback' });
  expect(await state('refused')).toMatchObject({
    version: '0.1.0',
    reason: expect.stringMatching(/no version to go back to/),
  });
});

describe('a release that fails comes back as the version of before, with the reason', () => {
  test('when it ends at once, throws at load, is no JavaScript, blocks its event loop or says nothing for ever', async () => {
    await startBoard({ trialMs: 100 });
    for (const [at, { code, reason }] of [
      { code: 'process.exit(7);', reason: /ended with code 7/ },
      { code: "throw new Error('no such module');", reason: /ended with code 1/ },
      { code: 'this is no JavaScript', reason: /ended with code 1/ },
      { code: 'for (;;);', reason: /hung/ },
      { code: "process.on('SIGTERM', () => {}); setInterval(() => {}, 1_000);", reason: /hung/ },
    ].entries()) {
      const version = `0.${at + 2}.0`;
      const from = relay.words.length;
      relay.releases.set(version, shop.seal(version, Buffer.from(code)));
      order(version);
      const { agent } = await outcome('rolled_back', version, from);
      expect(agent).toMatchObject({ version: '0.1.0', lastUpdate: { reason: expect.stringMatching(reason) } });
    }
    await stream('m1');
  });

  test('when it does not reach the relay in time; a later order tries again, without another download', async () => {
    await startBoard({ trialMs: 3_000 });
    relay.releases.set('0.2.0', shop.seal('0.2.0'));
    order('0.2.0');
    await state('switching');
    const from = relay.words.length;
    relay.behaviour.isThere = false;
    await untilTrue(() => board.exitCodes.includes(TRIAL_FAILED_EXIT_CODE));
    relay.behaviour.isThere = true;
    const { agent } = await outcome('rolled_back', '0.2.0', from);
    expect(agent).toMatchObject({
      version: '0.1.0',
      lastUpdate: { version: '0.2.0', reason: expect.stringMatching(/relay was not reached within 3 s/) },
    });
    const asked = relay.requests.length;
    order('0.2.0');
    expect((await hello('0.2.0', from)).agent).toMatchObject({ onTrial: true });
    expect(relay.requests).toHaveLength(asked);
  });
});

test('a release that may not be run is refused, with the reason, and leaves nothing', async () => {
  await startBoard();
  for (const { what, file, reason } of [
    { what: 'a stranger signed it', file: shop.seal('0.2.0', undefined, { isForeign: true }), reason: /no key that/ },
    { what: 'a newer Node is needed', file: shop.seal('0.2.0', undefined, { minNode: 99 }), reason: /needs Node 99/ },
    { what: 'it is another version', file: shop.seal('0.3.0'), reason: /sent 0\.3\.0 for 0\.2\.0/ },
    { what: 'it is not what was signed', file: tampered(shop.seal('0.2.0')), reason: /cannot be unpacked|damaged/ },
    { what: 'it is too long', file: Buffer.concat([shop.seal('0.2.0'), Buffer.alloc(100)]), reason: /longer/ },
    { what: 'it is no release', file: Buffer.from('<html>'.repeat(10_000)), reason: /no release|not valid/ },
    { what: 'it is not there', file: undefined, reason: /has no release 0\.2\.0/ },
  ]) {
    relay.releases.clear();
    if (file) relay.releases.set('0.2.0', file);
    const from = relay.words.length;
    order('0.2.0');
    const { version, reason: told } = await state('refused', from);
    expect({ what, version, told }).toEqual({ what, version: '0.2.0', told: expect.stringMatching(reason) });
    expect([board.exitCodes, filesBelow(board.releasesFolder)]).toEqual([[], []]);
  }
  const from = relay.words.length;
  const asked = relay.requests.length;
  order('0.0.9');
  expect((await state('refused', from)).reason).toMatch(/0\.1\.0 runs, which is newer/);
  expect(relay.requests).toHaveLength(asked);
  await stream('m1');
});

test('a download goes on where it was cut, also over the death of the agent', async () => {
  await startBoard();
  relay.releases.set('0.2.0', shop.seal('0.2.0'));
  relay.behaviour.cutAfterBytes = 70_000;
  relay.behaviour.pauseMs = 40;
  order('0.2.0');
  await untilTrue(() => relay.requests.length === 2 && partBytes() > 120_000);
  const resumedAt = Number(/^bytes=(\d+)-$/.exec(relay.requests[1]?.range ?? '')?.[1]);
  expect(resumedAt).toBeGreaterThan(50_000);
  expect(resumedAt).toBeLessThanOrEqual(70_000);
  await board.cutPower();
  const from = relay.words.length;
  relay.behaviour.pauseMs = 0;
  board.start();
  await hello('0.1.0', from);
  order('0.2.0');
  await outcome('installed', '0.2.0', from);
  expect(Number(/^bytes=(\d+)-$/.exec(relay.requests[2]?.range ?? '')?.[1])).toBeGreaterThan(100_000);
  expect(new Set(relay.requests.map(({ authorization }) => authorization))).toEqual(
    new Set(['Bearer the-core-token-of-ada']),
  );
});

test('an update waits for the end of a stream, and a stream has the uplink for itself', async () => {
  await startBoard();
  relay.releases.set('0.2.0', shop.seal('0.2.0'));
  await stream('m1');
  order('0.2.0');
  expect(await state('waiting')).toMatchObject({ version: '0.2.0' });
  await clock.sleep(1_100);
  expect([relay.requests, board.exitCodes]).toEqual([[], []]);
  relay.behaviour.pauseMs = 60;
  relay.send({ type: 'stop_rtmp_stream', streamId: 'm1' });
  await untilTrue(() => relay.requests.length === 1);
  const from = relay.words.length;
  await stream('m2');
  await state('waiting', from);
  const loaded = partBytes();
  await clock.sleep(700);
  expect(partBytes()).toBe(loaded);
  relay.behaviour.pauseMs = 0;
  relay.send({ type: 'stop_rtmp_stream', streamId: 'm2' });
  await outcome('installed', '0.2.0', from);
});

test('a signal in the middle of a trial ends agent and ffmpeg, and the version of before comes back', async () => {
  await startBoard({ trialMs: 60_000 });
  const code = Buffer.from(`import { spawn } from 'node:child_process';
    process.on('SIGTERM', () => { child.kill(); process.exit(0); });
    const child = spawn('sleep', ['1000'], { detached: true });`);
  relay.releases.set('0.2.0', shop.seal('0.2.0', code));
  order('0.2.0');
  await untilTrue(() => commands(board.tree()).some((line) => line.includes('sleep 1000')));
  const pids = board.tree();
  expect(await board.stop()).toBe(0);
  expect(pids.filter(isAlive).filter((pid) => !commands([pid]).includes('sleep 1'))).toEqual([]);
  const from = relay.words.length;
  board.start();
  expect((await hello('0.1.0', from)).agent?.lastUpdate).toMatchObject({ version: '0.2.0', outcome: 'interrupted' });
});

test('whatever is in its folder, the flashed version streams', async () => {
  await startBoard({ version: '0.2.0' });
  await board.stop();
  for (const damage of [
    () => writeFileSync(join(board.releasesFolder, 'a', 'agent.mjs'), 'process.exit(9)'),
    () => writeFileSync(join(board.releasesFolder, 'slots.json'), '{"format":1'),
    () => rmSync(board.releasesFolder, { recursive: true }),
    () => writeFileSync(board.releasesFolder, 'a file in its place'),
  ]) {
    damage();
    const from = relay.words.length;
    board.start();
    await hello('0.1.0', from);
    await board.stop();
  }
  board.start();
  const from = relay.words.length;
  await hello('0.1.0', from);
  relay.releases.set('0.4.0', shop.seal('0.4.0'));
  order('0.4.0');
  expect(await state('refused', from)).toMatchObject({ reason: expect.stringMatching(/place of the folder/) });
});

test.runIf(process.getuid?.() === 0)(
  'root runs nothing that another user could replace, and takes no orders there',
  async () => {
    await startBoard({ version: '0.2.0' });
    await board.stop();
    chownSync(board.releasesFolder, 12_345, 12_345);
    const from = relay.words.length;
    board.start();
    expect((await hello('0.1.0', from)).agent).toMatchObject({ canUpdate: false });
    order('0.2.0');
    expect(await state('refused', from)).toMatchObject({ reason: expect.stringMatching(/belongs to another user/) });
  },
);

test('two agents on one folder: the second one runs, and changes nothing', async () => {
  await startBoard({ version: '0.2.0' });
  const from = relay.words.length;
  board.runAnother();
  const { agent } = await hello('0.2.0', from);
  expect(agent?.canUpdate).toBe(false);
});

test('an update that is cut at any of its steps comes back and streams', async () => {
  await startBoard();
  await board.stop();
  const isKeyFrame = ({ kind, body }: (typeof sink.tags)[number]) =>
    kind === 'video' && body[0] === 0x17 && body[1] === 1;
  const world: KillWorld = {
    ...{ clock, spawn: children.spawn, shop, folder, ffmpegFile: bundledFfmpeg() ?? findOnPath('ffmpeg') ?? 'ffmpeg' },
    ingest: {
      openUrl: async () => `rtmp://127.0.0.1:${sink.port}/live/${sink.connections}-key`,
      untilKeyFrame() {
        const before = sink.tags.length;
        return sink.until(() => sink.tags.slice(before).some(isKeyFrame));
      },
    },
  };
  for (const kill of drawKills(updatePhases.length, createRandom(7))) {
    const { booted, streamed, ran, expected, trouble } = await killUpdate(world, kill);
    expect({ kill, booted, streamed, ran, trouble }).toEqual({
      kill,
      booted: true,
      streamed: true,
      ran: expected,
      trouble: undefined,
    });
  }
}, 120_000);

// ── small change ──

function tampered(file: Buffer): Buffer {
  const copy = Buffer.from(file);
  copy[copy.length - 5_000] = (copy[copy.length - 5_000] ?? 0) ^ 1;
  return copy;
}
function filesBelow(path: string): string[] {
  try {
    return readdirSync(path, { recursive: true }).map(String);
  } catch {
    return [];
  }
}
function partBytes(): number {
  try {
    return statSync(join(board.releasesFolder, 'release.part')).size;
  } catch {
    return 0;
  }
}
function commands(pids: number[]): string[] {
  return pids.flatMap((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    } catch {
      return [];
    }
  });
}
async function untilTrue(isSo: () => boolean): Promise<void> {
  while (!isSo()) await clock.sleep(20);
}
