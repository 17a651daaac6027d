import { describe, expect, it } from 'vitest';
import { createFigureKeeper, spread } from '../../scripts/fleet/fleet-figures.ts';
import { countsIn, type FleetReport, reportText, troubles } from '../../scripts/fleet/fleet-report.ts';
import { checkDescriptors, readSimulationOptions } from '../../scripts/fleet/simulation-options.ts';

function reportOf(change: Partial<FleetReport> = {}, connected = 3): FleetReport {
  const keeper = createFigureKeeper();
  keeper.connectMs.push(1, 2, 1_500);
  keeper.count.asked = 1;
  keeper.count.active = 1;
  const figures = keeper.figures({ glasses: 3, connected, appsConnected: 1 });
  const asked = { scenario: 'steady', seed: 1, seconds: 60 };
  return { ...asked, wasInterrupted: false, areAllThere: true, relay: undefined, figures, ...change };
}

describe('report', () => {
  it('says in words what was counted, and that all was well', () => {
    const text = reportText(reportOf());
    expect(text).toMatch(/Glasses +3 of 3 connected/);
    expect(text).toMatch(/Time to connect +3 times: median 2 ms, p99 1\.5 s, longest 1\.5 s/);
    expect(text).toMatch(/to the app +none/);
    expect(text.endsWith('All was well.')).toBe(true);
  });

  it('names what was not', () => {
    expect(troubles(reportOf({ areAllThere: false, relay: { acksMissed: 2 } }, 1))).toEqual([
      '2 of 3 glasses are not connected',
      'the relay missed 2 acknowledgements',
    ]);
    const keeper = createFigureKeeper();
    keeper.count.asked = 3;
    keeper.count.failed = 1;
    keeper.count.leasesMissed = 1;
    keeper.count.cutByRelay = 1;
    keeper.error('START_TIMEOUT');
    const figures = keeper.figures({ glasses: 3, connected: 3, appsConnected: 0 });
    expect(troubles(reportOf({ figures }))).toHaveLength(4);
    expect(reportText(reportOf({ figures }))).toMatch(/Error START_TIMEOUT +1/);
  });

  it('reads what the relay counts, where it counts', () => {
    const metrics =
      'x 1\nglasscast_keep_alives_total{event="acked"} 9\nglasscast_keep_alives_total{event="missed"} 3\n';
    expect([countsIn(metrics), countsIn('x 1\n')]).toEqual([{ acksMissed: 3 }, undefined]);
  });

  it('tells of streams that were lost after they ran', () => {
    const keeper = createFigureKeeper();
    keeper.count.asked = 2;
    keeper.count.active = 2;
    keeper.count.lost = 1;
    const figures = keeper.figures({ glasses: 3, connected: 3, appsConnected: 2 });
    expect(troubles(reportOf({ figures }))).toEqual(['1 streams failed after they ran']);
    expect(reportText(reportOf({ figures }))).toMatch(/Streams +2 of 2 started, 0 failed, 1 lost later/);
  });

  it('does not blame who was interrupted', () => {
    expect(troubles(reportOf({ areAllThere: false, wasInterrupted: true }, 1))).toEqual([]);
  });

  it('has no number where nothing was measured', () => {
    expect(spread([])).toBeUndefined();
    expect(spread([1, 3])).toEqual({ n: 2, p50: 2, p99: 3, max: 3 });
  });
});

describe('options', () => {
  it('have defaults, and are whole numbers within bounds', async () => {
    expect(await readSimulationOptions([])).toMatchObject({ glasses: 100, streams: 10, media: 0, seed: 1 });
    expect(await readSimulationOptions(['--help'])).toBe('help');
    expect(await readSimulationOptions(['--glasses', '5'])).toMatchObject({ glasses: 5, streams: 5 });
    for (const args of [
      ['--relay', 'ftp://relay.example'],
      ['--relay', 'relay.example:8787'],
      ['--glasses', '0'],
      ['--glasses', '5', '--streams', '6'],
      ['--streams', '2', '--media', '3'],
      ['--seconds', 'x'],
      ['--scenario', 'no-such-thing'],
      ['--nonsense'],
    ]) {
      await expect(readSimulationOptions(args)).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    }
  });

  it('say what to do where too few files may be open', () => {
    const limits =
      'Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files';
    expect(() => checkDescriptors({ glasses: 10_000, streams: 200 }, limits)).toThrow(/ulimit -n 10400/);
    expect(() => checkDescriptors({ glasses: 500, streams: 200 }, limits)).not.toThrow();
    expect(() => checkDescriptors({ glasses: 10_000, streams: 0 }, '')).not.toThrow();
  });
});
