/** The two servers that bench:ingest puts side by side, each as a process with one input: the local Stream and nginx-rtmp. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { findOnPath } from '../../shared/child-process.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from './program.ts';
import { createLiveInput, startStreamProcess } from './stream-process.ts';
import type { ViewerKind } from './viewer-program.ts';

export interface IngestPeer {
  pid: number;
  publishUrl: string;
  /** Where each kind of viewer asks. */
  playUrls: Partial<Record<ViewerKind, string>>;
  stop(): Promise<void>;
}

/** Where Debian's libnginx-mod-rtmp puts it. */
const MODULE = '/usr/lib/nginx/modules/ngx_rtmp_module.so';

export const nginxHint = 'no nginx-rtmp here (Debian: apt-get install nginx-light libnginx-mod-rtmp)';

/** @param mode `off`: ingest and players only, as nginx does it; `automatic`: packaged and recorded as well. */
export async function startLocalPeer(bench: Bench, name: string, mode: 'off' | 'automatic'): Promise<IngestPeer> {
  const stream = await startStreamProcess(bench, { dataDir: join(bench.folder, name) });
  const { uid, publishKey, playbackKey } = await createLiveInput(stream, mode);
  const rtmp = `rtmp://127.0.0.1:${stream.rtmpPort}/live`;
  const flv = `http://127.0.0.1:${stream.httpPort}/${uid}/live.flv`;
  return {
    pid: stream.pid,
    publishUrl: `${rtmp}/${publishKey.reveal()}`,
    playUrls: { rtmp: `${rtmp}/${playbackKey.reveal()}`, 'http-flv': flv, 'ws-flv': flv },
    stop: stream.stop,
  };
}

/** Undefined: it is not on this machine. */
export async function startNginxPeer(bench: Bench, name: string): Promise<IngestPeer | undefined> {
  const file = findOnPath('nginx') ?? findOnPath('nginx', '/usr/sbin:/usr/local/sbin');
  if (!file || !existsSync(MODULE)) return undefined;
  const folder = join(bench.folder, name);
  const port = await freePort();
  mkdirSync(folder);
  writeFileSync(join(folder, 'nginx.conf'), config(folder, port));
  const args = ['-p', folder, '-e', join(folder, 'error.log'), '-c', join(folder, 'nginx.conf')];
  const child = bench.spawn({ name: 'nginx', file, args, stopSignal: 'SIGTERM', onStderrLine: bench.note });
  let isOver = false;
  void child.exited.then(() => {
    isOver = true;
  });
  while (!(await listens(port))) {
    if (isOver) throw new GlasscastError('CHILD_START_FAILED', { reason: 'nginx does not start' });
    await bench.clock.sleep(20, { signal: bench.signal });
  }
  const url = `rtmp://127.0.0.1:${port}/live/bench`;
  return { pid: child.pid ?? 0, publishUrl: url, playUrls: { rtmp: url }, stop: async () => void (await child.stop()) };
}

/** One process, which is what is measured; nothing is recorded. */
function config(folder: string, port: number): string {
  return `
load_module ${MODULE};
daemon off;
master_process off;
pid ${join(folder, 'nginx.pid')};
error_log ${join(folder, 'error.log')} error;
events { worker_connections 256; }
rtmp {
  access_log off;
  server {
    listen 127.0.0.1:${port};
    application live { live on; }
  }
}
`;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket
      .once('error', () => resolve(false))
      .once('connect', () => {
        socket.destroy();
        resolve(true);
      });
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}
