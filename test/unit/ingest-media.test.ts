/** What can be played here and what is refused, by the first bytes of each tag, with Cloudflare's codes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMediaCheck } from '../../cloud/local-stream/ingest/media.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { aacRecords, avcRecords, stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const limits = { maxBitrateBps: 1_000_000, maxKeyFrameGapMs: 30_000 };
const checked = () => {
  const clock = createTestClock();
  return { clock, ...createMediaCheck({ clock, limits }) };
};
const video = (...bytes: number[]): FlvTag => ({ kind: 'video', timestampMs: 0, body: Buffer.from(bytes) });
const audio = (...bytes: number[]): FlvTag => ({ kind: 'audio', timestampMs: 0, body: Buffer.from(bytes) });
const ascii = (text: string) => [...Buffer.from(text, 'latin1')];
const avcHeader = (hex: string) => video(0x17, 0, 0, 0, 0, ...Buffer.from(hex, 'hex'));
const aacHeader = (hex: string) => audio(0xaf, 0, ...Buffer.from(hex, 'hex'));

describe('H.264 and AAC', () => {
  it.each(['640x360', '854x480', '1280x720', '1920x1080'] as const)('of %s pass', (size) => {
    const { judge } = checked();
    const all = [tags.metadata(), tags.videoConfig(size), tags.audioConfig(), ...stretch({ fromMs: 0, untilMs: 2000 })];
    expect(all.map(judge)).not.toContainEqual(expect.anything());
  });
  it.each(Object.values(aacRecords))('with the configuration %s pass', (hex) => {
    expect(checked().judge(aacHeader(hex))).toBeUndefined();
  });
});

describe('a picture', () => {
  it.each([
    [video(0x22, 0, 0, 0, 0), 'h263'],
    [video(0x13, 0, 0, 0, 0), 'screen'],
    [video(0x14, 0, 0, 0, 0), 'vp6'],
    [video(0x16, 0, 0, 0, 0), 'screen2'],
    [video(0x1c, 0, 0, 0, 0), 'hevc'],
    [video(0x1f, 0, 0, 0, 0), 'unknown'],
    [video(0x90, ...ascii('hvc1')), 'hevc'],
    [video(0x90, ...ascii('av01')), 'av1'],
    [video(0x90, ...ascii('vp09')), 'vp9'],
    [video(0x90, ...ascii('avc1')), 'h264 by enhanced RTMP'],
    [video(0x90, ...ascii('\r\n<b')), 'unknown'],
  ])('that is no H.264 is refused by its first tag: %#', (tag, videoCodec) => {
    expect(checked().judge(tag)).toMatchObject({ code: 'ERR_UNSUPPORTED_VIDEO_CODEC', videoCodec, audioCodec: '' });
  });

  it.each([
    ['cut short', avcHeader('0164')],
    ['empty', avcHeader('')],
    ['10 bit', avcHeader(avcRecords['640x360'].replaceAll('640', '6e0'))],
    ['4:2:2', avcHeader(avcRecords['720x576'])],
  ])('with a configuration that is %s is refused', (_, tag) => {
    expect(checked().judge(tag)).toMatchObject({ code: 'ERR_UNSUPPORTED_VIDEO_CODEC', videoCodec: 'h264' });
  });

  it('without a key frame for 30 s is refused, and not before', async () => {
    const { clock, judge } = checked();
    expect(judge(tags.picture(0, { isKey: true }))).toBeUndefined();
    for (let ms = 500; ms <= 30_000; ms += 500) {
      await clock.advance(500);
      expect(judge(tags.picture(ms))).toBeUndefined();
    }
    await clock.advance(500);
    expect(judge(tags.picture(30_500))).toMatchObject({ code: 'ERR_GOP_OUT_OF_RANGE' });
    expect(judge(tags.picture(31_000, { isKey: true }))).toBeUndefined();
  });

  it('that pauses for minutes is not refused for it', async () => {
    const { clock, judge } = checked();
    judge(tags.picture(0, { isKey: true }));
    await clock.advance(300_000);
    expect(judge(tags.picture(300_000))).toBeUndefined();
  });
});

describe('sound', () => {
  it.each([
    [audio(0x2f, 0), 'mp3'],
    [audio(0x4f, 0), 'nellymoser'],
    [audio(0x6f, 0), 'nellymoser'],
    [audio(0x7f, 0), 'g711-alaw'],
    [audio(0x8f, 0), 'g711-mulaw'],
    [audio(0xb6, 0), 'speex'],
    [audio(0x3f, 0), 'pcm'],
    [audio(0x90, ...ascii('Opus')), 'opus'],
    [audio(0x90, ...ascii('ac-3')), 'ac3'],
    [audio(0x90, ...ascii('mp4a')), 'aac by enhanced RTMP'],
    [audio(0xcf, 0), 'unknown'],
  ])('that is no AAC is refused by its first tag: %#', (tag, audioCodec) => {
    const { judge } = checked();
    judge(tags.videoConfig());
    const expected = { code: 'ERR_UNSUPPORTED_AUDIO_CODEC', videoCodec: 'h264', audioCodec };
    expect(judge(tag)).toMatchObject(expected);
  });
  it.each([
    ['cut short', ''],
    ['of rate 0', '17ff'],
    ['xHE-AAC', 'f9508000'],
  ])('with a configuration %s is refused', (_, hex) => {
    expect(checked().judge(aacHeader(hex))).toMatchObject({ code: 'ERR_UNSUPPORTED_AUDIO_CODEC' });
  });
  it('without a picture for ten seconds is told of once', async () => {
    const { clock, judge, isSoundAlone } = checked();
    judge(tags.sound(0));
    await clock.advance(10_000);
    expect(isSoundAlone()).toBe(false);
    await clock.advance(1);
    expect([isSoundAlone(), isSoundAlone()]).toEqual([true, false]);
    judge(tags.picture(10_000, { isKey: true }));
    expect(isSoundAlone()).toBe(false);
  });
});

describe('the bit rate', () => {
  const megabit = { ...tags.metadata(), body: Buffer.alloc(125_000) };
  it('may be ten seconds of it at once, as after an outage, and no more', () => {
    const { judge } = checked();
    for (let count = 0; count < 10; count += 1) expect(judge(megabit)).toBeUndefined();
    expect(judge(megabit)).toMatchObject({ code: undefined, sentence: expect.stringContaining('1 Mbit/s') });
  });
  it('at the limit goes on for ever, twice as fast for ten seconds', async () => {
    const { clock, judge } = checked();
    for (let second = 0; second < 100; second += 1) {
      expect(judge(megabit)).toBeUndefined();
      await clock.advance(1000);
    }
    let seconds = 0;
    while (!judge(megabit) && !judge(megabit)) {
      seconds += 1;
      await clock.advance(1000);
    }
    expect(seconds).toBeGreaterThanOrEqual(8);
    expect(seconds).toBeLessThanOrEqual(11);
  });
});

it('never throws, and never repeats what was sent', () => {
  const kind = fc.constantFrom('audio' as const, 'video' as const, 'script' as const);
  fc.assert(
    fc.property(fc.array(fc.tuple(kind, fc.uint8Array({ maxLength: 60 })), { maxLength: 10 }), (sent) => {
      const { judge } = checked();
      for (const [which, bytes] of sent) {
        const refusal = judge({ kind: which, timestampMs: 0, body: Buffer.from(bytes) });
        if (refusal)
          expect(`${refusal.sentence}${refusal.videoCodec}${refusal.audioCodec}`).toMatch(/^[\w\s.,;:/()-]+$/);
      }
    }),
    { numRuns: 500 },
  );
});
