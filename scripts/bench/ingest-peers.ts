/**
 * The servers that bench:ingest puts side by side, each as a process with one input: the local Stream, node-media-server as it
 * comes, and nginx-rtmp.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { freePort } from './free-port.ts';
import { startNginxPeer } from './nginx-peer.ts';
import type { Bench } from './program.ts';
import { createLiveInput, plainEnv, startStreamProcess } from './stream-process.ts';
import type { ViewerKind } from './viewer-program.ts';

const START_TIMEOUT_MS = 20_000;
const program = fileURLToPath(new URL('bare-media-server.mjs', import.meta.url));

export interface IngestPeer {
  pid: number;
  publishUrl: string;
  /** Where each kind of viewer asks. */
  playUrls: Partial<Record<ViewerKind, string>>;
  stop(): Promise<void>;
}

/** @param mode `off`: ingest and players only, as nginx does it; `automatic`: packaged and recorded as well. */
export async function startLocalPeer(bench: Bench, name: string, mode: 'off' | 'automatic'): Promise<IngestPeer> {
  const stream = await startStreamProcess(bench, { dataDir: join(bench.folder, name) });
  const { uid, publishKey, playbackKey } = await createLiveInput(stream, { mode });
  const rtmp = `rtmp://127.0.0.1:${stream.rtmpPort}/live`;
  const flv = `http://127.0.0.1:${stream.httpPort}/${uid}/live.flv`;
  return {
    pid: stream.pid,
    publishUrl: `${rtmp}/${publishKey.reveal()}`,
    playUrls: { rtmp: `${rtmp}/${playbackKey.reveal()}`, 'http-flv': flv, 'ws-flv': flv },
    stop: stream.stop,
  };
}

/** As it comes, without what the local Stream puts around it: the floor of anything that stands on it. */
export async function startBareServer(bench: Bench, name: string): Promise<IngestPeer> {
  const folder = join(bench.folder, name);
  mkdirSync(folder, { recursive: true });
  const [rtmpPort, httpPort] = [await freePort(), await freePort()];
  let onReady = () => {};
  const ready = new Promise<void>((resolve) => {
    onReady = resolve;
  });
  const child = bench.spawn({
    name: 'node-media-server',
    file: process.execPath,
    args: [program, String(rtmpPort), String(httpPort), folder],
    env: plainEnv(),
    ipc: true,
    onMessage: () => onReady(),
    onStderrLine: bench.note,
  });
  const late = () => new GlasscastError('CHILD_START_FAILED', { reason: 'node-media-server did not become ready' });
  await withTimeout(bench.clock, 'bare-server', START_TIMEOUT_MS, ready, late);
  const flv = `http://127.0.0.1:${httpPort}/live/bench.flv`;
  const rtmp = `rtmp://127.0.0.1:${rtmpPort}/live/bench`;
  return {
    pid: child.pid ?? 0,
    publishUrl: rtmp,
    playUrls: { rtmp, 'http-flv': flv, 'ws-flv': flv },
    async stop() {
      await child.stop();
    },
  };
}

/** Undefined: it is not on this machine. */
export async function startNginx(bench: Bench): Promise<IngestPeer | undefined> {
  const nginx = await startNginxPeer(bench, { withHls: false });
  if (!nginx) return undefined;
  const url = nginx.rtmpUrl('bench');
  return { pid: nginx.pid, publishUrl: url, playUrls: { rtmp: url }, stop: nginx.stop };
}
