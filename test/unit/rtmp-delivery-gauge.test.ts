import { describe, expect, it } from 'vitest';
import { createDeliveryGauge } from '../../shared/rtmp/delivery-gauge.ts';

function samples(
  gauge: ReturnType<typeof createDeliveryGauge>,
  rows: [atMs: number, accepted: number, queued: number][],
) {
  for (const [atMs, acceptedBytes, kernelQueuedBytes] of rows) {
    gauge.sample({ atMs, acceptedBytes, kernelQueuedBytes, unwrittenBytes: 0 });
  }
}

describe('delivery gauge', () => {
  it('is certain of what TCP acknowledged two seconds of flow ago', () => {
    const gauge = createDeliveryGauge();
    samples(gauge, [
      [0, 1000, 0],
      [1000, 2000, 100],
      [1900, 3000, 0],
    ]);
    expect([gauge.acknowledgedBytes, gauge.certainBytes]).toEqual([3000, 0]);
    samples(gauge, [[2000, 3000, 0]]);
    expect(gauge.certainBytes).toBe(1000);
    samples(gauge, [[3000, 3000, 0]]);
    expect(gauge.certainBytes).toBe(1900);
  });
  it('becomes no more certain while nothing moves, and says for how long', () => {
    const gauge = createDeliveryGauge();
    gauge.sent(0, 1000);
    gauge.sent(1500, 9000);
    samples(gauge, [
      [0, 1000, 0],
      [1500, 5000, 2000],
      [2000, 6000, 3000],
      [3400, 9000, 6000],
    ]);
    expect(gauge.stalledMs).toBe(1900);
    expect(gauge.certainBytes).toBe(0);
    samples(gauge, [[3500, 9000, 5999]]);
    expect(gauge.stalledMs).toBe(0);
    expect(gauge.certainBytes).toBe(3000);
  });
  it('counts an empty queue as flow and waiting in Node as waiting', () => {
    const gauge = createDeliveryGauge();
    samples(gauge, [
      [0, 0, 0],
      [9000, 0, 0],
    ]);
    expect(gauge.stalledMs).toBe(0);
    gauge.sample({ atMs: 9500, acceptedBytes: 0, kernelQueuedBytes: 0, unwrittenBytes: 10 });
    gauge.sample({ atMs: 11_500, acceptedBytes: 0, kernelQueuedBytes: 0, unwrittenBytes: 10 });
    expect(gauge.stalledMs).toBe(2500);
  });
  it('counts a stall from when what waits was sent, however far apart the samples are', () => {
    const gauge = createDeliveryGauge();
    gauge.sent(0, 1000);
    gauge.sent(30, 1500);
    gauge.sent(600, 2000);
    gauge.sent(900, 3000);
    samples(gauge, [
      [500, 1500, 0],
      [1000, 3000, 1500],
    ]);
    expect(gauge.stalledMs).toBe(400);
    samples(gauge, [[1250, 4000, 2500]]);
    expect(gauge.stalledMs).toBe(650);
    // A full but moving uplink: what waits is old, yet something moved after the last sample.
    samples(gauge, [
      [1500, 4000, 2400],
      [1750, 4000, 2400],
    ]);
    expect(gauge.stalledMs).toBe(500);
  });
  it("trusts the ingest's own acknowledgements over TCP's", () => {
    const gauge = createDeliveryGauge();
    samples(gauge, [
      [0, 5000, 0],
      [5000, 9000, 0],
    ]);
    expect(gauge.certainBytes).toBe(5000);
    gauge.acknowledgedByIngest(7000);
    gauge.acknowledgedByIngest(6000);
    expect(gauge.certainBytes).toBe(7000);
  });
  it('tells how much was delivered lately, and how old what waits is', () => {
    const gauge = createDeliveryGauge();
    expect([gauge.deliveredBps(1000), gauge.oldestMs]).toEqual([undefined, 0]);
    gauge.sent(0, 10_000);
    gauge.sent(400, 300_000);
    samples(gauge, [[0, 10_000, 0]]);
    expect(gauge.deliveredBps(1000)).toBeUndefined();
    samples(gauge, [
      [500, 300_000, 190_000],
      [1000, 300_000, 40_000],
    ]);
    expect([gauge.deliveredBps(1000), gauge.deliveredBps(250), gauge.oldestMs]).toEqual([2_000_000, 2_400_000, 600]);
    samples(gauge, [[5000, 300_000, 0]]);
    expect([gauge.deliveredBps(1000), gauge.oldestMs]).toEqual([80_000, 0]);
  });
});
