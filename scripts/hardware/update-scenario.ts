/**
 * `--scenario update`: flashed over ssh while it runs, then an update that never says hello, then power cuts in the middle of good
 * ones. After each the agent that was good streams again.
 */
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sealRelease } from '../../shared/release.ts';
import type { Bench } from '../bench/program.ts';
import { flash } from '../flash/engine.ts';
import { readReleaseKeys, settingsText } from '../flash/flash-order.ts';
import { createProgramRunner } from '../flash/host-programs.ts';
import { createShellBoard } from '../flash/shell-board.ts';
import { createSshShell } from '../flash/ssh-board.ts';
import { bundleForDevice } from '../package/agent-bundle.ts';
import { BOARD_USER, type BoardWorld, type StreamWish } from './board-world.ts';
import { expectPlayable, expectThat, inSeconds, liveStream, stopped } from './fault-steps.ts';
import { boardSettings, buildPackage } from './flashing.ts';

const FLASHED = '0.1.1';
const BROKEN = '0.2.0';
const GATE_S = 300;
const UPDATE_TIMEOUT_MS = 300_000;
/** Long enough for an emulated processor to start a good version, short enough to wait for a mute one. */
const TRIAL_MS = 60_000;

export interface ReleaseKey {
  publicKeyFile: string;
  seal(version: string, code: Uint8Array): Uint8Array;
}

/** What the board is flashed with, so that it takes updates. */
export async function makeReleaseKey(folder: string): Promise<ReleaseKey> {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const publicKeyFile = join(folder, 'release.pem');
  await writeFile(publicKeyFile, publicKey.export({ type: 'spki', format: 'pem' }));
  return { publicKeyFile, seal: (version, code) => sealRelease({ version, minNode: 20, code, privateKey }) };
}

interface AgentThere {
  version: string;
  onTrial?: boolean;
  lastUpdate?: { version: string; outcome: string; reason?: string };
}

interface Session {
  connected: boolean;
  agent?: AgentThere;
  update?: { state?: string; version?: string };
}

export interface ScenarioStep {
  name: string;
  run(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string>;
}

export function updateScenario(key: ReleaseKey): readonly ScenarioStep[] {
  return [
    { name: 'flash over ssh', run: (bench, world, wish) => flashOverSsh(bench, world, wish, key) },
    { name: 'update that never says hello', run: (bench, world, wish) => brokenUpdate(bench, world, wish, key) },
    ...cuts.map((cut) => ({
      name: `power cut in an update, ${cut.moment}`,
      run: (bench: Bench, world: BoardWorld, wish: StreamWish) => cutUpdate(bench, world, wish, key, cut),
    })),
  ];
}

async function flashOverSsh(bench: Bench, world: BoardWorld, wish: StreamWish, key: ReleaseKey): Promise<string> {
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
  const order = boardSettings(world.relayUrl, [`updateTrialMs=${TRIAL_MS}`]);
  try {
    const { outcome } = await flash({
      ...{ board, code: undefined, relay: undefined, redactor, signal, nowMs: clock.now, newId: randomUUID },
      ...{ wantsTestStream: false, isDryRun: false, run: { deadlineSeconds: GATE_S, gate: 'agent' } },
      order: {
        ...{ settings: settingsText(order), source: order.source, user: BOARD_USER },
        releaseKeys: readReleaseKeys([key.publicKeyFile]),
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

async function brokenUpdate(bench: Bench, world: BoardWorld, wish: StreamWish, key: ReleaseKey): Promise<string> {
  const mute = Buffer.from('setInterval(() => {}, 1000);\n');
  const fromMs = bench.clock.monotonicMs();
  await publish(world, BROKEN, key.seal(BROKEN, mute));
  await world.relay.ask('POST', '/api/rollouts', { version: BROKEN, stages: [100], users: [BOARD_USER] });
  const { lastUpdate } = await awaitAgent(bench, world, ({ agent }) => agent?.lastUpdate?.version === BROKEN);
  expectThat(lastUpdate?.outcome === 'rolled_back', `it goes back by itself; it told ${lastUpdate?.outcome}`);
  await awaitVersion(bench, world, FLASHED);
  const ms = bench.clock.monotonicMs() - fromMs;
  return `rolled back ${inSeconds(ms)} after the order (${lastUpdate?.reason}); ${await streamsOnce(world, wish)}`;
}

/** Where the power goes. Asked on the board, since only it knows in time. */
interface Cut {
  moment: string;
  version: string;
  /** True on the board from that moment on; short of the next step of the update. */
  isThere: string;
  /** Versions that may run afterwards. */
  mayRun: readonly string[];
  /** How the board has to speak of the update then; undefined: not at all. */
  outcome: Readonly<Record<string, string | undefined>>;
}

const RELEASES = '/var/lib/glasscast/releases';
const LOADED = '0.3.0';
const TRIED = '0.4.0';
const MARKED = '0.5.0';

const cuts: readonly Cut[] = [
  {
    ...{ moment: 'while it is loaded', version: LOADED, isThere: '[ -s release.part ]' },
    ...{ mayRun: [FLASHED], outcome: { [FLASHED]: undefined } },
  },
  {
    ...{ moment: 'while the new version is on trial', version: TRIED },
    isThere: 'grep -q \'"isStarted":true\' slots.json && pgrep -f releases/[ab]/agent.mjs > /dev/null',
    ...{ mayRun: [FLASHED], outcome: { [FLASHED]: 'interrupted' } },
  },
  {
    ...{ moment: 'between the mark and the trial', version: MARKED, isThere: 'grep -q \'"trial"\' slots.json' },
    // A trial that had not begun is begun by the next start; one that had is not begun again.
    ...{ mayRun: [FLASHED, MARKED], outcome: { [FLASHED]: 'interrupted', [MARKED]: 'confirmed' } },
  },
];

async function cutUpdate(
  bench: Bench,
  world: BoardWorld,
  wish: StreamWish,
  key: ReleaseKey,
  cut: Cut,
): Promise<string> {
  const { clock } = bench;
  const { version, isThere, mayRun } = cut;
  await publish(world, version, key.seal(version, slowToLoad(await bundleForDevice({ version }))));
  const there = world.board.shell.must(whenTrue(isThere), UPDATE_TIMEOUT_MS);
  const { rolloutId } = await world.relay.ask<{ rolloutId: string }>('POST', '/api/rollouts', {
    ...{ version, stages: [100], users: [BOARD_USER] },
  });
  await there;
  const seen = await world.relay.ask<{ sessions: Session[] }>('GET', '/api/sessions');
  await world.board.powerCut();
  await world.relay.ask('POST', `/api/rollouts/${rolloutId}/cancel`);
  const fromMs = clock.monotonicMs();
  await world.boot();
  const agent = await awaitAgent(bench, world, ({ agent: now }) => now !== undefined && now.onTrial !== true);
  const ms = clock.monotonicMs() - fromMs;
  expectThat(mayRun.includes(agent.version), `${mayRun.join(' or ')} runs then; it is ${agent.version}`);
  const told = agent.lastUpdate?.version === version ? agent.lastUpdate.outcome : undefined;
  const wanted = cut.outcome[agent.version];
  expectThat(told === wanted, `it speaks of ${version} as ${wanted ?? 'nothing'}; it told ${told ?? 'nothing'}`);
  const state = seen.sessions[0]?.update?.state ?? 'nothing';
  return `the relay had heard ${state}; ${agent.version} is there ${inSeconds(ms)} after power (${version}: ${told ?? 'untold'}); ${await streamsOnce(world, wish)}`;
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

const publish = (world: BoardWorld, version: string, release: Uint8Array) =>
  world.relay.ask('PUT', `/api/agent-releases/${version}`, release);

const awaitVersion = (bench: Bench, world: BoardWorld, version: string) =>
  awaitAgent(bench, world, ({ agent }) => agent?.version === version && agent.onTrial !== true);

async function awaitAgent(bench: Bench, world: BoardWorld, isIt: (session: Session) => boolean): Promise<AgentThere> {
  const session = await awaitSession(bench, world, (each) => each.connected && isIt(each));
  return session.agent ?? { version: '' };
}

async function awaitSession(bench: Bench, world: BoardWorld, isIt: (session: Session) => boolean): Promise<Session> {
  const { clock, signal } = bench;
  const deadlineMs = clock.monotonicMs() + UPDATE_TIMEOUT_MS;
  for (;;) {
    const { sessions } = await world.relay.ask<{ sessions: Session[] }>('GET', '/api/sessions');
    const found = sessions.find(isIt);
    if (found) return found;
    expectThat(clock.monotonicMs() < deadlineMs, `in time; the relay sees ${JSON.stringify(sessions)}`);
    await clock.sleep(200, { signal });
  }
}
