/** The kernel's line about a process, also when its name tries to look like fields. */
import { expect, it } from 'vitest';
import { parseStat } from '../../scripts/bench/process-use.ts';

// Fields by number: 14 utime, 15 stime, 20 threads, 24 rss in pages.
const fields = (name: string) =>
  `4242 (${name}) S 1 4242 4242 0 -1 4194560 9000 0 0 0 120 30 0 0 20 0 11 0 88000 700000000 17920 18446744073709551615 1 1`;

it('reads time, threads and memory', () => {
  expect(parseStat(fields('node'))).toEqual({ cpuMs: 1500, threads: 11, rssMb: 70 });
});
it('is not misled by brackets and spaces in the name', () => {
  expect(parseStat(fields('a) R 1 (b'))).toEqual({ cpuMs: 1500, threads: 11, rssMb: 70 });
});
