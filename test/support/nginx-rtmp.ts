/** A real nginx with its RTMP module, from a folder of its own on a free loopback port: the ingest that most others descend from. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Child, findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { createFlvParser, type FlvTag } from '../../shared/rtmp/flv.ts';

/** Where Debian's libnginx-mod-rtmp puts it. */
const MODULE = '/usr/lib/nginx/modules/ngx_rtmp_module.so';

/** Undefined: not on this machine. */
export function nginxWithRtmp(): string | undefined {
  const file = findOnPath('nginx') ?? findOnPath('nginx', '/usr/sbin:/usr/local/sbin');
  return file && existsSync(MODULE) ? file : undefined;
}

export interface NginxRtmp {
  readonly port: number;
  /** Starts it (again), on the same port, and waits until it listens. */
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** What each of its lives has recorded of all that was published, in order. */
  recorded(): FlvTag[][];
  close(): Promise<void>;
}

export interface NginxRtmpOptions {
  file: string;
  spawn: SpawnChild;
  clock: Clock;
  /** More lines for the application `live`, each with its semicolon. */
  application?: string;
  /** More lines for the server. */
  server?: string;
}

export async function startNginxRtmp(options: NginxRtmpOptions): Promise<NginxRtmp> {
  const { clock, spawn } = options;
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-nginx-'));
  const port = await freePort();
  const complaints: string[] = [];
  let child: Child | undefined;
  let lives = 0;

  function configure(): string {
    lives += 1;
    const records = join(folder, `life-${lives}`);
    mkdirSync(records);
    const path = join(folder, 'nginx.conf');
    writeFileSync(path, config({ ...options, folder, records, port }));
    return path;
  }
  async function listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  }
  const nginx: NginxRtmp = {
    port,
    async start() {
      const path = configure();
      const started = spawn({
        name: 'nginx',
        file: options.file,
        args: ['-p', folder, '-e', join(folder, 'error.log'), '-c', path],
        stopSignal: 'SIGKILL',
        onStderrLine: (line) => void complaints.push(line),
      });
      child = started;
      let isOver = false;
      void started.exited.then(() => {
        isOver = true;
      });
      while (!(await listens())) {
        if (isOver) throw new Error(`nginx does not start: ${complaints.join(' ')}`);
        await clock.sleep(20);
      }
    },
    async kill() {
      await child?.stop();
    },
    recorded: () =>
      Array.from({ length: lives }, (_, life) => {
        const records = join(folder, `life-${life + 1}`);
        return readdirSync(records)
          .sort()
          .flatMap((name) => tagsOf(readFileSync(join(records, name))));
      }),
    async close() {
      await child?.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await nginx.start();
  return nginx;
}

/** One process, so that a kill takes all of it; as the user that runs the tests. */
function config(options: NginxRtmpOptions & { folder: string; records: string; port: number }): string {
  const { application = '', server = '', folder, records, port } = options;
  return `
load_module ${MODULE};
daemon off;
master_process off;
pid ${join(folder, 'nginx.pid')};
error_log ${join(folder, 'error.log')} info;
events { worker_connections 64; }
rtmp {
  access_log off;
  server {
    listen 127.0.0.1:${port};
    ${server}
    application live {
      live on;
      record all;
      record_path ${records};
      record_unique on;
      ${application}
    }
  }
}
`;
}

/** The last tag of a life that was killed may be cut. */
function tagsOf(bytes: Buffer): FlvTag[] {
  const tags: FlvTag[] = [];
  createFlvParser({ onTag: (tag) => tags.push(tag) }).push(bytes);
  return tags;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}
