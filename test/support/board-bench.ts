/** A bench without a command line, for tests of a whole board: nothing it started or made is left when it is closed. */
import { rm } from 'node:fs/promises';
import type { Bench } from '../../scripts/bench/program.ts';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { makeOwnFolder } from '../../shared/own-folder.ts';
import { createRedactor } from '../../shared/secrets.ts';

/** A question, not a fact: the tests' set-up may install what is missing. */
export const canRunVirtualBoard = () =>
  process.getuid?.() === 0 &&
  ['mmdebstrap', 'mke2fs', 'debugfs', 'qemu-system-x86_64', 'apt-get'].every(
    (name) => findOnPath(name, `${process.env.PATH ?? ''}:/usr/sbin:/sbin`) !== undefined,
  );

export interface TestBench extends Bench {
  close(): Promise<void>;
}

/** @param tell gets what a person who waits would read */
export async function openTestBench(tell: (line: string) => void): Promise<TestBench> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = silentLog();
  const spawner = createChildSpawner({ clock, log, redactor });
  // Not /tmp, which may be memory: a disk takes 1.2 GB.
  const folder = await makeOwnFolder('/var/tmp', 'glasscast-board');
  const closers: (() => unknown)[] = [];
  const abort = new AbortController();
  return {
    ...{ clock, log, redactor, spawn: spawner.spawn, folder, runs: 1, seconds: 5, options: {}, signal: abort.signal },
    ffmpeg: await findFfmpeg({ spawn: spawner.spawn, clock }),
    logLevel: 'warn',
    note: () => {},
    progress: (line) => tell(redactor.redact(line)),
    defer: (close) => void closers.push(close),
    async close() {
      abort.abort(new Error('closed'));
      for (const close of closers.reverse()) await Promise.resolve(close()).catch(() => {});
      await spawner.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
