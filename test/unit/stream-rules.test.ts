/** What providers refuse is seen in the tags of a running encoder. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createStreamRules, isHollowHeader } from '../../device/encoding/stream-rules.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';

const hollow: FlvTag = { kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 0, 0, 0, 0]) };
const pictures = (options: Parameters<typeof stretch>[0]) => stretch({ hasSound: false, ...options });

/** All that is said about these tags. */
function said(given: readonly FlvTag[], { keyFrameIntervalMs = 2000, frameRate = 25 } = {}) {
  const rules = createStreamRules({ keyFrameIntervalMs, frameRate });
  return given.flatMap((tag) => rules.take(tag) ?? []).map(({ code, details }) => `${code}: ${details.breach}`);
}

test('a good stream gives no cause', () => {
  expect(said([hollow, tags.videoConfig(), ...stretch({ fromMs: 0, untilMs: 20_000, keyEveryMs: 2000 })])).toEqual([]);
});

test.each<[string, FlvTag[], string]>([
  ['no sequence header', pictures({ fromMs: 0, untilMs: 400 }), 'it sends no sequence header'],
  ['a hollow one only', [hollow, ...pictures({ fromMs: 0, untilMs: 400 })], 'it sends no sequence header'],
  ['no key frame first', [tags.videoConfig(), tags.picture(0)], 'its first picture is no key frame'],
  [
    'B-frames',
    [tags.videoConfig(), tags.picture(0, { isKey: true }), tags.picture(40, { ctsMs: 80 })],
    'it makes B-frames',
  ],
  [
    'key frames three times too rare',
    [tags.videoConfig(), ...pictures({ fromMs: 0, untilMs: 9000, keyEveryMs: 9000 })],
    'no key frame for 6.0 s, asked for each 2 s',
  ],
])('%s, told once', (_, given, reason) => {
  expect(said(given)).toEqual([`ENCODER_UNFIT: ${reason}`]);
});

test('never more than 10 s, whatever was asked', () => {
  const given = [tags.videoConfig(), ...pictures({ fromMs: 0, untilMs: 12_000, keyEveryMs: 12_000 })];
  expect(said(given, { keyFrameIntervalMs: 8000 })).toEqual([
    'ENCODER_UNFIT: no key frame for 10.0 s, asked for each 8 s',
  ]);
});

test('a pause of the whole encoder is no breach: it goes on with a key frame', () => {
  const before = pictures({ fromMs: 0, untilMs: 1000, keyEveryMs: 2000 });
  const after = pictures({ fromMs: 60_000, untilMs: 61_000, keyEveryMs: 2000 });
  expect(said([tags.videoConfig(), ...before, ...after])).toEqual([]);
});

test('one picture a second cannot have key frames more often', () => {
  const given = [0, 1000, 2000, 3000].map((ms) => tags.picture(ms, { isKey: ms % 2000 === 0 }));
  expect(said([tags.videoConfig(), ...given], { keyFrameIntervalMs: 250, frameRate: 1 })).toEqual([]);
});

test('whatever comes, it throws nothing and speaks once', () => {
  const anyTag = fc.record({
    kind: fc.constantFrom('video', 'audio', 'script'),
    timestampMs: fc.nat(0xffffffff),
    body: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  }) satisfies fc.Arbitrary<FlvTag>;
  fc.assert(fc.property(fc.array(anyTag), (given) => said(given).length <= 1));
});

test('only a header with nothing in it is hollow', () => {
  expect(
    [hollow, tags.videoConfig(), tags.picture(0, { isKey: true }), tags.audioConfig()].map(isHollowHeader),
  ).toEqual([true, false, false, false]);
});
