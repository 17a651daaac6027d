/** The fleet simulator and its benchmarks as programs, with small numbers: that they are right, never how fast. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
afterAll(() => children.close());

interface Ended {
  code: number | null;
  text: string;
  errors: string[];
}

/** @param onError sees each line on standard error as it comes. */
async function run(
  file: string,
  args: string[],
  onError: (line: string, stop: () => void) => void = () => {},
): Promise<Ended> {
  const lines: string[] = [];
  const errors: string[] = [];
  const child = children.spawn({
    name: file,
    file: process.execPath,
    args: ['--import', './scripts/typescript.js', file, ...args],
    cwd: new URL('../..', import.meta.url).pathname,
    env: { PATH: process.env.PATH ?? '' },
    stdout: 'lines',
    stopTimeoutMs: 40_000,
    onStdoutLine: (line) => void lines.push(line),
    onStderrLine(line) {
      errors.push(line);
      onError(line, () => void child.stop());
    },
  });
  const { code } = await child.exited;
  return { code, text: lines.join('\n'), errors };
}

interface Figures {
  glasses: number;
  connected: number;
  keepAlives: { received: number; acked: number; leasesMissed: number };
  starts: { asked: number; active: number; failed: number };
  statuses: { sent: number; delivered: number };
  reconnectMs?: { n: number };
  apps: { connected: number };
}

describe('npm run simulate', { timeout: 180_000 }, () => {
  it('brings a fleet to a relay of its own, real media too, and cuts and floods it without losing anything', async () => {
    const scenario = JSON.stringify({ about: 'small', startPerSecond: 50, cutAllAtS: [2], statusesPerSecond: 50 });
    const folder = await mkdtemp(join(tmpdir(), 'fleet-scenario-'));
    const file = join(folder, 'small.json');
    await writeFile(file, scenario);
    const args = ['--glasses', '60', '--streams', '8', '--media', '1', '--seconds', '6', '--json', '--scenario', file];
    const { code, text, errors } = await run('scripts/simulate.ts', args).finally(() =>
      rm(folder, { recursive: true, force: true }),
    );
    const report = JSON.parse(text) as { figures: Figures; troubles: string[] };
    expect([report.troubles, code], errors.join('\n')).toEqual([[], 0]);
    expect(report.figures).toMatchObject({ glasses: 60, connected: 60, starts: { asked: 8, active: 8, failed: 0 } });
    expect(report.figures.reconnectMs?.n).toBeGreaterThanOrEqual(60);
    expect(report.figures.statuses.delivered).toBeGreaterThan(0);
    expect(report.figures.keepAlives.leasesMissed).toBe(0);
  });

  it('ends at Ctrl-C with its report, and leaves nothing running', async () => {
    const args = ['--glasses', '20', '--streams', '2', '--seconds', '600'];
    const { code, text } = await run('scripts/simulate.ts', args, (line, stop) => {
      if (line.includes('2 of 2 streaming')) stop();
    });
    expect(text).toMatch(/Scenario +steady, seed 1, 600 s, interrupted/);
    expect(text).toMatch(/Glasses +20 of 20 connected/);
    expect(code).toBe(0);
  });

  it('says what is wrong with its options, in one line', async () => {
    const { code, errors } = await run('scripts/simulate.ts', ['--glasses', 'many']);
    expect([code, errors.length]).toEqual([2, 1]);
    expect(errors[0]).toContain('--glasses must be a whole number');
  });
});

describe('benchmarks of many sockets', { timeout: 300_000 }, () => {
  it('bench:connections misses no acknowledgement and no lease, and has all back after the storm', async () => {
    const args = ['--glasses', '150', '--seconds', '5'];
    const { code, text, errors } = await run('scripts/bench-connections.ts', args);
    expect(code, errors.join('\n')).toBe(0);
    const { bare, relay } = JSON.parse(text) as Record<
      'bare' | 'relay',
      { figures: Figures; storm: { isServed: boolean } }
    >;
    for (const { figures, storm } of [bare, relay]) {
      expect(figures).toMatchObject({ connected: 150, starts: { active: 150 }, keepAlives: { leasesMissed: 0 } });
      expect(figures.keepAlives.acked).toBe(figures.keepAlives.received);
      expect([storm.isServed, figures.reconnectMs?.n]).toEqual([true, 150]);
    }
  });

  it('bench:fan-out delivers every status', async () => {
    const args = ['--glasses', '30', '--streams', '30', '--statuses', '100', '--seconds', '3'];
    const { code, text, errors } = await run('scripts/bench-fan-out.ts', args);
    expect(code, errors.join('\n')).toBe(0);
    const { bare, relay } = JSON.parse(text) as Record<'bare' | 'relay', { figures: Figures }>;
    for (const { figures } of [bare, relay]) {
      expect(figures.statuses.sent).toBeGreaterThan(100);
      expect(figures.statuses.delivered).toBeGreaterThanOrEqual(figures.statuses.sent);
    }
  });
});
