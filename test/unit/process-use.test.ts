/** The kernel's line about a process, also when its name tries to look like fields. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import {
  descendantsOf,
  descriptorsOf,
  markOf,
  parseStat,
  scheduledMs,
  stillRunning,
} from '../../scripts/bench/process-use.ts';

// Fields by number: 14 utime, 15 stime, 20 threads, 24 rss in pages.
const fields = (name: string) =>
  `4242 (${name}) S 1 4242 4242 0 -1 4194560 9000 0 0 0 120 30 0 0 20 0 11 0 88000 700000000 17920 18446744073709551615 1 1`;

it('reads time, threads and memory', () => {
  expect(parseStat(fields('node'))).toEqual({ cpuMs: 1500, threads: 11, rssMb: 70 });
});
it('is not misled by brackets and spaces in the name', () => {
  expect(parseStat(fields('a) R 1 (b'))).toEqual({ cpuMs: 1500, threads: 11, rssMb: 70 });
});

it('knows a process again by its number and its start together', async () => {
  const mark = await markOf(process.pid);
  if (!mark) throw new Error('this process runs');
  expect(mark.command).toContain('node');
  expect(await stillRunning([mark])).toEqual([mark]);
  expect(await stillRunning([{ ...mark, startTicks: mark.startTicks - 1 }])).toEqual([]);
  expect(await markOf(2 ** 22 + 1)).toBeUndefined();
});
it('finds what a process has started, and counts its descriptors', async () => {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = once(child, 'exit');
  const family = await descendantsOf(process.pid);
  expect(family.map(({ pid }) => pid)).toContain(child.pid);
  child.kill('SIGKILL');
  await ended;
  expect((await stillRunning(family)).map(({ pid }) => pid)).not.toContain(child.pid);
  expect(await descriptorsOf(process.pid)).toBeGreaterThan(2);
});

it.runIf(process.platform === 'linux')('reads time on a processor more finely than in ticks', async () => {
  const before = await scheduledMs(process.pid);
  for (let turn = 0, sum = 0; turn < 2_000_000; turn += 1) sum += Math.sqrt(turn + sum);
  const spentMs = (await scheduledMs(process.pid)) - before;
  expect(spentMs).toBeGreaterThan(0);
  expect(spentMs % 10).not.toBe(0);
});
