/** The open segment in parts: what goes out when, that a segment is its parts, and that no schedule of tags breaks either. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPackager, type Part, type Period, type Segment } from '../../cloud/local-stream/packaging/packager.ts';
import { durationMs, startMs } from '../../cloud/local-stream/packaging/presentation.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';

const TARGET_MS = 210;

interface Whole extends Segment {
  data: Buffer;
  /** Those that came before it and after the segment before. */
  parts: (Part & { data: Buffer })[];
}

function packaging(partTargetMs: number | undefined = TARGET_MS) {
  const periods: Period[] = [];
  const open: Record<'video' | 'audio', Whole['parts']> = { video: [], audio: [] };
  const whole: Record<'video' | 'audio', Whole[]> = { video: [], audio: [] };
  const packager = createPackager({
    sink: {
      period: (period) => void periods.push(period),
      part: (part, data) => void open[part.track].push({ ...part, data }),
      segment(segment, data) {
        whole[segment.track].push({ ...segment, data, parts: open[segment.track].splice(0) });
      },
    },
    nowMs: () => 1_700_000_000_000,
    log: silentLog(),
    partTargetMs,
  });
  const feed = (...fed: FlvTag[]) => fed.forEach(packager.tag);
  return { periods, open, ...whole, feed, flush: packager.flush };
}

const promised = () => [tags.metadata('audiocodecid'), tags.videoConfig(), tags.audioConfig()];
const round = (parts: Part[]) => parts.map((part) => Math.round(durationMs(part)));

describe('what goes out', () => {
  it('parts as soon as they are full, picture and sound, while the segment is open', () => {
    const out = packaging();
    out.feed(...promised(), ...stretch({ fromMs: 0, untilMs: 1000 }));
    expect(out.video).toEqual([]);
    // A picture is over when the next one comes, so the last is still here.
    expect(round(out.open.video)).toEqual([200, 200, 200, 200]);
    expect(out.open.video.map(({ isIndependent }) => isIndependent)).toEqual([true, false, false, false]);
    expect(round(out.open.audio)).toEqual([209, 209, 209, 209]);
    expect(out.open.audio.every(({ isIndependent }) => isIndependent)).toBe(true);
    out.feed(tags.picture(1000, { isKey: true }));
    expect(out.open.video).toEqual([]);
    expect(out.video.map(({ parts }) => round(parts))).toEqual([[200, 200, 200, 200, 200]]);
    expect(out.video[0]?.parts.map(({ segment, index }) => [segment, index])).toEqual(
      [0, 1, 2, 3, 4].map((i) => [0, i]),
    );
  });
  it.each([
    [25, 200],
    [30, 200],
    [24, 208],
    [60, 200],
    [10, 200],
  ])('at %i pictures a second, parts of %i ms', (perSecond, lengthMs) => {
    const out = packaging();
    out.feed(tags.metadata(), tags.videoConfig());
    for (let i = 0; i <= perSecond; i += 1)
      out.feed(tags.picture(Math.round((i * 1000) / perSecond), { isKey: i % perSecond === 0 }));
    const inner = out.video[0]?.parts.slice(0, -1) ?? [];
    expect(inner.length).toBeGreaterThanOrEqual(4);
    for (const part of inner) {
      expect(Math.abs(durationMs(part) - lengthMs)).toBeLessThan(2);
      expect(durationMs(part)).toBeLessThanOrEqual(TARGET_MS);
    }
  });
  it('a picture that stands for long is alone in its part', () => {
    const out = packaging();
    const jerky = stretch({ fromMs: 0, untilMs: 1000, hasSound: false }).filter(
      ({ timestampMs }) => timestampMs <= 280 || timestampMs >= 640,
    );
    out.feed(tags.metadata(), tags.videoConfig(), ...jerky, tags.picture(1000, { isKey: true }));
    expect(out.video.map(({ parts }) => round(parts))).toEqual([[200, 80, 360, 200, 160]]);
  });
  it('a hole in the sound lengthens the frame before it, alone in its part', () => {
    const out = packaging();
    const holed = stretch({ fromMs: 0, untilMs: 1000 }).filter(
      ({ kind, timestampMs }) => kind === 'video' || timestampMs < 100 || timestampMs > 600,
    );
    out.feed(...promised(), ...holed, tags.picture(1000, { isKey: true }));
    const [segment] = out.audio;
    expect(segment?.parts.filter((part) => durationMs(part) > TARGET_MS)).toHaveLength(1);
    expect(Math.abs(durationMs(segment as Segment) - 1000)).toBeLessThan(54);
  });
  it('nothing of a period before it is known whether it has sound', () => {
    const late = packaging();
    late.feed(...promised(), ...stretch({ fromMs: 0, untilMs: 480, hasSound: false }));
    expect(late.periods).toEqual([]);
    late.feed(tags.sound(10), tags.sound(33), tags.picture(480));
    expect(late.periods.map(({ audio }) => audio?.codec)).toEqual(['mp4a.40.2']);
    expect(round(late.open.video)).toEqual([200, 200]);
    const silent = packaging();
    silent.feed(tags.metadata(), tags.videoConfig(), ...stretch({ fromMs: 0, untilMs: 480, hasSound: false }));
    expect(round(silent.open.video)).toEqual([200, 200]);
    const waiting = packaging();
    waiting.feed(...promised(), ...stretch({ fromMs: 0, untilMs: 1700, keyEveryMs: 4000, hasSound: false }));
    expect(waiting.periods.map(({ audio }) => audio)).toEqual([undefined]);
  });
  it('sound that runs ahead waits for its pictures, sound that lags comes when it comes', () => {
    const out = packaging();
    const sounds = stretch({ fromMs: 0, untilMs: 900 }).filter(({ kind }) => kind === 'audio');
    out.feed(...promised(), ...sounds, ...stretch({ fromMs: 0, untilMs: 500, hasSound: false }));
    expect(out.open.audio.reduce((sum, part) => sum + durationMs(part), 0)).toBeLessThan(500);
    const lagging = packaging();
    lagging.feed(...promised(), tags.picture(0, { isKey: true }), tags.sound(10));
    lagging.feed(...stretch({ fromMs: 40, untilMs: 900, keyEveryMs: 5000, hasSound: false }).slice(1));
    expect(lagging.open.audio).toEqual([]);
    lagging.feed(...sounds.slice(1, 30), tags.picture(900));
    expect(round(lagging.open.audio)).toEqual([209, 209, 209]);
  });
  it('without a target there are no parts and the same samples', () => {
    const plain = packaging(undefined);
    // An absent target, not the default of the test.
    const bare: Segment[] = [];
    const packager = createPackager({
      sink: { period() {}, part: () => expect.unreachable(), segment: (segment) => void bare.push(segment) },
      nowMs: () => 1_700_000_000_000,
      log: silentLog(),
    });
    for (const tag of [...promised(), ...stretch({ fromMs: 0, untilMs: 3040 })]) {
      packager.tag(tag);
      plain.feed(tag);
    }
    const shape = ({ track, number, startTicks, durationTicks }: Segment) => ({
      track,
      number,
      startTicks,
      durationTicks,
    });
    const of = (track: string) => bare.filter((segment) => segment.track === track).map(shape);
    expect(plain.video.map(shape)).toEqual(of('video'));
    expect(plain.audio.map(shape)).toEqual(of('audio'));
  });
});

describe('a timeline that breaks off', () => {
  it('its rest is not said before the next one shows a part', () => {
    const out = packaging();
    out.feed(...promised(), ...stretch({ fromMs: 50_000, untilMs: 51_320 }));
    expect(round(out.open.video)).toEqual([200]);
    const again = stretch({ fromMs: 10, untilMs: 290 });
    out.feed(...promised(), tags.sound(0), tags.sound(5), ...again.filter(({ timestampMs }) => timestampMs < 170));
    expect(round(out.open.video)).toEqual([200]);
    expect(out.video).toHaveLength(1);
    out.feed(...again.filter(({ timestampMs }) => timestampMs >= 170));
    expect(out.video.map(({ parts }) => round(parts))).toEqual([
      [200, 200, 200, 200, 200],
      [200, 120],
    ]);
    expect(out.periods.map(({ index }) => index)).toEqual([0, 1]);
    expect(out.open.video.map(({ period, segment }) => [period, segment])).toEqual([[1, 2]]);
  });
  it('sound of the next one, come before its pictures, is not taken for the old', () => {
    const out = packaging();
    out.feed(...promised(), ...stretch({ fromMs: 50_000, untilMs: 51_520 }));
    const early = stretch({ fromMs: 0, untilMs: 400 }).filter(({ kind }) => kind === 'audio');
    out.feed(...promised(), ...early);
    // A last picture of the old encoder, still under way.
    out.feed(tags.picture(51_520), ...stretch({ fromMs: 0, untilMs: 1040, hasSound: false }));
    out.flush();
    const [, , third] = out.audio;
    expect(out.audio.map(({ period }) => period)).toEqual([0, 0, 1]);
    expect(third?.startTicks).toBeGreaterThanOrEqual(Math.floor(((out.periods[1]?.startMs ?? 0) * 44_100) / 1000) - 1);
    expect(Math.round(durationMs(third as Segment) / 10)).toBe(42);
  });
  it('flush says what is open', () => {
    const out = packaging();
    out.feed(...promised(), ...stretch({ fromMs: 0, untilMs: 320 }));
    out.flush();
    expect(out.video.map(({ parts }) => round(parts))).toEqual([[200, 120]]);
    expect(out.open).toEqual({ video: [], audio: [] });
  });
});

describe('whatever comes', () => {
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.constant('stretch' as const) },
    { weight: 4, arbitrary: fc.constant('pictures' as const) },
    { weight: 6, arbitrary: fc.constantFrom('picture' as const, 'sound' as const, 'late sound' as const) },
    { weight: 3, arbitrary: fc.constant('key' as const) },
    { weight: 2, arbitrary: fc.integer({ min: 41, max: 1900 }) },
    { weight: 1, arbitrary: fc.integer({ min: -60_000, max: 60_000 }) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        'small' as const,
        'large' as const,
        'mono' as const,
        'stereo' as const,
        'flush' as const,
      ),
    },
  );

  function run(steps: (typeof step extends fc.Arbitrary<infer S> ? S : never)[]) {
    const out = packaging();
    let nowMs = 70_000;
    out.feed(...promised());
    for (const one of steps) {
      if (typeof one === 'number') nowMs = Math.max(0, nowMs + one);
      else if (one === 'stretch' || one === 'pictures') {
        out.feed(...stretch({ fromMs: nowMs, untilMs: nowMs + 1480, keyEveryMs: 480, hasSound: one === 'stretch' }));
        nowMs += 1480;
      } else if (one === 'picture' || one === 'key') {
        nowMs += 40;
        out.feed(tags.picture(nowMs, { isKey: one === 'key' }));
      } else if (one === 'sound') out.feed(tags.sound(nowMs));
      else if (one === 'late sound') out.feed(tags.sound(Math.max(0, nowMs - 400)));
      else if (one === 'flush') out.flush();
      else if (one === 'small' || one === 'large') out.feed(tags.videoConfig(one === 'small' ? '640x360' : '1280x720'));
      else out.feed(tags.audioConfig(one === 'mono' ? '44100 mono' : '48000 stereo'));
    }
    out.flush();
    return out;
  }

  it('a segment is its parts, no part spans two periods, decode times never go back', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const out = run(steps);
        expect(out.open).toEqual({ video: [], audio: [] });
        for (const segments of [out.video, out.audio]) {
          let endMs = 0;
          segments.forEach((segment, number) => {
            expect(segment.number).toBe(number);
            expect(Buffer.concat(segment.parts.map(({ data }) => data)).equals(segment.data)).toBe(true);
            expect(segment.parts.reduce((sum, part) => sum + part.durationTicks, 0)).toBe(segment.durationTicks);
            let nextTicks = segment.startTicks;
            segment.parts.forEach((part, index) => {
              const { segment: at, period, startTicks } = part;
              expect({ at, index: part.index, period, startTicks }).toEqual({
                ...{ at: number, index, period: segment.period, startTicks: nextTicks },
              });
              expect(part.bytes).toBe(part.data.length);
              nextTicks += part.durationTicks;
            });
            expect(startMs(segment) - endMs).toBeGreaterThan(-1);
            endMs = startMs(segment) + durationMs(segment);
            expect(out.periods.some(({ index }) => index === segment.period)).toBe(true);
          });
        }
        for (const { parts } of out.video) expect(parts[0]?.isIndependent).toBe(true);
        // Longer than the target is only what one picture, or one frame of sound, stood for.
        for (const { parts } of [...out.video, ...out.audio])
          for (const part of parts) if (durationMs(part) > TARGET_MS) expect(samples(part.data)).toBe(1);
      }),
      { numRuns: 150 },
    );
  });
});

/** Samples in the chunk's trun box. */
function samples(chunk: Buffer): number {
  return chunk.readUInt32BE(chunk.indexOf('trun', 0, 'latin1') + 8);
}
