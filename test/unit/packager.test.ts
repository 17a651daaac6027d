/** Tags in, segments out: where cuts fall, how timelines map, what starts a new period, and what no input can break. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPackager, type Period, type Segment } from '../../cloud/local-stream/packaging/packager.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';

interface Packaged {
  periods: Period[];
  video: Segment[];
  audio: Segment[];
  data: Map<string, Buffer>;
  feed(...fed: FlvTag[]): void;
  flush(): void;
}

function packaging(): Packaged {
  const periods: Period[] = [];
  const segments: Record<'video' | 'audio', Segment[]> = { video: [], audio: [] };
  const data = new Map<string, Buffer>();
  const packager = createPackager({
    sink: {
      period(period, inits) {
        periods.push(period);
        data.set(`init-${period.index}`, inits.video);
      },
      segment(segment, bytes) {
        segments[segment.track].push(segment);
        data.set(`${segment.track}-${segment.number}`, bytes);
      },
    },
    nowMs: () => 1_700_000_000_000,
    log: silentLog(),
  });
  return { periods, ...segments, data, feed: (...fed) => fed.forEach(packager.tag), flush: packager.flush };
}

const headers = () => [tags.videoConfig(), tags.audioConfig()];
const startsMs = (segments: Segment[]) => segments.map(({ startTicks, timescale }) => (startTicks * 1000) / timescale);
const lengthsMs = (segments: Segment[]) =>
  segments.map(({ durationTicks, timescale }) => (durationTicks * 1000) / timescale);

/** Payload of the first box of this name, searched depth first. */
function findBox(bytes: Buffer, name: string): Buffer | undefined {
  for (let at = 0; at + 8 <= bytes.length; ) {
    const size = bytes.readUInt32BE(at);
    const body = bytes.subarray(at + 8, at + size);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (type === name) return body;
    const inner = ['moof', 'traf', 'moov', 'trak', 'mdia'].includes(type) ? findBox(body, name) : undefined;
    if (inner) return inner;
    if (size < 8) throw new Error(`box ${type} of ${size} bytes`);
    at += size;
  }
  return undefined;
}

/** Composition offsets and durations as a player reads them. */
function samplesOf(segment: Buffer | undefined): { duration: number; bytes: number; flags: number; offset: number }[] {
  const trun = findBox(segment ?? Buffer.alloc(0), 'trun') ?? Buffer.alloc(8);
  return Array.from({ length: trun.readUInt32BE(4) }, (_, index) => {
    const at = 12 + index * 16;
    const [duration, bytes, flags] = [trun.readUInt32BE(at), trun.readUInt32BE(at + 4), trun.readUInt32BE(at + 8)];
    return { duration, bytes, flags, offset: trun.readInt32BE(at + 12) };
  });
}

describe('cuts', () => {
  it('at key frames about a second apart, video and audio together', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 5000, untilMs: 9000 }), tags.picture(9000, { isKey: true }));
    expect(startsMs(out.video)).toEqual([0, 1000, 2000, 3000]);
    expect(lengthsMs(out.video)).toEqual([1000, 1000, 1000, 1000]);
    expect(out.audio.map(({ number }) => number)).toEqual([0, 1, 2, 3]);
    for (const [index, startMs] of startsMs(out.audio).entries())
      expect(Math.abs(startMs - index * 1000)).toBeLessThan(24);
    expect(out.periods).toMatchObject([
      { index: 0, startMs: 0, video: { width: 640, height: 360 }, audio: { channels: 1 } },
    ]);
  });
  it('the first two may be short, so that a viewer sees early that the stream advances', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 4000, keyEveryMs: 480 }));
    expect(lengthsMs(out.video)).toEqual([480, 480, 960, 960, 960]);
  });
  it('never between key frames, however long they take', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 8100, keyEveryMs: 4000 }));
    expect(lengthsMs(out.video)).toEqual([4000, 4000]);
  });
  it('what is open is emitted by flush, with a last picture of the usual length', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 400 }));
    expect(out.video).toEqual([]);
    out.flush();
    expect(lengthsMs(out.video)).toEqual([400]);
  });
  it('nothing before the first key frame and its configuration', () => {
    const out = packaging();
    out.feed(
      tags.picture(0, { isKey: true }),
      ...headers(),
      tags.picture(40),
      tags.sound(40),
      tags.picture(80, { isKey: true }),
    );
    out.flush();
    expect(samplesOf(out.data.get('video-0'))).toHaveLength(1);
  });
});

describe('timeline', () => {
  it('composition offsets keep the order of B-frames and start presentation where decoding starts', () => {
    const out = packaging();
    const shown = [80, 200, 120, 80, 160];
    const pictures = shown.map((ctsMs, i) => tags.picture(i * 40, { isKey: i === 0, ctsMs: ctsMs - (i ? 40 : 0) }));
    out.feed(tags.videoConfig(), ...pictures);
    out.flush();
    expect(samplesOf(out.data.get('video-0')).map(({ offset }) => offset / 90)).toEqual([0, 80, 0, -40, 40]);
  });
  it('audio counts samples: whole milliseconds leave no wobble', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 3000 }), tags.picture(3000, { isKey: true }));
    const durations = out.audio.flatMap(({ number }) => samplesOf(out.data.get(`audio-${number}`)));
    expect(new Set(durations.map(({ duration }) => duration))).toEqual(new Set([1024]));
  });
  it('a hole in the sound is kept as a hole, sound said twice is said once', () => {
    const out = packaging();
    const all = stretch({ fromMs: 0, untilMs: 2000 });
    const holed = all.filter(({ kind, timestampMs }) => kind === 'video' || timestampMs < 300 || timestampMs > 500);
    const repeated = holed.flatMap((tag) => (tag.kind === 'audio' && tag.timestampMs > 600 ? [tag, tag] : [tag]));
    out.feed(...headers(), ...repeated, tags.picture(2000, { isKey: true }));
    const ticks = out.audio.reduce((sum, { durationTicks }) => sum + durationTicks, 0);
    // Within what counts as rounding, and one frame.
    expect(Math.abs((ticks * 1000) / 44_100 - 2000)).toBeLessThan(54);
  });
  it('a short pause stays inside the period, a long one is spliced out', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 2000 }), ...stretch({ fromMs: 3000, untilMs: 5000 }));
    expect(out.periods).toHaveLength(1);
    out.feed(...stretch({ fromMs: 60_000, untilMs: 62_000 }));
    out.flush();
    expect(out.periods.map(({ index }) => index)).toEqual([0, 1]);
    expect(out.video.map(({ period }) => period)).toEqual([0, 0, 0, 0, 1, 1]);
    expect(startsMs(out.video)).toEqual([
      0,
      1000,
      3000,
      4000,
      out.periods[1]?.startMs,
      (out.periods[1]?.startMs ?? 0) + 1000,
    ]);
    expect(out.periods[1]?.startMs).toBeLessThan(5030);
  });
  it('a publisher that starts again near zero goes on where the video had come to, sound first or not', () => {
    for (const soundFirst of [true, false]) {
      const out = packaging();
      out.feed(...headers(), ...stretch({ fromMs: 50_000, untilMs: 52_000 }));
      const again = stretch({ fromMs: 40, untilMs: 2040 });
      const early = soundFirst ? [tags.sound(10), tags.sound(33)] : [];
      out.feed(...headers(), ...early, ...again);
      out.flush();
      expect(out.periods).toHaveLength(2);
      expect(out.video.map(({ period }) => period)).toEqual([0, 0, 1, 1]);
      expect(out.audio.map(({ period }) => period)).toEqual([0, 0, 1, 1]);
      expect(lengthsMs(out.audio).every((ms) => ms > 950 && ms < 1050)).toBe(true);
    }
  });
  it('pictures after a jump wait for a key frame', () => {
    const out = packaging();
    out.feed(tags.videoConfig(), ...stretch({ fromMs: 0, untilMs: 1000, hasSound: false }));
    out.feed(tags.picture(30_000), tags.picture(30_040), tags.picture(30_080, { isKey: true }));
    out.flush();
    expect(samplesOf(out.data.get('video-1'))).toHaveLength(1);
  });
});

describe('periods', () => {
  it('another encoder on the same timeline: a new init segment, no pause, parameter sets in the picture too', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 2000 }));
    out.feed(tags.videoConfig('1280x720', 2000), ...stretch({ fromMs: 2000, untilMs: 4000 }));
    out.flush();
    expect(out.periods).toMatchObject([
      { video: { width: 640 } },
      { startMs: 2000, video: { width: 1280, height: 720 } },
    ]);
    expect(startsMs(out.video)).toEqual([0, 1000, 2000, 3000]);
    const [first] = samplesOf(out.data.get('video-2'));
    expect(first?.bytes).toBe(8 + 4 + 26 + 4 + 4);
    expect(findBox(out.data.get('init-1') ?? Buffer.alloc(0), 'tkhd')?.readUInt32BE(76)).toBe(1280 * 65_536);
  });
  it('the same configuration once more changes nothing', () => {
    const out = packaging();
    out.feed(
      ...headers(),
      ...stretch({ fromMs: 0, untilMs: 2000 }),
      ...headers(),
      ...stretch({ fromMs: 2000, untilMs: 4000 }),
    );
    out.flush();
    expect(out.periods).toHaveLength(1);
  });
  it('without sound there is no audio; sound that comes late begins a new period', () => {
    const out = packaging();
    out.feed(tags.videoConfig(), ...stretch({ fromMs: 0, untilMs: 3000, hasSound: false }));
    out.feed(tags.audioConfig(), ...stretch({ fromMs: 3000, untilMs: 6000 }));
    out.flush();
    expect(out.periods.map(({ audio }) => audio?.codec)).toEqual([undefined, 'mp4a.40.2']);
    expect(out.audio[0]?.period).toBe(1);
    expect(Math.abs((startsMs(out.audio)[0] ?? 0) - (out.periods[1]?.startMs ?? 0))).toBeLessThan(24);
  });
  it('sound that metadata promised is waited for, a little', () => {
    const prompt = packaging();
    prompt.feed(tags.metadata('audiocodecid'), tags.videoConfig());
    prompt.feed(...stretch({ fromMs: 0, untilMs: 1000, hasSound: false, keyEveryMs: 480 }), tags.audioConfig());
    prompt.feed(...stretch({ fromMs: 1440, untilMs: 3000, keyEveryMs: 480 }));
    expect(prompt.periods.map(({ audio }) => audio?.codec)).toEqual(['mp4a.40.2']);
    const never = packaging();
    never.feed(tags.metadata('audiocodecid'), tags.videoConfig());
    never.feed(...stretch({ fromMs: 0, untilMs: 3000, hasSound: false, keyEveryMs: 480 }));
    expect(lengthsMs(never.video)[0]).toBe(1920);
  });
  it('sound that stops for good ends the period; a publisher may mute for a moment', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 2000 }));
    out.feed(...stretch({ fromMs: 2000, untilMs: 4000, hasSound: false }), ...stretch({ fromMs: 4000, untilMs: 6000 }));
    expect(out.periods).toHaveLength(1);
    out.feed(
      ...stretch({ fromMs: 6000, untilMs: 13_000, hasSound: false }),
      ...stretch({ fromMs: 13_000, untilMs: 15_000 }),
    );
    out.flush();
    expect(out.periods.map(({ audio }) => audio?.codec)).toEqual(['mp4a.40.2', undefined, 'mp4a.40.2']);
    expect(startsMs(out.video)).toEqual(Array.from({ length: 15 }, (_, index) => index * 1000));
  });
  it('sound of another rate is a new period', () => {
    const out = packaging();
    out.feed(...headers(), ...stretch({ fromMs: 0, untilMs: 2000 }), tags.audioConfig('48000 stereo'));
    out.feed(...stretch({ fromMs: 2000, untilMs: 5000, sampleRate: 48_000 }));
    out.flush();
    expect(out.periods.map(({ audio }) => audio?.timescale)).toEqual([44_100, 48_000]);
    expect(startsMs(out.video)).toEqual([0, 1000, 2000, 3000, 4000]);
  });
});

describe('whatever comes', () => {
  const anyTag = fc.oneof(
    { weight: 8, arbitrary: fc.constant('picture' as const) },
    { weight: 8, arbitrary: fc.constant('sound' as const) },
    { weight: 3, arbitrary: fc.constant('key' as const) },
    fc.constantFrom('small' as const, 'large' as const, 'mono' as const, 'stereo' as const, 'garbage' as const),
    fc.integer({ min: -60_000, max: 60_000 }),
  );
  it('each track is numbered without holes, runs forward without overlap, and starts at key frames', () => {
    fc.assert(
      fc.property(fc.array(anyTag, { maxLength: 300 }), fc.uint8Array({ maxLength: 40 }), (steps, noise) => {
        const out = packaging();
        let nowMs = 70_000;
        for (const step of steps) {
          if (typeof step === 'number') nowMs = Math.max(0, nowMs + step);
          else if (step === 'picture' || step === 'key') {
            nowMs += 40;
            out.feed(tags.picture(nowMs, { isKey: step === 'key' }));
          } else if (step === 'sound') out.feed(tags.sound(nowMs));
          else if (step === 'small' || step === 'large')
            out.feed(tags.videoConfig(step === 'small' ? '640x360' : '1280x720'));
          else if (step === 'mono' || step === 'stereo')
            out.feed(tags.audioConfig(step === 'mono' ? '44100 mono' : '48000 stereo'));
          else
            for (const kind of ['video', 'audio', 'script'] as const)
              out.feed({ kind, timestampMs: nowMs, body: Buffer.from(noise) });
        }
        out.flush();
        for (const segments of [out.video, out.audio]) {
          segments.forEach((segment, index) => {
            expect(segment.number).toBe(index);
            const before = segments[index - 1];
            if (!before) return;
            expect(segment.period).toBeGreaterThanOrEqual(before.period);
            const gapMs = (startsMs([segment])[0] ?? 0) - (startsMs([before])[0] ?? 0) - (lengthsMs([before])[0] ?? 0);
            expect(gapMs).toBeGreaterThan(-1);
          });
        }
        for (const { number, period } of out.video) {
          expect(samplesOf(out.data.get(`video-${number}`))[0]?.flags).toBe(0x02000000);
          expect(out.periods.some(({ index }) => index === period)).toBe(true);
        }
      }),
    );
  });
  it('holds back one rest of a broken timeline, however often it breaks', () => {
    const { feed, video, flush } = packaging();
    feed(...headers(), ...stretch({ fromMs: 0, untilMs: 2500 }));
    expect(video).toHaveLength(2);
    for (let times = 1; times <= 5; times += 1) {
      feed(...stretch({ fromMs: times * 100_000, untilMs: times * 100_000 + 500 }));
      expect(video).toHaveLength(1 + times);
    }
    flush();
    expect(video.map(({ number }) => number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(video.map(({ period }) => period)).size).toBe(6);
  });
});
