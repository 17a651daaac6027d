import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseScenario, type Scenario } from '../../device/simulator/scenario.ts';
import { createTimeline } from '../../device/simulator/timeline.ts';

const scenario = (events: object[], repeat = false): Scenario =>
  parseScenario(JSON.stringify({ about: 'a test', repeat, events }), 'test');

const moments = fc.oneof(
  fc.record({ atS: fc.integer({ min: 0, max: 100 }) }),
  fc
    .tuple(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 1, max: 50 }))
    .map(([fromS, lengthS]) => ({ fromS, toS: fromS + lengthS })),
);
const level = (min: number, max: number) =>
  fc.oneof(
    fc.integer({ min, max }),
    fc.record({
      ...{ from: fc.integer({ min, max }), to: fc.integer({ min, max }), overS: fc.integer({ min: 0, max: 60 }) },
    }),
  );
const happenings = fc.oneof(
  fc.record({ network: fc.record({ uplinkKbps: fc.constantFrom(null, 800), down: fc.boolean() }) }),
  fc.record({ network: fc.record({ reset: fc.constant(true), delayMs: fc.nat(500) }) }),
  fc.record({ temperatureC: level(-40, 150) }),
  fc.record({ battery: fc.record({ percent: level(0, 100), charging: fc.boolean() }) }),
  fc.record({ camera: fc.constantFrom('gone', 'back', 'busy') }),
  fc.record({ microphone: fc.constantFrom('gone', 'back') }),
  fc.record({ relay: fc.record({ down: fc.boolean() }) }),
);
const events = fc.array(
  fc
    .tuple(moments, happenings, fc.integer({ min: 0, max: 20 }))
    .map(([when, what, jitterS]) => ({ ...when, ...what, jitterS })),
  { minLength: 1, maxLength: 8 },
);
/** One event late enough to repeat. */
const scenarios = fc
  .tuple(events, fc.boolean())
  .map(([some, repeat]) => scenario([...some, { atS: 30, network: {} }], repeat));
const seeds = fc.integer({ min: 0, max: 0xffff_ffff });
const times = fc.double({ min: -10, max: 1e7, noNaN: true });

test('the same seed gives the same world, asked in whatever order', () => {
  fc.assert(
    fc.property(scenarios, seeds, fc.array(times, { minLength: 1, maxLength: 10 }), (given, seed, asked) => {
      const [one, other] = [createTimeline(given, seed), createTimeline(given, seed)];
      const forwards = asked.map((atMs) => [one.state(atMs), one.next(atMs), one.due(atMs, atMs + 50_000)]);
      const backwards = asked.toReversed().map((at) => [other.state(at), other.next(at), other.due(at, at + 50_000)]);
      expect(forwards).toEqual(backwards.toReversed());
    }),
  );
});

test('there is a whole state at every moment, within its bounds', () => {
  fc.assert(
    fc.property(scenarios, seeds, times, (given, seed, atMs) => {
      const { network, temperatureC = 0, battery, ...rest } = createTimeline(given, seed).state(atMs);
      expect([null, 800]).toContain(network.uplinkKbps);
      expect(typeof network.down).toBe('boolean');
      expect(network.delayMs).toBeGreaterThanOrEqual(0);
      expect(temperatureC).toBeGreaterThanOrEqual(-40);
      expect(temperatureC).toBeLessThanOrEqual(150);
      expect(battery?.percent ?? 0).toBeGreaterThanOrEqual(0);
      expect(battery?.percent ?? 0).toBeLessThanOrEqual(100);
      expect(['there', 'gone', 'busy']).toContain(rest.camera);
      expect(['there', 'gone']).toContain(rest.microphone);
      expect(typeof rest.isRelayDown).toBe('boolean');
    }),
  );
});

test('whoever goes from one moment to the next misses nothing and hears nothing twice', () => {
  fc.assert(
    fc.property(scenarios, seeds, fc.integer({ min: 1, max: 400_000 }), (given, seed, untilMs) => {
      const timeline = createTimeline(given, seed);
      const heard = [];
      for (let at = -1, next = timeline.next(at); next !== undefined && next <= untilMs; next = timeline.next(at)) {
        expect(next).toBeGreaterThan(at);
        heard.push(...timeline.due(at, next));
        at = next;
      }
      expect(heard).toEqual(timeline.due(-1, untilMs));
      const at = heard.map(({ atMs }) => atMs);
      expect(at).toEqual([...at].sort((one, other) => one - other));
    }),
  );
});

test('what lasts for a while stands over what holds on, and gives way to it again', () => {
  const { state } = createTimeline(
    scenario([
      { atS: 1, network: { uplinkKbps: 2_000 }, camera: 'gone' },
      { fromS: 2, toS: 4, network: { uplinkKbps: null, delayMs: 50 } },
      { atS: 3, network: { uplinkKbps: 500 } },
      { atS: 5, camera: 'back' },
    ]),
    1,
  );
  const at = (seconds: number) => {
    const { network, camera } = state(seconds * 1000);
    return [network.uplinkKbps, network.delayMs, camera];
  };
  expect([0, 1, 2, 3.5, 4, 5].map(at)).toEqual([
    [null, 0, 'there'],
    [2_000, 0, 'gone'],
    [null, 50, 'gone'],
    [null, 50, 'gone'],
    [500, 0, 'gone'],
    [500, 0, 'there'],
  ]);
});

test('ramps', () => {
  const { state } = createTimeline(scenario([{ atS: 10, temperatureC: { from: 40, to: 80, overS: 20 } }]), 1);
  expect([0, 10, 15, 30, 1_000].map((seconds) => state(seconds * 1000).temperatureC)).toEqual([
    undefined,
    ...[40, 50, 80, 80],
  ]);
});

test('jitter moves within its bounds, by the seed, and differs from round to round', () => {
  const given = scenario(
    [
      { atS: 10, jitterS: 2, network: { reset: true } },
      { atS: 20, network: {} },
    ],
    true,
  );
  const resets = (seed: number) =>
    createTimeline(given, seed)
      .due(-1, 199_000)
      .filter(({ event }) => event.network?.reset)
      .map(({ atMs }, round) => atMs - round * 20_000);
  expect(resets(1)).toHaveLength(10);
  expect(new Set(resets(1)).size).toBe(10);
  for (const atMs of resets(1)) expect(Math.abs(atMs - 10_000)).toBeLessThanOrEqual(2_000);
  expect(resets(1)).toEqual(resets(1));
  expect(resets(1)).not.toEqual(resets(2));
});
