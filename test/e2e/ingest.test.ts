/** The RTMP ingest, listening for real: strangers, keys, takeover, silence, slow players. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createIngestWorld } from '../support/ingest-world.ts';
import { httpAbuse, rtmpAbuse } from '../support/rtmp-abuse.ts';
import { media, type RtmpTestPeer } from '../support/rtmp-peer.ts';
import { createTestClock } from '../support/test-clock.ts';

const videoAt = (timestampMs: number) => (message: { type: number; timestampMs: number }) =>
  message.type === 9 && message.timestampMs === timestampMs;
/** Times of the pictures that a player got, headers left out. */
const videoTimes = (player: RtmpTestPeer) =>
  player.received.filter(({ type, body }) => type === 9 && body[1] === 1).map(({ timestampMs }) => timestampMs);

describe('strangers', () => {
  it('none of the malformed inputs disturbs a healthy publisher and its player', async () => {
    const { publisher, player, peer, ingest, lines } = await createIngestWorld(createTestClock());
    const healthy = await publisher('key-healthy');
    const viewer = await player('watch-healthy');
    let timestampMs = 0;
    for (const abuse of rtmpAbuse) {
      const stranger = await peer();
      await abuse.run(stranger, 'key-stranger');
      if (abuse.ends) await stranger.closed;
      timestampMs += 40;
      healthy.tag(media.key(timestampMs));
      await viewer.wait(videoAt(timestampMs));
      await stranger.close();
    }
    expect(videoTimes(viewer)).toEqual(rtmpAbuse.map((_, index) => 40 * (index + 1)));
    expect(ingest.publications().map(({ inputUid }) => inputUid)).toContain('healthy');
    expect(lines.filter((line) => line.includes('ingest-host-failed'))).toEqual([]);
  });

  it.each(httpAbuse)('HTTP meets no answer: $name', async ({ request }) => {
    const { peer } = await createIngestWorld(createTestClock());
    const stranger = await peer();
    let answered = 0;
    stranger.socket.on('data', (bytes) => {
      answered += bytes.length;
    });
    stranger.raw(Buffer.from(request));
    await stranger.closed;
    expect(answered).toBe(0);
  });

  it.runIf(process.platform === 'linux')('nothing else listens, and no folder appears', async () => {
    const before = listeningPorts();
    const folder = readdirSync('.');
    const { port } = await createIngestWorld(createTestClock());
    expect(listeningPorts().filter((other) => !before.includes(other))).toEqual([port]);
    expect(readdirSync('.')).toEqual(folder);
  });

  it('a slow handshake is closed after 5 s, however it trickles', async () => {
    const clock = createTestClock();
    const { peer } = await createIngestWorld(clock);
    const loris = await peer();
    loris.raw(Buffer.from([3, 1]));
    await clock.advance(4999);
    loris.raw(Buffer.from([1]));
    expect(loris.socket.destroyed).toBe(false);
    await clock.advance(1);
    await loris.closed;
  });

  it('a peer that connects and asks for nothing is closed after 8 s', async () => {
    const clock = createTestClock();
    const { peer } = await createIngestWorld(clock);
    const silent = await peer();
    await silent.open();
    await clock.advance(8000);
    await silent.closed;
  });

  it('connections beyond the limit are closed as they come', async () => {
    const { peer, publisher } = await createIngestWorld(createTestClock(), { limits: { maxConnections: 2 } });
    await publisher('key-a');
    await peer();
    const third = await peer();
    await third.closed;
  });
});

describe('keys', () => {
  it('a wrong key is refused before any success, and none of its media goes anywhere', async () => {
    const { peer, player, publisher, tags, ingest, lines, events } = await createIngestWorld(createTestClock());
    const viewer = await player('watch-a');
    const stranger = await peer();
    await stranger.open();
    stranger.command('publish', 3, null, 'wrong-key', 'live');
    // Sent without waiting for an answer: the bypass that NMS had.
    for (const tag of [media.videoHeader(), media.key(1), media.frame(2)]) stranger.tag(tag);
    expect(await stranger.status('NetStream.')).toBe('NetStream.Publish.Denied');
    await stranger.closed;
    expect(tags).toEqual([]);
    expect(ingest.publications()).toEqual([]);
    expect(events).toEqual([]);
    (await publisher('key-a')).tag(media.key(100, 7));
    await viewer.wait(videoAt(100));
    expect(videoTimes(viewer)).toEqual([100]);
    expect(lines.join('\n')).not.toContain('wrong-key');
  });

  it('a refused peer that never closes its side is gone after a second', async () => {
    const clock = createTestClock();
    const { peer } = await createIngestWorld(clock);
    const stranger = await peer();
    stranger.socket.allowHalfOpen = true;
    await stranger.open();
    await stranger.publish('wrong-key');
    await clock.advance(999);
    expect(clock.pending()).toEqual(['ingest-connection']);
    await clock.advance(1);
    expect(clock.pending()).toEqual([]);
  });

  it('a wrong playback key is refused, and a stream key plays nothing', async () => {
    const { peer } = await createIngestWorld(createTestClock());
    for (const key of ['nothing', 'key-a']) {
      const stranger = await peer();
      await stranger.open();
      expect(await stranger.play(key)).toBe('NetStream.Play.StreamNotFound');
      await stranger.closed;
    }
  });

  it('no key is logged or sent to a player', async () => {
    const { publisher, player, lines } = await createIngestWorld(createTestClock());
    const device = await publisher('key-topsecret');
    const viewer = await player('watch-topsecret');
    device.tag(media.key(40));
    await viewer.wait(videoAt(40));
    const written = [...lines, ...viewer.received.map(({ body }) => body.toString('latin1'))].join('\n');
    expect(written).not.toMatch(/key-topsecret|watch-topsecret/);
    expect(device.received.map(({ body }) => body.toString('latin1')).join()).not.toContain('key-topsecret');
  });

  it('a host that throws refuses, and says so in the log only', async () => {
    const broken = () => {
      throw new Error('database is gone');
    };
    const host = {
      authorisePublish: broken,
      authorisePlay: broken,
      published: broken,
      tag: broken,
      refused: broken,
      unpublished: broken,
    };
    const { peer } = await createIngestWorld(createTestClock(), { host });
    const device = await peer();
    await device.open();
    expect(await device.publish('key-a')).toBe('NetStream.Failed');
    await device.closed;
  });
});

describe('takeover', () => {
  it('the newest connection with the key wins; players stay and get its headers and media', async () => {
    const { publisher, player, events, ingest, tags } = await createIngestWorld(createTestClock());
    const first = await publisher('key-a');
    const viewer = await player('watch-a');
    first.tag(media.key(1000, 1));
    await viewer.wait(videoAt(1000));
    const second = await publisher('key-a');
    // The first one goes on as if nothing were: nothing of it may arrive any more.
    first.tag(media.frame(1040, 0xee));
    expect(await first.status('NetStream.Publish.BadName')).toBe('NetStream.Publish.BadName');
    await first.closed;
    second.tag(media.key(1500, 2));
    await viewer.wait(videoAt(1500));
    expect(events).toEqual(['published a', 'unpublished a taken-over', 'published a']);
    expect(viewer.received.filter(({ type, body }) => type === 9 && body[1] === 0)).toHaveLength(2);
    expect(videoTimes(viewer)).toEqual([1000, 1500]);
    expect(tags.some(({ tag }) => tag.body.includes(0xee))).toBe(false);
    expect(new Set(tags.map(({ publicationId }) => publicationId)).size).toBe(2);
    expect(ingest.publications()).toHaveLength(1);
  });

  it('a stream is reached by its own key only', async () => {
    const { publisher, player, tags } = await createIngestWorld(createTestClock());
    const mine = await publisher('key-a');
    const other = await publisher('key-b');
    const viewer = await player('watch-a');
    other.tag(media.key(10, 0xbb));
    mine.tag(media.key(20, 0xaa));
    await viewer.wait(videoAt(20));
    expect(videoTimes(viewer)).toEqual([20]);
    expect(tags.filter(({ inputUid, tag }) => inputUid === 'a' && tag.body.includes(0xbb))).toEqual([]);
  });

  it('what a returning publisher sends twice goes on once', async () => {
    const { publisher, player, tags, event } = await createIngestWorld(createTestClock());
    const sent = [media.key(1000), media.audio(1010), media.frame(1040), media.audio(1033), media.frame(1080)];
    const later = [media.frame(1120), media.audio(1056), media.key(1160)];
    const first = await publisher('key-a');
    const viewer = await player('watch-a');
    for (const tag of sent) first.tag(tag);
    await viewer.wait(videoAt(1080));
    await first.close();
    await event('unpublished a closed');
    const second = await publisher('key-a');
    for (const tag of [...sent.slice(1), ...later]) second.tag(tag);
    await viewer.wait(videoAt(1160));
    expect(videoTimes(viewer)).toEqual([1000, 1040, 1080, 1120, 1160]);
    const received = tags.filter(({ tag }) => tag.kind !== 'script' && tag.body[1] === 1).map(({ tag }) => tag);
    expect(received).toEqual([...sent, ...later]);
  });

  it('a new broadcast that begins again near zero is taken from its first picture', async () => {
    const { publisher, player, event } = await createIngestWorld(createTestClock());
    const first = await publisher('key-a');
    const viewer = await player('watch-a');
    for (const tag of [media.key(0, 1), media.frame(1500, 1), media.frame(3000, 1)]) first.tag(tag);
    await viewer.wait(videoAt(3000));
    await first.close();
    await event('unpublished a closed');
    const second = await publisher('key-a');
    for (const tag of [media.key(0, 2), media.frame(40, 2)]) second.tag(tag);
    // Players stop at time that steps back: for them it goes on.
    await viewer.wait(videoAt(3041));
    expect(videoTimes(viewer)).toEqual([0, 1500, 3000, 3001, 3041]);
  });
});

describe('silence and load', () => {
  it('a publisher that sends nothing for 8 s is ended, and not before', async () => {
    const clock = createTestClock();
    const { publisher, event, events, tag } = await createIngestWorld(clock);
    const device = await publisher('key-a');
    await clock.advance(7000);
    device.tag(media.key(40));
    await tag(({ timestampMs }) => timestampMs === 40);
    await clock.advance(7999);
    expect(events).toEqual(['published a']);
    await clock.advance(1);
    await event('unpublished a idle');
    expect(await device.status('NetConnection.Connect.Closed')).toBe('NetConnection.Connect.Closed');
    await device.closed;
  });

  it('the end of the socket ends the publication at once', async () => {
    const { publisher, event } = await createIngestWorld(createTestClock());
    const device = await publisher('key-a');
    device.socket.resetAndDestroy();
    await event('unpublished a closed');
  });

  it('deleteStream ends the publication', async () => {
    const { publisher, event } = await createIngestWorld(createTestClock());
    const device = await publisher('key-a');
    device.command('deleteStream', 9, null, 1);
    await event('unpublished a closed');
    await device.closed;
  });

  it('a player that does not read is dropped; publisher and others go on', async () => {
    const { publisher, player, ingest, lines } = await createIngestWorld(createTestClock(), {
      limits: { maxQueuedBytes: 512 * 1024 },
    });
    const device = await publisher('key-a');
    const slow = await player('watch-a');
    const fast = await player('watch-a');
    slow.socket.pause();
    let timestampMs = 0;
    while (!lines.some((line) => line.includes('too-slow'))) {
      timestampMs += 40;
      device.tag(media.key(timestampMs, 1, 100_000));
      await fast.wait(videoAt(timestampMs));
    }
    expect(ingest.publications()).toHaveLength(1);
    expect(videoTimes(fast).at(-1)).toBe(timestampMs);
    slow.socket.resume();
    await slow.closed;
  });

  it('a player that joins begins at the last key frame, with headers before it', async () => {
    const { publisher, player, tag } = await createIngestWorld(createTestClock());
    const device = await publisher('key-a');
    for (const sent of [media.key(0), media.frame(40), media.key(80), media.frame(120)]) device.tag(sent);
    await tag(({ timestampMs }) => timestampMs === 120);
    const viewer = await player('watch-a');
    await viewer.wait(videoAt(120));
    expect(videoTimes(viewer)).toEqual([80, 120]);
    const kinds = viewer.received
      .filter(({ type }) => [8, 9, 18].includes(type))
      .map(({ type, body }) => [type, body[1]]);
    expect(kinds.slice(-4)).toEqual([
      [8, 0],
      [9, 0],
      [9, 1],
      [9, 1],
    ]);
  });

  it('a player in the middle of a group of pictures waits for the next key frame', async () => {
    const { publisher, player, tag } = await createIngestWorld(createTestClock());
    const device = await publisher('key-a');
    device.tag(media.frame(40));
    await tag(({ timestampMs }) => timestampMs === 40);
    const viewer = await player('watch-a');
    for (const sent of [media.frame(80), media.key(120), media.frame(160)]) device.tag(sent);
    await viewer.wait(videoAt(160));
    expect(videoTimes(viewer)).toEqual([120, 160]);
  });

  it('time stamps beyond 24 bits and the wrap after 49.7 days pass unharmed', async () => {
    const { publisher, player } = await createIngestWorld(createTestClock());
    const device = await publisher('key-a');
    const viewer = await player('watch-a');
    const times = [0xfffffe, 0xffffff, 0x1000000, 0xfffffff0, 5];
    for (const timestampMs of times) device.tag(media.key(timestampMs, 1, 70_000));
    await viewer.wait(videoAt(5));
    expect(videoTimes(viewer)).toEqual(times);
  });

  it('a publisher gets acknowledgements of what was read', async () => {
    const { publisher } = await createIngestWorld(createTestClock());
    const device = await publisher('key-a');
    device.tag(media.key(40, 1, 300_000));
    const { body } = await device.wait(({ type, body }) => type === 3 && body.readUInt32BE(0) > 200_000);
    expect(body.readUInt32BE(0)).toBeLessThanOrEqual(device.socket.bytesWritten - 3073);
  });
});

/** TCP ports that this very process listens on. */
function listeningPorts(): number[] {
  const own = new Set(
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return [/^socket:\[(\d+)\]/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? ''];
      } catch {
        return [];
      }
    }),
  );
  return ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((columns) => columns[3] === '0A' && own.has(columns[9] ?? ''))
      .map((columns) => Number.parseInt(columns[1]?.split(':')[1] ?? '0', 16)),
  );
}
