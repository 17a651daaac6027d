/** One FLV viewer: what it is told beside the pictures, and when it is sent away. */
import { describe, expect, it } from 'vitest';
import { createFlvViewer, createSharedEncoding, type FlvEnd } from '../../cloud/local-stream/flv/viewer.ts';
import { createLiveFeed } from '../../cloud/local-stream/live-feed.ts';
import { type AmfObject, decodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { createFlvParser, type FlvTag } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const inputUid = 'input';

function createWorld({ knowsUs = true, reads = true } = {}) {
  const clock = createTestClock();
  const feed = createLiveFeed({ clock });
  feed.published({ inputUid, publicationId: 'a' });
  const push = (...given: FlvTag[]) => {
    for (const tag of given) feed.tag(inputUid, 'a', tag);
  };
  const seen: FlvTag[] = [];
  const ends: FlvEnd[] = [];
  const parser = createFlvParser({ onTag: (tag) => void seen.push(tag) });
  const join = () =>
    createFlvViewer({
      ...{ feed, inputUid, clock, encode: createSharedEncoding() },
      connection: {
        knowsUs,
        write(bytes, flushed) {
          parser.push(bytes);
          if (reads) flushed();
        },
        end: (why) => void ends.push(why),
      },
      ...{ maxQueuedBytes: 1_000_000, stuckTimeoutMs: 30_000 },
    });
  const told = () =>
    seen
      .filter(({ kind }) => kind === 'script')
      .map(({ body }) => decodeAmf0(body))
      .filter(([name]) => name === 'onGlasscastClock')
      .map(([, fields]) => fields as AmfObject);
  return { clock, feed, push, seen, ends, join, told };
}

const silent = (fromMs: number, untilMs: number) => stretch({ fromMs, untilMs, hasSound: false });

describe('a viewer', () => {
  it('is told each second what time it was here when a picture came, counted from its first one', async () => {
    const { clock, push, join, told } = createWorld();
    push(tags.videoConfig(), ...silent(5000, 6000));
    const startMs = clock.now();
    join();
    // What was kept came earlier, nobody knows when.
    expect(told()).toEqual([]);
    for (const tag of silent(6000, 8040)) {
      push(tag);
      await clock.advance(40);
    }
    expect(told().map((fields) => ({ ...fields }))).toEqual([
      { wallMs: startMs, mediaMs: 1000 },
      { wallMs: startMs + 1000, mediaMs: 2000 },
      { wallMs: startMs + 2000, mediaMs: 3000 },
    ]);
  });

  it('is told that we wait as well, when no picture comes', async () => {
    const { clock, push, join, told } = createWorld();
    push(tags.videoConfig(), ...silent(0, 1000));
    const viewer = join();
    await clock.advance(1000);
    viewer?.tick();
    expect(told()).toEqual([]);
    await clock.advance(1000);
    viewer?.tick();
    expect(told()).toMatchObject([{ isWaiting: true }]);
  });

  it('is told to come back when the tracks change; another player goes on without the sound', () => {
    for (const knowsUs of [true, false]) {
      const { push, join, told, ends, seen } = createWorld({ knowsUs });
      push(tags.videoConfig(), ...silent(0, 1000));
      join();
      push(tags.audioConfig(), tags.sound(1000), ...silent(1000, 2000));
      expect(ends).toEqual(knowsUs ? ['tracks-changed'] : []);
      expect(told().some(({ isChanged }) => isChanged === true)).toBe(knowsUs);
      expect(seen.some(({ kind }) => kind === 'audio')).toBe(false);
    }
  });

  it('that takes nothing for 30 seconds is sent away, once; nothing is written to it after that', async () => {
    const { clock, push, join, ends, seen } = createWorld({ reads: false });
    push(tags.videoConfig(), ...silent(0, 1000));
    const viewer = join();
    await clock.advance(29_000);
    viewer?.tick();
    expect(ends).toEqual([]);
    await clock.advance(1000);
    viewer?.tick();
    viewer?.tick();
    expect(ends).toEqual(['too-slow']);
    const before = seen.length;
    push(...silent(40_000, 41_000));
    expect(seen).toHaveLength(before);
  });

  it('is told of the end of the broadcast, and is none while nothing is on air', () => {
    const { feed, push, join, ends } = createWorld();
    push(tags.videoConfig(), ...silent(0, 1000));
    join();
    feed.end(inputUid);
    expect(ends).toEqual(['ended']);
    expect(join()).toBeUndefined();
  });
});
