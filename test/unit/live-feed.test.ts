/** The live feed: what a viewer who joins in the middle is given, and what happens to it when publishers come and go. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLiveFeed } from '../../cloud/local-stream/live-feed.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const inputUid = 'input';

function createWorld() {
  const clock = createTestClock();
  const feed = createLiveFeed({ clock });
  function watch() {
    const seen: FlvTag[] = [];
    const viewer = {
      seen,
      isEnded: false,
      tag: (tag: FlvTag) => void seen.push(tag),
      ended() {
        viewer.isEnded = true;
      },
    };
    return { viewer, leave: feed.join(inputUid, viewer) };
  }
  return {
    ...{ clock, feed, watch },
    publish(publicationId: string) {
      feed.published({ inputUid, publicationId });
      for (const tag of [tags.videoConfig(), tags.audioConfig()]) feed.tag(inputUid, publicationId, tag);
    },
    push(publicationId: string, media: readonly FlvTag[]) {
      for (const tag of media) feed.tag(inputUid, publicationId, tag);
    },
  };
}

const media = (seen: readonly FlvTag[]) => seen.filter((tag) => tag.kind !== 'script' && !isSequenceHeader(tag));

describe('joining', () => {
  it('is refused while nothing is on air', () => {
    const { feed, watch } = createWorld();
    expect(watch().leave).toBeUndefined();
    expect(feed.describe(inputUid)).toBeUndefined();
  });

  it('gives the configuration, then everything since the newest key frame, then what comes', () => {
    const { publish, push, watch } = createWorld();
    publish('a');
    push('a', stretch({ fromMs: 0, untilMs: 2500 }));
    const { viewer, leave } = watch();
    expect(viewer.seen.slice(0, 2).every(isSequenceHeader)).toBe(true);
    const [first] = media(viewer.seen);
    expect(first && isKeyFrame(first)).toBe(true);
    const had = viewer.seen.length;
    push('a', stretch({ fromMs: 2500, untilMs: 2600 }));
    expect(viewer.seen.length).toBeGreaterThan(had);
    leave?.();
    const left = viewer.seen.length;
    push('a', stretch({ fromMs: 2600, untilMs: 2700 }));
    expect(viewer.seen).toHaveLength(left);
  });

  it('waits for the first key frame, sound included', () => {
    const { publish, push, watch } = createWorld();
    publish('a');
    const { viewer } = watch();
    push(
      'a',
      stretch({ fromMs: 0, untilMs: 900 }).filter((tag) => !isKeyFrame(tag)),
    );
    expect(media(viewer.seen)).toEqual([]);
    push('a', stretch({ fromMs: 1000, untilMs: 1100 }));
    const [first] = media(viewer.seen);
    expect(first && isKeyFrame(first)).toBe(true);
  });

  it('never shows a picture of an older configuration', () => {
    const { publish, push, watch } = createWorld();
    publish('a');
    push('a', stretch({ fromMs: 0, untilMs: 500 }));
    push('a', [tags.videoConfig()]);
    expect(media(watch().viewer.seen)).toEqual([]);
  });
});

describe('publishers', () => {
  it('a newcomer goes on the same timeline, after the time that has passed', async () => {
    const { clock, feed, publish, push, watch } = createWorld();
    publish('a');
    push('a', stretch({ fromMs: 0, untilMs: 5000 }));
    const { viewer } = watch();
    feed.unpublished({ inputUid, publicationId: 'a' });
    expect(feed.describe(inputUid)).toEqual({ isLive: false, hasVideo: true, hasAudio: true });
    await clock.advance(3000);
    publish('b');
    push('b', stretch({ fromMs: 0, untilMs: 1000 }));
    const times = media(viewer.seen)
      .filter(({ kind }) => kind === 'video')
      .map(({ timestampMs }) => timestampMs);
    expect([...times].sort((a, b) => a - b)).toEqual(times);
    expect(Math.max(...times)).toBeGreaterThan(8000);
    expect(viewer.isEnded).toBe(false);
  });

  it('a rival whose publication is not the present one is not heard', () => {
    const { publish, push, watch } = createWorld();
    publish('a');
    publish('b');
    const { viewer } = watch();
    push('a', stretch({ fromMs: 0, untilMs: 1000 }));
    expect(media(viewer.seen)).toEqual([]);
  });

  it('the end of the broadcast is told once, and is the last thing', () => {
    const { feed, publish, push, watch } = createWorld();
    publish('a');
    const { viewer } = watch();
    feed.end(inputUid);
    feed.end(inputUid);
    expect(viewer.isEnded).toBe(true);
    push('a', stretch({ fromMs: 0, untilMs: 1000 }));
    expect(media(viewer.seen)).toEqual([]);
  });
});

it('whatever is sent, each viewer begins with a key frame and sees no tag twice', () => {
  const someTag = fc.record({
    kind: fc.constantFrom<FlvTag['kind']>('audio', 'video', 'script'),
    timestampMs: fc.integer({ min: 0, max: 20_000 }),
    body: fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
  });
  fc.assert(
    fc.property(fc.array(fc.oneof(someTag, fc.constant('join' as const)), { maxLength: 200 }), (steps) => {
      const { feed, watch } = createWorld();
      feed.published({ inputUid, publicationId: 'a' });
      const viewers: ReturnType<typeof watch>['viewer'][] = [];
      for (const step of steps) {
        if (step === 'join') viewers.push(watch().viewer);
        else feed.tag(inputUid, 'a', step);
      }
      for (const { seen } of viewers) {
        const [first] = media(seen);
        expect(first === undefined || isKeyFrame(first)).toBe(true);
        const bodies = seen.map(({ body }) => body);
        expect(new Set(bodies).size).toBe(bodies.length);
      }
    }),
  );
});
