/** The feed's time as RTP time: one origin for both tracks, and never a step back. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRtpClock } from '../../cloud/local-stream/whep/rtp-clock.ts';

const CLOCK = { originMs: 1000, firstVideo: 500, firstAudio: 700 };

describe('RTP time', () => {
  it('counts both tracks from the same origin, in their own clocks', () => {
    const clock = createRtpClock(CLOCK);
    expect([clock.video(1000), clock.video(1040), clock.video(2000)]).toEqual([500, 500 + 3600, 500 + 90_000]);
    expect([clock.audio(1000.5), clock.audio(1010.5), clock.audio(2000)]).toEqual([724, 724 + 480, 700 + 48_000]);
  });
  it('of what is older than the origin rises by the least there is, and is in time again after it', () => {
    const clock = createRtpClock(CLOCK);
    expect([0, 40, 80, 1000, 1033].map(clock.video)).toEqual([500, 501, 502, 503, 500 + 2970]);
  });
  it('goes on right across the wrap of the feed and of its own', () => {
    const clock = createRtpClock({ originMs: 2 ** 32 - 20, firstVideo: 2 ** 32 - 900, firstAudio: 0 });
    expect([2 ** 32 - 20, 2 ** 32 - 10, 0, 10].map(clock.video)).toEqual([2 ** 32 - 900, 0, 900, 1800]);
    expect([2 ** 32 - 20, 0].map(clock.audio)).toEqual([0, 960]);
  });
  it('only ever rises, whatever the feed does, and keeps the tracks together where that only rises too', () => {
    const step = fc.integer({ min: -5000, max: 60_000 });
    fc.assert(
      fc.property(fc.array(step), fc.nat(2 ** 32 - 1), (steps, originMs) => {
        const clock = createRtpClock({ originMs, firstVideo: 5, firstAudio: 9 });
        let nowMs = originMs;
        let last = 4;
        for (const ms of steps) {
          nowMs = (nowMs + ms + 2 ** 32) % 2 ** 32;
          const ticks = clock.video(nowMs);
          expect((ticks - last + 2 ** 32) % 2 ** 32).toBeGreaterThan(0);
          expect((ticks - last + 2 ** 32) % 2 ** 32).toBeLessThan(2 ** 31);
          last = ticks;
        }
      }),
    );
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1000 })), (steps) => {
        const clock = createRtpClock({ originMs: 0, firstVideo: 0, firstAudio: 0 });
        let nowMs = 0;
        for (const ms of steps) {
          nowMs += ms;
          expect(clock.video(nowMs) / 90).toBe(clock.audio(nowMs) / 48);
        }
      }),
    );
  });
});
