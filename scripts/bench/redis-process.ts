/**
 * Debian's redis-server as one process on loopback, with a folder of its own, that can be killed and started again on what it had
 * written: what benches and tests need of it. Durable as a relay wants it: appended to at each write, on the disk each second.
 */
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { type Child, findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { freePort } from './free-port.ts';
import { untilListening } from './listening.ts';

export interface RedisProcess {
  readonly port: number;
  /** `redis://127.0.0.1:PORT` */
  readonly url: string;
  readonly pid: number | undefined;
  /** As a power cut does it: SIGKILL. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Again, on the same port and the same data. */
  start(): Promise<void>;
  /** Its own count of commands since its start (those inside of scripts too), and the memory of its data. */
  use(): Promise<{ commands: number; memoryBytes: number; keys: number }>;
  stop(): Promise<void>;
}

export interface RedisProcessOptions {
  spawn: SpawnChild;
  clock: Clock;
  /** Where it keeps its data; made when it is not there. */
  folder: string;
  /** Default: a free one. */
  port?: number;
}

/** Its path; undefined when this machine has none. */
export const redisServer = (): string | undefined => findOnPath('redis-server');

/** Resolves when it listens. @throws GlasscastError CHILD_START_FAILED with its last line */
export async function startRedis(options: RedisProcessOptions): Promise<RedisProcess> {
  const { spawn, clock, folder } = options;
  const file = redisServer();
  if (!file)
    throw new GlasscastError('CHILD_START_FAILED', {
      reason: 'no redis-server (Debian: apt-get install redis-server)',
    });
  mkdirSync(folder, { recursive: true });
  const port = options.port ?? (await freePort());
  const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''];
  const args = [...place, '--appendonly', 'yes', '--appendfsync', 'everysec', '--maxmemory-policy', 'noeviction'];
  let child: Child | undefined;
  const redis: RedisProcess = {
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return child?.pid;
    },
    async kill() {
      child?.kill();
      await child?.exited;
    },
    async start() {
      child = spawn({ name: 'redis', file, args, stopSignal: 'SIGTERM' });
      await untilListening(clock, child, 'redis', port);
    },
    async use() {
      const text = await info(port);
      const number = (name: string) => Number(new RegExp(`${name}[:=](\\d+)`).exec(text)?.[1] ?? Number.NaN);
      return {
        commands: number('total_commands_processed'),
        memoryBytes: number('used_memory_dataset'),
        keys: number('db0:keys'),
      };
    },
    async stop() {
      await child?.stop();
    },
  };
  await redis.start();
  return redis;
}

/** Over a connection of its own; all sections. */
function info(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.once('error', reject);
    socket.on('data', (bytes) => {
      answer += bytes.toString();
    });
    socket.once('close', () => resolve(answer));
    socket.write('INFO\r\nQUIT\r\n');
  });
}
