import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countFrames } from '../../scripts/bench/nodes-phases.ts';
import { servedAgainMs, type ViewerEvent, wordsOfAnEnd } from '../../scripts/bench/served.ts';

const device = (atMs: number, streamId = 'm1'): ViewerEvent => ({ atMs, kind: 'device', word: 'active', streamId });
const every500 = (fromMs: number, toMs: number) =>
  Array.from({ length: Math.floor((toMs - fromMs) / 500) + 1 }, (_, index) => device(fromMs + index * 500));
const window = { sinceMs: 10_000, untilMs: 20_000, cadenceMs: 500 };

describe('an app is served again', () => {
  it('after nothing when it noticed nothing', () => {
    expect(servedAgainMs(every500(5_000, 20_000), window)).toBe(0);
  });

  it('when it was let in and a new status of the glasses came, not before', () => {
    const events: ViewerEvent[] = [
      ...every500(5_000, 10_000),
      { atMs: 10_020, kind: 'lost' },
      { atMs: 11_050, kind: 'accepted' },
      { atMs: 11_060, kind: 'told', word: 'active', streamId: 'm1' },
      ...every500(11_700, 20_000),
    ];
    expect(servedAgainMs(events, window)).toBe(1_700);
  });

  it('counts from the last loss of several', () => {
    const events: ViewerEvent[] = [
      ...every500(5_000, 10_000),
      { atMs: 10_020, kind: 'lost' },
      { atMs: 10_200, kind: 'accepted' },
      device(10_300),
      { atMs: 10_400, kind: 'lost' },
      { atMs: 11_400, kind: 'accepted' },
      ...every500(11_900, 20_000),
    ];
    expect(servedAgainMs(events, window)).toBe(1_900);
  });

  it('with its connection unbroken: when the silence of the glasses is over', () => {
    const events = [...every500(5_000, 10_000), ...every500(12_500, 20_000)];
    expect(servedAgainMs(events, window)).toBe(2_500);
  });

  it('never: not let in, no word of the glasses, or silence at the end', () => {
    const before = every500(5_000, 10_000);
    const lost: ViewerEvent = { atMs: 10_020, kind: 'lost' };
    const accepted: ViewerEvent = { atMs: 11_000, kind: 'accepted' };
    expect(servedAgainMs([...before, lost, ...every500(11_000, 20_000)], window)).toBeUndefined();
    expect(servedAgainMs([...before, lost, accepted], window)).toBeUndefined();
    expect(servedAgainMs(every500(5_000, 15_000), window)).toBeUndefined();
    expect(servedAgainMs([], window)).toBeUndefined();
  });

  it('at any time of the loss: never before the new word, never after it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000 }), fc.integer({ min: 1, max: 3_000 }), (lossMs, backMs) => {
        const lostAtMs = 10_000 + lossMs;
        const servedAtMs = lostAtMs + backMs;
        const events: ViewerEvent[] = [
          ...every500(5_000, lostAtMs),
          { atMs: lostAtMs, kind: 'lost' },
          { atMs: servedAtMs, kind: 'accepted' },
          ...every500(servedAtMs, 20_000),
        ];
        expect(servedAgainMs(events, window)).toBe(lossMs + backMs);
      }),
    );
  });
});

describe('what no app may hear', () => {
  it('is an end, an error, or another stream', () => {
    const events: ViewerEvent[] = [
      { atMs: 1, kind: 'told', word: 'stopped', streamId: 'm0' },
      device(11_000),
      { atMs: 11_001, kind: 'told', word: 'error', errorCode: 'STORE_UNAVAILABLE' },
      { atMs: 11_002, kind: 'told', word: 'stopped', streamId: 'm1' },
      { ...device(11_003), streamId: 'm2' },
    ];
    expect(wordsOfAnEnd(events, 'm1', 10_000)).toEqual(['error STORE_UNAVAILABLE', 'stopped', 'active']);
  });
});

describe('frames of a recording', () => {
  it('are missing between the first and the last one, but for those that no encoder took', () => {
    const frames = new Set([5, 6, 9, 10, 12]);
    expect(countFrames(frames, new Set([3, 8, 14]))).toEqual({ framesExposed: 8, framesMissing: 2, framesNotTaken: 1 });
  });

  it('all of them when there is none', () => {
    expect(countFrames(new Set(), new Set())).toEqual({ framesExposed: 0, framesMissing: 0, framesNotTaken: 0 });
  });
});
