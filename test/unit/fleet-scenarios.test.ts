import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  drawStreaming,
  type FleetSize,
  namedScenario,
  parseScenario,
  planOf,
  scenarioNames,
} from '../../scripts/fleet/fleet-scenarios.ts';

const size: FleetSize = { glasses: 1_000, streams: 50, seconds: 60, seed: 7 };
const named = (name: string) => namedScenario(name) ?? expect.fail(name);

describe('scenarios', () => {
  it('have names, and nothing else has', () => {
    expect(scenarioNames).toEqual(['steady', 'churn', 'reconnect-storm', 'flaky', 'status-flood']);
    expect(scenarioNames.map((name) => named(name).about.length > 10)).not.toContain(false);
    expect([namedScenario('toString'), namedScenario('')]).toEqual([undefined, undefined]);
  });

  it('of a file are checked by field', () => {
    expect(parseScenario('{"about":"mine","cutAllAtS":[3]}', 'x.json')).toMatchObject({ cutAllAtS: [3] });
    expect(() => parseScenario('{', 'x.json')).toThrow(/x\.json: not JSON/);
    expect(() => parseScenario('{"about":"","cutAllAtS":[-1]}', 'x.json')).toThrow(/cutAllAtS\.0/);
    expect(() => parseScenario('{"about":"","cuts":1}', 'x.json')).toThrow(/cuts/);
  });

  it('make the same plan of the same seed, and another of another', () => {
    const churn = named('churn');
    expect(planOf(churn, size)).toEqual(planOf(churn, size));
    expect(planOf(churn, size)).not.toEqual(planOf(churn, { ...size, seed: 8 }));
    expect(planOf(named('steady'), size)).toEqual([]);
    expect(planOf(named('reconnect-storm'), size)).toEqual([
      { atMs: 5_000, kind: 'cut-all' },
      { atMs: 40_000, kind: 'cut-all' },
    ]);
  });

  it('plan in the order of time, for those who are there; who leaves comes back', () => {
    const sizes = fc.record({
      glasses: fc.integer({ min: 1, max: 500 }),
      streams: fc.integer({ min: 0, max: 500 }),
      seconds: fc.integer({ min: 1, max: 200 }),
      seed: fc.integer({ min: 0, max: 2 ** 31 }),
    });
    fc.assert(
      fc.property(sizes, fc.constantFrom(...scenarioNames), (of, name) => {
        const plan = planOf(named(name), of);
        const streaming = new Set(drawStreaming(of));
        expect(streaming.size).toBe(Math.min(of.glasses, of.streams));
        expect(plan.map(({ atMs }) => atMs)).toEqual(plan.map(({ atMs }) => atMs).sort((a, b) => a - b));
        const count = (kind: string) => plan.filter((event) => event.kind === kind).length;
        expect(count('leave')).toBe(count('return'));
        for (const event of plan) {
          if (event.kind === 'cut-all') continue;
          expect(event.user >= 0 && event.user < of.glasses).toBe(true);
          if (event.kind === 'cut-app') expect(streaming.has(event.user)).toBe(true);
        }
      }),
    );
  });
});
