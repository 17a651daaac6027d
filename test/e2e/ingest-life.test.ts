/** The RTMP ingest's life: start, cut, close, start again. */
import { describe, expect, it } from 'vitest';
import { createIngest } from '../../cloud/local-stream/ingest/ingest.ts';
import { silentLog } from '../../shared/log.ts';
import { createIngestWorld } from '../support/ingest-world.ts';
import { media } from '../support/rtmp-peer.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('start, cut and close', () => {
  it('a port in use is an error that names it', async () => {
    const { port } = await createIngestWorld(createTestClock());
    const second = createIngestWorld(createTestClock(), { listen: { host: '127.0.0.1', port } });
    await expect(second).rejects.toMatchObject({ code: 'PORT_IN_USE', message: expect.stringContaining(`:${port}`) });
  });

  it('cut disconnects publisher and players of one input only', async () => {
    const { publisher, player, ingest, events } = await createIngestWorld(createTestClock());
    const [device, other] = [await publisher('key-a'), await publisher('key-b')];
    const [viewer, otherViewer] = [await player('watch-a'), await player('watch-b')];
    ingest.cut('a', 'Deleted');
    expect(await viewer.status('NetStream.Play.Unpublish')).toBe('NetStream.Play.UnpublishNotify');
    expect(await device.status('NetConnection.Connect.Closed')).toBe('NetConnection.Connect.Closed');
    await Promise.all([device.closed, viewer.closed]);
    ingest.cut('a');
    ingest.cut('unknown');
    other.tag(media.key(40));
    await otherViewer.wait(({ type, timestampMs }) => type === 9 && timestampMs === 40);
    expect(events).toEqual(['published a', 'published b', 'unpublished a cut']);
  });

  it('close ends everything, leaves no timer, and the same ingest starts again', async () => {
    const clock = createTestClock();
    const { publisher, player, peer, ingest, events } = await createIngestWorld(clock);
    const peers = [await publisher('key-a'), await player('watch-a'), await peer()];
    await Promise.all([ingest.close(), ingest.close()]);
    await Promise.all(peers.map(({ closed }) => closed));
    expect(events).toEqual(['published a', 'unpublished a closing']);
    expect(clock.pending()).toEqual([]);
    const { port } = await ingest.start();
    expect(port).toBeGreaterThan(0);
    await ingest.close();
    await ingest.close();
  });

  it('two ingests in one process do not know each other', async () => {
    const [here, there] = [await createIngestWorld(createTestClock()), await createIngestWorld(createTestClock())];
    const [device, viewer] = [await here.publisher('key-a'), await there.player('watch-a')];
    device.tag(media.key(40));
    await here.tag(({ timestampMs }) => timestampMs === 40);
    expect(there.tags).toEqual([]);
    expect(viewer.received.filter(({ type }) => type === 9)).toEqual([]);
  });

  it('close before start is nothing', async () => {
    const refuse = () => ({ refused: 'no' });
    const nothing = () => undefined;
    const host = {
      authorisePublish: refuse,
      authorisePlay: refuse,
      published: nothing,
      tag: nothing,
      refused: nothing,
      unpublished: nothing,
    };
    const clock = createTestClock();
    await createIngest({ host, clock, log: silentLog(), listen: { host: '127.0.0.1', port: 0 } }).close();
    expect(clock.pending()).toEqual([]);
  });
});
