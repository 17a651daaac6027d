/** The push against an ingest that misbehaves at every step: it says why, comes back, and loses no picture. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { type NetworkInterfaceInfo, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import { createLog, silentLog } from '../../shared/log.ts';
import type { DialTarget } from '../../shared/rtmp/connection.ts';
import { isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpPush, type RtmpPush, type RtmpPushChange, type RtmpPushOptions } from '../../shared/rtmp/push.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { tags } from '../support/media-tags.ts';
import { type RtmpSink, type RtmpSinkBehaviour, startRtmpSink } from '../support/rtmp-sink.ts';
import { testCertificate } from '../support/test-certificate.ts';

const KEY = 'the-stream-key';
const clock = createSystemClock();
const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
  expect(clock.pending()).toEqual([]);
});

async function sinkWith(behaviour: RtmpSinkBehaviour & { secure?: boolean } = {}): Promise<RtmpSink> {
  const sink = await startRtmpSink(behaviour);
  opened.push(sink);
  return sink;
}
interface Pushing {
  push: RtmpPush;
  causes: string[];
  messages: string[];
  /** Resolves after the next change that fits. */
  changed(fits: (change: RtmpPushChange) => boolean): Promise<RtmpPushChange>;
  film(count: number, extraBytes?: number): void;
  /** All that was filmed has arrived. */
  arrived(): Promise<void>;
}
function pushTo(sink: RtmpSink, options: Partial<RtmpPushOptions> & { scheme?: string; host?: string } = {}): Pushing {
  const { scheme = 'rtmp', host = '127.0.0.1', ...rest } = options;
  const waiting = new Set<(change: RtmpPushChange) => void>();
  const causes: string[] = [];
  const messages: string[] = [];
  const push = createRtmpPush({
    url: parsePublishUrl(`${scheme}://${host}:${sink.port}/live/${KEY}`),
    ...{ clock, log: silentLog(), mode: 'backfill', silenceTimeoutMs: 150 },
    ...rest,
    onChange(change) {
      if (change.cause) causes.push(change.cause.code);
      if (change.cause) messages.push(change.cause.message);
      for (const look of [...waiting]) look(change);
    },
  });
  opened.push(push);
  push.write(tags.videoConfig());
  let filmed = 0;
  const pictures = () =>
    new Set(sink.tags.filter((tag) => !isSequenceHeader(tag)).map(({ timestampMs }) => timestampMs));
  push.start();
  return {
    ...{ push, causes, messages },
    changed: (fits) =>
      new Promise((resolve) => {
        const look = (change: RtmpPushChange) => {
          if (!fits(change)) return;
          waiting.delete(look);
          resolve(change);
        };
        waiting.add(look);
      }),
    film(count, extraBytes = 0) {
      for (let n = 0; n < count; n += 1, filmed += 1) {
        const picture = tags.picture(filmed * 40, { isKey: filmed % 10 === 0 });
        push.write({ ...picture, body: Buffer.concat([picture.body, Buffer.alloc(extraBytes)]) });
      }
    },
    arrived: () => sink.until(() => pictures().size === filmed),
  };
}

describe('push, whatever the ingest does', () => {
  it.each([
    ['INGEST_SILENT', /no answer to handshake in 150 ms/, { silentAt: 'handshake' }],
    ['INGEST_SILENT', /no answer to connect/, { silentAt: 'connect' }],
    ['INGEST_SILENT', /no answer to publish/, { silentAt: 'publish' }],
    ['INGEST_DROPPED', /closed the connection/, { dropAt: 'accept' }],
    ['INGEST_DROPPED', /closed the connection/, { dropAt: 'connect' }],
    ['INGEST_REFUSED_KEY', /closed the connection after publish/, { dropAt: 'publish' }],
    ['INGEST_DROPPED', /closed the connection/, { dropAt: 'started' }],
    ['INGEST_REFUSED_KEY', /Connect\.Rejected/, { refuseCode: 'NetConnection.Connect.Rejected' }],
    ['INGEST_PROTOCOL', /version 65/, { handshakeBytes: Buffer.alloc(5000, 0x41) }],
    ['INGEST_PROTOCOL', /RTMP protocol/, { handshakeBytes: Buffer.alloc(5000, 3) }],
  ] as const)('%s: %s', async (code, message, behaviour) => {
    const sink = await sinkWith(behaviour);
    const { changed, film, arrived, push } = pushTo(sink, { random: () => 1 });
    film(15);
    const { cause } = await changed(({ state }) => state === 'retrying');
    expect(cause?.code).toBe(code);
    expect(cause?.message).toMatch(message);
    expect(cause?.message).not.toContain(KEY);
    sink.behaviour = {};
    await arrived();
    film(5);
    await arrived();
    expect(push.stats().framesDropped).toBe(0);
  });
  it('resets again and again', async () => {
    const sink = await sinkWith();
    const { film, arrived, push, changed } = pushTo(sink);
    for (let life = 0; life < 2; life += 1) {
      film(7);
      await arrived();
      film(3);
      const gone = changed(({ state }) => state === 'publishing');
      sink.reset();
      film(2);
      await gone;
    }
    await arrived();
    expect(push.stats()).toMatchObject({ reconnects: 2, framesDropped: 0, skips: 0 });
  });
  it('garbage in the middle of the stream', async () => {
    const sink = await sinkWith();
    const { film, arrived, push, changed } = pushTo(sink);
    film(5);
    await arrived();
    const lost = changed(({ state }) => state === 'retrying');
    sink.raw(Buffer.alloc(100, 0xff));
    expect((await lost).cause?.code).toBe('INGEST_PROTOCOL');
    film(5);
    await arrived();
    expect(push.stats().framesDropped).toBe(0);
  });
  it.each([1, 0x7fffffff])('talks to a server whose chunks have %i bytes', async (chunkBytes) => {
    const sink = await sinkWith({ chunkBytes, acknowledgeEachBytes: 50 });
    const { film, arrived, causes } = pushTo(sink);
    film(25);
    await arrived();
    expect(causes).toEqual([]);
  });
});

describe('an outage longer than memory', () => {
  it('loses nothing that the disk has room for, and leaves no file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'glasscast-test-'));
    opened.push({ close: async () => rmSync(folder, { recursive: true, force: true }) });
    const sink = await sinkWith();
    // Room in memory for nearly all that a slow disk has not taken yet.
    const limits = { maxBytes: 900_000, maxSpillBytes: 1_000_000, spillFolder: folder, silenceTimeoutMs: 2_000 };
    const { arrived, changed, film, push } = pushTo(sink, limits);
    film(1);
    await arrived();
    const lost = changed(({ state }) => state === 'retrying');
    void sink.stopListening();
    sink.reset();
    await lost;
    for (let n = 0; n < 40; n += 1) {
      film(10, 2_000);
      await clock.sleep(5);
    }
    expect(push.stats().spilledBytes).toBeGreaterThan(100_000);
    await sink.listen();
    await arrived();
    expect(push.stats()).toMatchObject({ framesDropped: 0, backlogBytes: 0 });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('redirects', () => {
  it('are followed, logged and counted', async () => {
    const target = await sinkWith();
    const sink = await sinkWith({ redirectTo: `rtmp://127.0.0.1:${target.port}/other` });
    const lines: string[] = [];
    const log = createLog({
      ...{ program: 'agent', level: 'info', redactor: createRedactor() },
      destination: { write: (line: string) => void lines.push(line) },
    });
    const { push, film, changed } = pushTo(sink, { log });
    film(1);
    await changed(({ state }) => state === 'publishing');
    expect(push.stats().redirects).toBe(1);
    expect(lines.find((line) => line.includes('rtmp-redirected'))).toContain(`:${target.port}/other/***`);
    expect(lines.join('')).not.toContain(KEY);
  });
  it.each([
    ['http://127.0.0.1/x', /redirect to something that is no rtmp/],
    ['rtmp://', /redirect to something that is no rtmp/],
  ])('to %s are refused', async (redirectTo, message) => {
    const { changed } = pushTo(await sinkWith({ redirectTo }));
    const { cause } = await changed(({ state }) => state === 'retrying');
    expect(cause).toMatchObject({ code: 'INGEST_PROTOCOL', message: expect.stringMatching(message) });
  });
});

describe('the seam for other networks', () => {
  it.each(['rtmp', 'rtmps'])(
    '%s goes over the socket that dial gives, to a name that only it knows',
    async (scheme) => {
      const sink = await sinkWith({ secure: scheme === 'rtmps' });
      const asked: DialTarget[] = [];
      const { film, arrived, push } = pushTo(sink, {
        ...{ scheme, host: 'localhost', ca: testCertificate },
        dial(target) {
          asked.push(target);
          return connect(target.port, '127.0.0.1');
        },
      });
      film(5);
      await arrived();
      expect(asked.map(({ host, port }) => [host, port])).toEqual([['localhost', sink.port]]);
      expect(push.stats().state).toBe('publishing');
    },
  );
  it('checks the certificate against the name, and says why there is no connection', async () => {
    const sink = await sinkWith({ secure: true });
    const dial = ({ port }: DialTarget) => connect(port, '127.0.0.1');
    const other = pushTo(sink, { scheme: 'rtmps', host: 'ingest.example', ca: testCertificate, dial });
    expect((await other.changed(({ state }) => state === 'retrying')).cause).toMatchObject({
      code: 'INGEST_TLS_FAILED',
      message: expect.stringMatching(/for another name/),
    });
    const untrusted = pushTo(sink, { scheme: 'rtmps', host: 'localhost', dial });
    expect((await untrusted.changed(({ state }) => state === 'retrying')).cause?.message).toMatch(/signed by itself/);
    const nobody = pushTo(sink, { scheme: 'rtmps', dial: () => connect(1, '127.0.0.1') });
    expect((await nobody.changed(({ state }) => state === 'retrying')).cause).toMatchObject({
      code: 'INGEST_UNREACHABLE',
      details: { errno: 'ECONNREFUSED' },
    });
  });
});

describe('an address that goes', () => {
  it('ends the connection at once, named, and the next one brings what was missed', async () => {
    const sink = await sinkWith();
    let isThere = true;
    const networkInterfaces = () => ({ lo: isThere ? [{ address: '127.0.0.1' } as NetworkInterfaceInfo] : [] });
    // What is sent from then on is acknowledged by nobody.
    const sendQueue = { queuedBytes: async () => (isThere ? 0 : 1e6) };
    const { film, arrived, changed, push } = pushTo(sink, { networkInterfaces, sendQueue });
    film(5);
    await arrived();
    const lost = changed(({ state }) => state === 'retrying');
    isThere = false;
    film(1);
    const sinceMs = clock.monotonicMs();
    const { cause } = await lost;
    expect(clock.monotonicMs() - sinceMs).toBeLessThan(1500);
    expect(cause).toMatchObject({
      code: 'INGEST_DROPPED',
      message: expect.stringMatching(/lost the address 127\.0\.0\.1/),
    });
    isThere = true;
    film(5);
    await arrived();
    expect(push.stats()).toMatchObject({ reconnects: 1, framesDropped: 0 });
  });
});
