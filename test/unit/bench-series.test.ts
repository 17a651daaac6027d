import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runSeries, type SeriesOptions } from '../../scripts/bench/bench-series.ts';
import { benchmarks, chosen } from '../../scripts/bench/catalogue.ts';
import type { Child, ChildExit, ChildSpec } from '../../shared/child-process.ts';
import { createTestClock } from '../support/test-clock.ts';

const machine = { cpu: 'A CPU', cores: 2, memoryMb: 24_000, kernel: '6.1', node: 'v20.1.0', loadAverage: 0 };
const goals = [{ name: 'late', measured: 3, atMost: 2, unit: 'ms', met: false }];
const document = JSON.stringify({ at: '2026-11-28T10:00:00.000Z', machine, goals });

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bench-series-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function series(
  said: Partial<Record<string, { text?: string } & Partial<ChildExit>>>,
  more: Partial<SeriesOptions> = {},
) {
  const spawned: ChildSpec[] = [];
  const lines: string[] = [];
  const run = runSeries({
    ...{ clock: createTestClock(), list: chosen(Object.keys(said)), isQuick: false, isVerbose: false, out: undefined },
    ...{ commit: 'abc1234', say: (text) => void lines.push(text), signal: new AbortController().signal },
    isThere: () => true,
    spawn(spec) {
      spawned.push(spec);
      const { text = document, ...exit } = said[spec.name.replace('bench:', '')] ?? {};
      const stdout = Readable.from([Buffer.from(text)]);
      const ended = new Promise((resolve) => stdout.once('end', resolve));
      const whole: ChildExit = { end: 'exited', code: 0, signal: null, lastLines: [], ms: 1, ...exit };
      return { stdout, exited: ended.then(() => whole) } as unknown as Child;
    },
    ...more,
  });
  return { run, spawned, lines };
}

describe('a series of benchmarks', () => {
  it('goes on after one that fails, and says why', async () => {
    const { run, lines } = series({
      start: { text: '', code: 1, lastLines: ['no ffmpeg'] },
      recovery: { code: 1, lastLines: ['NOT AS PROMISED'] },
      agent: {},
      ingest: { text: 'no JSON' },
    });
    const [start, recovery, agent, ingest] = await run;
    expect(start).toEqual({ name: 'start', minutes: 0, trouble: 'exit code 1: no ffmpeg' });
    expect(recovery?.trouble).toBe('exit code 1: NOT AS PROMISED');
    expect(recovery?.result?.headline).toHaveLength(1);
    // A goal that is missed is told and is no failure.
    expect(agent).toMatchObject({ name: 'agent', result: { commit: 'abc1234', headline: [{ met: false }] } });
    expect(agent?.trouble).toBeUndefined();
    expect(ingest?.trouble).toContain('its document cannot be read');
    expect(lines[0]).toMatch(/^bench: start, 1 of 4, about \d+ min left$/);
  });

  it('names what is not there', async () => {
    const { run, spawned } = series({ start: {} }, { isThere: () => false });
    expect(await run).toEqual([{ name: 'start', minutes: 0, trouble: 'scripts/bench-start.ts is not there' }]);
    expect(spawned).toEqual([]);
  });

  it('asks for the short form, keeps the documents with the commit, and begins nothing after an interruption', async () => {
    const interruption = new AbortController();
    const { run, spawned } = series(
      { start: {}, latency: { end: 'stopped' }, agent: {} },
      {
        ...{ isQuick: true, out: folder, signal: interruption.signal },
        say: (text) => void (text.includes('latency') && interruption.abort()),
      },
    );
    const outcomes = await run;
    expect(outcomes.map(({ name, trouble }) => [name, trouble])).toEqual([
      ['start', undefined],
      ['latency', 'interrupted'],
    ]);
    expect(spawned[0]?.args.slice(-2)).toEqual(benchmarks[0]?.quick);
    const kept = JSON.parse(await readFile(join(folder, 'start.json'), 'utf8')) as object;
    expect(kept).toMatchObject({ commit: 'abc1234', isQuick: true, machine });
  });
});
