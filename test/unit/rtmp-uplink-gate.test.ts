import { describe, expect, it } from 'vitest';
import { createUplinkGate, type QueueMeasured } from '../../shared/rtmp/uplink-gate.ts';

/** At 800 kbit/s with 60 ms to the ingest, unless said otherwise. */
const measured = (atMs: number, queuedBytes: number, more: Partial<QueueMeasured> = {}): QueueMeasured => ({
  ...{ atMs, queuedBytes, recentBps: 800_000, oldestMs: 500, stalledMs: 0, roundTripMs: 60 },
  ...more,
});
const verdicts = (gate: ReturnType<typeof createUplinkGate>, rows: QueueMeasured[]) =>
  rows.map((row) => gate.measured(row));

describe('uplink gate', () => {
  it('closes when the queue is high for a while, and opens once it is nearly drained', () => {
    const gate = createUplinkGate();
    expect(
      verdicts(gate, [
        measured(0, 30_000),
        measured(100, 50_000),
        measured(200, 60_000),
        measured(300, 70_000),
        measured(400, 50_000),
        measured(500, 20_000),
        measured(600, 10_500),
        measured(700, 30_000),
      ]),
    ).toEqual(['open', 'open', 'open', 'narrow', 'narrow', 'narrow', 'drained', 'open']);
  });
  it('is suspicious from the first high measurement to 10 s after the drained one', () => {
    const gate = createUplinkGate();
    const seen = [measured(0, 30_000), measured(100, 50_000), measured(300, 60_000), measured(400, 1_000)].map(
      (row) => {
        gate.measured(row);
        return [gate.isSuspicious, gate.isOpen];
      },
    );
    expect(seen).toEqual([
      [false, true],
      [true, true],
      [true, false],
      [true, true],
    ]);
    gate.measured(measured(10_500, 1_000));
    expect(gate.isSuspicious).toBe(false);
  });
  it('closes sooner when it was closed a moment ago', () => {
    const gate = createUplinkGate();
    const rows = [
      measured(0, 60_000),
      measured(200, 60_000),
      measured(300, 0),
      measured(500, 60_000),
      measured(600, 60_000),
    ];
    expect(verdicts(gate, rows)).toEqual(['open', 'narrow', 'drained', 'open', 'narrow']);
  });
  it('forgets a high queue only when it is low twice, or nothing', () => {
    const wide = { recentBps: 8_000_000 };
    const burst = [measured(0, 60_000), measured(100, 60_000, wide), measured(200, 60_000)];
    expect(verdicts(createUplinkGate(), burst)).toEqual(['open', 'open', 'narrow']);
    const twice = [
      measured(0, 60_000),
      measured(100, 60_000, wide),
      measured(150, 60_000, wide),
      measured(250, 60_000),
    ];
    expect(verdicts(createUplinkGate(), twice)[3]).toBe('open');
    expect(verdicts(createUplinkGate(), [measured(0, 60_000), measured(100, 100), measured(250, 60_000)])[2]).toBe(
      'open',
    );
  });
  it('measures the queue by the time that it takes, with the round trip on top', () => {
    const wide = { recentBps: 4_000_000 };
    expect(verdicts(createUplinkGate(), [measured(0, 200_000, wide), measured(300, 200_000, wide)])).toEqual([
      'open',
      'open',
    ]);
    expect(verdicts(createUplinkGate(), [measured(0, 210_000, wide), measured(300, 210_000, wide)])[1]).toBe('narrow');
    const far = { ...wide, roundTripMs: 400 };
    expect(verdicts(createUplinkGate(), [measured(0, 370_000, far), measured(300, 370_000, far)])[1]).toBe('open');
  });
  it('takes nothing for late that was only just sent', () => {
    const rows = [0, 100, 200, 300, 400].map((atMs) => measured(atMs, 200_000, { recentBps: 0, oldestMs: 100 }));
    expect(verdicts(createUplinkGate(), rows)).toEqual(['open', 'open', 'open', 'open', 'open']);
  });
  it('calls it paused, not narrow, when nothing moves at all, and says for how long', () => {
    const gate = createUplinkGate();
    const rows = [100, 200, 300, 800].map((atMs) => measured(atMs, 90_000, { recentBps: 0, stalledMs: atMs }));
    expect(verdicts(gate, rows)).toEqual(['open', 'open', 'paused', 'paused']);
    expect([gate.measured(measured(900, 5_000)), gate.pausedMs]).toEqual(['drained', 800]);
  });
  it('waits one measurement longer after a pause: how wide it is shows only then', () => {
    const gate = createUplinkGate();
    const rows = [
      measured(0, 80_000, { recentBps: 100 }),
      measured(150, 90_000, { recentBps: 100, stalledMs: 150 }),
      measured(250, 95_000, { recentBps: 100_000 }),
      measured(350, 60_000, { recentBps: 6_000_000 }),
    ];
    expect(verdicts(gate, rows)).toEqual(['open', 'open', 'open', 'open']);
  });
  it('with a bound in bytes opens as soon as the queue is below it', () => {
    const gate = createUplinkGate({ maxQueuedBytes: 1000 });
    expect(verdicts(gate, [measured(0, 1001), measured(300, 1001), measured(400, 1001), measured(500, 1000)])).toEqual([
      'open',
      'open',
      'narrow',
      'drained',
    ]);
  });
});
