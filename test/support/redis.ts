/** A real redis-server on a free loopback port, in a folder of its own, and what may happen to it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../scripts/bench/free-port.ts';
import { type Child, findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';

export interface TestRedis {
  readonly port: number;
  /** `redis://127.0.0.1:PORT`, with the password when there is one. */
  readonly url: string;
  /** SIGKILL; what it had answered is in its file. */
  kill(): Promise<void>;
  /** After a kill: the same port and the same data. */
  restart(): Promise<void>;
  /** SIGSTOP until `resume`. */
  pause(): void;
  resume(): void;
  /** FLUSHALL, as a mistake of somebody's. */
  flush(): Promise<void>;
  /** One command as words of its own, and the answer's bytes as text. */
  ask(...words: string[]): Promise<string>;
  /** Ends it and deletes its folder. */
  close(): Promise<void>;
}

export interface TestRedisOptions {
  spawn: SpawnChild;
  clock: Clock;
  password?: string;
}

const START_TIMEOUT_MS = 10_000;

/** Debian's; undefined when there is none. */
export const redisServer = (): string | undefined => findOnPath('redis-server');

/** @throws Error when redis-server is missing or does not start */
export async function startRedis({ spawn, clock, password }: TestRedisOptions): Promise<TestRedis> {
  const file = redisServer();
  if (!file) throw new Error('redis-server is missing (Debian: apt-get install redis-server)');
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-redis-'));
  const port = await freePort();
  let child: Child | undefined;

  async function start(): Promise<void> {
    const args = [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--save', ''],
      ...['--appendonly', 'yes', '--appendfsync', 'everysec', '--daemonize', 'no', '--loglevel', 'warning'],
      ...(password ? ['--requirepass', password] : []),
    ];
    child = spawn({ name: 'redis-server', file: file ?? '', args, stopSignal: 'SIGKILL' });
    const untilMs = clock.monotonicMs() + START_TIMEOUT_MS;
    while (!(await redis.ask('PING').catch(() => '')).startsWith('+PONG')) {
      if (clock.monotonicMs() > untilMs) throw new Error('redis-server does not answer');
      await clock.sleep(20);
    }
  }
  const signal = (name: NodeJS.Signals) => void (child?.pid && process.kill(child.pid, name));
  const redis: TestRedis = {
    port,
    url: `redis://${password ? `:${encodeURIComponent(password)}@` : ''}127.0.0.1:${port}`,
    async kill() {
      await child?.stop();
    },
    restart: start,
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    async flush() {
      await redis.ask('FLUSHALL');
    },
    ask: (...words) => ask(port, password ? [['AUTH', password], words] : [words]),
    async close() {
      await child?.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await start().catch(async (error: unknown) => {
    await redis.close();
    throw error;
  });
  return redis;
}

/** Over a connection of its own. Resolves with all that was answered until Redis closed after QUIT. */
function ask(port: number, commands: readonly (readonly string[])[]): Promise<string> {
  const encode = (words: readonly string[]) =>
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.once('error', reject);
    socket.on('data', (bytes) => {
      answer += bytes.toString();
    });
    socket.once('close', () => resolve(commands.length > 1 ? answer.slice(answer.indexOf('\n') + 1) : answer));
    socket.write([...commands, ['QUIT']].map(encode).join(''));
  });
}
