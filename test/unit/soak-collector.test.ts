/** The soak's collector against real Node processes: it takes their garbage, and survives one that has ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from 'vitest';
import { sampleOf } from '../../scripts/soak/account.ts';
import { createCollector } from '../../scripts/soak/collector.ts';
import { createSystemClock } from '../../shared/clock.ts';

const started: ChildProcess[] = [];
afterEach(async () => {
  const ends = started.splice(0).filter((child) => child.exitCode === null && child.signalCode === null);
  await Promise.all(ends.map((child) => [once(child, 'exit'), child.kill('SIGKILL')][0]));
});

async function world(program: string) {
  const clock = createSystemClock();
  const collector = createCollector({ clock: { ...clock, sleep: (ms) => clock.sleep(Math.min(ms, 50)) } });
  const child = spawn(process.execPath, ['--inspect-port=0', '-e', `${program}; console.log('ready')`]);
  started.push(child);
  createInterface({ input: child.stderr }).on('line', (line) => collector.heard('part', line));
  await once(child.stdout, 'data');
  return { collector, child, pid: child.pid ?? 0 };
}

it('gives the heap without its garbage, and the least memory that was seen', async () => {
  const { collector, pid } = await world(`
    let garbage = Array.from({ length: 400_000 }, (_, index) => ({ index, text: 'garbage ' + index }));
    setTimeout(() => { garbage = undefined; console.log('let go'); }, 20);
    setInterval(() => {}, 1000)`);
  let looks = 0;
  const sample = await sampleOf({ pid, atMs: 7, isWarm: true }, (look) =>
    collector.collect('part', pid, async () => {
      looks += 1;
      await look();
    }),
  );
  expect(looks).toBe(4);
  expect(sample.heapUsedMb).toBeGreaterThan(1);
  expect(sample.heapUsedMb).toBeLessThan(15);
  expect(sample.rssMb).toBeLessThan(sample.rssFoundMb);
  expect(sample).toMatchObject({ atMs: 7, pid, isWarm: true });
  // The inspector that is open already is asked again.
  expect((await collector.collect('part', pid, async () => {}))?.heapUsedMb).toBeLessThan(15);
}, 20_000);

it('is told of a process that has ended, and says so by nothing', async () => {
  const { collector, child, pid } = await world('setInterval(() => {}, 1000)');
  expect(await collector.collect('part', pid, async () => {})).toBeDefined();
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
  expect(await collector.collect('part', pid, async () => {})).toBeUndefined();
}, 20_000);
