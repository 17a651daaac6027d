/** The peer: nginx with its RTMP module as anyone sets it up for a live page, RTMP in, RTMP play and HLS with 1 s segments out. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { nginxWithRtmp, startNginx } from './nginx-process.ts';
import type { Bench } from './program.ts';

export interface NginxPeer {
  pid: number;
  /** `rtmp://…`, to publish to and to play. */
  rtmpUrl(name: string): string;
  hlsUrl(name: string): string;
  stop(): Promise<void>;
}

export const nginxHint = 'No nginx with RTMP: install it (Debian: apt-get install nginx-light libnginx-mod-rtmp)';

/** Undefined when this machine has none. @param withHls false: RTMP in and out, nothing packaged. */
export async function startNginxPeer(bench: Bench, { withHls }: { withHls: boolean }): Promise<NginxPeer | undefined> {
  const file = nginxWithRtmp();
  if (!file) return undefined;
  const folder = join(bench.folder, `nginx-${crypto.randomUUID()}`);
  mkdirSync(join(folder, 'hls'), { recursive: true });
  const [rtmpPort, httpPort] = [await freePort(), await freePort()];
  const hls = `hls on; hls_path ${join(folder, 'hls')}; hls_fragment 1s; hls_playlist_length 8s;`;
  const child = await startNginx({
    ...{ file, spawn: bench.spawn, clock: bench.clock, folder, port: rtmpPort },
    rtmp: `application live { live on; ${withHls ? hls : ''} }`,
    sections: httpSection(folder, httpPort),
  });
  async function stop(): Promise<void> {
    await child.stop();
  }
  bench.defer(stop);
  return {
    pid: child.pid ?? 0,
    rtmpUrl: (name) => `rtmp://127.0.0.1:${rtmpPort}/live/${name}`,
    hlsUrl: (name) => `http://127.0.0.1:${httpPort}/hls/${name}.m3u8`,
    stop,
  };
}

function httpSection(folder: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${join(folder, name)};`).join('\n  ')}
  types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; }
  server {
    listen 127.0.0.1:${port};
    root ${folder};
    add_header Access-Control-Allow-Origin *;
    add_header Cache-Control no-cache;
  }
}`;
}
