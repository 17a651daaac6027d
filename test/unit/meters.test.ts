import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMeters, OTHER } from '../../cloud/metrics/meters.ts';
import { seriesOf } from '../support/metrics-text.ts';

describe('meters', () => {
  it('a counter keeps a sum for each of its labels', async () => {
    const meters = createMeters();
    const calls = meters.counter('calls_total', 'Calls', { outcome: ['good', 'bad'] });
    const good = calls({ outcome: 'good' });
    good.add();
    good.add(2);
    calls({ outcome: 'bad' }).add();
    expect(calls({ outcome: 'good' })).toBe(good);
    const series = seriesOf(await meters.text());
    expect(series.get('calls_total{outcome="good"}')).toBe(3);
    expect(series.get('calls_total{outcome="bad"}')).toBe(1);
  });

  it('whatever comes as a label, there are no more series than its values and one for the rest', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 60 }), async (pairs) => {
        const meters = createMeters();
        const calls = meters.counter('calls_total', 'Calls', { kind: ['a', 'b'], route: 3 });
        const took = meters.histogram('took_seconds', 'Took', { kind: ['a', 'b'] }, [1]);
        meters.gauge('now', 'Now', { kind: ['a', 'b'] }, () => pairs.map(([kind]) => ({ labels: { kind }, value: 1 })));
        for (const [kind, route] of pairs) {
          calls({ kind, route }).add();
          took({ kind }).observe(0.5);
        }
        const names = [...seriesOf(await meters.text()).keys()];
        expect(names.filter((name) => name.startsWith('calls_total')).length).toBeLessThanOrEqual(3 * 4);
        expect(names.filter((name) => name.startsWith('took_seconds_count')).length).toBeLessThanOrEqual(3);
        expect(names.filter((name) => name.startsWith('now{')).length).toBeLessThanOrEqual(3);
      }),
      { numRuns: 50 },
    );
  });

  it('of labels that are known late the first so many count, the rest is other', async () => {
    const meters = createMeters();
    const calls = meters.counter('calls_total', 'Calls', { route: 2 });
    for (const route of ['/a', '/b', '/c', '/d', '/a']) calls({ route }).add();
    const series = seriesOf(await meters.text());
    expect(series.get('calls_total{route="/a"}')).toBe(2);
    expect(series.get('calls_total{route="/b"}')).toBe(1);
    expect(series.get(`calls_total{route="${OTHER}"}`)).toBe(2);
  });

  it('a gauge that cannot be read has no value, and spoils no other', async () => {
    const meters = createMeters();
    meters.gauge('broken', 'Broken', {}, () => {
      throw new Error('no');
    });
    meters.gauge('unknown', 'Unknown', {}, () => undefined);
    meters.gauge('fine', 'Fine', {}, () => 4);
    const series = seriesOf(await meters.text());
    expect([...series.keys()]).toEqual(['fine']);
    expect(series.get('fine')).toBe(4);
  });

  it('two registries know nothing of each other', async () => {
    const [one, two] = [createMeters(), createMeters()];
    one.counter('calls_total', 'Calls', {})({}).add();
    two.counter('calls_total', 'Calls', {})({});
    expect(seriesOf(await one.text()).get('calls_total')).toBe(1);
    expect(seriesOf(await two.text()).get('calls_total')).toBe(0);
  });
});
