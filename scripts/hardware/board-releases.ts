/** Releases for the board, as an operator gives them: sealed with the key it was flashed with, published, ordered, watched. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sealRelease } from '../../shared/release.ts';
import type { Bench } from '../bench/program.ts';
import { BOARD_USER, type BoardWorld } from './board-world.ts';
import { expectThat } from './fault-steps.ts';

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

export interface AgentThere {
  version: string;
  onTrial?: boolean;
  lastUpdate?: { version: string; outcome: string; reason?: string };
}

export interface Session {
  connected: boolean;
  agent?: AgentThere;
  update?: { state?: string; version?: string; reason?: string };
}

export interface UpdateOrder {
  /** Also when it is over. */
  cancel(): Promise<void>;
}

export async function publish({ relay, releaseKey }: BoardWorld, version: string, code: Uint8Array): Promise<void> {
  await relay.ask('PUT', `/api/agent-releases/${version}`, releaseKey.seal(version, code));
}

export async function orderUpdate({ relay }: BoardWorld, version: string): Promise<UpdateOrder> {
  const { rolloutId } = await relay.ask<{ rolloutId: string }>('POST', '/api/rollouts', {
    ...{ version, users: [BOARD_USER] },
  });
  return { cancel: () => relay.ask('POST', `/api/rollouts/${rolloutId}/cancel`).then(ignored, ignored) };
}

const ignored = () => {};

const UPDATE_TIMEOUT_MS = 300_000;

/** Until the board's agent is there and is so. @throws GlasscastError INTERNAL: not in time */
export async function awaitAgent(
  bench: Bench,
  world: BoardWorld,
  isIt: (agent: AgentThere) => boolean,
): Promise<AgentThere> {
  const isSession = ({ connected, agent }: Session) => connected && agent !== undefined && isIt(agent);
  const { agent } = await awaitSession(bench, world, isSession);
  return agent ?? { version: '' };
}

/** @throws GlasscastError INTERNAL: not in time */
export async function awaitSession(
  { clock, signal }: Bench,
  world: BoardWorld,
  isIt: (session: Session) => boolean,
): Promise<Session> {
  const deadlineMs = clock.monotonicMs() + UPDATE_TIMEOUT_MS;
  for (;;) {
    const { sessions } = await world.relay.ask<{ sessions: Session[] }>('GET', '/api/sessions');
    const found = sessions.find(isIt);
    if (found) return found;
    expectThat(clock.monotonicMs() < deadlineMs, `in time; the relay sees ${JSON.stringify(sessions)}`);
    await clock.sleep(200, { signal });
  }
}
