import { connect, createServer, type Socket } from 'node:net';
import { Duplex, pipeline } from 'node:stream';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { silentLog } from '../../shared/log.ts';
import { isPublicAddress } from '../../shared/network-address.ts';
import { type Publication, type PublishRtmpOptions, publishRtmp } from '../../shared/rtmp/client.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpSession, fullCount } from '../../shared/rtmp/session.ts';
import { type RtmpSink, type RtmpSinkBehaviour, startRtmpSink } from '../support/rtmp-sink.ts';
import { testCertificate } from '../support/test-certificate.ts';
import { createTestClock } from '../support/test-clock.ts';

const KEY = 'the-stream-key';
const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});

async function sinkWith(behaviour: RtmpSinkBehaviour & { secure?: boolean } = {}): Promise<RtmpSink> {
  const sink = await startRtmpSink(behaviour);
  opened.push(sink);
  return sink;
}
function publish(sink: RtmpSink, options: Partial<PublishRtmpOptions> & { scheme?: string; host?: string } = {}) {
  const { scheme = 'rtmp', host = '127.0.0.1', ...rest } = options;
  const url = parsePublishUrl(`${scheme}://${host}:${sink.port}/live/${KEY}`);
  return publishRtmp({ url, clock: createTestClock(), log: silentLog(), ...rest });
}
async function published(sink: RtmpSink, options: Parameters<typeof publish>[1] = {}): Promise<Publication> {
  const publication = await publish(sink, options);
  opened.push(publication);
  return publication;
}
const picture = (timestampMs: number, bytes = 20): FlvTag => ({
  kind: 'video',
  timestampMs,
  body: Buffer.concat([Buffer.from([0x17, 1, 0, 0, 0]), Buffer.alloc(bytes, timestampMs & 0xff)]),
});

describe('publishRtmp', () => {
  it('publishes with the key and says goodbye', async () => {
    const sink = await sinkWith();
    const publication = await published(sink);
    await publication.close();
    expect(await publication.closed).toBeUndefined();
    expect(sink.commands.map(({ name }) => name)).toEqual([
      'connect',
      'releaseStream',
      'FCPublish',
      'createStream',
      'publish',
      'FCUnpublish',
      'deleteStream',
    ]);
    expect(sink.commands[0]?.values[0]).toMatchObject({ app: 'live', tcUrl: `rtmp://127.0.0.1:${sink.port}/live` });
    expect(sink.commands[4]?.values).toEqual([null, KEY, 'live']);
  });
  it('carries tags unchanged: every size, every time stamp', async () => {
    const sink = await sinkWith();
    const publication = await published(sink);
    const sent = [
      picture(0),
      { kind: 'audio', timestampMs: 5, body: Buffer.from([0xaf, 1, 9]) } as const,
      picture(40, 200_000),
      picture(0xfffffe),
      picture(0xffffff, 70_000),
      picture(0xfffffffe, 140_000),
      picture(3, 0),
    ];
    for (const tag of sent) publication.send(tag);
    await sink.until(() => sink.tags.length === sent.length);
    expect(sink.tags.map(({ kind, timestampMs, body }) => ({ kind, timestampMs, body }))).toEqual(sent);
  });
  it('wraps metadata as RTMP wants it', async () => {
    const sink = await sinkWith();
    const publication = await published(sink);
    const body = Buffer.concat([Buffer.from([2, 0, 10]), Buffer.from('onMetaData'), Buffer.from([5])]);
    publication.send({ kind: 'script', timestampMs: 0, body });
    await sink.until(() => sink.tags.length === 1);
    expect(sink.tags[0]?.body.toString('latin1')).toBe('\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x05');
  });
  it('answers pings and acknowledges what it reads', async () => {
    const sink = await sinkWith();
    await published(sink);
    sink.send({ type: 4, streamId: 0, payload: Buffer.from([0, 6, 0, 0, 0, 42]) });
    await sink.until(() => sink.controls.some(({ type }) => type === 4));
    expect(sink.controls.find(({ type }) => type === 4)?.payload.toString('hex')).toBe('00070000002a');
    expect(sink.controls.map(({ type }) => type)).toContain(3);
    // Set Peer Bandwidth was answered with its own size.
    expect(sink.controls.filter(({ type }) => type === 5).map(({ payload }) => payload.readUInt32BE(0))).toContain(
      2_500_000,
    );
  });
  it('counts what the ingest acknowledges', async () => {
    const sink = await sinkWith({ acknowledgeEachBytes: 1000 });
    const publication = await published(sink);
    for (let ms = 0; ms < 400; ms += 40) publication.send(picture(ms, 500));
    await sink.until(() => sink.tags.length === 10);
    sink.send({ type: 4, streamId: 0, payload: Buffer.from([0, 6, 0, 0, 0, 1]) });
    await sink.until(() => sink.controls.some(({ type }) => type === 4));
    expect(publication.certainBytes).toBeGreaterThan(0);
    expect(publication.certainBytes).toBeLessThanOrEqual(publication.bytesSent);
    expect(fullCount(0xffff_fff0, 0x1_0000_0010)).toBe(0xffff_fff0);
    expect(fullCount(0x10, 0x2_0000_0020)).toBe(0x2_0000_0010);
  });
  it('falls back to one command at a time, and to the stream id the server gives', async () => {
    for (const behaviour of [{ stepwiseOnly: true }, { streamId: 7 }]) {
      const sink = await sinkWith(behaviour);
      const publication = await published(sink);
      publication.send(picture(0));
      await sink.until(() => sink.tags.length === 1);
      expect([sink.connections, sink.tags[0]?.streamId]).toEqual([2, behaviour.streamId ?? 1]);
    }
  });
  it('follows a redirect with its key', async () => {
    const target = await sinkWith();
    const sink = await sinkWith({ redirectTo: `rtmp://127.0.0.1:${target.port}/other` });
    await published(sink);
    expect(target.commands.find(({ name }) => name === 'publish')?.values[1]).toBe(KEY);
    expect(target.commands[0]?.values[0]).toMatchObject({ app: 'other' });
  });
  it('does not go round in redirects', async () => {
    const sink = await sinkWith();
    sink.behaviour = { redirectTo: `rtmp://127.0.0.1:${sink.port}/live` };
    await expect(publish(sink)).rejects.toMatchObject({ code: 'INGEST_PROTOCOL' });
    expect(sink.connections).toBe(4);
  });
});

describe('publishRtmp over TLS', () => {
  it('publishes to a trusted certificate, by name and by address', async () => {
    for (const host of ['localhost', '127.0.0.1']) {
      const sink = await sinkWith({ secure: true });
      const publication = await published(sink, { scheme: 'rtmps', host, ca: testCertificate });
      publication.send(picture(40, 100_000));
      await sink.until(() => sink.tags.length === 1);
    }
  });
  it('refuses an unknown certificate and one for another name', async () => {
    const sink = await sinkWith({ secure: true });
    await expect(publish(sink, { scheme: 'rtmps' })).rejects.toMatchObject({ code: 'INGEST_TLS_FAILED' });
    // The same server by an address that its certificate does not name.
    const door = createServer((socket) => pipeline(socket, connect(sink.port, '127.0.0.1'), socket, () => {}));
    await new Promise<void>((resolve) => door.listen(sink.port, '127.0.0.2', resolve));
    opened.push({ close: () => new Promise((resolve) => door.close(resolve)) });
    await expect(publish(sink, { scheme: 'rtmps', host: '127.0.0.2', ca: testCertificate })).rejects.toMatchObject({
      code: 'INGEST_TLS_FAILED',
      message: expect.stringContaining('ALTNAME'),
    });
    expect(sink.commands).toEqual([]);
  });
  it('leaves a server that is silent in the TLS handshake, or when told to', async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => sockets.delete(socket));
      socket.resume();
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    opened.push({ close: () => new Promise((resolve) => silent.close(resolve)) });
    const { port } = silent.address() as { port: number };
    const url = parsePublishUrl(`rtmps://127.0.0.1:${port}/live/${KEY}`);
    for (const way of ['timeout', 'abort'] as const) {
      const clock = createTestClock();
      const abort = new AbortController();
      const expected = way === 'timeout' ? { code: 'INGEST_SILENT' } : { message: 'enough' };
      const outcome = expect(publishRtmp({ url, clock, log: silentLog(), signal: abort.signal })).rejects.toMatchObject(
        expected,
      );
      while (sockets.size === 0) await clock.advance(0);
      await clock.advance(1);
      if (way === 'abort') abort.abort(new Error('enough'));
      else await clock.advance(5000);
      await outcome;
      expect(clock.pending()).toEqual([]);
      while (sockets.size > 0) await clock.advance(0);
    }
  });
  it('checks certificates even where the environment tells Node not to', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    onTestFinished(() => void vi.unstubAllEnvs());
    const sink = await sinkWith({ secure: true });
    await expect(publish(sink, { scheme: 'rtmps' })).rejects.toMatchObject({ code: 'INGEST_TLS_FAILED' });
    expect(sink.commands).toEqual([]);
  });
  it('says so when the server speaks no TLS, and never follows a redirect out of it', async () => {
    const plain = await sinkWith();
    await expect(publish(plain, { scheme: 'rtmps', ca: testCertificate })).rejects.toMatchObject({
      code: expect.stringMatching(/INGEST_(TLS_FAILED|DROPPED)/),
    });
    const sink = await sinkWith({ secure: true, redirectTo: `rtmp://127.0.0.1:${plain.port}/live` });
    await expect(publish(sink, { scheme: 'rtmps', ca: testCertificate })).rejects.toThrow(/from rtmps to rtmp/);
    expect(plain.commands).toEqual([]);
  });
});

describe('publishRtmp, refused or failed', () => {
  it.each([
    ['a refused key', { refuseCode: 'NetStream.Publish.Denied' }, 'INGEST_REFUSED_KEY', /Publish\.Denied/],
    ['a key in use', { refuseCode: 'NetStream.Publish.BadName' }, 'INGEST_REFUSED_KEY', /BadName/],
    [
      'a key refused without a word',
      { dropAt: 'publish' },
      'INGEST_REFUSED_KEY',
      /closed the connection after publish/,
    ],
    ['a drop at connect', { dropAt: 'connect' }, 'INGEST_DROPPED', /closed the connection/],
    ['a drop at accept', { dropAt: 'accept' }, 'INGEST_DROPPED', /closed the connection/],
    ['another protocol', { handshakeBytes: Buffer.from('HTTP/1.1 400 Bad Request') }, 'INGEST_PROTOCOL', /version 72/],
    ['garbage', { handshakeBytes: Buffer.alloc(4000, 3) }, 'INGEST_PROTOCOL', /RTMP protocol/],
  ] as const)('%s', async (_, behaviour, code, message) => {
    const sink = await sinkWith(behaviour);
    const error: unknown = await publish(sink).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(String(error)).not.toContain(KEY);
    await sink.until(() => true);
  });
  it('a port where nobody listens', async () => {
    const sink = await sinkWith();
    await sink.stopListening();
    const clock = createTestClock();
    await expect(publish(sink, { clock })).rejects.toMatchObject({ code: 'INGEST_UNREACHABLE', retryable: true });
    expect(clock.pending()).toEqual([]);
  });
  it.each(['handshake', 'connect', 'publish'] as const)('an ingest that falls silent at %s', async (silentAt) => {
    const sink = await sinkWith({ silentAt });
    const clock = createTestClock();
    const outcome = expect(publish(sink, { clock, silenceTimeoutMs: 3000 })).rejects.toMatchObject({
      code: 'INGEST_SILENT',
      message: expect.stringContaining(`no answer to ${silentAt}`),
    });
    const connections = silentAt === 'handshake' ? 1 : 2;
    for (let connection = 1; connection <= connections; connection += 1) {
      await sink.until(() => sink.connections === connection);
      if (silentAt !== 'handshake') {
        await sink.until(() => sink.commands.filter(({ name }) => name === silentAt).length === connection);
      }
      await untilPending(clock, 'rtmp-silence');
      await clock.advance(3000);
    }
    await outcome;
    expect(clock.pending()).toEqual([]);
  });
  it('an abort at any stage leaves nothing behind', async () => {
    const clock = createTestClock();
    for (const silentAt of ['handshake', 'connect', 'publish'] as const) {
      const sink = await sinkWith({ silentAt });
      const abort = new AbortController();
      const outcome = expect(publish(sink, { clock, signal: abort.signal })).rejects.toThrow('enough');
      await sink.until(() => sink.connections === 1);
      abort.abort(new Error('enough'));
      await outcome;
    }
    expect(clock.pending()).toEqual([]);
  });
});

describe('a publication that ends', () => {
  it('tells a drop, a late refusal and a broken protocol apart', async () => {
    const endings: [(sink: RtmpSink) => void, string][] = [
      [(sink) => sink.reset(), 'INGEST_DROPPED'],
      [(sink) => sink.status('NetStream.Publish.BadName', 'error'), 'INGEST_REFUSED_KEY'],
      [(sink) => sink.status('NetStream.Unpublish.Success'), 'INGEST_DROPPED'],
      [(sink) => sink.send({ type: 1, streamId: 0, payload: Buffer.alloc(4) }), 'INGEST_PROTOCOL'],
    ];
    for (const [end, code] of endings) {
      const sink = await sinkWith();
      const clock = createTestClock();
      const publication = await published(sink, { clock });
      end(sink);
      const cause = await publication.closed;
      expect(cause).toMatchObject({ code });
      expect(String(cause)).not.toContain(KEY);
      publication.send(picture(0));
      await publication.close();
      expect(clock.pending()).toEqual([]);
    }
  });
  it('notices that nothing drains', async () => {
    const clock = createTestClock();
    const sink = await sinkWith();
    const queued = { bytes: 0 };
    const publication = await published(sink, {
      clock,
      stallTimeoutMs: 2000,
      sendQueue: { queuedBytes: async () => queued.bytes },
    });
    publication.send(picture(0, 50_000));
    await sink.until(() => sink.tags.length === 1);
    await clock.advance(3000);
    expect(publication.queuedBytes()).toBe(0);
    queued.bytes = publication.bytesSent + 1;
    await clock.advance(1900);
    expect(publication.queuedBytes()).toBe(queued.bytes);
    queued.bytes = 0;
    await clock.advance(250);
    queued.bytes = publication.bytesSent + 1;
    await clock.advance(2500);
    expect(await publication.closed).toMatchObject({ code: 'INGEST_SILENT' });
    expect(clock.pending()).toEqual([]);
  });
  it('cuts off an ingest that does not take the farewell', async () => {
    const clock = createTestClock();
    const sink = await sinkWith();
    const publication = await publish(sink, { clock });
    sink.wedge();
    const closing = publication.close();
    await clock.advance(1000);
    await closing;
    expect(await publication.closed).toBeUndefined();
    expect(clock.pending()).toEqual([]);
  });
});

it('a server that asks without end and reads nothing is not answered without end', async () => {
  // Takes the first write and never asks for another.
  const socket = new Duplex({ read() {}, write() {} });
  const url = parsePublishUrl(`rtmp://127.0.0.1/live/${KEY}`);
  const onStatus = () => {};
  const session = createRtmpSession({ socket: socket as Socket, url, onStatus, onAcknowledged() {} });
  const ready = session.handshake();
  socket.push(Buffer.concat([Buffer.from([3]), Buffer.alloc(3072)]));
  await ready;
  const ping = Buffer.from([2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1]);
  for (let n = 0; n < 100; n += 1) socket.push(Buffer.concat(Array<Buffer>(1_000).fill(ping)));
  await vi.waitFor(() => expect(socket.readableLength).toBe(0));
  expect(socket.writableLength).toBeGreaterThan(500_000);
  expect(socket.writableLength).toBeLessThan(1_001_000);
  session.end(undefined);
});

describe('addresses that are not allowed', () => {
  const allowsAddress = isPublicAddress;
  it.each(['127.0.0.1', 'localhost', '127.1', '0x7f.0.0.1', '2130706433', '017700000001', '[::ffff:127.0.0.1]'])(
    'no byte goes to %s, whatever anybody was told about the name before',
    async (host) => {
      const sink = await sinkWith();
      const [plain, secure] = await Promise.all(
        ['rtmp', 'rtmps'].map((scheme) => publish(sink, { host, scheme, allowsAddress }).catch((error) => error)),
      );
      expect(plain).toMatchObject({ code: 'DESTINATION_FORBIDDEN' });
      expect(secure).toMatchObject({ code: 'DESTINATION_FORBIDDEN' });
      expect(String(plain)).not.toContain(KEY);
      expect(sink.connections).toBe(0);
    },
  );
  it('are not reached by a redirect either', async () => {
    const inside = await sinkWith();
    const sink = await sinkWith({ redirectTo: `rtmp://localhost:${inside.port}/live` });
    const isFirst = (address: string) => address === '127.0.0.1' && inside.connections === 0 && sink.connections === 0;
    const failed = publish(sink, { allowsAddress: isFirst });
    await expect(failed).rejects.toMatchObject({ code: 'DESTINATION_FORBIDDEN' });
    expect([sink.connections, inside.connections]).toEqual([1, 0]);
  });
  it('leave the others alone, by name and by number', async () => {
    const sink = await sinkWith();
    const asked: string[] = [];
    const allows = (address: string) => asked.push(address) > 0;
    await published(sink, { host: 'localhost', allowsAddress: allows });
    await published(sink, { allowsAddress: allows });
    expect(asked).toContain('127.0.0.1');
    expect(sink.connections).toBe(2);
  });
});

/** The test clock stands still, so a timer that the client is about to set comes with the next turns of the loop. */
async function untilPending(clock: ReturnType<typeof createTestClock>, name: string): Promise<void> {
  for (let turn = 0; turn < 1000 && !clock.pending().includes(name); turn += 1) await clock.advance(0);
}
