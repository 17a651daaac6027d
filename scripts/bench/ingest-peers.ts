/** The two servers that bench:ingest puts side by side, each as a process with one input: the local Stream and nginx-rtmp. */
import { join } from 'node:path';
import { startNginxPeer } from './nginx-peer.ts';
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

/** Undefined: it is not on this machine. */
export async function startNginx(bench: Bench): Promise<IngestPeer | undefined> {
  const nginx = await startNginxPeer(bench, { withHls: false });
  if (!nginx) return undefined;
  const url = nginx.rtmpUrl('bench');
  return { pid: nginx.pid, publishUrl: url, playUrls: { rtmp: url }, stop: nginx.stop };
}
