/** RTMPS for real: our own client with the certificate checked, ffmpeg, strangers that speak no TLS, a certificate that is renewed. */
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { publishRtmp } from '../../shared/rtmp/client.ts';
import { isKeyFrame } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { ffmpegs } from '../support/ffprobe.ts';
import { pictures, pushArgs, run, watchArgs } from '../support/ingest-publishers.ts';
import { createIngestWorld, testTls } from '../support/ingest-world.ts';
import { startLocalStreamProcess } from '../support/local-stream-process.ts';
import { connectRtmp, media } from '../support/rtmp-peer.ts';
import { renewedCertificate, testCertificate } from '../support/test-certificate.ts';
import { createTestClock } from '../support/test-clock.ts';

/** Of today, so that it is valid. */
const nowClock = () => createTestClock(createSystemClock().now());

describe('RTMPS', () => {
  it('takes our own client, which checks the certificate; RTMP goes on beside it', async () => {
    const clock = createSystemClock();
    const world = await createIngestWorld(clock, { tls: testTls() });
    const url = parsePublishUrl(`rtmps://127.0.0.1:${world.tlsPort}/live/key-a`);
    await expect(publishRtmp({ url, clock, log: silentLog() })).rejects.toMatchObject({ code: 'INGEST_TLS_FAILED' });
    const push = await publishRtmp({ url, clock, log: silentLog(), ca: testCertificate });
    const [viewer, plain] = [await world.player('watch-a', 'rtmps'), await world.player('watch-a', 'rtmp')];
    push.send(media.videoHeader());
    push.send(media.key(1000, 1, 300_000));
    for (const one of [viewer, plain]) {
      const { body } = await one.wait(({ type, timestampMs }) => type === 9 && timestampMs === 1000);
      expect(body.length).toBe(300_009);
    }
    await push.close();
    await world.event('unpublished a closed');
  });

  it.each(ffmpegs())('takes $name, and plays to it', async ({ file }) => {
    const world = await createIngestWorld(createSystemClock(), { tls: testTls() });
    const base = `rtmps://127.0.0.1:${world.tlsPort}/live`;
    const push = run(file, pushArgs(`${base}/key-a`));
    await world.tag(isKeyFrame);
    const watch = run(file, watchArgs(`${base}/watch-a`, { after: ['-frames:v', '30'] }));
    expect((await watch.child.exited).code).toBe(0);
    expect(pictures(watch)).toHaveLength(30);
    expect(watch.stderr).toEqual([]);
    expect((await push.child.stop()).end).toBe('stopped');
    await world.event('unpublished a closed');
  });

  it('a refused key is answered in words by TLS as well', async () => {
    const { peer } = await createIngestWorld(createSystemClock(), { tls: testTls() });
    const stranger = await peer('rtmps');
    await stranger.open();
    expect(await stranger.publish('wrong')).toBe('NetStream.Publish.Denied');
    await stranger.closed;
  });

  it('a takeover goes from one protocol to the other', async () => {
    const { publisher, player, events } = await createIngestWorld(createSystemClock(), { tls: testTls() });
    const first = await publisher('key-a', 'rtmp');
    const viewer = await player('watch-a');
    const second = await publisher('key-a', 'rtmps');
    await first.closed;
    second.tag(media.key(40));
    await viewer.wait(({ type, timestampMs }) => type === 9 && timestampMs === 40);
    expect(events).toEqual(['published a', 'unpublished a taken-over', 'published a']);
  });
});

describe('on the TLS port', () => {
  it.each([
    ['plain RTMP', Buffer.concat([Buffer.from([3]), Buffer.alloc(1536, 1)])],
    ['garbage', Buffer.alloc(4000, 0xa5)],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['a ClientHello of another world', Buffer.concat([Buffer.from([0x16, 3, 1, 0x40, 0, 1]), Buffer.alloc(0x4000, 7)])],
  ])('%s is closed, and disturbs nobody', async (_, bytes) => {
    const clock = nowClock();
    const { publisher, player, tlsPort } = await createIngestWorld(clock, { tls: testTls() });
    const [device, viewer] = [await publisher('key-a', 'rtmps'), await player('watch-a')];
    const socket = connect({ port: tlsPort ?? 0, host: '127.0.0.1' });
    socket.on('error', () => undefined).resume();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(bytes);
    await closed;
    device.tag(media.key(40));
    await viewer.wait(({ type, timestampMs }) => type === 9 && timestampMs === 40);
  });

  it.each([
    ['says nothing', Buffer.alloc(0)],
    ['says half a ClientHello', Buffer.from([0x16, 3, 1, 2, 0, 1, 0])],
  ])('a peer that %s is closed after 5 s', async (_, bytes) => {
    const clock = nowClock();
    const { tlsPort } = await createIngestWorld(clock, { tls: testTls() });
    const socket = connect({ port: tlsPort ?? 0, host: '127.0.0.1' });
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => undefined).resume();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await new Promise((resolve) => socket.once('connect', resolve));
    if (bytes.length > 0) socket.write(bytes);
    // Accepted when its deadline runs.
    while (clock.pending().length === 0) await createSystemClock().sleep(10);
    await clock.advance(4999);
    expect(socket.closed).toBe(false);
    await clock.advance(1);
    await closed;
    expect(clock.pending()).toEqual([]);
  });

  it('the 5 s count from the first byte of TLS to the last of RTMP', async () => {
    const clock = nowClock();
    const { peer } = await createIngestWorld(clock, { tls: testTls() });
    const slow = await peer('rtmps');
    await clock.advance(4999);
    expect(slow.socket.closed).toBe(false);
    await clock.advance(1);
    await slow.closed;
  });

  it('bytes that break TLS in the middle of a broadcast end it', async () => {
    const { tlsPort, event } = await createIngestWorld(createSystemClock(), { tls: testTls() });
    const raw = connect({ port: tlsPort ?? 0, host: '127.0.0.1' });
    raw.on('error', () => undefined);
    await new Promise((resolve) => raw.once('connect', resolve));
    const made = await connectRtmp(tlsPort ?? 0, { ca: testCertificate, over: raw });
    await made.open();
    expect(await made.publish('key-a')).toBe('NetStream.Publish.Start');
    raw.write(Buffer.concat([Buffer.from([0x17, 3, 3, 0, 64]), Buffer.alloc(64, 9)]));
    await event('unpublished a closed');
    await made.closed;
  });
});

it('who leaves the TLS port makes room there', async () => {
  const limits = { maxConnections: 2 };
  const { peer } = await createIngestWorld(createSystemClock(), { tls: testTls(), limits });
  for (let round = 0; round < 6; round += 1) {
    const [one, other] = [await peer('rtmps'), await peer('rtmp')];
    await Promise.all([one.open(), other.open()]);
    await Promise.all([one.close(), other.close()]);
    // The end has to arrive there, too.
    await createSystemClock().sleep(50);
  }
});

describe('a certificate', () => {
  it.each([
    [['--rtmps-port', '0'], 'belong together'],
    [
      ['--rtmps-port', '0', '--tls-cert-file', '/nowhere/a', '--tls-key-file', '/nowhere/b'],
      '/nowhere/a cannot be read',
    ],
  ])('that is missing is said at the start, in words: %#', async (flags, words) => {
    await expect(startLocalStreamProcess(flags)).rejects.toThrow(words);
  });

  it('that is renewed is shown to whoever comes next', async () => {
    const clock = nowClock();
    const tls = testTls();
    const { publisher, tag, tlsPort } = await createIngestWorld(clock, { tls });
    const device = await publisher('key-a', 'rtmps');
    const shown = async () => {
      const socket = connectTls({ port: tlsPort ?? 0, host: '127.0.0.1', rejectUnauthorized: false });
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      const { subject } = socket.getPeerCertificate();
      socket.destroy();
      return subject.CN;
    };
    expect(await shown()).toBe('Glasscast test ingest');
    writeFileSync(tls.certFile, renewedCertificate.cert);
    writeFileSync(tls.keyFile, renewedCertificate.key);
    await clock.advance(4000);
    device.tag(media.key(40));
    await tag(({ timestampMs }) => timestampMs === 40);
    expect(await shown()).toBe('Glasscast test ingest');
    await clock.advance(4000);
    device.tag(media.key(80));
    await tag(({ timestampMs }) => timestampMs === 80);
    await clock.advance(2000);
    expect(await shown()).toBe('renewed');
    expect(device.socket.closed).toBe(false);
  });
});
