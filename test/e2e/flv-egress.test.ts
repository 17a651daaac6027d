/** The live picture as FLV, over HTTP and over WebSockets, with real encoders and a real decoder. */

import { once } from 'node:events';
import { connect } from 'node:net';
import Fastify from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import WebSocket from 'ws';
import { createFlvEgress, type FlvLimits } from '../../cloud/local-stream/flv/egress.ts';
import { createLiveFeed } from '../../cloud/local-stream/live-feed.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createFlvParser, type FlvTag, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { probe } from '../support/ffprobe.ts';
import { advances, createLocalStreamWorld, type InputJson, until } from '../support/local-stream-world.ts';
import { tags } from '../support/media-tags.ts';
import { offerSdp } from '../support/whep-offers.ts';

const flvUrl = (input: InputJson) => input.playback.hls.replace('manifest/video.m3u8', 'live.flv');

/** A viewer by WebSocket, and what it was sent. */
function watch(input: InputJson) {
  const seen: FlvTag[] = [];
  const parser = createFlvParser({ onTag: (tag) => void seen.push(tag) });
  const ws = new WebSocket(flvUrl(input).replace('http:', 'ws:'));
  let header: number | undefined;
  ws.on('message', (data: Buffer) => {
    header ??= data[4];
    parser.push(data);
  });
  const closed = once(ws, 'close').then(([code, reason]) => ({ code: Number(code), reason: String(reason) }));
  closed.catch(() => undefined);
  const pictures = () => seen.filter((tag) => tag.kind === 'video' && !isSequenceHeader(tag));
  return { ws, seen, closed, pictures, header: () => header };
}

async function onAir(input: InputJson): Promise<void> {
  await until(async () => {
    const response = await fetch(flvUrl(input));
    await response.body?.cancel();
    return response.status === 200;
  });
}

describe('HTTP-FLV', () => {
  it('plays H.264 and AAC in a real decoder, without a complaint', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    const idle = await fetch(flvUrl(input));
    expect([idle.status, idle.headers.get('access-control-allow-origin')]).toEqual([204, '*']);
    world.push(input);
    await onAir(input);
    const live = await fetch(flvUrl(input));
    expect(Object.fromEntries(live.headers)).toMatchObject({
      'content-type': 'video/x-flv',
      'cache-control': 'no-store',
      'access-control-allow-origin': '*',
    });
    await live.body?.cancel();
    const { streams, complaints } = await probe(world.spawn, flvUrl(input));
    expect(complaints).toBe('');
    expect(streams.map(({ codec_name, width }) => [codec_name, width])).toEqual(
      expect.arrayContaining([
        ['h264', 640],
        ['aac', undefined],
      ]),
    );
    const reader = (await fetch(flvUrl(input))).body?.getReader();
    await until(async () => {
      const views = await fetch(input.playback.hls.replace('manifest/video.m3u8', 'views'));
      return ((await views.json()) as { liveViewers: number }).liveViewers > 0;
    });
    await reader?.cancel();
  });

  it('promises no sound that is not there, and ends when the broadcast does', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    const publisher = world.push(input, { hasAudio: false });
    await onAir(input);
    const reader = (await fetch(flvUrl(input))).body?.getReader();
    const first = await reader?.read();
    expect(Buffer.from(first?.value ?? []).subarray(0, 5)).toEqual(Buffer.from([0x46, 0x4c, 0x56, 1, 1]));
    const { streams } = await probe(world.spawn, flvUrl(input));
    expect(streams.map(({ codec_type }) => codec_type)).toEqual(['video']);
    await publisher.stop();
    for (let read = await reader?.read(); read && !read.done; ) read = await reader?.read();
    expect((await fetch(flvUrl(input))).status).toBe(204);
    expect((await fetch(flvUrl(input).replace(input.uid, 'unknown'))).status).toBe(404);
  });
});

describe('WS-FLV', () => {
  it('begins at once with a key frame, goes on over another publisher, and says when it is over', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(3);
    const early = await watch(input).closed;
    expect(early).toEqual({ code: 4404, reason: 'Live broadcast not started yet' });
    const first = world.push(input);
    await onAir(input);
    const viewer = watch(input);
    await until(async () => viewer.pictures().length > 30);
    expect(viewer.header()).toBe(5);
    expect(isKeyFrame(viewer.pictures()[0] as FlvTag)).toBe(true);
    await first.stop();
    const before = viewer.pictures().length;
    const second = world.push(input, { size: '320x240' });
    await until(async () => viewer.pictures().length > before + 30);
    expect(viewer.seen.filter((tag) => tag.kind === 'video' && isSequenceHeader(tag)).length).toBeGreaterThan(1);
    const times = viewer.pictures().map(({ timestampMs }) => timestampMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    await second.stop();
    expect(await viewer.closed).toEqual({ code: 1000, reason: 'The broadcast has ended' });
  });

  it('tells who watches without sound to come back when there is some', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(5);
    const mute = world.push(input, { hasAudio: false });
    await onAir(input);
    const viewer = watch(input);
    await until(async () => viewer.pictures().length > 5);
    expect(viewer.header()).toBe(1);
    await mute.stop();
    world.push(input);
    expect(await viewer.closed).toMatchObject({ code: 1012 });
    expect(viewer.seen.some(({ kind }) => kind === 'audio')).toBe(false);
    const again = watch(input);
    await until(async () => again.pictures().length > 5);
    expect(again.header()).toBe(5);
    again.ws.close();
  });

  it('is forbidden together with the rest of the delivery host, for tests', async () => {
    const world = await createLocalStreamWorld({ adminPort: 0 });
    const input = await world.createInput();
    const authorization = `Bearer ${world.address.apiToken.reveal()}`;
    const fault = `http://127.0.0.1:${world.address.adminPort}/faults/delivery-forbidden`;
    const headers = { authorization, 'content-type': 'application/json' };
    await fetch(fault, { method: 'PUT', headers, body: JSON.stringify({ onlyStrangers: true }) });
    const address = flvUrl(input).replace('http:', 'ws:');
    const [error] = await once(new WebSocket(address), 'error');
    expect(String(error)).toContain('403');
    const browser = new WebSocket(address, { headers: { 'user-agent': 'Mozilla/5.0' } });
    expect((await once(browser, 'close'))[0]).toBe(4404);
  });

  it('takes nothing from viewers, and refuses strangers before the upgrade', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    world.push(input);
    await onAir(input);
    const talker = watch(input);
    await until(async () => talker.pictures().length > 0);
    talker.ws.send('hello');
    expect(await talker.closed).toMatchObject({ code: 1008 });
    const flooder = watch(input);
    await until(async () => flooder.pictures().length > 0);
    flooder.ws.send(Buffer.alloc(100_000));
    expect(await flooder.closed).toMatchObject({ code: 1009 });
    for (const path of ['/unknown/live.flv', '/', `/${input.uid}/other.flv`, `/${'x'.repeat(9000)}/live.flv`]) {
      const stranger = new WebSocket(`ws://127.0.0.1:${world.address.httpPort}${path}`);
      const [error] = await once(stranger, 'error');
      expect(String(error)).toContain('404');
    }
  });
});

describe('an input that is switched off', () => {
  it('cuts its viewers by WebSocket, HTTP and HLS at once, and shows nothing by WebRTC any more', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(60);
    world.push(input);
    await onAir(input);
    await advances(input.playback.hls);
    const viewer = watch(input);
    await until(async () => viewer.pictures().length > 5);
    const reader = (await fetch(flvUrl(input))).body?.getReader();
    const play = input.playback.hls.replace('manifest/video.m3u8', 'webRTC/play');
    const headers = { 'content-type': 'application/sdp' };
    expect((await fetch(play, { method: 'POST', headers, body: offerSdp() })).status).toBe(201);

    await world.call('PUT', `/live_inputs/${input.uid}`, { enabled: false });
    expect(await viewer.closed).toEqual({ code: 1000, reason: 'The broadcast has ended' });
    for (let read = await reader?.read(); read && !read.done; ) read = await reader?.read();
    expect((await fetch(play, { method: 'POST', headers, body: offerSdp() })).status).toBe(409);
    expect((await fetch(input.playback.hls)).status).toBe(204);
    expect((await fetch(flvUrl(input))).status).toBe(204);
  });
});

describe('many viewers, and bad ones', () => {
  /** The egress alone, with an input on air whose pictures are as large as is asked. */
  async function createEgress(limits: Partial<FlvLimits>) {
    const clock = createSystemClock();
    const feed = createLiveFeed({ clock });
    const inputUid = 'input';
    feed.published({ inputUid, publicationId: 'a' });
    const push = (tag: FlvTag) => feed.tag(inputUid, 'a', tag);
    push(tags.videoConfig());
    const app = Fastify({ forceCloseConnections: true });
    const nobody = { onAir: () => undefined };
    app.register(
      createFlvEgress({
        access: { admit: ({ id }) => ({ uid: id, kind: 'input', isToken: false, allowOrigin: '*' }) },
        ...{ feed, clock, limits, broadcasts: nobody, video: () => undefined, log: silentLog() },
        viewers: { seen: () => undefined },
      }),
    );
    onTestFinished(async () => {
      await app.close();
      expect(clock.pending()).toEqual([]);
    });
    const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
    let timestampMs = 0;
    return {
      clock,
      httpUrl: `http://127.0.0.1:${port}/${inputUid}/live.flv`,
      wsUrl: `ws://127.0.0.1:${port}/${inputUid}/live.flv`,
      picture(bytes: number) {
        timestampMs += 40;
        const { body } = tags.picture(timestampMs, { isKey: true });
        push({ kind: 'video', timestampMs, body: Buffer.concat([body, Buffer.alloc(bytes)]) });
      },
    };
  }

  it('are let in up to a number, on both transports together', async () => {
    const { httpUrl, wsUrl } = await createEgress({ maxViewers: 2 });
    const first = await fetch(httpUrl);
    const second = new WebSocket(wsUrl);
    await once(second, 'open');
    expect((await fetch(httpUrl)).status).toBe(503);
    const third = new WebSocket(wsUrl);
    expect((await once(third, 'close'))[0]).toBe(1013);
    await first.body?.cancel();
    await until(async () => {
      const again = await fetch(httpUrl);
      await again.body?.cancel();
      return again.status === 200;
    });
    second.close();
  });

  it('are cut when they read nothing for a while, and cost nobody else a picture', async () => {
    const { clock, wsUrl, httpUrl, picture } = await createEgress({ stuckTimeoutMs: 1500, maxQueuedBytes: 1_000_000 });
    const deaf = new WebSocket(wsUrl);
    await once(deaf, 'open');
    deaf.pause();
    const { port } = new URL(httpUrl);
    const silent = connect(Number(port), '127.0.0.1').on('error', () => undefined);
    silent.pause().write('GET /input/live.flv HTTP/1.1\r\nhost: x\r\n\r\n');
    let pictures = 0;
    const healthy = new WebSocket(wsUrl);
    healthy.on('message', (data: Buffer) => {
      if (data.length > 100_000) pictures += 1;
    });
    await once(healthy, 'open');
    let sent = 0;
    const isCut = { deaf: false, silent: false };
    deaf.on('close', () => {
      isCut.deaf = true;
    });
    silent.on('close', () => {
      isCut.silent = true;
    });
    while (!isCut.deaf || !isCut.silent) {
      picture(200_000);
      sent += 1;
      await clock.sleep(20);
      // What the kernel still holds has to be taken before an end can be seen.
      if (sent === 200) {
        deaf.resume();
        silent.resume();
      }
    }
    await until(async () => pictures === sent);
    healthy.close();
  });
});

it('viewers who stay do not keep the server from closing, and are told', async () => {
  const viewers: ReturnType<typeof watch>[] = [];
  const world = await createLocalStreamWorld();
  const input = await world.createInput(30);
  world.push(input);
  await onAir(input);
  viewers.push(watch(input));
  const silent = connect(world.address.httpPort, '127.0.0.1');
  silent.on('error', () => undefined);
  silent.write(`GET /${input.uid}/live.flv HTTP/1.1\r\nhost: x\r\n\r\n`);
  await until(async () => (viewers[0]?.pictures().length ?? 0) > 0);
  await world.close();
  expect((await viewers[0]?.closed)?.code).toBe(1001);
  silent.destroy();
});
