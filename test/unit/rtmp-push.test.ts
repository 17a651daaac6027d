import { afterEach, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpPush, type RtmpPush, type RtmpPushChange, type RtmpPushOptions } from '../../shared/rtmp/push.ts';
import { type RtmpSink, type RtmpSinkBehaviour, startRtmpSink } from '../support/rtmp-sink.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { createTestClock } from '../support/test-clock.ts';

const clock = createSystemClock();
const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  // The newest first: a push before the sink it talks to.
  for (const one of opened.splice(0).reverse()) await one.close();
  expect(clock.pending()).toEqual([]);
});

interface World {
  sink: RtmpSink;
  push: RtmpPush;
  changes: RtmpPushChange[];
  /** Resolves with the first change that fits, also one of the past. */
  changed(fits: (change: RtmpPushChange) => boolean): Promise<RtmpPushChange>;
  /** Writes so many pictures, each 40 ms after the last; a key frame each fifth. */
  film(count: number, bytes?: number): void;
  /** Time stamps of the pictures that have arrived, each once, in order. */
  seen(): number[];
  filmed: number[];
}

async function worldWith(
  options: RtmpSinkBehaviour & Partial<RtmpPushOptions> & { port?: number } = {},
): Promise<World> {
  const sink = await startRtmpSink(options);
  opened.push(sink);
  const changes: RtmpPushChange[] = [];
  const waiting = new Set<() => void>();
  const push = createRtmpPush({
    url: parsePublishUrl(`rtmp://127.0.0.1:${options.port ?? sink.port}/live/the-stream-key`),
    clock,
    log: silentLog(),
    mode: 'backfill',
    ...options,
    onChange(change) {
      changes.push(change);
      for (const look of [...waiting]) look();
    },
  });
  opened.push(push);
  const filmed: number[] = [];
  push.write({ kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 0, 0, 0, 0, 1]) });
  push.write({ kind: 'audio', timestampMs: 0, body: Buffer.from([0xaf, 0, 0x12]) });
  const world: World = {
    sink,
    push,
    changes,
    filmed,
    changed: (fits) =>
      new Promise((resolve) => {
        const look = () => {
          const found = changes.find(fits);
          if (!found) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    film(count, bytes = 50) {
      for (let index = 0; index < count; index += 1) {
        const timestampMs = filmed.length * 40;
        push.write(picture(timestampMs, filmed.length % 5 === 0, bytes));
        filmed.push(timestampMs);
      }
    },
    seen: () => {
      const pictures = sink.tags.filter((tag) => tag.kind === 'video' && !isSequenceHeader(tag));
      return [...new Set(pictures.map(({ timestampMs }) => timestampMs))].sort((a, b) => a - b);
    },
  };
  return world;
}
function picture(timestampMs: number, isKey: boolean, bytes: number): FlvTag {
  return {
    kind: 'video',
    timestampMs,
    body: Buffer.concat([Buffer.from([isKey ? 0x17 : 0x27, 1, 0, 0, 0]), Buffer.alloc(bytes)]),
  };
}

describe('createRtmpPush', () => {
  it('does nothing before start, then sends what was written before', async () => {
    const { sink, push, film, seen, filmed, changes } = await worldWith();
    film(12);
    expect([push.stats().state, sink.connections]).toEqual(['idle', 0]);
    push.start();
    await sink.until(() => seen().length === filmed.length);
    expect(changes.map(({ state }) => state)).toEqual(['connecting', 'publishing']);
    expect(sink.tags.slice(0, 2).map(isSequenceHeader)).toEqual([true, true]);
    expect(push.stats()).toMatchObject({ state: 'publishing', backlogBytes: 0, tagsDropped: 0, reconnects: 0 });
  });
  it.each(['reset', 'stop'] as const)('loses no picture when the ingest goes (%s) and comes back', async (how) => {
    const { sink, push, film, seen, filmed, changed } = await worldWith();
    push.start();
    film(20);
    await sink.until(() => seen().length === 20);
    if (how === 'stop') void sink.stopListening();
    sink.reset();
    const { cause } = await changed(({ state }) => state === 'retrying');
    expect(cause).toMatchObject({ retryable: true });
    film(20);
    if (how === 'stop') await sink.listen();
    await sink.until(() => seen().length === filmed.length);
    film(5);
    await sink.until(() => seen().length === filmed.length);
    expect(seen()).toEqual(filmed);
    expect(push.stats()).toMatchObject({ state: 'publishing', reconnects: 1, framesDropped: 0 });
    // The second connection begins as a decoder needs it.
    const second = sink.tags.filter(({ connection }) => connection === sink.connections);
    expect(second.slice(0, 2).map(isSequenceHeader)).toEqual([true, true]);
    expect((second[2]?.body[0] ?? 0) >> 4).toBe(1);
  });
  it('mode live: comes back with the newest group of pictures only', async () => {
    const { sink, push, film, seen, filmed, changed } = await worldWith({ mode: 'live' });
    push.start();
    film(5);
    await sink.until(() => seen().length === 5);
    void sink.stopListening();
    sink.reset();
    await changed(({ state }) => state === 'retrying');
    film(13);
    await sink.listen();
    await sink.until(() => seen().at(-1) === filmed.at(-1));
    expect(seen()).toEqual([0, 40, 80, 120, 160, 600, 640, 680]);
    expect(push.stats().framesDropped).toBe(10);
  });
  it('keeps no more than it may of a long outage', async () => {
    const { sink, push, film, seen, filmed } = await worldWith({ maxBytes: 5_000 });
    film(200, 100);
    push.start();
    await sink.until(() => seen().at(-1) === filmed.at(-1));
    expect(seen().length).toBeLessThanOrEqual(50);
    expect(push.stats().framesDropped).toBe(200 - seen().length);
  });
  it('reports a refused key and goes on asking, slowly', async () => {
    const { sink, push, changed } = await worldWith({ refuseCode: 'NetStream.Publish.Denied', random: () => 1 });
    push.start();
    const { cause } = await changed(({ state }) => state === 'retrying');
    expect(cause).toMatchObject({ code: 'INGEST_REFUSED_KEY', retryable: false });
    expect(String(cause)).not.toContain('the-stream-key');
    sink.behaviour = {};
    await changed(({ state }) => state === 'publishing');
    expect(sink.connections).toBe(2);
  });
  it('takes an ingest that accepts and closes at once, again and again, for one that refuses the key', async () => {
    const { sink, push, changed } = await worldWith({ dropAt: 'started' });
    push.start();
    const { cause } = await changed(({ cause }) => cause?.code === 'INGEST_REFUSED_KEY');
    expect(cause?.message).toMatch(/accepts the stream and closes at once, 3 times/);
    expect(sink.connections).toBe(3);
  });
  it('hands on new headers in the middle, and the right ones after a loss', async () => {
    const { sink, push, film, seen, changed } = await worldWith();
    push.start();
    film(5);
    push.write({ kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 0, 0, 0, 0, 2]) });
    film(5);
    await sink.until(() => seen().length === 10);
    sink.reset();
    await changed(({ state }) => state === 'retrying');
    film(1);
    await sink.until(() => seen().length === 11);
    const marks = (connection: number) =>
      sink.tags
        .filter((tag) => tag.connection === connection && tag.kind === 'video' && isSequenceHeader(tag))
        .map(({ body }) => body[5]);
    expect([marks(1), marks(2)]).toEqual([
      [1, 2],
      [1, 2],
    ]);
  });
  it('mode live, with a bound in bytes: drops up to the next key frame while there is more, and only then', async () => {
    const time = createTestClock();
    const kernel = { bytes: 0 };
    const { sink, push, film, seen, filmed, changed } = await worldWith({
      mode: 'live',
      maxQueuedBytes: 125_000,
      clock: time,
      stallTimeoutMs: 60_000,
      sendQueue: { queuedBytes: async () => kernel.bytes },
    });
    push.start();
    await changed(({ state }) => state === 'publishing');
    film(7);
    await sink.until(() => seen().length === 7);
    kernel.bytes = 200_000;
    await time.advance(300);
    expect(push.stats().queuedBytes).toBe(200_000);
    // Full for the length of a burst is not yet narrow.
    film(1);
    await sink.until(() => seen().length === 8);
    await time.advance(500);
    film(4);
    kernel.bytes = 0;
    await time.advance(1000);
    film(6);
    await sink.until(() => seen().at(-1) === filmed.at(-1));
    expect(push.stats().framesDropped).toBe(filmed.length - seen().length);
    // 10 is a key frame: what came from there on waited until the queue had drained.
    expect(filmed.filter((ms) => !seen().includes(ms)).map((ms) => ms / 40)).toEqual([8, 9]);
  });
  it('leaves a connection on which nothing drains', async () => {
    const sink = await startRtmpSink();
    const proxy = await startTcpProxy({ clock, targetPort: sink.port });
    opened.push(sink, proxy);
    const { push, film, changed, filmed } = await worldWith({ port: proxy.port, stallTimeoutMs: 500 });
    const pictures = () =>
      new Set(sink.tags.filter((tag) => !isSequenceHeader(tag)).map(({ timestampMs }) => timestampMs));
    push.start();
    film(10);
    await sink.until(() => pictures().size === 10);
    proxy.wedge();
    // More than the kernels on the way take in.
    film(200, 60_000);
    const { cause } = await changed(({ state }) => state === 'retrying');
    expect(cause?.code).toBe('INGEST_SILENT');
    proxy.flow();
    await sink.until(() => pictures().size === filmed.length);
    expect(push.stats().framesDropped).toBe(0);
  });
  it('close sends what waits and is final', async () => {
    const { sink, push, film, filmed, changes, seen, changed } = await worldWith();
    push.start();
    await changed(({ state }) => state === 'publishing');
    film(50, 20_000);
    await Promise.all([push.close(), push.close()]);
    await sink.until(() => seen().length === filmed.length);
    expect(sink.commands.at(-1)?.name).toBe('deleteStream');
    expect(changes.at(-1)?.state).toBe('publishing');
    film(1);
    push.start();
    expect(push.stats()).toMatchObject({ state: 'closed', backlogBytes: 0 });
  });
  it.each(['handshake', 'connect', 'publish'] as const)('close ends an attempt that waits at %s', async (silentAt) => {
    const { sink, push, film } = await worldWith({ silentAt });
    film(5);
    push.start();
    await sink.until(() => sink.connections === 1);
    await push.close();
    expect(clock.pending()).toEqual([]);
  });
  it('close ends a wait between attempts, and a push that never started', async () => {
    const { sink, push, changed } = await worldWith({ refuseCode: 'NetStream.Publish.Denied' });
    push.start();
    await changed(({ state }) => state === 'retrying');
    await push.close();
    expect([clock.pending(), sink.connections]).toEqual([[], 1]);
    const idle = await worldWith();
    await idle.push.close();
    expect(idle.push.stats().state).toBe('closed');
  });
});
