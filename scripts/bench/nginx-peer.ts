/**
 * The peer: nginx with its RTMP module as anyone sets it up for a live page, RTMP in, RTMP play and HLS with 1 s segments out.
 * Debian's packages nginx-light and libnginx-mod-rtmp; one process on free loopback ports, in a folder of the bench.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type Child, findOnPath } from '../../shared/child-process.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from './program.ts';

export interface NginxPeer {
  pid: number;
  /** `rtmp://…`, to publish to and to play. */
  rtmpUrl(name: string): string;
  hlsUrl(name: string): string;
  stop(): Promise<void>;
}

export const nginxHint = 'No nginx with RTMP: install it (Debian: apt-get install nginx-light libnginx-mod-rtmp)';

/** Where Debian's libnginx-mod-rtmp puts it. */
const MODULE = '/usr/lib/nginx/modules/ngx_rtmp_module.so';
const START_TIMEOUT_MS = 10_000;
const SEARCHED = '/usr/sbin:/usr/local/sbin';

/** Undefined when this machine has none. @param withHls false: RTMP in and out, nothing packaged. */
export async function startNginxPeer(bench: Bench, { withHls }: { withHls: boolean }): Promise<NginxPeer | undefined> {
  const file = findOnPath('nginx') ?? findOnPath('nginx', SEARCHED);
  if (!file || !existsSync(MODULE)) return undefined;
  const folder = join(bench.folder, `nginx-${crypto.randomUUID()}`);
  mkdirSync(join(folder, 'hls'), { recursive: true });
  const [rtmpPort, httpPort] = [await freePort(), await freePort()];
  const configFile = join(folder, 'nginx.conf');
  writeFileSync(configFile, config({ folder, rtmpPort, httpPort, withHls }));
  const child = bench.spawn({
    name: 'nginx',
    file,
    args: ['-p', folder, '-e', join(folder, 'error.log'), '-c', configFile],
    stopSignal: 'SIGKILL',
    onStderrLine: bench.note,
  });
  bench.defer(() => child.stop());
  await listening(bench, child, rtmpPort);
  return {
    pid: child.pid ?? 0,
    rtmpUrl: (name) => `rtmp://127.0.0.1:${rtmpPort}/live/${name}`,
    hlsUrl: (name) => `http://127.0.0.1:${httpPort}/hls/${name}.m3u8`,
    async stop() {
      await child.stop();
    },
  };
}

/** One process and no user to change to, so that its use of the machine is one number. */
function config(wanted: { folder: string; rtmpPort: number; httpPort: number; withHls: boolean }): string {
  const { folder, rtmpPort, httpPort, withHls } = wanted;
  const hls = `hls on; hls_path ${join(folder, 'hls')}; hls_fragment 1s; hls_playlist_length 8s;`;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
load_module ${MODULE};
daemon off;
master_process off;
pid ${join(folder, 'nginx.pid')};
error_log ${join(folder, 'error.log')} warn;
events { worker_connections 512; }
rtmp {
  access_log off;
  server {
    listen 127.0.0.1:${rtmpPort};
    application live {
      live on;
      ${withHls ? hls : ''}
    }
  }
}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${join(folder, name)};`).join('\n  ')}
  types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; }
  server {
    listen 127.0.0.1:${httpPort};
    root ${folder};
    add_header Access-Control-Allow-Origin *;
    add_header Cache-Control no-cache;
  }
}
`;
}

async function listening(bench: Bench, child: Child, port: number): Promise<void> {
  const deadlineMs = bench.clock.monotonicMs() + START_TIMEOUT_MS;
  let complaint: string | undefined;
  void child.exited.then(({ lastLines }) => {
    complaint = lastLines.at(-1) ?? 'it said nothing';
  });
  while (!(await accepts(port))) {
    if (complaint === undefined && bench.clock.monotonicMs() > deadlineMs) complaint = 'it does not listen';
    if (complaint !== undefined) throw new GlasscastError('CHILD_START_FAILED', { reason: `nginx: ${complaint}` });
    await bench.clock.sleep(20, { signal: bench.signal });
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
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
