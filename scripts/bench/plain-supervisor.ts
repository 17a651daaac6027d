/**
 * The peer of every outage: plain ffmpeg with the barcode camera on its standard input, started again whenever it ends.
 * Owns the camera and the restarts, as the usual supervisor does; knows no ingest.
 */
import { createFrameSource, type FrameSource } from './frame-source.ts';
import type { Bench } from './program.ts';

export interface PlainSupervision {
  cameraStats: FrameSource['stats'];
  /** Times ffmpeg was started. */
  readonly starts: number;
  close(): Promise<void>;
}

export interface PlainSupervisionOptions {
  args: string[];
  /** Command that runs it, e.g. in a network namespace. */
  launcher?: readonly string[];
  isBusyPicture?: boolean;
}

/** The usual supervisor's pause. */
const RESPAWN_MS = 500;

export function superviseFfmpeg(bench: Bench, options: PlainSupervisionOptions): PlainSupervision {
  const { clock, ffmpeg } = bench;
  const camera = createFrameSource({ clock, isBusy: options.isBusyPicture ?? false });
  const [file = ffmpeg.file, ...args] = [...(options.launcher ?? []), ffmpeg.file, ...options.args];
  const held = { isOver: false, starts: 0, stop: async () => {} };

  async function supervise(): Promise<void> {
    while (!held.isOver) {
      held.starts += 1;
      const child = bench.spawn({ name: 'plain-ffmpeg', file, args, stdin: 'pipe', onStderrLine: bench.note });
      held.stop = async () => void (await child.stop());
      const leave = child.stdin && camera.attach(child.stdin);
      await child.exited;
      leave?.();
      if (!held.isOver) await clock.sleep(RESPAWN_MS);
    }
  }
  camera.start();
  const supervision = supervise();
  return {
    cameraStats: camera.stats,
    get starts() {
      return held.starts;
    },
    async close() {
      held.isOver = true;
      camera.close();
      await held.stop();
      await supervision;
    },
  };
}
