/**
 * `--scenario update`: flashed over ssh while it runs, then an update that never says hello, then power cuts in the middle of good
 * ones. After each the agent that was good streams again.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Bench } from '../bench/program.ts';
import { flash } from '../flash/engine.ts';
import { readReleaseKeys, settingsText } from '../flash/flash-order.ts';
import { createProgramRunner } from '../flash/host-programs.ts';
import { createShellBoard } from '../flash/shell-board.ts';
import { createSshShell } from '../flash/ssh-board.ts';
import { bundleForDevice } from '../package/agent-bundle.ts';
import { awaitAgent, awaitSession, orderUpdate, publish } from './board-releases.ts';
import { BOARD_USER, type BoardWorld, type StreamWish } from './board-world.ts';
import { expectPlayable, expectThat, inSeconds, liveStream, stopped } from './fault-steps.ts';
import type { Fault } from './faults.ts';
import { boardSettings, buildPackage } from './flashing.ts';

const FLASHED = '0.1.1';
const BROKEN = '0.2.0';
const GATE_S = 300;
const UPDATE_TIMEOUT_MS = 300_000;

async function flashOverSsh(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { spawn, clock, redactor, signal, folder, note } = bench;
  const identity = join(folder, 'ssh-key');
  const run = createProgramRunner(spawn);
  await run({
    name: 'ssh-keygen',
    args: ['-q', '-t', 'ed25519', '-N', '', '-f', identity],
    package: 'openssh-client',
    signal,
  });
  const { output } = await run({ name: 'cat', args: [`${identity}.pub`], package: 'coreutils', signal });
  const own = output.toString('utf8').trim();
  await world.board.shell.must(`mkdir -p -m 700 /root/.ssh && echo '${own}' > /root/.ssh/authorized_keys`);
  const sshOptions = [
    'StrictHostKeyChecking=no',
    `UserKnownHostsFile=${join(folder, 'known-hosts')}`,
    'LogLevel=ERROR',
  ];
  const to = { destination: 'root@127.0.0.1', port: world.board.sshPort, identityFiles: [identity], sshOptions };
  const board = createShellBoard({ shell: createSshShell({ ...to, isInteractive: false, spawn, clock }), clock });
  const made = await buildPackage(bench, world.pieces, FLASHED);
  const fromMs = clock.monotonicMs();
  const order = boardSettings(world.relayUrl);
  try {
    const { outcome } = await flash({
      ...{ board, code: undefined, relay: undefined, redactor, signal, nowMs: clock.now, newId: randomUUID },
      ...{ wantsTestStream: false, isDryRun: false, run: { deadlineSeconds: GATE_S, gate: 'agent' } },
      order: {
        ...{ settings: settingsText(order), source: order.source, user: BOARD_USER },
        releaseKeys: readReleaseKeys([world.releaseKey.publicKeyFile]),
      },
      packageFor: async () => ({ ...made, path: made.file, architecture: 'amd64' }),
      tell: {
        step: (name, state, text) => bench.progress(`flash: ${name}: ${state}: ${text}`),
        progress: (name, text) => note(`flash: ${name}: ${text}`),
      },
    });
    expectThat(outcome === 'flashed', `the new package proves itself; it was ${outcome}`);
  } finally {
    await board.close();
  }
  const flashMs = clock.monotonicMs() - fromMs;
  await awaitVersion(bench, world, FLASHED);
  return `${inSeconds(flashMs)} for ${Math.round(made.bytes / 1e6)} MB, gate included; ${await streamsOnce(world, wish)}`;
}

async function brokenUpdate(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const mute = Buffer.from('setInterval(() => {}, 1000);\n');
  const before = (await awaitAgent(bench, world, ({ onTrial }) => onTrial !== true)).version;
  const fromMs = bench.clock.monotonicMs();
  await publish(world, BROKEN, mute);
  const order = await orderUpdate(world, BROKEN);
  const { lastUpdate } = await awaitAgent(bench, world, (agent) => agent.lastUpdate?.version === BROKEN);
  expectThat(lastUpdate?.outcome === 'rolled_back', `it goes back by itself; it told ${lastUpdate?.outcome}`);
  await awaitVersion(bench, world, before);
  await order.cancel();
  const ms = bench.clock.monotonicMs() - fromMs;
  return `rolled back ${inSeconds(ms)} after the order (${lastUpdate?.reason}); ${await streamsOnce(world, wish)}`;
}

/** Where the power goes. Asked on the board, since only it knows in time. */
interface Cut {
  moment: string;
  version: string;
  /** True on the board from that moment on; short of the next step of the update. */
  isThere: string;
  /** How the board has to speak of the update when the version of before runs then; undefined: not at all. */
  outcome: string | undefined;
  /** Or the new one runs: a trial that had not begun is begun by the next start. */
  mayBeNew?: boolean;
}

const RELEASES = '/var/lib/glasscast/releases';
const LOADED = '0.3.0';
const TRIED = '0.4.0';
const MARKED = '0.5.0';

const cuts: readonly Cut[] = [
  {
    ...{ moment: 'while it is loaded', version: LOADED, outcome: undefined },
    isThere: '[ -s release.part ] && ! grep -q \'"trial"\' slots.json',
  },
  {
    ...{ moment: 'while the new version is on trial', version: TRIED, outcome: 'interrupted' },
    isThere: 'grep -q \'"isStarted":true\' slots.json && pgrep -f releases/[ab]/agent.mjs > /dev/null',
  },
  {
    ...{ moment: 'between the mark and the trial', version: MARKED, outcome: 'interrupted', mayBeNew: true },
    isThere: 'grep -q \'"trial"\' slots.json',
  },
];

async function cutUpdate(bench: Bench, world: BoardWorld, wish: StreamWish, cut: Cut): Promise<string> {
  const { clock } = bench;
  const { version, isThere, mayBeNew = false } = cut;
  const before = (await awaitAgent(bench, world, ({ onTrial }) => onTrial !== true)).version;
  await publish(world, version, slowToLoad(await bundleForDevice({ version })));
  const there = world.board.shell.must(whenTrue(isThere), UPDATE_TIMEOUT_MS);
  const order = await orderUpdate(world, version);
  await there;
  const { update } = await awaitSession(bench, world, () => true);
  await world.board.powerCut();
  await order.cancel();
  const fromMs = clock.monotonicMs();
  await world.boot();
  await world.awaitAgent();
  const ms = clock.monotonicMs() - fromMs;
  const played = await streamsOnce(world, wish);
  // Not before: until its hello the relay tells what it knew of the agent.
  const agent = await awaitAgent(bench, world, ({ onTrial }) => onTrial !== true);
  const isNew = mayBeNew && agent.version === version;
  expectThat(isNew || agent.version === before, `${before} runs then; it is ${agent.version}`);
  const told = agent.lastUpdate?.version === version ? agent.lastUpdate.outcome : undefined;
  const wanted = isNew ? 'installed' : cut.outcome;
  expectThat(told === wanted, `it speaks of ${version} as ${wanted ?? 'nothing'}; it told ${told ?? 'nothing'}`);
  return `the relay had heard ${update?.state ?? 'nothing'}; an agent is there ${inSeconds(ms)} after power: ${agent.version} (${version}: ${told ?? 'untold'}); ${played}`;
}

const whenTrue = (isThere: string) => `until cd ${RELEASES} && ${isThere}; do sleep 0.05; done 2> /dev/null`;

/** Good code with so much behind it that loading takes seconds. */
function slowToLoad(code: Uint8Array): Buffer {
  return Buffer.concat([code, Buffer.from(`\n//${randomBytes(SLOW_BYTES).toString('base64')}\n`)]);
}

const SLOW_BYTES = 6_000_000;

async function streamsOnce(world: BoardWorld, wish: StreamWish): Promise<string> {
  const streamId = await liveStream(world, wish);
  const played = await expectPlayable(world, streamId, 4);
  await stopped(world, streamId);
  return played;
}

const awaitVersion = (bench: Bench, world: BoardWorld, version: string) =>
  awaitAgent(bench, world, (agent) => agent.version === version && agent.onTrial !== true);

export const updateScenario: readonly Fault[] = [
  { name: 'flash over ssh', run: flashOverSsh },
  { name: 'update that never says hello', run: brokenUpdate },
  ...cuts.map((cut) => ({
    name: `power cut in an update, ${cut.moment}`,
    run: (bench: Bench, world: BoardWorld, wish: StreamWish) => cutUpdate(bench, world, wish, cut),
  })),
];
