/** A real nginx with its RTMP module, from a folder of its own on a free loopback port: the ingest that most others descend from. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../scripts/bench/free-port.ts';
import { startNginx } from '../../scripts/bench/nginx-process.ts';
import type { Child, SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { createFlvParser, type FlvTag } from '../../shared/rtmp/flv.ts';

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
  const { file, spawn, clock, application = '', server = '' } = options;
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-nginx-'));
  const port = await freePort();
  let child: Child | undefined;
  let lives = 0;

  const nginx: NginxRtmp = {
    port,
    async start() {
      lives += 1;
      const records = join(folder, `life-${lives}`);
      mkdirSync(records);
      const record = `record all; record_path ${records}; record_unique on;`;
      const rtmp = `${server} application live { live on; ${record} ${application} }`;
      child = await startNginx({ file, spawn, clock, folder, port, rtmp });
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

/** The last tag of a life that was killed may be cut. */
function tagsOf(bytes: Buffer): FlvTag[] {
  const tags: FlvTag[] = [];
  createFlvParser({ onTag: (tag) => tags.push(tag) }).push(bytes);
  return tags;
}
