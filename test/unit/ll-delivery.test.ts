/** Low-latency HLS as a player meets it: playlists that hold together, blocking reload, hinted parts, hold and end. */

import fc from 'fast-check';
import Fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { liveInputBody, newLiveInput } from '../../cloud/local-stream/api/live-input.ts';
import { createLiveWindow } from '../../cloud/local-stream/packaging/live-window.ts';
import { createPackager } from '../../cloud/local-stream/packaging/packager.ts';
import { createDelivery } from '../../cloud/local-stream/playback/delivery.ts';
import { createLowLatencyDelivery } from '../../cloud/local-stream/playback/ll-delivery.ts';
import { createNewsWaits } from '../../cloud/local-stream/playback/news-waits.ts';
import { createPlaybackAccess } from '../../cloud/local-stream/playback/playback-access.ts';
import { createViewers } from '../../cloud/local-stream/playback/viewers.ts';
import { createThumbnails } from '../../cloud/local-stream/recordings/thumbnails.ts';
import { newVideo } from '../../cloud/local-stream/recordings/video.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const PART_TARGET_MS = 210;

/** One live input whose packager is fed by hand; `prefersLowLatency` as the broadcast would set it. */
function createWorld({ prefersLowLatency = true, maxPerWindow = 50 } = {}) {
  const clock = createTestClock();
  const log = silentLog();
  const input = newLiveInput(liveInputBody.parse({ recording: { mode: 'automatic' } }), clock.now());
  const video = newVideo(input, clock.now());
  const window = createLiveWindow({ startedMs: clock.now() });
  const partTargetMs = prefersLowLatency ? PART_TARGET_MS : undefined;
  const packager = createPackager({ sink: window, nowMs: clock.now, log, partTargetMs });
  const onAir = { isLive: true, videoUid: video.uid, window };
  let isOver = false;
  const waits = createNewsWaits({ clock, maxPerWindow });
  const { spawn } = createChildSpawner({ clock, log, redactor: createRedactor() });
  const app = Fastify();
  app.register(
    createDelivery({
      input: (uid) => (uid === input.uid ? input : undefined),
      video: (uid) => (uid === video.uid ? video : undefined),
      access: createPlaybackAccess({
        input: (uid) => (uid === input.uid ? input : undefined),
        video: (uid) => (uid === video.uid ? video : undefined),
      }),
      broadcasts: {
        onAir: (uid) => (!isOver && uid === input.uid ? onAir : undefined),
        onAirVideo: (uid) => (!isOver && uid === video.uid ? onAir : undefined),
        isTakenOff: () => false,
      },
      recordings: {
        soFar: () => undefined,
        read: async () => ({ ...window.presentation(), isEnded: true }),
        media: async () => undefined,
      },
      thumbnails: createThumbnails({ ffmpeg: () => Promise.reject(new Error('none here')), spawn, clock, log }),
      viewers: createViewers({ clock }),
      lowLatency: createLowLatencyDelivery({ waits, partTargetMs: PART_TARGET_MS }),
      clock,
    }),
  );
  const get = async (path: string) => {
    const { statusCode: status, body, headers } = await app.inject(`/${video.uid}/${path}`);
    return { status, body, headers };
  };
  /** Not awaited: an answer that may have to wait. */
  const ask = (path: string) => {
    const asked = { answer: undefined as Awaited<ReturnType<typeof get>> | undefined };
    void get(path).then((answer) => {
      asked.answer = answer;
    });
    return asked;
  };
  let fedMs = 0;
  const feed = (ms: number) => {
    const fed = stretch({ fromMs: 0, untilMs: 60_000 }).filter(
      ({ timestampMs }) => timestampMs >= fedMs && timestampMs < fedMs + ms,
    );
    fedMs += ms;
    for (const tag of fed) packager.tag(tag);
  };
  for (const tag of [tags.metadata('audiocodecid'), tags.videoConfig(), tags.audioConfig()]) packager.tag(tag);
  return {
    ...{ app, clock, input, window, packager, waits, get, ask, feed, onAir },
    end() {
      packager.flush();
      isOver = true;
      window.close();
    },
  };
}

const master = (world: ReturnType<typeof createWorld>, query = '?protocol=llhls') =>
  world.app.inject(`/${world.input.uid}/manifest/video.m3u8${query}`);
const linesOf = (text: string, start: string) => text.split('\n').filter((line) => line.startsWith(start));
const attribute = (line: string | undefined, name: string) =>
  new RegExp(`[:,]${name}="?([^",]+)"?`).exec(line ?? '')?.[1] ?? '';

describe('addresses', () => {
  it('low latency is for who asks for it, where the input prefers it', async () => {
    const world = createWorld();
    world.feed(1500);
    expect((await master(world)).body).toMatch(/\/manifest\/ll-video\.m3u8\n$/);
    expect((await master(world, '')).body).toMatch(/\/manifest\/live-video\.m3u8\n$/);
    expect((await master(world, '?protocol=llhls&protocol=llhls')).body).toMatch(/\/manifest\/live-video\.m3u8\n$/);
    const plain = createWorld({ prefersLowLatency: false });
    plain.feed(1500);
    expect((await master(plain)).body).toMatch(/\/manifest\/live-video\.m3u8\n$/);
    expect((await plain.get('manifest/ll-video.m3u8')).body).toBe((await plain.get('manifest/live-video.m3u8')).body);
    expect((await plain.get('manifest/live-video.m3u8')).body).not.toContain('PART');
  });
  it('begins with the first whole segment: players take no playlist without one', async () => {
    const world = createWorld();
    world.feed(900);
    expect((await master(world)).statusCode).toBe(204);
    world.feed(200);
    expect((await master(world)).statusCode).toBe(200);
  });
  it('a plain playlist of the same input knows no parts', async () => {
    const world = createWorld();
    world.feed(5500);
    const { body } = await world.get('manifest/live-video.m3u8');
    expect(body).not.toMatch(/PART|SERVER-CONTROL|PRELOAD/);
    expect(linesOf(body, '#EXTINF')).toHaveLength(5);
  });
});

describe('the playlist', () => {
  it('says all that the draft asks for', async () => {
    const world = createWorld();
    world.feed(5500);
    const { body } = await world.get('manifest/ll-video.m3u8');
    const lines = body.split('\n');
    expect(lines.slice(0, 9)).toEqual([
      '#EXTM3U',
      '#EXT-X-VERSION:9',
      '#EXT-X-TARGETDURATION:1',
      '#EXT-X-MEDIA-SEQUENCE:0',
      '#EXT-X-DISCONTINUITY-SEQUENCE:0',
      '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.63000,HOLD-BACK=3',
      '#EXT-X-PART-INF:PART-TARGET=0.21000',
      '#EXT-X-INDEPENDENT-SEGMENTS',
      '#EXT-X-MAP:URI="../segments/video-init-0.mp4"',
    ]);
    expect(lines.slice(-8)).toEqual([
      '#EXTINF:1.00000,',
      '../segments/video-4.m4s',
      '#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:25.000Z',
      '#EXT-X-PART:DURATION=0.20000,URI="../segments/video-5.0.m4s",INDEPENDENT=YES',
      '#EXT-X-PART:DURATION=0.20000,URI="../segments/video-5.1.m4s"',
      '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="../segments/video-5.2.m4s"',
      '#EXT-X-RENDITION-REPORT:URI="ll-audio.m3u8",LAST-MSN=5,LAST-PART=1',
      '',
    ]);
  });
  it('without sound has nothing to report', async () => {
    const world = createWorld();
    const pictures = stretch({ fromMs: 0, untilMs: 2400, hasSound: false });
    for (const tag of [tags.metadata(), ...pictures]) world.packager.tag(tag);
    expect((await world.get('manifest/ll-video.m3u8')).body).not.toContain('RENDITION-REPORT');
  });
});

describe('whatever is pushed', () => {
  const push = fc.oneof(
    { weight: 5, arbitrary: fc.constant({ ms: 1480, gapMs: 0, hasSound: true, isLarge: false }) },
    {
      weight: 4,
      arbitrary: fc.record({
        ms: fc.integer({ min: 40, max: 3000 }),
        gapMs: fc.oneof(fc.integer({ min: 0, max: 1900 }), fc.integer({ min: -70_000, max: 9000 })),
        hasSound: fc.boolean(),
        isLarge: fc.boolean(),
      }),
    },
  );
  it('each playlist holds together: all it names can be had, no part is longer than promised, nothing shrinks', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(push, { minLength: 1, maxLength: 12, size: 'max' }), async (pushes) => {
        const world = createWorld();
        let nowMs = 70_000;
        const seen = { video: { target: 0, next: -1 }, audio: { target: 0, next: -1 } };
        for (const { ms, gapMs, hasSound, isLarge } of pushes) {
          nowMs = Math.max(0, nowMs + gapMs);
          world.packager.tag(tags.videoConfig(isLarge ? '1280x720' : '640x360'));
          const all = stretch({ fromMs: nowMs, untilMs: nowMs + ms, keyEveryMs: 480, hasSound });
          nowMs += ms;
          for (let at = 0; at < all.length; at += 40) {
            for (const tag of all.slice(at, at + 40)) world.packager.tag(tag);
            await world.clock.advance(500);
            for (const track of ['video', 'audio'] as const) seen[track] = await check(world, track, seen[track]);
          }
        }
      }),
      { numRuns: 25 },
    );
  });

  async function check(
    world: ReturnType<typeof createWorld>,
    track: 'video' | 'audio',
    before: { target: number; next: number },
  ): Promise<{ target: number; next: number }> {
    const shown = world.window.lowLatency();
    if (!shown || shown.segments.video.length === 0) return before;
    const { status, body } = await world.get(`manifest/ll-${track}.m3u8`);
    expect(status).toBe(200);
    const lines = body.split('\n');
    const uris = [...body.matchAll(/^(?:#EXT-X-(?:MAP|PART):.*URI="([^"]+)".*|([^#\n].*))$/gm)].map(
      (m) => m[1] ?? m[2],
    );
    for (const uri of uris) expect(world.window.media((uri ?? '').replace('../segments/', '')), uri).toBeDefined();
    const partTarget = Number(
      attribute(
        lines.find((line) => line.startsWith('#EXT-X-PART-INF')),
        'PART-TARGET',
      ),
    );
    const parts = linesOf(body, '#EXT-X-PART:');
    for (const part of parts) expect(Number(attribute(part, 'DURATION'))).toBeLessThanOrEqual(partTarget);
    const holdBack = Number(attribute(linesOf(body, '#EXT-X-SERVER-CONTROL')[0], 'PART-HOLD-BACK'));
    expect(holdBack).toBeGreaterThanOrEqual(3 * partTarget - 1e-4);
    const target = Number(linesOf(body, '#EXT-X-TARGETDURATION')[0]?.split(':')[1]);
    expect(target).toBeGreaterThanOrEqual(before.target);
    for (const line of linesOf(body, '#EXTINF'))
      expect(Math.round(Number.parseFloat(line.slice(8)))).toBeLessThanOrEqual(target);
    // Of one discontinuity to the other, each change of period is marked, and each has its init segment.
    const inits = linesOf(body, '#EXT-X-MAP').map((line) => Number(/init-(\d+)/.exec(line)?.[1]));
    const first = Number(linesOf(body, '#EXT-X-DISCONTINUITY-SEQUENCE')[0]?.split(':')[1]);
    if (inits.length > 0) {
      expect(first).toBe(inits[0]);
      expect((inits.at(-1) ?? 0) - first).toBe(lines.filter((line) => line === '#EXT-X-DISCONTINUITY').length);
    }
    // The hint names what is not there yet, right behind the newest part.
    const hint = attribute(
      lines.find((line) => line.startsWith('#EXT-X-PRELOAD-HINT')),
      'URI',
    ).replace('../segments/', '');
    expect(world.window.media(hint)).toBeUndefined();
    const [, segment = '', index = ''] = /-(\d+)\.(\d+)\.m4s$/.exec(hint) ?? [];
    const next = Number(segment) * 1000 + Number(index);
    expect(next).toBeGreaterThanOrEqual(before.next);
    return { target, next };
  }
});

describe('blocking reload', () => {
  it('waits for the part, and is answered with it', async () => {
    const world = createWorld();
    world.feed(2500);
    const asked = world.ask('manifest/ll-video.m3u8?_HLS_msn=2&_HLS_part=2');
    await settle();
    expect(asked.answer).toBeUndefined();
    world.feed(60);
    await settle();
    expect(asked.answer).toBeUndefined();
    world.feed(100);
    await settle();
    expect(asked.answer).toMatchObject({ status: 200, body: expect.stringMatching(/PART:.*video-2\.2\.m4s"\n/) });
    expect(world.waits.count()).toBe(0);
  });
  it('waits for the whole segment when no part is named, and does not wait for what is there', async () => {
    const world = createWorld();
    world.feed(2500);
    expect((await world.get('manifest/ll-audio.m3u8?_HLS_msn=1')).status).toBe(200);
    expect((await world.get('manifest/ll-audio.m3u8?_HLS_msn=2&_HLS_part=0')).status).toBe(200);
    const asked = world.ask('manifest/ll-video.m3u8?_HLS_msn=2');
    world.feed(400);
    await settle();
    expect(asked.answer).toBeUndefined();
    world.feed(200);
    await settle();
    expect(asked.answer?.body).toContain('\n../segments/video-2.m4s\n');
  });
  it.each([
    '_HLS_msn=x',
    '_HLS_msn=-1',
    '_HLS_msn=1.5',
    '_HLS_msn=',
    '_HLS_msn=99999999999999999999',
    '_HLS_msn=1&_HLS_msn=2',
    '_HLS_part=1',
    '_HLS_msn=1&_HLS_part=x',
    '_HLS_msn=4',
    '_HLS_msn=2&_HLS_part=30',
  ])('refuses %s at once', async (query) => {
    const world = createWorld();
    world.feed(2500);
    const { status, headers } = await world.get(`manifest/ll-video.m3u8?${query}`);
    expect(status).toBe(400);
    expect(headers['cache-control']).toBe('no-store');
    expect(world.waits.count()).toBe(0);
  });
  it('gives up after three target durations; while nobody publishes the playlist just stands still', async () => {
    const world = createWorld();
    world.feed(2500);
    const late = world.ask('manifest/ll-video.m3u8?_HLS_msn=2&_HLS_part=3');
    await world.clock.advance(2900);
    expect(late.answer).toBeUndefined();
    await world.clock.advance(100);
    expect(late.answer).toMatchObject({ status: 503, headers: { 'access-control-allow-origin': '*' } });
    world.onAir.isLive = false;
    const before = await world.get('manifest/ll-video.m3u8');
    const held = world.ask('manifest/ll-video.m3u8?_HLS_msn=2&_HLS_part=3');
    await world.clock.advance(3000);
    expect(held.answer).toMatchObject({ status: 200, body: before.body });
    expect(before.body).not.toContain('ENDLIST');
    expect(world.clock.pending()).toEqual([]);
  });
  it('at the end of the broadcast is answered with the end', async () => {
    const world = createWorld();
    world.feed(2500);
    const far = world.ask('manifest/ll-video.m3u8?_HLS_msn=3');
    await settle();
    world.end();
    await settle();
    expect(far.answer).toMatchObject({ status: 200, body: expect.stringMatching(/video-2\.m4s\n#EXT-X-ENDLIST\n$/) });
    expect((await world.get('manifest/ll-video.m3u8')).body).not.toContain('PART');
    expect(world.clock.pending()).toEqual([]);
  });
  it('is bounded: more than may wait are told to come again, and who was refused disturbs nobody', async () => {
    const world = createWorld({ maxPerWindow: 3 });
    world.feed(2500);
    const asked = Array.from({ length: 5 }, () => world.ask('manifest/ll-video.m3u8?_HLS_msn=2&_HLS_part=2'));
    await settle();
    expect(asked.map(({ answer }) => answer?.status)).toEqual([undefined, undefined, undefined, 503, 503]);
    world.feed(400);
    await settle();
    expect(asked.slice(0, 3).map(({ answer }) => answer?.status)).toEqual([200, 200, 200]);
  });
});

describe('a hinted part', () => {
  it('is waited for, and no other', async () => {
    const world = createWorld();
    world.feed(2500);
    const hinted = world.ask('segments/video-2.2.m4s');
    await settle();
    expect(hinted.answer).toBeUndefined();
    for (const name of [
      'video-2.3.m4s',
      'video-3.0.m4s',
      'video-3.m4s',
      'video-2.2',
      'audio-9.0.m4s',
      'video-0.9.m4s',
    ]) {
      expect((await world.get(`segments/${name}`)).status, name).toBe(404);
    }
    world.feed(200);
    await settle();
    expect(hinted.answer).toMatchObject({
      status: 200,
      headers: { 'content-type': 'video/mp4', 'cache-control': expect.stringContaining('immutable') },
    });
  });
  it('that never comes is told of as soon as that is known, or in time', async () => {
    const world = createWorld();
    world.feed(2500);
    const never = world.ask('segments/video-2.2.m4s');
    await settle();
    // The segment ends with what there is.
    world.packager.flush();
    await settle();
    expect(never.answer?.status).toBe(200);
    const next = world.ask('segments/video-3.0.m4s');
    await world.clock.advance(3000);
    expect(next.answer?.status).toBe(503);
    const last = world.ask('segments/video-3.0.m4s');
    await settle();
    world.end();
    await settle();
    expect(last.answer?.status).toBe(404);
  });
});

describe('memory', () => {
  it('a part is a piece of its segment once that is whole, and goes with it', () => {
    const world = createWorld();
    world.feed(3100);
    const piece = world.window.media('video-1.2.m4s');
    expect(piece?.buffer).toBe(world.window.media('video-1.m4s')?.buffer);
    expect(piece?.byteOffset).toBeGreaterThan(0);
    world.feed(30_000);
    expect(world.window.media('video-1.m4s')).toBeUndefined();
    expect(world.window.media('video-1.2.m4s')).toBeUndefined();
    expect(world.window.partsOf('video', 1)).toEqual([]);
  });
});
