/**
 * nginx with its RTMP module as one process on loopback, in a folder of its own, as the user that starts it: what benches and tests
 * need of Debian's packages nginx-light and libnginx-mod-rtmp. What it serves is the caller's configuration.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { untilListening } from './listening.ts';

export interface NginxOptions {
  file: string;
  spawn: SpawnChild;
  clock: Clock;
  /** Where it keeps its files; must exist. */
  folder: string;
  /** It has started when somebody listens here. */
  port: number;
  /** Lines of the server in `rtmp`, each with its semicolon. */
  rtmp: string;
  /** Further sections. */
  sections?: string;
}

/** Where Debian's libnginx-mod-rtmp puts it. */
const MODULE = '/usr/lib/nginx/modules/ngx_rtmp_module.so';

/** Its path; undefined when this machine has none with the module. */
export function nginxWithRtmp(): string | undefined {
  const file = findOnPath('nginx') ?? findOnPath('nginx', '/usr/sbin:/usr/local/sbin');
  return file && existsSync(MODULE) ? file : undefined;
}

/** Resolves when it listens. Stopped by SIGKILL. @throws GlasscastError CHILD_START_FAILED with its last line */
export async function startNginx(options: NginxOptions): Promise<Child> {
  const { file, spawn, clock, folder, port } = options;
  const configFile = join(folder, 'nginx.conf');
  writeFileSync(configFile, config(options));
  const args = ['-p', folder, '-e', join(folder, 'error.log'), '-c', configFile];
  const child = spawn({ name: 'nginx', file, args, stopSignal: 'SIGKILL' });
  await untilListening(clock, child, 'nginx', port);
  return child;
}

/** Without a master, so that its use of the machine is one number, and a kill takes all of it. */
function config({ folder, port, rtmp, sections = '' }: NginxOptions): string {
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
    listen 127.0.0.1:${port};
    ${rtmp}
  }
}
${sections}
`;
}
