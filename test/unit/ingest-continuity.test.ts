/** Pictures that no viewer could decode stay out, whoever publishes when. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createContinuity } from '../../cloud/local-stream/ingest/continuity.ts';
import { isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { tags } from '../support/media-tags.ts';

const key = (ms: number) => tags.picture(ms, { isKey: true });
const { picture, sound, videoConfig } = tags;

describe('pictures', () => {
  it('of a publisher that goes on where it stopped pass', () => {
    const continuity = createContinuity();
    continuity.begin();
    for (const tag of [videoConfig(), key(0), picture(40)]) expect(continuity.passes(tag)).toBe(true);
    continuity.begin();
    for (const tag of [videoConfig(), picture(80), picture(120)]) expect(continuity.passes(tag)).toBe(true);
  });

  it.each([
    ['on another timeline', [picture(90_000), picture(90_040)]],
    ['that were there before', [picture(40), picture(80)]],
    ['of another configuration', [videoConfig('1280x720'), picture(80)]],
  ])('%s wait for a key frame; sound does not', (_, sent) => {
    const continuity = createContinuity();
    continuity.begin();
    for (const tag of [videoConfig(), key(0), picture(40)]) continuity.passes(tag);
    continuity.begin();
    const pictures = sent.filter((tag) => !isSequenceHeader(tag));
    expect(sent.filter(continuity.passes).filter((tag) => pictures.includes(tag))).toEqual([]);
    expect(continuity.passes(sound(95))).toBe(true);
    expect([key(90_080), picture(90_120)].map(continuity.passes)).toEqual([true, true]);
  });

  it('of a new timeline wait for a key frame', () => {
    const continuity = createContinuity();
    continuity.begin();
    for (const tag of [key(0), picture(40)]) continuity.passes(tag);
    continuity.restart();
    expect([picture(80), key(120), picture(160)].map(continuity.passes)).toEqual([false, true, true]);
  });

  it('of two rivals never mix: each one that passes follows a picture of its own publisher or is a key frame', () => {
    // Who publishes, how many pictures, where on its timeline: rival 0 near zero, rival 1 far off.
    const turn = fc.record({ rival: fc.constantFrom(0, 1), count: fc.integer({ min: 1, max: 40 }) });
    fc.assert(
      fc.property(fc.array(turn, { minLength: 2, maxLength: 30 }), (turns) => {
        const continuity = createContinuity();
        const at = [0, 1_000_000];
        let last: number | undefined;
        for (const { rival, count } of turns) {
          continuity.begin();
          for (let sent = 0; sent < count; sent += 1) {
            const ms = at[rival] ?? 0;
            at[rival] = ms + 40;
            const tag = picture(ms, { isKey: (ms / 40) % 25 === 0 });
            if (!continuity.passes(tag)) continue;
            if (last !== undefined && last !== rival) expect(isKeyFrame(tag)).toBe(true);
            last = rival;
          }
        }
      }),
    );
  });
});
