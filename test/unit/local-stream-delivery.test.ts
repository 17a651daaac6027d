/** The delivery host without ports: what each address answers while idle, live and recorded, and to strangers. */
import Fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { createDelivery } from '../../cloud/local-stream/delivery.ts';
import { liveInputBody, newLiveInput } from '../../cloud/local-stream/live-input.ts';
import { createLiveWindow } from '../../cloud/local-stream/live-window.ts';
import { createPackager } from '../../cloud/local-stream/packager.ts';
import { createPlaybackAccess } from '../../cloud/local-stream/playback-access.ts';
import type { Presentation } from '../../cloud/local-stream/presentation.ts';
import { createThumbnails, type Thumbnails } from '../../cloud/local-stream/thumbnails.ts';
import { newVideo, type Video } from '../../cloud/local-stream/video.ts';
import { createViewers } from '../../cloud/local-stream/viewers.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

function createWorld({ segments = 12 } = {}) {
  const clock = createTestClock();
  const log = silentLog();
  const input = newLiveInput(liveInputBody.parse({ recording: { mode: 'automatic' } }), clock.now());
  const window = createLiveWindow({ startedMs: clock.now() });
  const packager = createPackager({ sink: window, nowMs: clock.now, log });
  const fed = stretch({ fromMs: 0, untilMs: segments * 1000 + 40 });
  for (const tag of [tags.videoConfig(), tags.audioConfig(), ...fed]) packager.tag(tag);
  const live = newVideo(input, clock.now());
  const ready: Video = { ...newVideo(input, clock.now()), state: 'ready' };
  const failed: Video = { ...newVideo(input, clock.now()), state: 'error' };
  const videos = new Map([live, ready, failed].map((video) => [video.uid, video]));
  let isOnAir = true;
  const onAir = { isLive: true, videoUid: live.uid, window };
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
  const app = Fastify();
  app.register(
    createDelivery({
      input: (uid) => (uid === input.uid ? input : undefined),
      video: (uid) => videos.get(uid),
      access: createPlaybackAccess({ input: () => input, video: (uid) => videos.get(uid) }),
      broadcasts: {
        onAir: (uid) => (isOnAir && uid === input.uid ? onAir : undefined),
        onAirVideo: (uid) => (isOnAir && uid === live.uid ? onAir : undefined),
      },
      recordings: {
        read: async (uid) => (uid === ready.uid ? recorded : undefined),
        media: async (uid, name) => (uid === ready.uid && name === 'video-0.m4s' ? Buffer.from('stored') : undefined),
      },
      thumbnails: noting(createThumbnails({ ffmpeg: () => Promise.reject(new Error('none here')), spawn, clock, log })),
      viewers: createViewers({ clock }),
      nowMs: clock.now,
    }),
  );
  const get = async (url: string, method: 'GET' | 'POST' | 'OPTIONS' | 'HEAD' = 'GET') => {
    const { statusCode, headers, body } = await app.inject({ url, method });
    return { status: statusCode, headers, body };
  };
  return {
    ...{ wanted, app, get, input, live, ready, failed },
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
    expect((await get(`/${ready.uid}/segments/video-0.m4s`)).body).toBe('stored');
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
  it('without ffmpeg there are no thumbnails, and nothing else is wrong', async () => {
    const { get, input } = createWorld();
    expect((await get(`/${input.uid}/thumbnails/thumbnail.jpg?height=99999&time=abc`)).status).toBe(404);
    expect((await get(`/${input.uid}/manifest/video.m3u8`)).status).toBe(200);
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
