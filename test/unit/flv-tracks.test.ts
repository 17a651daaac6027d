/** What an FLV header promises, and that the stream keeps to it. */
import { describe, expect, it } from 'vitest';
import { createFlvTracks } from '../../cloud/local-stream/flv/tracks.ts';
import { type FlvTag, isKeyFrame } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';

function createWorld() {
  const seen: FlvTag[] = [];
  const world = {
    seen,
    header: undefined as { audio: boolean; originMs: number } | undefined,
    changes: 0,
    take(...given: FlvTag[]) {
      for (const tag of given) tracks.take(tag);
    },
  };
  const tracks = createFlvTracks({
    opened(header) {
      expect(seen).toEqual([]);
      world.header = header;
    },
    tag: (tag) => void seen.push(tag),
    changed: () => {
      world.changes += 1;
    },
  });
  return world;
}
const promise = tags.metadata('audiocodecid');
const silent = (fromMs: number, untilMs: number) => stretch({ fromMs, untilMs, hasSound: false });
const loud = (fromMs: number, untilMs: number) => stretch({ fromMs, untilMs });

describe('the header', () => {
  it('promises no sound when none was announced, and goes out with the first key frame', () => {
    const world = createWorld();
    world.take(tags.metadata(), tags.videoConfig(), tags.picture(960));
    expect(world.header).toBeUndefined();
    world.take(tags.picture(1000, { isKey: true }));
    expect(world.header).toEqual({ audio: false, video: true, originMs: 1000 });
    expect(world.seen).toHaveLength(3);
  });

  it('promises sound as soon as it is there', () => {
    const world = createWorld();
    world.take(promise, tags.videoConfig(), tags.audioConfig(), tags.picture(1000, { isKey: true }));
    expect(world.header).toBeUndefined();
    // Older than the first picture: a player would count its time from there.
    world.take(tags.sound(990), tags.sound(1013));
    expect(world.header).toMatchObject({ audio: true, originMs: 1000 });
    expect(world.seen.filter(({ kind }) => kind === 'audio').map(({ timestampMs }) => timestampMs)).toEqual([0, 1013]);
  });

  it('promises no sound that was only announced', () => {
    for (const announced of [promise, tags.audioConfig()]) {
      const world = createWorld();
      world.take(announced, tags.videoConfig(), ...silent(0, 760));
      expect(world.header).toBeUndefined();
      world.take(...silent(760, 900));
      expect(world.header).toMatchObject({ audio: false });
      expect(world.seen.filter(({ kind }) => kind !== 'video')).toEqual([]);
    }
  });

  it('comes in the end, however strange the publisher’s time is', () => {
    const world = createWorld();
    world.take(promise, tags.videoConfig());
    for (let i = 0; i < 600; i += 1) world.take(tags.picture(0, { isKey: true }));
    expect(world.header).toMatchObject({ audio: false });
  });
});

describe('later', () => {
  it('sound that was not promised is left out, and told', () => {
    const world = createWorld();
    world.take(tags.videoConfig(), ...silent(0, 1000), tags.audioConfig());
    expect(world.changes).toBe(0);
    world.take(...loud(1000, 2000));
    expect(world.changes).toBe(1);
    expect(world.seen.every(({ kind }) => kind === 'video')).toBe(true);
    expect(world.seen.filter(isKeyFrame)).toHaveLength(2);
  });

  it('sound that stays away is told after three seconds of pictures, and not of absence', () => {
    const world = createWorld();
    world.take(tags.videoConfig(), tags.audioConfig(), ...loud(0, 1000));
    world.take(...silent(60_000, 62_000));
    expect(world.changes).toBe(0);
    world.take(...silent(62_000, 64_000));
    expect(world.changes).toBe(1);
  });
});
