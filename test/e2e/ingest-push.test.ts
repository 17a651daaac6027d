/** The ingest and our own publishing client: refusal, takeover, and a network that breaks without losing or repeating. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { publishRtmp } from '../../shared/rtmp/client.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpPush } from '../../shared/rtmp/push.ts';
import { createIngestWorld } from '../support/ingest-world.ts';
import { media } from '../support/rtmp-peer.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const log = silentLog();
const addressOf = (port: number, key: string) => parsePublishUrl(`rtmp://127.0.0.1:${port}/live/${key}`);

/** A second of it is 25 pictures, the first a key frame, and 25 sounds. */
const tagAt = (index: number): FlvTag => {
  const timestampMs = Math.floor(index / 2) * 40;
  if (index % 2 === 1) return media.audio(timestampMs + 7, index & 0xff);
  return index % 50 === 0 ? media.key(timestampMs, 1, 9000) : media.frame(timestampMs, index & 0xff, 3000);
};
const isMedia = ({ kind, body }: FlvTag) => kind !== 'script' && body[1] === 1;

describe('our own client', () => {
  it('is told at once, and in words, that its key is wrong', async () => {
    const clock = createSystemClock();
    const world = await createIngestWorld(clock);
    await expect(publishRtmp({ url: addressOf(world.port, 'wrong'), clock, log })).rejects.toMatchObject({
      code: 'INGEST_REFUSED_KEY',
      message: expect.stringContaining('bad key'),
    });
    expect(world.events).toEqual([]);
  });

  it('is told why when another connection takes over', async () => {
    const clock = createSystemClock();
    const world = await createIngestWorld(clock);
    const url = addressOf(world.port, 'key-a');
    const first = await publishRtmp({ url, clock, log });
    const second = await publishRtmp({ url, clock, log });
    expect((await first.closed)?.message).toContain('Another connection publishes with this key now');
    second.send(tagAt(0));
    await world.tag(isMedia);
    await second.close();
    expect(world.events).toEqual(['published a', 'unpublished a taken-over', 'published a', 'unpublished a closed']);
  });

  it('loses nothing and repeats nothing over a network that breaks again and again', async () => {
    const clock = createSystemClock();
    const world = await createIngestWorld(clock);
    const proxy = await startTcpProxy({ clock, targetPort: world.port });
    onTestFinished(() => proxy.close());
    const url = addressOf(proxy.port, 'key-a');
    const push = createRtmpPush({ url, clock, log, mode: 'backfill', onChange: () => {} });
    onTestFinished(() => push.close());
    push.write(media.metadata());
    push.write(media.audioHeader());
    push.write(media.videoHeader());
    push.start();
    const sent: FlvTag[] = [];
    for (let round = 0; round < 4; round += 1) {
      for (let count = 0; count < 100; count += 1) {
        const tag = tagAt(sent.length);
        sent.push(tag);
        push.write(tag);
      }
      const half = sent[sent.length - 50]?.timestampMs ?? 0;
      const last = sent.at(-1)?.timestampMs ?? 0;
      // Cut in the middle of what is being received, then let the rest come over the next connection.
      await world.tag((tag) => isMedia(tag) && tag.timestampMs >= half);
      proxy.reset();
      await world.tag((tag) => isMedia(tag) && tag.timestampMs >= last);
    }
    const received = world.tags.map(({ tag }) => tag).filter(isMedia);
    expect(received.map(({ kind, timestampMs }) => `${kind} ${timestampMs}`)).toEqual(
      sent.map(({ kind, timestampMs }) => `${kind} ${timestampMs}`),
    );
    expect(received.every(({ body }, index) => sent[index]?.body.equals(body))).toBe(true);
    expect(push.stats()).toMatchObject({ tagsDropped: 0 });
    expect(world.events.filter((event) => event === 'published a').length).toBeGreaterThan(1);
  });
});
