/** What waits for one FLV viewer: bounded whatever its pace, and each gap ends at a key frame. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFlvQueue } from '../../cloud/local-stream/flv/queue.ts';
import { type FlvTag, flvTagBytes, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { tags } from '../support/media-tags.ts';

const KEY_BYTES = 30_000;
const isConfiguration = (tag: FlvTag) => tag.kind === 'script' || isSequenceHeader(tag);

function picture(timestampMs: number, isKey: boolean, bytes = isKey ? KEY_BYTES : 10_000): FlvTag {
  const { body } = tags.picture(timestampMs, { isKey });
  return { kind: 'video', timestampMs, body: Buffer.concat([body, Buffer.alloc(bytes)]) };
}

/** A socket that takes what it is told to take. */
function createWorld(maxQueuedBytes = 500_000) {
  const handed: Buffer[] = [];
  const seen: FlvTag[] = [];
  const pending: (() => void)[] = [];
  const byBytes = new Map<Buffer, FlvTag>();
  let nowMs = 0;
  const queue = createFlvQueue({
    maxQueuedBytes,
    nowMs: () => nowMs,
    write(bytes, flushed) {
      handed.push(bytes);
      const tag = byBytes.get(bytes);
      if (tag) seen.push(tag);
      pending.push(flushed);
    },
  });
  return {
    ...{ queue, seen, handed },
    push(tag: FlvTag) {
      const bytes = flvTagBytes(tag);
      byBytes.set(bytes, tag);
      queue.push(tag, bytes);
    },
    reads(count: number) {
      for (let i = 0; i < count; i += 1) pending.shift()?.();
    },
    readsAll() {
      while (pending.length > 0) pending.shift()?.();
    },
    passes(ms: number) {
      nowMs += ms;
    },
  };
}

describe('a viewer that keeps up', () => {
  it('gets everything in order', () => {
    const { push, reads, seen, queue } = createWorld();
    const sent = [tags.videoConfig(), ...Array.from({ length: 100 }, (_, i) => picture(i * 40, i % 25 === 0))];
    for (const tag of sent) {
      push(tag);
      reads(1);
    }
    expect(seen).toEqual(sent);
    expect([queue.droppedTags, queue.queuedBytes, queue.stuckMs()]).toEqual([0, 0, 0]);
  });
});

describe('a viewer that cannot follow', () => {
  it('goes on at the newest key frame that waits, with the configuration that it missed', () => {
    const { push, readsAll, seen } = createWorld();
    push(tags.videoConfig());
    for (let i = 0; i < 25; i += 1) push(picture(i * 40, i === 0));
    const smaller = tags.videoConfig('854x480');
    push(smaller);
    for (let i = 25; i < 50; i += 1) push(picture(i * 40, i === 25));
    readsAll();
    const resumed = seen.findIndex(({ timestampMs }, i) => timestampMs >= 1000 && !isConfiguration(seen[i] ?? smaller));
    expect(isKeyFrame(seen[resumed] ?? smaller)).toBe(true);
    expect(seen[resumed - 1]).toBe(smaller);
    expect(seen.at(-1)?.timestampMs).toBe(49 * 40);
  });

  it('loses what is older than three seconds as soon as there is a newer key frame', () => {
    const { push, passes, readsAll, seen } = createWorld(10_000_000);
    for (let i = 0; i < 125; i += 1) {
      push(picture(i * 40, i % 25 === 0));
      passes(40);
    }
    const inSocket = seen.length;
    readsAll();
    expect(seen[inSocket]?.timestampMs).toBe(4000);
    expect(isKeyFrame(seen[inSocket] ?? picture(0, false))).toBe(true);
  });

  it('is stuck from the last thing it took on', () => {
    const { push, passes, reads, queue } = createWorld();
    push(picture(0, true));
    push(picture(40, false));
    passes(20_000);
    reads(1);
    passes(7000);
    expect(queue.stuckMs()).toBe(7000);
    reads(1);
    expect(queue.stuckMs()).toBe(0);
  });

  it('is not told the time, which would be old when it arrives', () => {
    const { push, queue, handed } = createWorld();
    queue.pushNote(Buffer.alloc(20));
    for (let i = 0; i < 20; i += 1) push(picture(i * 40, i === 0));
    const before = handed.length;
    queue.pushNote(Buffer.alloc(20));
    expect([handed[0]?.length, handed.length]).toEqual([20, before]);
  });
});

it('whatever its pace, a viewer gets a beginning at a key frame and gaps that end at one, within its bytes', () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant('picture' as const),
      bytes: fc.integer({ min: 10, max: 60_000 }),
      isKey: fc.boolean(),
    }),
    fc.record({ do: fc.constant('sound' as const) }),
    fc.record({ do: fc.constant('configuration' as const) }),
    fc.record({ do: fc.constant('read' as const), count: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 5000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const { push, reads, passes, readsAll, seen, queue } = createWorld(200_000);
      const sent: FlvTag[] = [tags.videoConfig(), picture(0, true)];
      for (const tag of sent) push(tag);
      for (const [i, one] of steps.entries()) {
        const made =
          one.do === 'picture'
            ? picture(i, one.isKey, one.bytes)
            : one.do === 'sound'
              ? tags.sound(i)
              : one.do === 'configuration'
                ? tags.videoConfig('640x360', i)
                : undefined;
        if (one.do === 'read') reads(one.count);
        if (one.do === 'wait') passes(one.ms);
        if (made) {
          sent.push(made);
          push(made);
        }
        expect(queue.queuedBytes).toBeLessThanOrEqual(200_000);
      }
      readsAll();
      const mediaSent = sent.filter((tag) => !isConfiguration(tag));
      const places = seen.filter((tag) => !isConfiguration(tag)).map((tag) => mediaSent.indexOf(tag));
      for (const [i, place] of places.entries()) {
        const before = places[i - 1] ?? -1;
        expect(place).toBeGreaterThan(before);
        const tag = mediaSent[place];
        if (place !== before + 1 || i === 0) expect(tag && isKeyFrame(tag)).toBe(true);
      }
      // Each picture is shown with the configuration that was in force when it was sent.
      for (const [i, tag] of seen.entries()) {
        if (tag.kind !== 'video' || isConfiguration(tag)) continue;
        const inForce = sent.slice(0, sent.indexOf(tag)).findLast(isConfiguration);
        expect(seen.slice(0, i).findLast(isConfiguration)).toBe(inForce);
      }
    }),
  );
});
