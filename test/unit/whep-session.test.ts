/** One viewer by WHEP: how it catches up, what it is sent when it lost its way, and what ends it. */
import { describe, expect, it } from 'vitest';
import { createLiveFeed } from '../../cloud/local-stream/live-feed.ts';
import { createWhepSession } from '../../cloud/local-stream/whep/session.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const inputUid = 'input';

function createWorld() {
  const clock = createTestClock();
  const feed = createLiveFeed({ clock });
  const pictures: { unit: Buffer; rtpTime: number }[] = [];
  const sounds: number[] = [];
  const endings: string[] = [];
  const session = createWhepSession({
    ...{ inputUid, feed, clock },
    peer: {
      sendPicture: (unit, rtpTime) => void pictures.push({ unit, rtpTime }),
      sendSound: (_packet, rtpTime) => void sounds.push(rtpTime),
    },
    onEnded: (reason) => void endings.push(reason),
  });
  const push = (media: readonly FlvTag[]) => {
    for (const tag of media) feed.tag(inputUid, 'p', tag);
  };
  feed.published({ inputUid, publicationId: 'p' });
  push([tags.videoConfig()]);
  const rises = () => pictures.slice(1).map(({ rtpTime }, index) => (rtpTime - (pictures[index]?.rtpTime ?? 0)) >>> 0);
  return { clock, feed, session, pictures, sounds, endings, push, rises };
}

const silent = (fromMs: number, untilMs: number) => stretch({ fromMs, untilMs, hasSound: false });
/** A picture of so many bytes. */
const large = (timestampMs: number, bytes: number, isKey = false): FlvTag => {
  const body = Buffer.alloc(5 + bytes);
  body.writeUInt8(isKey ? 0x17 : 0x27, 0);
  body.writeUInt8(1, 1);
  body.writeUInt32BE(bytes - 4, 5);
  return { kind: 'video', timestampMs, body };
};

describe('a viewer that joins', () => {
  it('is at the live edge at once: what is past takes no time in it, what comes has its own', () => {
    const { session, pictures, push, rises } = createWorld();
    push(silent(0, 400));
    session.open();
    session.open();
    expect(pictures).toHaveLength(10);
    push(silent(0, 480).slice(10));
    expect(rises()).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 3600 - 9, 3600]);
  });
  it('gets what is past evenly, so that no socket overflows, and what comes behind it in order', async () => {
    const { session, pictures, push, clock } = createWorld();
    push([large(0, 30_000, true), ...[40, 80, 120, 160].map((ms) => large(ms, 15_000))]);
    session.open();
    expect(pictures).toHaveLength(1);
    push([large(200, 100)]);
    expect(pictures).toHaveLength(1);
    await clock.advance(4);
    expect(pictures).toHaveLength(3);
    await clock.advance(4);
    expect(pictures.map(({ unit }) => unit.length).slice(1)).toEqual([15_000, 15_000, 15_000, 15_000]);
    await clock.advance(4);
    expect(pictures.at(-1)?.unit.length).toBe(100);
    expect(clock.pending()).toEqual([]);
  });
  it('before there is a key frame waits for it', () => {
    const { session, pictures, push } = createWorld();
    session.open();
    push([tags.picture(0), tags.picture(40, { isKey: true }), tags.picture(80)]);
    expect(pictures).toHaveLength(2);
  });
  it('has sound in time with the picture, and none before it', () => {
    const { session, pictures, sounds, push } = createWorld();
    session.open();
    session.hear(Buffer.alloc(1), 0);
    expect(sounds).toEqual([]);
    push([tags.picture(1000, { isKey: true })]);
    for (const ms of [1000, 1010, 1020]) session.hear(Buffer.alloc(1), ms);
    push([tags.picture(1020)]);
    const [first = 0, , third = 0] = sounds;
    expect((third - first) >>> 0).toBe(960);
    expect(((pictures[1]?.rtpTime ?? 0) - (pictures[0]?.rtpTime ?? 0)) >>> 0).toBe(1800);
  });
  it('gets the rest dropped up to a key frame when more waits than it may', async () => {
    const { session, pictures, push, clock } = createWorld();
    push([large(0, 7_000_000, true)]);
    session.open();
    push([large(40, 7_000_000), ...[80, 120, 160].map((ms) => large(ms, 8_000_000))]);
    const before = pictures.length;
    push([large(200, 100), tags.picture(240, { isKey: true }), tags.picture(280)]);
    await clock.advance(1000);
    expect(pictures.slice(before).every(({ unit }) => unit.length < 200 || unit.length >= 7_000_000)).toBe(true);
    expect(pictures.at(-1)?.unit.length).toBe(8);
    expect(clock.pending()).toEqual([]);
  });
});

describe('a viewer that lost its way', () => {
  it('gets everything since the key frame again, in time that rises, and not twice in half a second', async () => {
    const { session, pictures, push, clock, rises } = createWorld();
    push(silent(0, 120));
    session.open();
    session.keyFrameWanted();
    expect(pictures).toHaveLength(3);
    await clock.advance(600);
    session.keyFrameWanted();
    session.keyFrameWanted();
    expect(pictures).toHaveLength(6);
    push([tags.picture(160)]);
    expect(pictures).toHaveLength(7);
    expect(rises().every((rise) => rise > 0 && rise <= 7200)).toBe(true);
  });
});

describe('a session', () => {
  it('goes on over a publisher that goes and another one that comes, of another size', async () => {
    const { session, pictures, push, feed, endings, clock, rises } = createWorld();
    push(silent(0, 80));
    session.open();
    feed.unpublished({ inputUid, publicationId: 'p' });
    await clock.advance(5000);
    feed.published({ inputUid, publicationId: 'p' });
    push([tags.videoConfig('1280x720'), ...silent(0, 80)]);
    expect(pictures).toHaveLength(4);
    expect(rises()[1]).toBeGreaterThan(4990 * 90);
    expect(endings).toEqual([]);
  });
  it('ends once with the broadcast, and sends nothing after it', () => {
    const { session, pictures, push, feed, endings } = createWorld();
    push(silent(0, 80));
    session.open();
    feed.end(inputUid);
    session.hear(Buffer.alloc(1), 0);
    session.keyFrameWanted();
    session.open();
    expect([pictures.length, endings]).toEqual([2, ['over']]);
  });
  it('ends when there is nothing on air any more by the time it is connected', () => {
    const { session, feed, endings } = createWorld();
    feed.end(inputUid);
    session.open();
    expect(endings).toEqual(['over']);
  });
  it('ends with the first picture out of its order', () => {
    const { session, pictures, push, endings } = createWorld();
    session.open();
    push([
      tags.picture(0, { isKey: true, ctsMs: 80 }),
      tags.picture(40, { ctsMs: 160 }),
      tags.picture(80, { ctsMs: 0 }),
    ]);
    push([tags.picture(120)]);
    expect([pictures.length, endings]).toEqual([2, ['b-frames']]);
  });
  it('that is closed leaves the feed', () => {
    const { session, pictures, push, endings } = createWorld();
    push(silent(0, 80));
    session.open();
    session.close();
    push([tags.picture(160)]);
    expect([pictures.length, endings]).toEqual([2, []]);
  });
});
