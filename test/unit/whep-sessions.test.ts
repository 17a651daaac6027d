/** Viewers by WHEP, all of them, with peers that are none: who is let in, how many, and what ends one. */
import { describe, expect, it } from 'vitest';
import { createLiveFeed } from '../../cloud/local-stream/live-feed.ts';
import { createWhepSessions } from '../../cloud/local-stream/whep/sessions.ts';
import type { HearOpus } from '../../cloud/local-stream/whep/sound.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';
import { createFakePeers } from '../support/whep-fakes.ts';
import { offerSdp } from '../support/whep-offers.ts';

const inputUid = 'input';

function createWorld({ peers = createFakePeers(), maxSessions = 3, hasAudio = true } = {}) {
  const clock = createTestClock();
  const feed = createLiveFeed({ clock });
  const listeners = new Set<HearOpus>();
  let isSoundClosed = false;
  const sessions = createWhepSessions({
    ...{ peers, feed, clock, log: silentLog(), maxSessions },
    sound: {
      listen(_uid, hear) {
        listeners.add(hear);
        return () => void listeners.delete(hear);
      },
      async close() {
        isSoundClosed = true;
      },
    },
  });
  const push = (media: readonly FlvTag[]) => {
    for (const tag of media) feed.tag(inputUid, 'p', tag);
  };
  const publish = () => {
    feed.published({ inputUid, publicationId: 'p' });
    push([tags.videoConfig(), ...(hasAudio ? [tags.audioConfig()] : []), ...stretch({ fromMs: 0, untilMs: 200 })]);
  };
  async function begin(sdp = offerSdp(), uid = inputUid) {
    const begun = await sessions.begin(uid, 'address', sdp);
    return 'refused' in begun ? { http: begun.refused.http, sentence: begun.refused.sentence } : begun;
  }
  return { clock, feed, sessions, peers, listeners, push, publish, begin, isSoundClosed: () => isSoundClosed };
}

describe('a viewer', () => {
  it('is answered, and gets pictures and sound once it is connected', async () => {
    const { publish, begin, peers, listeners } = createWorld();
    publish();
    expect(await begin()).toEqual({ answer: 'v=0\r\nanswer', sessionId: expect.stringMatching(/^[0-9a-f]{32}$/) });
    const [peer] = peers.made;
    // High profile is on air.
    expect(peer?.offer.video.payloadType).toBe(110);
    expect(peer?.pictures).toHaveLength(0);
    peer?.events.open();
    for (const hear of listeners) hear(Buffer.from('opus'), 200);
    expect([peer?.pictures.length, peer?.sounds.length]).toEqual([5, 1]);
  });
  it('of an input without sound listens to none', async () => {
    const { publish, begin, peers, listeners } = createWorld({ hasAudio: false });
    publish();
    await begin();
    expect(peers.made[0]?.offer).toMatchObject({ audio: undefined, unused: [{ mid: '1', kind: 'audio' }] });
    expect(listeners.size).toBe(0);
  });
  it.each([
    ['nothing is on air', 409, 'Live broadcast not started yet', undefined],
    ['the offer is none', 400, 'Unable to parse SDP', 'v=0\r\n'],
    ['it takes no H.264', 406, 'H.264', offerSdp({ video: [[96, 'VP8/90000']] })],
  ])('is refused when %s', async (what, http, sentence, sdp) => {
    const { publish, begin, peers, sessions } = createWorld();
    if (!what.startsWith('nothing')) publish();
    expect(await begin(sdp)).toEqual({ http, sentence: expect.stringContaining(sentence) });
    expect([peers.made.length, sessions.count()]).toEqual([0, 0]);
  });
  it('is refused with the reason when the publisher sends B-frames', async () => {
    const { publish, push, begin } = createWorld();
    publish();
    push([tags.picture(400, { ctsMs: 120 }), tags.picture(440, { ctsMs: 0 })]);
    expect(await begin()).toEqual({ http: 406, sentence: expect.stringContaining('B-frames') });
  });
  it('is refused beyond the limit, and let in when another one has left', async () => {
    const { publish, begin, sessions, peers } = createWorld({ maxSessions: 2 });
    publish();
    const [first] = await Promise.all([begin(), begin()]);
    expect(await begin()).toMatchObject({ http: 503 });
    expect(sessions.end('another-address', 'sessionId' in first ? first.sessionId : '')).toBe(false);
    expect(sessions.end('address', 'sessionId' in first ? first.sessionId : '')).toBe(true);
    expect(peers.made[0]?.isClosed).toBe(true);
    expect(await begin()).toHaveProperty('answer');
  });
  it('are not begun faster than the memory bears that each one leaves', async () => {
    const { clock, publish, begin, sessions } = createWorld();
    publish();
    async function comeAndGo() {
      const begun = await begin();
      if ('sessionId' in begun) sessions.end('address', begun.sessionId);
      return 'sessionId' in begun;
    }
    let letIn = 0;
    while (await comeAndGo()) letIn += 1;
    expect(letIn).toBe(100);
    await clock.advance(1000);
    letIn = 0;
    while (await comeAndGo()) letIn += 1;
    expect(letIn).toBe(5);
  });
  it('whose offer the library cannot use is refused, and holds no place', async () => {
    const peers = createFakePeers({ answer: () => Promise.reject(new Error('no')) });
    const { publish, begin, sessions, clock, listeners } = createWorld({ peers });
    publish();
    expect(await begin()).toEqual({ http: 400, sentence: 'Unable to parse SDP' });
    expect([sessions.count(), listeners.size, clock.pending()]).toEqual([0, 0, []]);
    expect(peers.made[0]?.isClosed).toBe(true);
  });
  it('is told to play something else where the library cannot be loaded', async () => {
    const peers = createFakePeers();
    const create = () => Promise.reject(new Error('Cannot find module'));
    const { publish, begin, sessions, clock } = createWorld({ peers: { ...peers, create } });
    publish();
    expect(await begin()).toEqual({ http: 503, sentence: expect.stringContaining('play HLS or FLV') });
    expect([sessions.count(), clock.pending()]).toEqual([0, []]);
  });
  it('for whom no answer is found in 10 s is told to come again', async () => {
    const { publish, begin, clock } = createWorld({ peers: createFakePeers({ answer: () => new Promise(() => {}) }) });
    publish();
    const asked = begin();
    await clock.advance(10_000);
    expect(await asked).toMatchObject({ http: 503 });
  });
});

describe('a session ends', () => {
  async function connected() {
    const world = createWorld();
    world.publish();
    await world.begin();
    const [peer] = world.peers.made;
    peer?.events.open();
    const nothingIsLeft = () =>
      expect([world.sessions.count(), world.listeners.size, world.clock.pending()]).toEqual([0, 0, []]);
    return { ...world, peer, nothingIsLeft };
  }
  it('when it does not connect within 10 s', async () => {
    const { publish, begin, sessions, clock, peers } = createWorld();
    publish();
    await begin();
    await clock.advance(9999);
    expect(sessions.count()).toBe(1);
    await clock.advance(1);
    expect([sessions.count(), peers.made[0]?.isClosed]).toEqual([0, true]);
  });
  it('when its peer is gone', async () => {
    const { peer, nothingIsLeft, push } = await connected();
    peer?.events.closed('disconnected');
    nothingIsLeft();
    push(stretch({ fromMs: 1000, untilMs: 1200 }));
    expect(peer?.pictures).toHaveLength(5);
  });
  it('with the broadcast, not with its publisher', async () => {
    const { peer, nothingIsLeft, feed, sessions } = await connected();
    feed.unpublished({ inputUid, publicationId: 'p' });
    expect(sessions.count()).toBe(1);
    feed.end(inputUid);
    nothingIsLeft();
    expect(peer?.isClosed).toBe(true);
  });
  it('with the program, and nobody is let in any more', async () => {
    const { peer, nothingIsLeft, sessions, peers, begin, isSoundClosed } = await connected();
    await sessions.close();
    nothingIsLeft();
    expect([peer?.isClosed, peers.isClosed, isSoundClosed()]).toEqual([true, true, true]);
    expect(await begin()).toMatchObject({ http: 409 });
  });
});
