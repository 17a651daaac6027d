/** Clips: which segments a stretch of time is, and the bytes of their one file. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPackager, type PackagerSink, type Segment } from '../../cloud/local-stream/packaging/packager.ts';
import {
  durationMs,
  initName,
  type Presentation,
  segmentName,
  startMs,
} from '../../cloud/local-stream/packaging/presentation.ts';
import { joined } from '../../cloud/local-stream/playback/playable.ts';
import { boxesIn, clipFragment } from '../../cloud/local-stream/recordings/clip-file.ts';
import { clipPieces, clipped, clipRange, clipTimeMs, previewRange } from '../../cloud/local-stream/recordings/clips.ts';
import { readTimeline } from '../../cloud/local-stream/recordings/recordings.ts';
import { silentLog } from '../../shared/log.ts';
import { stretch, tags } from '../support/media-tags.ts';

/** What a recording of so many seconds would hold, with a pause and another picture size after `changeAtMs`. */
function recorded({
  untilMs = 10_100,
  changeAtMs = Number.POSITIVE_INFINITY,
  size = '640x360' as '640x360' | '854x480',
} = {}) {
  const media = new Map<string, Buffer>();
  const lines: object[] = [];
  const sink: PackagerSink = {
    period(period, inits) {
      media.set(initName('video', period.index), inits.video);
      if (inits.audio) media.set(initName('audio', period.index), inits.audio);
      lines.push({ period });
    },
    segment(segment, data) {
      media.set(segmentName(segment), data);
      lines.push({ segment });
    },
  };
  const packager = createPackager({ sink, nowMs: () => 1_700_000_000_000, log: silentLog() });
  for (const tag of [tags.videoConfig(), tags.audioConfig()]) packager.tag(tag);
  for (const tag of stretch({ fromMs: 0, untilMs: Math.min(untilMs, changeAtMs) })) packager.tag(tag);
  if (changeAtMs < untilMs) {
    packager.flush();
    packager.tag(tags.videoConfig(size));
    for (const tag of stretch({ fromMs: 500_000, untilMs: 500_000 + untilMs - changeAtMs })) packager.tag(tag);
  }
  packager.flush();
  const presentation = readTimeline(lines.map((line) => JSON.stringify(line)).join('\n')) as Presentation;
  return { presentation, media: async (name: string) => media.get(name) };
}

const endOf = (segment: Segment) => startMs(segment) + durationMs(segment);

describe('the times of an address', () => {
  it.each([
    ['600s', 600_000],
    ['2.5', 2500],
    ['0', 0],
    ['5m', 300_000],
    ['1h2m3s', 3_723_000],
  ])('%s is %i ms', (text, ms) => {
    expect(clipTimeMs(text)).toBe(ms);
  });
  it('nothing else is one, and the refusal names the field', () => {
    for (const text of ['', 's', '-1', '1e3', 'abc', '1s1m', ' 1', '1d', '9'.repeat(40)]) {
      expect(clipTimeMs(text), text).toBeUndefined();
    }
    expect(clipRange({ time: 'x' })).toMatch(/^time /);
    for (const duration of ['0', '', 'x', ['1', '2']]) expect(clipRange({ duration })).toMatch(/^duration /);
    expect(clipRange({})).toEqual({ fromMs: 0, lengthMs: Number.MAX_SAFE_INTEGER });
    fc.assert(fc.property(fc.string(), (text) => (clipTimeMs(text) ?? 0) >= 0));
  });
});

describe('a clip', () => {
  it('is the segments that the stretch touches, whole, in one piece, with the sound beside them', () => {
    const { presentation } = recorded({ untilMs: 30_100 });
    const all = presentation.segments.video;
    fc.assert(
      fc.property(fc.nat(40_000), fc.integer({ min: 1, max: 40_000 }), (fromMs, lengthMs) => {
        const clip = clipped(presentation, { fromMs, lengthMs });
        const [first, last] = [clip?.segments.video[0], clip?.segments.video.at(-1)];
        if (!clip || !first || !last) {
          expect(fromMs).toBeGreaterThanOrEqual(endOf(all.at(-1) as Segment));
          return;
        }
        expect(startMs(first) <= fromMs || first === all[0]).toBe(true);
        expect(endOf(first)).toBeGreaterThan(fromMs);
        expect(endOf(last) >= fromMs + lengthMs || last === all.at(-1)).toBe(true);
        expect(startMs(last)).toBeLessThan(fromMs + lengthMs);
        const numbers = clip.segments.video.map(({ number }) => number);
        expect(numbers).toEqual(numbers.map((_, index) => first.number + index));
        for (const one of clip.segments.audio) {
          expect(startMs(one)).toBeGreaterThan(startMs(first) - 100);
          expect(endOf(one)).toBeLessThan(endOf(last) + 100);
        }
        expect(clip.isEnded).toBe(true);
      }),
    );
  });
  it('a preview is the newest minutes, five at most', () => {
    const { presentation } = recorded({ untilMs: 20_040 });
    expect(previewRange(presentation, 5000)).toEqual({ fromMs: 15_033, lengthMs: 5000 });
    expect(previewRange(presentation, 9_999_999)).toEqual({ fromMs: 0, lengthMs: 300_000 });
  });
});

describe('its file', () => {
  it('has both tracks, starts at zero, and is as long as its pieces say', async () => {
    const { presentation, media } = recorded();
    const clip = clipped(presentation, { fromMs: 4000, lengthMs: 3000 }) as Presentation;
    const pieces = (await clipPieces(clip, media)) ?? [];
    const read = await Promise.all(pieces.map(({ read }) => read()));
    expect(read.map((data) => data?.length)).toEqual(pieces.map(({ bytes }) => bytes));
    const file = Buffer.concat(read as Buffer[]);
    const types = boxesIn(file).map(({ type }) => type);
    expect(types.slice(0, 2)).toEqual(['ftyp', 'moov']);
    expect(types.slice(2)).toEqual(
      Array(pieces.length - 1)
        .fill(['styp', 'moof', 'mdat'])
        .flat(),
    );
    const found = fragmentsOf(file);
    expect(new Set(found.map(({ track }) => track))).toEqual(new Set([1, 2]));
    expect(Math.min(...found.map(({ seconds }) => seconds))).toBe(0);
    expect(Math.max(...found.map(({ seconds }) => seconds))).toBeLessThan(4);
    const sequences = found.map(({ sequence }) => sequence);
    expect(sequences).toEqual([...new Set(sequences)].sort((a, b) => a - b));
  });
  it('goes on over a pause, and ends where the configuration changes', async () => {
    for (const [size, isWhole] of [['640x360', true] as const, ['854x480', false] as const]) {
      const { presentation, media } = recorded({ changeAtMs: 5000, size });
      expect(presentation.periods).toHaveLength(2);
      const clip = clipped(presentation, { fromMs: 0, lengthMs: 60_000 }) as Presentation;
      const pieces = (await clipPieces(clip, media)) ?? [];
      const all = clip.segments.video.length + clip.segments.audio.length + 1;
      expect(pieces.length === all, size).toBe(isWhole);
      expect(pieces.length).toBeGreaterThan(5);
    }
  });
  it('is none when its first bytes are gone, and a later piece says that it is gone', async () => {
    const { presentation, media } = recorded();
    const clip = clipped(presentation, { fromMs: 0, lengthMs: 5000 }) as Presentation;
    expect(await clipPieces(clip, async () => undefined)).toBeUndefined();
    const pieces = await clipPieces(clip, async (name) => (name.endsWith('.m4s') ? undefined : media(name)));
    expect(await pieces?.[1]?.read()).toBeUndefined();
  });
  it('bytes that are no boxes are left as they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const data = Buffer.from(bytes);
        expect(clipFragment(data, { track: 'audio', sequence: 1, shiftTicks: 0 })).toHaveLength(data.length);
      }),
    );
  });
});

describe('a broadcast that goes on', () => {
  it('is what is on disk and what is newer in memory; with a hole between them only what is newer', () => {
    const { presentation } = recorded({ untilMs: 20_100 });
    const part = (from: number, to: number): Presentation => ({
      ...presentation,
      isEnded: false,
      segments: {
        video: presentation.segments.video.filter(({ number }) => number >= from && number < to),
        audio: presentation.segments.audio.filter(({ number }) => number >= from && number < to),
      },
    });
    const numbers = ({ segments }: Presentation) => segments.video.map(({ number }) => number);
    fc.assert(
      fc.property(fc.nat(20), fc.nat(18), (onDisk, window) => {
        const shown = numbers(joined(part(0, onDisk), part(window, 20)));
        const isGapless = window <= onDisk;
        expect(shown).toEqual(
          Array.from({ length: isGapless ? 20 : 20 - window }, (_, i) => (isGapless ? i : window + i)),
        );
      }),
    );
    expect(joined(undefined, part(3, 9))).toEqual(part(3, 9));
  });
});

function fragmentsOf(file: Buffer) {
  return boxesIn(file)
    .filter(({ type }) => type === 'moof')
    .map((moof) => {
      const [mfhd, traf] = boxesIn(file, moof.start + 8, moof.end);
      const [tfhd, tfdt] = boxesIn(file, (traf?.start ?? 0) + 8, traf?.end);
      const track = file.readUInt32BE((tfhd?.start ?? 0) + 12);
      const ticks = Number(file.readBigUInt64BE((tfdt?.start ?? 0) + 12));
      return {
        track,
        sequence: file.readUInt32BE((mfhd?.start ?? 0) + 12),
        seconds: ticks / (track === 1 ? 90_000 : 44_100),
      };
    });
}
