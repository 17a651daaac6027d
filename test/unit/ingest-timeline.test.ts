import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTimeline, type Timeline } from '../../cloud/local-stream/ingest/timeline.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { createTestClock } from '../support/test-clock.ts';

const picture = (timestampMs: number, fill = 0): FlvTag => ({
  kind: 'video',
  timestampMs,
  body: Buffer.from([0x27, 1, 0, 0, 0, fill, timestampMs & 0xff, timestampMs >> 8]),
});
const sound = (timestampMs: number, fill = 0): FlvTag => ({
  kind: 'audio',
  timestampMs,
  body: Buffer.from([0xaf, 1, fill, timestampMs & 0xff]),
});
const header: FlvTag = { kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 0, 0, 0, 0, 1]) };
const metadata: FlvTag = { kind: 'script', timestampMs: 0, body: Buffer.from([2, 0, 1, 97]) };

const timelineWith = (...sent: FlvTag[]): Timeline => {
  const timeline = createTimeline({ clock: createTestClock() });
  timeline.begin();
  for (const tag of sent) timeline.judge(tag);
  return timeline;
};
const through = (timeline: Timeline, tags: FlvTag[]) => tags.filter((tag) => timeline.judge(tag) !== 'drop');

describe('one connection', () => {
  it('passes everything, in whatever order', () => {
    const timeline = createTimeline({ clock: createTestClock() });
    timeline.begin();
    const tags = [metadata, header, picture(100), sound(90), picture(60), picture(60), sound(0)];
    expect(tags.map((tag) => timeline.judge(tag))).toEqual(tags.map(() => 'pass'));
  });
});

describe('a publisher that returns', () => {
  it('passes headers and metadata always', () => {
    const timeline = timelineWith(picture(1000));
    timeline.begin();
    expect([metadata, header, picture(1000), header].map((tag) => timeline.judge(tag))).toEqual([
      'pass',
      'pass',
      'drop',
      'pass',
    ]);
  });

  it('has its resend dropped per track, up to the newest of each', () => {
    const timeline = timelineWith(picture(1000), sound(1001), picture(1040), sound(1022));
    timeline.begin();
    const resent = [sound(1001), picture(1040), sound(1022), sound(1043), picture(1080)];
    expect(through(timeline, resent)).toEqual([sound(1043), picture(1080)]);
  });

  it('goes on where it stopped when nothing is sent twice', () => {
    const timeline = timelineWith(picture(1000));
    timeline.begin();
    expect(timeline.judge(picture(1040))).toBe('pass');
  });

  it('goes on across the wrap of time stamps', () => {
    const timeline = timelineWith(picture(0xffffffd0), picture(0xfffffff0));
    timeline.begin();
    expect(through(timeline, [picture(0xfffffff0), picture(16)])).toEqual([picture(16)]);
  });
});

describe('a new broadcast', () => {
  it('far below is taken', () => {
    const timeline = timelineWith(picture(900_000));
    timeline.begin();
    expect(timeline.judge(picture(0, 1))).toBe('restart');
    expect(timeline.judge(picture(40, 1))).toBe('pass');
  });

  it('near below is taken as well: its pictures are others', () => {
    const timeline = timelineWith(picture(0), picture(1500), picture(3000));
    timeline.begin();
    expect(timeline.judge(picture(0, 1))).toBe('restart');
    expect(timeline.judge(picture(1500, 1))).toBe('pass');
  });

  it('that jumps far back after a resend is taken', () => {
    const timeline = timelineWith(picture(60_000), picture(60_040));
    timeline.begin();
    expect(timeline.judge(picture(60_040))).toBe('drop');
    expect(timeline.judge(picture(0))).toBe('restart');
  });

  it('even with the same pictures is taken when the old one is long over', async () => {
    const clock = createTestClock();
    const timeline = createTimeline({ clock });
    timeline.begin();
    timeline.judge(picture(0));
    await clock.advance(60_001);
    timeline.begin();
    expect(timeline.judge(picture(0))).toBe('restart');
  });

  it('resends of the new one are known, those of the old one forgotten', () => {
    const timeline = timelineWith(picture(2000), picture(2040));
    timeline.begin();
    timeline.judge(picture(0, 1));
    timeline.begin();
    expect(timeline.judge(picture(0, 1))).toBe('drop');
    timeline.begin();
    expect(timeline.judge(picture(40, 1))).toBe('pass');
  });
});

describe('the same file from its start again', () => {
  const clock = createTestClock();
  const file = Array.from({ length: 200 }, (_, index) => picture(index * 40));

  it('is taken after 2 s, since it comes at the pace of life', async () => {
    const timeline = createTimeline({ clock });
    timeline.begin();
    for (const tag of file) timeline.judge(tag);
    timeline.begin();
    const verdicts: string[] = [];
    for (const tag of file) {
      verdicts.push(timeline.judge(tag));
      await clock.advance(40);
    }
    expect(verdicts.indexOf('restart')).toBe(50);
    expect(verdicts.slice(51).every((verdict) => verdict === 'pass')).toBe(true);
  });

  it('unlike a resend from later on, however slow the network is', async () => {
    const timeline = createTimeline({ clock });
    timeline.begin();
    for (const tag of file) timeline.judge(tag);
    timeline.begin();
    for (const tag of file.slice(60)) {
      expect(timeline.judge(tag)).toBe('drop');
      await clock.advance(60);
    }
  });

  it('as a resend over a network only twice as fast as life is dropped all the same', async () => {
    const timeline = createTimeline({ clock });
    timeline.begin();
    for (const tag of file) timeline.judge(tag);
    timeline.begin();
    for (const tag of file) {
      expect(timeline.judge(tag)).toBe('drop');
      await clock.advance(20);
    }
  });
});

describe('any number of cuts', () => {
  it('what went in once comes out once, in order', () => {
    const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 60 })), { minLength: 1, maxLength: 120 });
    const cuts = fc.array(fc.tuple(fc.nat(120), fc.nat(40)), { maxLength: 6 });
    fc.assert(
      fc.property(steps, cuts, fc.nat(0xffffffff), (gaps, wishes, zero) => {
        let atMs = zero;
        const sent = gaps.map(([isVideo, gapMs]) => {
          atMs = (atMs + gapMs) % 2 ** 32;
          return isVideo ? picture(atMs) : sound(atMs);
        });
        const timeline = createTimeline({ clock: createTestClock() });
        const out: FlvTag[] = [];
        let delivered = 0;
        let next = 0;
        for (const [length, back] of [...wishes, [sent.length, 0] as const]) {
          timeline.begin();
          const until = Math.min(sent.length, next + length);
          out.push(...through(timeline, [header, ...sent.slice(next, until)]).filter((tag) => tag !== header));
          delivered = Math.max(delivered, until);
          next = Math.max(0, delivered - back);
        }
        timeline.begin();
        out.push(...through(timeline, sent.slice(next)));
        expect(out).toEqual(sent);
      }),
    );
  });
});
