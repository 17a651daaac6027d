/** What real players get from the delivery host: behind a token, from the beginning of a broadcast, in clips, and over its end. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { ffmpegs, pictureTimes, probe } from '../support/ffprobe.ts';
import {
  advances,
  createLocalStreamWorld,
  type InputJson,
  type LocalStreamWorld,
  listedSegments,
  temporaryFolder,
  until,
  type VideoJson,
} from '../support/local-stream-world.ts';

async function liveVideo(world: LocalStreamWorld, input: InputJson): Promise<VideoJson> {
  return until(async () => {
    const { result } = await world.call<VideoJson[]>('GET', `/live_inputs/${input.uid}/videos`);
    return result[0];
  });
}

async function tokenFor(world: LocalStreamWorld, uid: string, body: object = {}): Promise<string> {
  const { result } = await world.call<{ token: string }>('POST', `/${uid}/token`, body);
  return result.token;
}

const withId = (url: string, id: string) => url.replace(/(?<=:\d+\/)[^/]+/, id);

describe('a signed stream', () => {
  it('plays for whoever has a token, live as HLS and DASH and recorded, and for nobody else', async () => {
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const log = createLog({ program: 'local-stream', level: 'debug', redactor: createRedactor(), destination });
    const world = await createLocalStreamWorld({ log });
    const recording = { mode: 'automatic', timeoutSeconds: 1, requireSignedURLs: true };
    const { result: input } = await world.call<InputJson>('POST', '/live_inputs', { recording });
    const token = await tokenFor(world, input.uid);
    const hls = withId(input.playback.hls, token);
    const push = world.push(input);
    await advances(hls);
    for (const url of [hls, withId(input.playback.dash, token)]) {
      const { streams, complaints } = await probe(world.spawn, url);
      expect(complaints).toBe('');
      expect(streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
    }
    const thumbnail = hls.replace('manifest/video.m3u8', 'thumbnails/thumbnail.jpg');
    expect((await fetch(thumbnail)).headers.get('content-type')).toBe('image/jpeg');
    const video = await liveVideo(world, input);
    const refused = async (url: string) => [(await fetch(url)).status, (await fetch(url)).headers.get('cache-control')];
    expect(await refused(input.playback.hls)).toEqual([401, 'no-store']);
    expect(await refused(video.playback.hls)).toEqual([401, 'no-store']);
    expect(await refused(video.playback.hls.replace('manifest/video.m3u8', 'segments/video-0.m4s'))).toEqual([
      ...[401, 'no-store'],
    ]);
    const [head = '', body = '', signature = ''] = token.split('.');
    expect(await refused(withId(hls, `${head}.${body}.${signature.split('').reverse().join('')}`))).toEqual([
      ...[401, 'no-store'],
    ]);
    const accessRules = [{ type: 'ip.src', ip: ['127.0.0.0/8'], action: 'block' }];
    expect(await refused(withId(hls, await tokenFor(world, input.uid, { accessRules })))).toEqual([403, 'no-store']);
    await push.stop();

    await until(async () => (await world.call<VideoJson>('GET', `/${video.uid}`)).result.status.state === 'ready');
    expect(await refused(video.playback.hls)).toEqual([401, 'no-store']);
    const recorded = withId(video.playback.hls, await tokenFor(world, video.uid));
    expect((await probe(world.spawn, recorded)).complaints).toBe('');
    expect((await fetch(recorded.replace('manifest/video.m3u8', 'clip.mp4'), { method: 'HEAD' })).status).toBe(200);
    // An address with a token in it is a secret: no part of one is in a line of the log.
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.join('')).not.toContain(signature.slice(0, 20));
    expect(lines.join('')).not.toContain(body);
  });
});

describe('a signed stream of low latency', () => {
  it('has its parts behind the token too, and its recording is one file', async () => {
    const world = await createLocalStreamWorld();
    const recording = { mode: 'automatic', timeoutSeconds: 1, requireSignedURLs: true };
    const { result: input } = await world.call<InputJson>('POST', '/live_inputs', {
      recording,
      preferLowLatency: true,
    });
    const hls = withId(input.playback.hls, await tokenFor(world, input.uid));
    const push = world.push(input);
    await advances(hls);
    const listed = await until(async () => {
      const now = await listedSegments(`${hls}?protocol=llhls`);
      return typeof now !== 'number' && now.playlist.includes('#EXT-X-PART:') && now.names.length > 3 && now;
    });
    const video = await liveVideo(world, input);
    const [part = ''] = [...listed.playlist.matchAll(/#EXT-X-PART:.*URI="([^"]+)"/g)]
      .map(([, uri]) => uri ?? '')
      .slice(-1);
    const partUrl = new URL(part, hls.replace('manifest/', `${video.uid}/manifest/`));
    expect((await fetch(partUrl)).status).toBe(200);
    expect((await fetch(withId(partUrl.href, input.uid))).status).toBe(401);
    await push.stop();
    const ready = await until(async () => {
      const { result } = await world.call<VideoJson>('GET', `/${video.uid}`);
      return result.status.state === 'ready' && result;
    });
    const token = await tokenFor(world, video.uid);
    const { streams, complaints, durationS } = await probe(world.spawn, withId(clipUrl(ready, 'time=0'), token), {
      countFrames: true,
    });
    expect(complaints).toBe('');
    expect(streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
    expect(durationS).toBeCloseTo(ready.duration, 0);
    const frames = streams.find(({ codec_type }) => codec_type === 'video')?.nb_read_frames;
    expect(Math.abs(Number(frames) - ready.duration * 30)).toBeLessThanOrEqual(3);
  });
});

describe.each(ffmpegs())('a broadcast, with the $name', ({ file }) => {
  it('plays from its beginning with dvrEnabled, gives clips while it goes on, and its end leaves no gap', async () => {
    const world = await createLocalStreamWorld({ readyDelayMs: 1000, ffmpegPath: file });
    const input = await world.createInput(1);
    const push = world.push(input);
    await advances(input.playback.hls);
    const video = await liveVideo(world, input);
    const numbers = ({ names }: { names: string[] }) => names.map((name) => Number(/video-(\d+)/.exec(name)?.[1]));
    const whole = await until(async () => {
      const listed = await listedSegments(`${input.playback.hls}?dvrEnabled=true`);
      return typeof listed !== 'number' && listed.names.length > 11 && listed;
    });
    expect(numbers(whole)).toEqual(whole.names.map((_, index) => index));
    expect(whole.playlist).not.toContain('ENDLIST');
    const times = await pictureTimes(world.spawn, clipUrl(video, 'time=2&duration=3s'));
    expect(times.at(0)).toBeLessThan(0.2);
    expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(2.9);
    expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeLessThan(5.1);
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(0.05);

    const folder = temporaryFolder();
    for (const [query, width, height] of [
      ['height=90', 160, 90],
      ['height=100&width=100', 100, 100],
      ['height=100&width=100&fit=fill', 100, 100],
      ['height=100&width=100&fit=scale', 100, 100],
      ['height=100&width=160&fit=clip', 160, 90],
    ] as const) {
      const jpeg = join(folder, `${query}.jpg`);
      writeFileSync(jpeg, Buffer.from(await (await fetch(`${video.thumbnail}?${query}`)).arrayBuffer()));
      expect((await probe(world.spawn, jpeg)).streams, query).toMatchObject([{ width, height }]);
    }

    const seen: { status: number; isEnded: boolean; newest: number; count: number }[] = [];
    let isWatching = true;
    const watch = (async () => {
      const clock = createSystemClock();
      while (isWatching) {
        const listed = await listedSegments(video.playback.hls);
        if (typeof listed === 'number') seen.push({ status: listed, isEnded: false, newest: -1, count: 0 });
        else {
          const isEnded = listed.playlist.includes('#EXT-X-ENDLIST');
          seen.push({ status: 200, isEnded, newest: Math.max(...numbers(listed)), count: listed.names.length });
        }
        await clock.sleep(15);
      }
    })();
    await push.stop();
    const ready = await until(async () => {
      const { result } = await world.call<VideoJson>('GET', `/${video.uid}`);
      return result.status.state === 'ready' && result;
    });
    isWatching = false;
    await watch;
    expect(new Set(seen.map(({ status }) => status))).toEqual(new Set([200]));
    const ended = seen.filter(({ isEnded }) => isEnded);
    // In progress for a second, playable all the while, and complete from the first look on.
    expect(ended.length).toBeGreaterThan(5);
    expect(new Set(ended.map(({ newest }) => newest)).size).toBe(1);
    // The master of just before the end leads to the live playlist, which ends with the newest eight.
    const complete = (ended[0]?.newest ?? 0) + 1;
    expect(ended.map(({ count }) => count).filter((count) => count !== complete && count !== 8)).toEqual([]);
    expect(ended.at(-1)?.count).toBe(complete);
    const saved = join(folder, 'whole.mp4');
    const answer = await fetch(clipUrl(ready, 'filename=whole'));
    expect(answer.headers.get('content-disposition')).toBe('attachment; filename="whole.mp4"');
    writeFileSync(saved, Buffer.from(await answer.arrayBuffer()));
    const { streams, durationS, complaints } = await probe(world.spawn, saved, { countFrames: true });
    expect(complaints).toBe('');
    expect(streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
    expect(durationS).toBeCloseTo(ready.duration, 0);
    const frames = streams.find(({ codec_type }) => codec_type === 'video')?.nb_read_frames;
    expect(Math.abs(Number(frames) - ready.duration * 30)).toBeLessThanOrEqual(3);
  });
});

describe('a recording', () => {
  it('that is deleted while somebody saves it is gone, and the saving breaks off', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(1);
    const push = world.push(input, { size: '1280x720' });
    await advances(input.playback.hls);
    const video = await liveVideo(world, input);
    await until(async () => {
      const length = (await fetch(clipUrl(video, ''), { method: 'HEAD' })).headers.get('content-length');
      // More than sockets hold for a reader that does not read.
      return Number(length) > 12_000_000;
    });
    await push.stop();
    await until(async () => (await world.call<VideoJson>('GET', `/${video.uid}`)).result.status.state === 'ready');
    const { body } = await fetch(clipUrl(video, ''));
    expect((await world.call('DELETE', `/${video.uid}`)).http).toBe(200);
    expect(existsSync(join(world.dataDir, 'videos', video.uid))).toBe(false);
    await expect(new Response(body).arrayBuffer()).rejects.toThrow();
    expect((await fetch(clipUrl(video, ''))).status).toBe(404);
  });
});

function clipUrl(video: Pick<VideoJson, 'playback'>, query: string): string {
  return `${video.playback.hls.replace('manifest/video.m3u8', 'clip.mp4')}?${query}`;
}
