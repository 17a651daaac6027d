/** A bench without a command line, for tests of a whole board: nothing it started or made is left when it is closed. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from '../../scripts/bench/program.ts';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
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

/** Not /tmp, which may be memory: a disk takes 1.2 GB. */
const PLACE = '/var/tmp';
const PREFIX = 'glasscast-board-';

/** Of runs that were killed: a test's runner gives nobody time at its Ctrl-C. */
async function removeCutOff(): Promise<void> {
  for (const entry of await readdir(PLACE)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(entry)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      await rm(join(PLACE, entry), { recursive: true, force: true });
  }
}

/** @param tell gets what a person who waits would read */
export async function openTestBench(tell: (line: string) => void): Promise<TestBench> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = silentLog();
  const spawner = createChildSpawner({ clock, log, redactor });
  await removeCutOff();
  const folder = await mkdtemp(join(PLACE, `${PREFIX}${process.pid}-`));
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
