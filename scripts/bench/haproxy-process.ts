/**
 * HAProxy as one process on loopback, as the user that starts it, with the very configuration that is documented for a cluster:
 * deploy/haproxy/haproxy.cfg. What benches and tests need of Debian's package haproxy.
 */
import { fileURLToPath } from 'node:url';
import { type Child, findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { untilListening } from './listening.ts';
import { plainEnv } from './stream-process.ts';

export interface HaproxyOptions {
  spawn: SpawnChild;
  clock: Clock;
  /** Of loopback, where it listens without TLS. */
  port: number;
  /** Ports of the two nodes on loopback. Nobody needs to be there. */
  nodePorts: readonly [number, number];
  onLine?: (line: string) => void;
}

export const haproxyConfig = fileURLToPath(new URL('../../deploy/haproxy/haproxy.cfg', import.meta.url));

/** Its path; undefined when this machine has none. */
export const haproxyFile = (): string | undefined =>
  findOnPath('haproxy') ?? findOnPath('haproxy', '/usr/sbin:/usr/local/sbin');

/** Resolves when it listens. @throws GlasscastError CHILD_START_FAILED with its last line */
export async function startHaproxy({ spawn, clock, port, nodePorts, onLine }: HaproxyOptions): Promise<Child> {
  const file = haproxyFile();
  if (!file) throw new GlasscastError('CHILD_START_FAILED', { reason: 'no haproxy (Debian: apt-get install haproxy)' });
  const child = spawn({
    name: 'haproxy',
    file,
    args: ['-db', '-f', haproxyConfig],
    env: plainEnv(haproxyEnv({ port, nodePorts })),
    // Its polite end waits for connections, and WebSockets stay.
    stopSignal: 'SIGKILL',
    ...(onLine ? { onStderrLine: onLine } : {}),
  });
  await untilListening(clock, child, 'haproxy', port);
  return child;
}

/** What the configuration reads: no TLS, no other user. */
export function haproxyEnv({ port, nodePorts: [first, second] }: Pick<HaproxyOptions, 'port' | 'nodePorts'>) {
  return {
    ...{ RELAY_PLAIN: 'yes', RELAY_UNPRIVILEGED: 'yes', RELAY_BIND: `127.0.0.1:${port}` },
    ...{ RELAY_NODE_1: `127.0.0.1:${first}`, RELAY_NODE_2: `127.0.0.1:${second}` },
  };
}
