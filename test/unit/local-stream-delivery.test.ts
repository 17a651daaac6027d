/** The delivery host without ports: what each address answers while idle, live and recorded, and to strangers. */
import Fastify from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import { liveInputBody, newLiveInput } from '../../cloud/local-stream/api/live-input.ts';
import { createLiveWindow } from '../../cloud/local-stream/packaging/live-window.ts';
import { createPackager, type PackagerSink } from '../../cloud/local-stream/packaging/packager.ts';
import { initName, type Presentation, segmentName } from '../../cloud/local-stream/packaging/presentation.ts';
import { createDelivery } from '../../cloud/local-stream/playback/delivery.ts';
import { createLowLatencyDelivery } from '../../cloud/local-stream/playback/ll-delivery.ts';
import { createNewsWaits } from '../../cloud/local-stream/playback/news-waits.ts';
import { createPlaybackAccess } from '../../cloud/local-stream/playback/playback-access.ts';
import { createViewers } from '../../cloud/local-stream/playback/viewers.ts';
import { readTimeline } from '../../cloud/local-stream/recordings/recordings.ts';
import { createThumbnails, type Thumbnails } from '../../cloud/local-stream/recordings/thumbnails.ts';
import { newVideo, type Video } from '../../cloud/local-stream/recordings/video.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const tokenOf = (uid: string) => `t.${uid}.s`;

function createWorld({ segments = 12, recording = {} as object } = {}) {
  const clock = createTestClock();
  const log = silentLog();
  const input = newLiveInput(liveInputBody.parse({ recording: { mode: 'automatic', ...recording } }), clock.now());
  const window = createLiveWindow({ startedMs: clock.now() });
  const disk = new Map<string, Buffer>();
  const lines: object[] = [];
  const sink: PackagerSink = {
    period(period, inits) {
      window.period(period, inits);
      disk.set(initName('video', period.index), inits.video);
      if (inits.audio) disk.set(initName('audio', period.index), inits.audio);
      lines.push({ period });
    },
    segment(segment, data) {
      window.segment(segment, data);
      disk.set(segmentName(segment), data);
      lines.push({ segment });
    },
  };
  const packager = createPackager({ sink, nowMs: clock.now, log });
  const fed = stretch({ fromMs: 0, untilMs: segments * 1000 + 40 });
  for (const tag of [tags.videoConfig(), tags.audioConfig(), ...fed]) packager.tag(tag);
  const live = newVideo(input, clock.now());
  const ready: Video = { ...newVideo(input, clock.now()), state: 'ready' };
  const failed: Video = { ...newVideo(input, clock.now()), state: 'error' };
  const videos = new Map([live, ready, failed].map((video) => [video.uid, video]));
  let isOnAir = true;
  let isTakenOff = false;
  const onAir = { isLive: true, videoUid: live.uid, window };
  const all = readTimeline(lines.map((line) => JSON.stringify(line)).join('\n'));
  const recorded: Presentation = { ...window.presentation(), isEnded: true };
  const { spawn } = createChildSpawner({ clock, log, redactor: createRedactor() });
  const wanted: string[] = [];
  const noting = (thumbnails: Thumbnails): Thumbnails => ({
    ...thumbnails,
    jpeg(want, source) {
      wanted.push(want.subject);
      return thumbnails.jpeg(want, source);
    },
  });
  const tokens = {
    verify(token: string) {
      const uid = token.split('.')[1] ?? '';
      const isGood = token === tokenOf(uid);
      return isGood
        ? { uid, downloadable: false, accessRules: [], expiresMs: 0 }
        : { refused: 'The token has expired' };
    },
  };
  const app = Fastify();
  app.register(
    createDelivery({
      input: (uid) => (uid === input.uid ? input : undefined),
      video: (uid) => videos.get(uid),
      access: createPlaybackAccess({
        input: (uid) => (uid === input.uid ? input : undefined),
        video: (uid) => videos.get(uid),
        tokens,
      }),
      broadcasts: {
        onAir: (uid) => (isOnAir && uid === input.uid ? onAir : undefined),
        onAirVideo: (uid) => (isOnAir && uid === live.uid ? onAir : undefined),
        isTakenOff: () => isTakenOff,
      },
      recordings: {
        soFar: () => all && { ...all, isEnded: false },
        read: async (uid) => (uid === ready.uid ? recorded : undefined),
        media: async (uid, name) => (uid === failed.uid ? undefined : disk.get(name)),
      },
      thumbnails: noting(createThumbnails({ ffmpeg: () => Promise.reject(new Error('none here')), spawn, clock, log })),
      viewers: createViewers({ clock }),
      lowLatency: createLowLatencyDelivery({ waits: createNewsWaits({ clock }), partTargetMs: 210 }),
      clock,
    }),
  );
  type Method = 'GET' | 'POST' | 'OPTIONS' | 'HEAD';
  const get = async (url: string, method: Method = 'GET', said: Record<string, string> = {}) => {
    const { statusCode, headers, body } = await app.inject({ url, method, headers: said });
    return { status: statusCode, headers, body };
  };
  return {
    ...{ wanted, videos, app, get, input, live, ready, failed, clock },
    takeOff: () => {
      isTakenOff = true;
      isOnAir = false;
    },
    offAir: () => {
      isOnAir = false;
    },
  };
}

const uris = (playlist: string) => playlist.split('\n').filter((line) => line && !line.startsWith('#'));

describe('live', () => {
  it('the input leads to the playlists of its video, each segment can be had, and viewers are counted', async () => {
    const { get, input, live } = createWorld();
    const master = await get(`/${input.uid}/manifest/video.m3u8`);
    expect(master.headers).toMatchObject({
      'content-type': 'application/vnd.apple.mpegurl',
      'cache-control': 'no-store',
      'access-control-allow-origin': '*',
    });
    expect(uris(master.body)).toEqual([`../../${live.uid}/manifest/live-video.m3u8`]);
    for (const track of ['video', 'audio']) {
      const { body } = await get(`/${live.uid}/manifest/live-${track}.m3u8`);
      expect(uris(body)).toHaveLength(8);
      const map = /URI="([^"]+)"/.exec(body)?.[1] ?? '';
      for (const uri of [map, ...uris(body)]) {
        const media = await get(`/${live.uid}/${uri.replace('../', '')}`);
        expect(media.status).toBe(200);
        expect(media.headers).toMatchObject({
          'content-type': `${track}/mp4`,
          'cache-control': expect.stringContaining('immutable'),
        });
      }
    }
    expect((await get(`/${input.uid}/views`)).body).toBe('{"liveViewers":1}');
    expect((await get(`/${input.uid}/manifest/video.mpd`)).body).toContain(
      `<BaseURL>../../${live.uid}/segments/</BaseURL>`,
    );
    expect((await get(`/${input.uid}/lifecycle`)).body).toBe(`{"isInput":true,"videoUID":"${live.uid}","live":true}`);
    expect((await get(`/${live.uid}/lifecycle`)).body).toBe(`{"isInput":false,"videoUID":"${live.uid}","live":true}`);
  });
  it('is 204 before the first segment', async () => {
    const { get, input } = createWorld({ segments: 0 });
    expect(await get(`/${input.uid}/manifest/video.m3u8`)).toMatchObject({ status: 204, body: '' });
  });
});

describe('idle and recorded', () => {
  it('the input is 204, its past cannot be reached through it', async () => {
    const { get, input, offAir } = createWorld();
    offAir();
    for (const name of ['video.m3u8', 'video.mpd']) {
      expect(await get(`/${input.uid}/manifest/${name}`)).toMatchObject({ status: 204, body: '' });
    }
    expect((await get(`/${input.uid}/lifecycle`)).body).toBe('{"isInput":true,"videoUID":null,"live":false}');
    expect((await get(`/${input.uid}/views`)).body).toBe('{"liveViewers":0}');
    expect((await get(`/${input.uid}/thumbnails/thumbnail.jpg`)).status).toBe(404);
  });
  it('the video is a closed playlist; who was watching live sees the end with the numbers it knows', async () => {
    const { get, ready } = createWorld();
    const master = await get(`/${ready.uid}/manifest/video.m3u8`);
    expect(uris(master.body)).toEqual([`../../${ready.uid}/manifest/vod-video.m3u8`]);
    for (const kind of ['vod', 'live']) {
      const { body } = await get(`/${ready.uid}/manifest/${kind}-video.m3u8`);
      expect(body).toContain('#EXT-X-ENDLIST');
      expect(body).toContain('#EXT-X-MEDIA-SEQUENCE:4');
    }
    expect((await get(`/${ready.uid}/segments/video-0.m4s`)).status).toBe(200);
    expect((await get(`/${ready.uid}/manifest/video.mpd`)).body).toContain('type="static"');
  });
  it('each moment of a recording has its own thumbnail, a live video one for everybody', async () => {
    const { get, ready, live, wanted } = createWorld();
    for (const time of ['1', '5', '-7', 'abc', '1e99']) {
      await get(`/${ready.uid}/thumbnails/thumbnail.jpg?time=${time}`);
      await get(`/${live.uid}/thumbnails/thumbnail.jpg?time=${time}&height=-9`);
    }
    expect(wanted.filter((subject) => subject.startsWith(live.uid))).toEqual(Array(5).fill(live.uid));
    const recorded = wanted.filter((subject) => subject.startsWith(ready.uid));
    expect(recorded.every((subject) => subject.includes('video-'))).toBe(true);
    expect(recorded[0]).not.toBe(recorded[1]);
  });
  it('a recording is shown by the moment that was set for it, unless another one is asked for', async () => {
    const { get, ready, wanted, videos } = createWorld();
    const address = `/${ready.uid}/thumbnails/thumbnail.jpg`;
    await get(address);
    videos.set(ready.uid, { ...ready, thumbnailPct: 0.5 });
    for (const query of ['', '?time=0s', '?time=nonsense']) await get(address + query);
    const [first, middle, asked, otherwise] = wanted.map((subject) =>
      Number(/\d+$/.exec(subject.replace('.m4s', ''))?.[0]),
    );
    expect([asked, (middle ?? 0) - (first ?? 0)]).toEqual([first, 4]);
    expect(otherwise).toBe(middle);
  });
  it('a connection on which nothing moves is closed in the end', async () => {
    const { app, ready } = createWorld();
    const timeoutsMs: (number | undefined)[] = [];
    app.addHook('onSend', async (request) => void timeoutsMs.push(request.raw.socket.timeout));
    const origin = await app.listen({ port: 0, host: '127.0.0.1' });
    onTestFinished(() => app.close());
    await (await fetch(`${origin}/${ready.uid}/segments/video-4.m4s`)).arrayBuffer();
    expect(timeoutsMs).toEqual([120_000]);
  });
  it('without ffmpeg there are no thumbnails, and nothing else is wrong', async () => {
    const { get, input } = createWorld();
    expect((await get(`/${input.uid}/thumbnails/thumbnail.jpg?height=99999&time=abc`)).status).toBe(404);
    expect((await get(`/${input.uid}/manifest/video.m3u8`)).status).toBe(200);
  });
});

describe('a segment', () => {
  it('comes whole, in a range, as its head, or not again', async () => {
    const { get, ready } = createWorld();
    const url = `/${ready.uid}/segments/video-0.m4s`;
    const { headers } = await get(url);
    const length = headers['content-length'];
    expect(await get(url, 'HEAD')).toMatchObject({ status: 200, body: '', headers: { 'content-length': length } });
    expect(await get(url, 'GET', { range: 'bytes=4-7' })).toMatchObject({ status: 206, body: 'styp' });
    expect((await get(url, 'GET', { 'if-none-match': String(headers.etag) })).status).toBe(304);
    expect((await get(url, 'GET', { range: 'bytes=999999-' })).status).toBe(416);
  });
});

describe('strangers', () => {
  it('get precise answers', async () => {
    const { get, input, failed, ready } = createWorld();
    expect((await get('/unknown/manifest/video.m3u8')).status).toBe(404);
    expect((await get('/unknown/lifecycle')).status).toBe(404);
    expect((await get(`/${failed.uid}/manifest/video.m3u8`)).status).toBe(424);
    expect((await get(`/${input.uid}/manifest/other.m3u8`)).status).toBe(404);
    for (const path of [
      'segments/..%2f..%2fcatalogue.db',
      'segments/timeline.jsonl',
      'segments/%2e%2e',
      'manifest/..%2fx',
    ]) {
      expect((await get(`/${ready.uid}/${path}`)).status).toBe(404);
    }
    expect((await get(`/..%2f..%2fetc/segments/video-0.m4s`)).status).toBe(404);
  });
  it('a refusal can be read by a browser too, and nobody keeps it', async () => {
    const { get, input, live } = createWorld();
    const refused = ['/', '/nothing/here', `/${live.uid}/segments/video-999.m4s`, `/${live.uid}/segments/..%2f..%2fx`];
    for (const url of [...refused, `/${input.uid}/manifest/other.m3u8`]) {
      expect(await get(url), url).toMatchObject({
        status: 404,
        headers: { 'access-control-allow-origin': '*', 'cache-control': 'no-store' },
      });
    }
  });
  it('a browser may ask from anywhere', async () => {
    const { get, input } = createWorld();
    const { status, headers } = await get(`/${input.uid}/manifest/video.m3u8`, 'OPTIONS');
    expect(status).toBe(204);
    expect(headers).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-allow-methods': expect.stringContaining('GET'),
    });
    expect((await get(`/${input.uid}/manifest/video.m3u8`, 'HEAD')).status).toBe(200);
  });
});

describe('behind a token', () => {
  const signed = { recording: { requireSignedURLs: true } };
  it('everything is found from it: each address that follows holds it, and no id alone opens anything', async () => {
    const { get, input, live } = createWorld(signed);
    const token = tokenOf(input.uid);
    const master = await get(`/${token}/manifest/video.m3u8`);
    const [list = ''] = uris(master.body);
    expect(list).toBe(`../../${token}/${live.uid}/manifest/live-video.m3u8`);
    const base = new URL(`http://h/${token}/manifest/video.m3u8`);
    const listUrl = new URL(list, base);
    const playlist = await get(listUrl.pathname);
    const map = /URI="([^"]+)"/.exec(playlist.body)?.[1] ?? '';
    for (const uri of [map, ...uris(playlist.body)]) {
      const media = await get(new URL(uri, listUrl).pathname);
      expect([media.status, media.headers['cache-control']]).toEqual([200, 'private, max-age=31536000, immutable']);
    }
    expect((await get(`/${token}/manifest/video.mpd`)).body).toContain(
      `<BaseURL>../../${token}/${live.uid}/segments/</BaseURL>`,
    );
    const paths = ['manifest/video.m3u8', 'manifest/live-video.m3u8', 'manifest/video.mpd', 'segments/video-9.m4s'];
    for (const path of [...paths, 'clip.mp4', 'manifest/clip.m3u8', 'thumbnails/thumbnail.jpg']) {
      for (const uid of [input.uid, live.uid]) {
        const { status, headers, body } = await get(`/${uid}/${path}`);
        expect([status, headers['cache-control']], path).toEqual([401, 'no-store']);
        expect(body).toBe('A signed token is needed in place of the id');
      }
      expect((await get(`/${input.uid}/${live.uid}/${path}`)).status, path).toBeGreaterThanOrEqual(401);
      expect((await get(`/${tokenOf(live.uid)}x/${path}`)).status, path).toBe(401);
    }
    expect((await get(`/${tokenOf(live.uid)}/manifest/video.m3u8`)).body).toContain(
      `../../${tokenOf(live.uid)}/manifest/live-video.m3u8`,
    );
  });
  it('one video does not lead to another one, and an input not to what is long over', async () => {
    const { get, input, live, ready, clock, offAir } = createWorld(signed);
    const list = 'manifest/live-video.m3u8';
    expect((await get(`/${tokenOf(live.uid)}/${ready.uid}/${list}`)).status).toBe(403);
    expect((await get(`/${tokenOf(input.uid)}/${'f'.repeat(32)}/${list}`)).status).toBe(403);
    expect((await get(`/${tokenOf('f'.repeat(32))}/${list}`)).status).toBe(404);
    offAir();
    Object.assign(ready, { readyMs: clock.now() });
    // Whoever watched it live sees its end.
    expect((await get(`/${tokenOf(input.uid)}/${ready.uid}/${list}`)).body).toContain('#EXT-X-ENDLIST');
    await clock.advance(600_000);
    for (const path of [list, 'segments/video-0.m4s', 'clip.mp4']) {
      expect((await get(`/${tokenOf(input.uid)}/${ready.uid}/${path}`)).status).toBe(403);
    }
    expect((await get(`/${tokenOf(ready.uid)}/manifest/video.m3u8`)).status).toBe(200);
  });
  it('what a player asks before it plays needs none', async () => {
    const { get, input } = createWorld(signed);
    for (const id of [input.uid, tokenOf(input.uid)]) {
      expect((await get(`/${id}/lifecycle`)).body).toContain('"isInput":true');
      expect((await get(`/${id}/views`)).body).toBe('{"liveViewers":0}');
    }
    expect((await get('/a.b.c/lifecycle')).status).toBe(401);
  });
});

describe('allowed origins', () => {
  it('are named to the browser, and others are refused in words that it may read', async () => {
    const { get, input, live } = createWorld({ recording: { allowedOrigins: ['*.example.com'] } });
    const url = `/${input.uid}/manifest/video.m3u8`;
    expect(await get(url, 'GET', { origin: 'https://a.example.com' })).toMatchObject({
      status: 200,
      headers: { 'access-control-allow-origin': 'https://a.example.com', vary: 'origin' },
    });
    expect(await get(url, 'GET', { origin: 'https://evil.test' })).toMatchObject({
      status: 403,
      headers: { 'access-control-allow-origin': '*', 'cache-control': 'no-store' },
    });
    const segment = `/${live.uid}/segments/video-9.m4s`;
    expect((await get(segment, 'GET', { referer: 'https://evil.test/' })).status).toBe(403);
    const { headers } = await get(segment);
    expect(headers).toMatchObject({ 'cache-control': expect.stringContaining('private'), vary: 'origin' });
    expect(headers['access-control-allow-origin']).toBeUndefined();
  });
});

describe('the whole broadcast, and clips of it', () => {
  it('with dvrEnabled live playlists go back to its beginning', async () => {
    const { get, input, live } = createWorld({ segments: 40 });
    const master = await get(`/${input.uid}/manifest/video.m3u8?dvrEnabled=true`);
    expect(uris(master.body)).toEqual([`../../${live.uid}/manifest/dvr-video.m3u8`]);
    for (const track of ['video', 'audio']) {
      const { body } = await get(`/${live.uid}/manifest/dvr-${track}.m3u8`);
      expect(uris(body)).toHaveLength(40);
      expect(body).toContain('#EXT-X-MEDIA-SEQUENCE:0\n');
      expect(body).not.toContain('ENDLIST');
      expect((await get(`/${live.uid}/${uris(body)[0]?.replace('../', '')}`)).status).toBe(200);
    }
    expect(uris((await get(`/${live.uid}/manifest/live-video.m3u8`)).body)).toHaveLength(8);
  });
  it('a preview tells where it starts and of which video it is; a clip has its end', async () => {
    const { get, input, live } = createWorld({ segments: 40 });
    const preview = await get(`/${input.uid}/manifest/video.m3u8?duration=10s`);
    expect(preview.headers).toMatchObject({ 'stream-media-id': live.uid, 'preview-start-seconds': '30' });
    expect(preview.headers['access-control-expose-headers']).toContain('preview-start-seconds');
    for (const master of [preview, await get(`/${live.uid}/manifest/clip.m3u8?time=30s&duration=10s`)]) {
      const [list = ''] = uris(master.body);
      const { body } = await get(`/${live.uid}/${list.replace(/^.*(?=manifest)/, '')}`);
      expect(uris(body)).toHaveLength(10);
      expect(uris(body)[0]).toBe('../segments/video-30.m4s');
      expect(body).toMatch(/#EXT-X-PLAYLIST-TYPE:VOD\n.*#EXT-X-ENDLIST/s);
    }
  });
  it('clip.mp4 comes whole or in ranges, and under the name that was asked for', async () => {
    const { get, ready } = createWorld();
    const url = `/${ready.uid}/clip.mp4?time=6&duration=2s`;
    const { status, headers } = await get(url);
    expect(status).toBe(200);
    expect(headers).toMatchObject({ 'content-type': 'video/mp4', 'accept-ranges': 'bytes' });
    expect(headers['content-disposition']).toBeUndefined();
    expect(await get(url, 'GET', { range: 'bytes=4-7' })).toMatchObject({ status: 206, body: 'ftyp' });
    expect(await get(url, 'HEAD')).toMatchObject({
      ...{ status: 200, body: '', headers: { 'content-length': headers['content-length'] } },
    });
    const named = await get(`${url}&filename=${encodeURIComponent('a"b\r\nx: y')}`, 'HEAD');
    expect(named.headers['content-disposition']).toBe('attachment; filename="a_b__x_ y.mp4"');
    for (const wrong of ['time=x', 'duration=0', 'time=1&time=2']) {
      expect((await get(`/${ready.uid}/clip.mp4?${wrong}`)).status, wrong).toBe(400);
      expect((await get(`/${ready.uid}/manifest/clip.m3u8?${wrong}`)).status, wrong).toBe(400);
    }
    expect((await get(`/${ready.uid}/clip.mp4?time=9999`)).status).toBe(404);
    expect((await get(`/${ready.uid}/manifest/clip.m3u8?time=9999`)).status).toBe(404);
    expect((await get(`/${ready.uid}/manifest/video.m3u8?duration=x`)).status).toBe(400);
  });
  it('an input whose recording was switched off while it was on air is NotFound', async () => {
    const { get, input, takeOff } = createWorld();
    takeOff();
    expect(await get(`/${input.uid}/manifest/video.m3u8`)).toMatchObject({ status: 404, body: 'NotFound' });
  });
});
