/**
 * `--scenario update`: flashed over ssh while it runs, then an update that never says hello, then a power cut in the middle of a
 * good one. After each the agent that was good streams again.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
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
const CUT = '0.3.0';
const GATE_S = 300;
const UPDATE_TIMEOUT_MS = 300_000;
/** After the agent has ended for the switch: the new version is starting. */
const INTO_TRIAL_MS = 6_000;

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
    { name: 'power cut in an update', run: (bench, world, wish) => cutUpdate(bench, world, wish, key) },
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
  const order = boardSettings(world.relayUrl);
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

async function cutUpdate(bench: Bench, world: BoardWorld, wish: StreamWish, key: ReleaseKey): Promise<string> {
  const { clock } = bench;
  await publish(world, CUT, key.seal(CUT, await bundleForDevice({ version: CUT })));
  const { rolloutId } = await world.relay.ask<{ rolloutId: string }>('POST', '/api/rollouts', {
    ...{ version: CUT, stages: [100], users: [BOARD_USER] },
  });
  await awaitSession(bench, world, ({ connected, update }) => !connected || update?.state === 'switching');
  await clock.sleep(INTO_TRIAL_MS, { signal: bench.signal });
  await world.board.powerCut();
  await world.relay.ask('POST', `/api/rollouts/${rolloutId}/cancel`).catch(() => {});
  const fromMs = clock.monotonicMs();
  await world.boot();
  const { version, lastUpdate } = await awaitAgent(bench, world, ({ agent }) => agent !== undefined);
  const ms = clock.monotonicMs() - fromMs;
  expectThat(version === FLASHED, `the version of before runs; it is ${version}`);
  return `cut ${inSeconds(INTO_TRIAL_MS)} into the switch: ${version} is back ${inSeconds(ms)} after power (${lastUpdate?.outcome} ${lastUpdate?.version}); ${await streamsOnce(world, wish)}`;
}

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
