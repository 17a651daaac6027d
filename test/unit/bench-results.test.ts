import { describe, expect, it } from 'vitest';
import { type BenchResult, benchTable, resultOf, withResults } from '../../scripts/bench/bench-results.ts';
import { benchmarks, chosen } from '../../scripts/bench/catalogue.ts';
import { goal, goalAtLeast, headline, readable } from '../../scripts/bench/measuring.ts';

const machine = { cpu: 'A CPU', cores: 2, memoryMb: 24_000, kernel: '6.1', node: 'v20.1.0' };
const facts = { name: 'start', commit: 'abc1234', isQuick: false };
const document = { benchmark: 'bench:start', at: '2026-11-28T10:00:00.000Z', machine: { ...machine, loadAverage: 1 } };
const row = headline(goal('request to active', 812.4, 2000), { peer: 410.26, peerName: 'plain ffmpeg' });
const asJson = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown;
const result = (fields: Partial<BenchResult>): BenchResult => ({
  ...resultOf(asJson({ ...document, goals: [], headline: [row] }), facts),
  ...fields,
});

describe('the results that README shows', () => {
  it('are the headline of a benchmark, or the first of its goals', () => {
    expect(result({})).toEqual({ ...facts, at: document.at, machine, headline: [row] });
    const goals = [goalAtLeast('frames', 29.5, 29, 'frames/s'), goal('lost', undefined, 0, 'frames')];
    expect(resultOf(asJson({ ...document, goals }), facts).headline).toEqual([
      { what: 'frames', ours: 29.5, peerName: '', unit: 'frames/s', goal: '≥ 29', met: true },
      { what: 'lost', peerName: '', unit: 'frames', goal: '≤ 0', met: false },
    ]);
    expect(() => resultOf({ goals: 'none' }, facts)).toThrow();
  });

  it('a new run takes the place of the old one, in the order of the list', () => {
    const old = { benchmarks: [result({ name: 'start', commit: 'old' }), result({ name: 'gone' })] };
    const merged = withResults(
      old,
      [result({ name: 'agent' }), result({ name: 'start' })],
      ['start', 'agent', 'nodes'],
    );
    expect(merged.benchmarks.map(({ name, commit }) => `${name} ${commit}`)).toEqual([
      'start abc1234',
      'agent abc1234',
    ]);
  });

  it('become rows with units, and say where they were measured', () => {
    expect(benchTable({ benchmarks: [result({})] }).split('\n')).toEqual([
      '| `npm run bench -- --only` | measured | here | beside it, in the same run | goal |',
      '|---|---|---:|---:|---|',
      '| start | request to active | 812 ms | 410 ms (plain ffmpeg) | ≤ 2000 |',
      '',
      'Measured 2026-11-28, commit abc1234: A CPU, 2 cores, 23 GB, Linux 6.1, Node 20.1.0.',
    ]);
    const missed = headline(goal('lost', 3, 0, 'frames'), { peer: Number.NaN, peerName: 'nobody can' });
    const other = result({ name: 'recovery', isQuick: true, headline: [missed] });
    const table = benchTable({ benchmarks: [result({}), other] });
    expect(table).toContain('| recovery | lost | 3 frames | nobody can | ≤ 0, missed |');
    expect(table).toContain('- recovery: 2026-11-28, commit abc1234, the quick form:');
    expect(benchTable({ benchmarks: [] })).toBe('');
  });

  it('three digits are enough', () => {
    expect([1234.56, 812.4, 41.26, 4.126, 0.004, 0].map(readable)).toEqual(['1235', '812', '41.3', '4.13', '0', '0']);
  });
});

describe('the list of benchmarks', () => {
  it('has those that the issue names, each once, with a short form', () => {
    const names = benchmarks.map(({ name }) => name);
    const asked = ['start', 'latency', 'recovery', 'uplink', 'fan-out', 'connections', 'agent', 'ingest'];
    expect(asked.filter((name) => !names.includes(name))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
    expect(benchmarks.filter(({ quickMinutes, minutes, quick }) => quickMinutes >= minutes || !quick.length)).toEqual(
      [],
    );
  });

  it('gives those that were named, in its own order, and refuses what it does not know', () => {
    expect(chosen(['agent', 'start']).map(({ name }) => name)).toEqual(['start', 'agent']);
    expect(chosen([])).toEqual(benchmarks);
    expect(() => chosen(['start', 'sart'])).toThrow('there is no benchmark sart; there are start,');
  });
});
