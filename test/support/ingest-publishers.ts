/** Real ffmpeg as publisher and as viewer of an ingest, each build that this machine has. */
import { onTestFinished } from 'vitest';
import { type Child, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

export interface Run {
  child: Child;
  stdout: string[];
  stderr: string[];
}

/** `file args`, its lines kept; stopped when the test is finished. */
export function run(file: string, args: readonly string[], env?: NodeJS.ProcessEnv): Run {
  const spawner = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const stdout: string[] = [];
  const stderr: string[] = [];
  const child = spawner.spawn({
    ...{ name: 'peer', file, args: [...args], stdout: 'lines', stopTimeoutMs: 1000, ...(env ? { env } : {}) },
    onStdoutLine: (line) => void stdout.push(line),
    onStderrLine: (line) => void stderr.push(line),
  });
  onTestFinished(() => spawner.close());
  return { child, stdout, stderr };
}

const quiet = ['-hide_banner', '-nostats', '-loglevel', 'error'];
const h264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '15'];

/** 320x180 at 30 a second with a tone, for ever. Synthetic pictures encode to the same bytes each time: name another for another publisher. */
export function pushArgs(
  target: string,
  {
    picture = 'testsrc2',
    video = h264,
    audio = ['-c:a', 'aac'],
  }: { picture?: string; video?: string[]; audio?: string[] } = {},
): string[] {
  return [
    ...[...quiet, '-re', '-f', 'lavfi', '-i', `${picture}=size=320x180:rate=30`],
    ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=44100'],
    ...[...video, ...audio, '-f', 'flv', target],
  ];
}

/** Decodes every picture; what cannot be decoded is a line on standard error. A line for each picture on standard output. */
export function watchArgs(
  address: string,
  { before = [], after = [] }: { before?: readonly string[]; after?: readonly string[] } = {},
): string[] {
  const output = ['-an', '-f', 'framemd5', '-flush_packets', '1', '-'];
  return [...quiet, '-err_detect', 'explode', ...before, '-i', address, ...after, ...output];
}

export const pictures = ({ stdout }: Run): string[] => stdout.filter((line) => !line.startsWith('#'));

/** Asks again each 20 ms; the test's own timeout is the limit. */
export async function eventually(isSo: () => boolean): Promise<void> {
  const clock = createSystemClock();
  while (!isSo()) await clock.sleep(20);
}
