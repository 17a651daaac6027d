/** The local Stream when things go wrong around it: a full disk, an input deleted under its publisher, an end during the start. */
import { once } from 'node:events';
import { appendFileSync, existsSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createLocalStream } from '../../cloud/local-stream/server.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { probe } from '../support/ffprobe.ts';
import { startLocalStreamProcess } from '../support/local-stream-process.ts';
import {
  advances,
  createLocalStreamWorld,
  type InputJson,
  listedSegments,
  pushTestPattern,
  temporaryFolder,
  until,
  type VideoJson,
} from '../support/local-stream-world.ts';
import { smallDisk } from '../support/small-disk.ts';

describe('a full disk', () => {
  it('ends the recording; the live stream goes on, the API answers, and deleting makes room', async ({ skip }) => {
    const disk = smallDisk(4 * 1024 * 1024);
    if (!disk) return skip('a full disk is made with a small tmpfs: root on Linux only');
    const world = await createLocalStreamWorld({ dataDir: disk, minFreeBytes: 0 });
    const input = await world.createInput(1);
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(join(disk, 'filler'), Buffer.alloc(bavail * bsize - 400 * 1024));
    const push = world.push(input);
    await advances(input.playback.hls);
    const { result: videos } = await world.call<VideoJson[]>('GET', `/live_inputs/${input.uid}/videos`);
    const folder = join(disk, 'videos', videos[0]?.uid ?? '');
    // The newest listed segment is some ahead of the newest one on the disk: it is not written any more.
    const number = (name: string) => Number(/video-(\d+)\.m4s$/.exec(name)?.[1] ?? -1);
    await until(async () => {
      const listed = await listedSegments(input.playback.hls);
      if (typeof listed === 'number') throw new Error(`the live stream answers ${listed}`);
      return number(listed.names.at(-1) ?? '') >= Math.max(...readdirSync(folder).map(number)) + 4;
    });
    await advances(input.playback.hls);
    expect((await world.call('GET', `/live_inputs/${input.uid}`)).http).toBe(200);
    const created = await world.call('POST', '/live_inputs', {});
    expect([
      [200, undefined],
      [500, 10001],
    ]).toContainEqual([created.http, created.errors[0]?.code]);

    await push.stop();
    const over = await until(async () => {
      const { result } = await world.call<VideoJson>('GET', `/${videos[0]?.uid}`);
      return /ready|error/.test(result.status.state) && result;
    });
    expect((await world.call('DELETE', `/${over.uid}`)).http).toBe(200);
    expect(existsSync(folder)).toBe(false);
    expect((await world.call('DELETE', `/live_inputs/${input.uid}`)).http).toBe(200);
    expect((await world.call('POST', '/live_inputs', {})).http).toBe(200);
  });
});

describe('a disk that is full to the last byte', () => {
  it('stops recordings and refuses what it cannot keep, whole; streams go on; with room again the next broadcast records', async ({
    skip,
  }) => {
    const disk = smallDisk(8 * 1024 * 1024);
    if (!disk) return skip('a full disk is made with a small tmpfs: root on Linux only');
    const world = await createLocalStreamWorld({ dataDir: disk, minFreeBytes: 0 });
    const [first, second] = [await world.createInput(1), await world.createInput(1)];
    const pushes = [first, second].map((input) => world.push(input));
    await Promise.all([first, second].map(({ playback }) => advances(playback.hls)));
    const ended: string[] = [];
    for (const push of pushes) void push.exited.then(({ end }) => ended.push(end));
    const filler = join(disk, 'filler');
    const fill = () => {
      try {
        for (const bytes of [1024 * 1024, 64 * 1024, 4096]) for (;;) appendFileSync(filler, Buffer.alloc(bytes));
      } catch {
        // Full, or smaller pieces still fit.
      }
    };
    for (let i = 0; i < 5; i += 1) fill();

    // A journal has some room of its own; what does not fit is refused, and nothing of it is there afterwards.
    const key = { 'idempotency-key': 'again' };
    const made: string[] = [];
    const meta = { name: 'x', filling: 'x'.repeat(100_000) };
    const refused = await until(async () => {
      fill();
      const answer = await world.call<InputJson>('POST', '/live_inputs', { meta }, made.length > 0 ? key : {});
      if (answer.http === 200) made.push(answer.result.uid);
      return answer.http !== 200 && answer;
    });
    expect([refused.http, refused.errors[0]?.code]).toEqual([500, 10001]);
    expect((await world.call('PUT', `/live_inputs/${first.uid}`, { meta })).errors[0]?.code).toBe(10001);
    expect((await world.call<{ meta: object }>('GET', `/live_inputs/${first.uid}`)).result.meta).toEqual({
      name: 'test',
    });
    const { result: inputs } = await world.call<InputJson[]>('GET', '/live_inputs');
    expect(new Set(inputs.map(({ uid }) => uid))).toEqual(new Set([first.uid, second.uid, ...made]));
    await Promise.all([first, second].map(({ playback }) => advances(playback.hls)));
    expect(ended).toEqual([]);

    rmSync(filler);
    await Promise.all(pushes.map((push) => push.stop()));
    await until(async () => (await fetch(first.playback.hls)).status === 204);
    expect((await world.call('POST', '/live_inputs', {}, key)).http).toBe(200);
    const again = world.push(first);
    await advances(first.playback.hls);
    await again.stop();
    const video = await until(async () => {
      const { result } = await world.call<VideoJson[]>('GET', `/?live_input_id=${first.uid}&status=ready`);
      return result[0];
    });
    expect(video.duration).toBeGreaterThan(0.5);
    expect((await probe(world.spawn, video.playback.hls)).complaints).toBe('');
  });
  it('before that, recordings leave room on it', async () => {
    const world = await createLocalStreamWorld({ minFreeBytes: Number.MAX_SAFE_INTEGER });
    const input = await world.createInput(1);
    const push = world.push(input);
    await advances(input.playback.hls);
    await push.stop();
    const video = await until(async () => {
      const { result } = await world.call<VideoJson[]>('GET', `/?live_input_id=${input.uid}&status=error`);
      return result[0];
    });
    expect((await fetch(video.playback.hls)).status).toBe(424);
    expect(existsSync(join(world.dataDir, 'videos', video.uid, 'timeline.jsonl'))).toBe(false);
  });
});

describe('a quota', () => {
  it('that is used up lets no new broadcast in and says so; one that runs goes on; deleting makes room', async () => {
    const told: { event: string; code: string }[] = [];
    const listener = createServer((request, response) => {
      let body = '';
      request.on('data', (piece) => {
        body += piece;
      });
      request.on('end', () => {
        const { data } = JSON.parse(body) as {
          data: { event_type: string; live_input_errored?: { error: { code: string } } };
        };
        told.push({ event: data.event_type, code: data.live_input_errored?.error.code ?? '' });
        response.end();
      });
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void listener.close());
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    const liveWebhook = { url: `http://127.0.0.1:${port}/`, secret: new Secret('of-the-listener') };
    const world = await createLocalStreamWorld({ storageLimitMinutes: 1, liveWebhook });
    const usage = async () => (await world.call<{ totalStorageMinutes: number }>('GET', '/storage-usage')).result;
    const [first, second] = [await world.createInput(1), await world.createInput(1)];
    const running = world.push(second);
    const ending = world.push(first);
    await Promise.all([first, second].map(({ playback }) => advances(playback.hls)));
    // Broadcasts that go on weigh nothing.
    expect((await usage()).totalStorageMinutes).toBe(0);
    await ending.stop();
    const video = await until(async () => {
      const { result } = await world.call<VideoJson[]>('GET', `/?live_input_id=${first.uid}&status=ready`);
      return result[0];
    });
    expect((await usage()).totalStorageMinutes).toBe(1);
    expect((await world.call('POST', '/live_inputs', {})).http).toBe(200);
    expect((await world.push(first).exited).end).toBe('exited');
    await until(async () => told.some(({ code }) => code === 'ERR_STORAGE_QUOTA_EXHAUSTED'));
    await advances(second.playback.hls);
    expect((await world.call('DELETE', `/${video.uid}`)).http).toBe(200);
    const again = world.push(first);
    await advances(first.playback.hls);
    await Promise.all([again.stop(), running.stop()]);
  });
  it('of bytes ends the recording and not the stream', async () => {
    const world = await createLocalStreamWorld({ storageLimitBytes: 150_000 });
    const input = await world.createInput(1);
    const push = world.push(input);
    const number = (name: string) => Number(/video-(\d+)\.m4s$/.exec(name)?.[1] ?? -1);
    await until(async () => {
      const listed = await listedSegments(input.playback.hls);
      return typeof listed !== 'number' && number(listed.names.at(-1) ?? '') > 6;
    });
    await push.stop();
    const video = await until(async () => {
      const { result } = await world.call<VideoJson[]>('GET', `/?live_input_id=${input.uid}`);
      return result[0] && /ready|error/.test(result[0].status.state) && result[0];
    });
    expect(video.size).toBeLessThanOrEqual(150_000);
    expect(video.duration).toBeLessThan(5);
  });
});

describe('at the wrong moment', () => {
  it('an input is deleted while its publisher is live: it is cut, its recording stays and can be deleted at once', async () => {
    const world = await createLocalStreamWorld({ readyDelayMs: 60_000 });
    const input = await world.createInput(60);
    const push = world.push(input);
    await advances(input.playback.hls);
    expect((await world.call('DELETE', `/live_inputs/${input.uid}`)).http).toBe(200);
    expect((await push.exited).end).toBe('exited');
    expect((await world.call<InputJson>('GET', `/live_inputs/${input.uid}`)).errors[0]?.code).toBe(10003);
    const { result } = await world.call<VideoJson[]>('GET', `/?live_input_id=${input.uid}`);
    expect(result.map(({ status }) => status.state)).toEqual(['inprogress']);
    const uid = result[0]?.uid ?? '';
    expect((await world.call('DELETE', `/${uid}`)).http).toBe(200);
    expect(existsSync(join(world.dataDir, 'videos', uid))).toBe(false);
  });
  it('an end during the start closes what the start still opens; a second start is the first one', async () => {
    const clock = createSystemClock();
    const redactor = createRedactor();
    const dataDir = temporaryFolder();
    writeFileSync(join(dataDir, 'api-token'), '');
    const { spawn } = createChildSpawner({ clock, log: silentLog(), redactor });
    const stream = createLocalStream({ clock, redactor, spawn, log: silentLog(), dataDir });
    const starting = stream.start();
    expect(stream.start()).toEqual(starting);
    await stream.close();
    const { httpPort, apiToken } = await starting;
    // An empty token file lets nobody in: another token is made.
    expect(apiToken.reveal().length).toBeGreaterThan(20);
    await expect(fetch(`http://127.0.0.1:${httpPort}/healthz`)).rejects.toThrow();
    expect(clock.pending()).toEqual([]);
    await expect(stream.start()).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });
});

describe('a crash', () => {
  it('of a broadcast in the middle: its recording is told of at the next start, with addresses that play', async () => {
    const heard: VideoJson[] = [];
    const hooks = createServer((request, response) => {
      request.setEncoding('utf8').on('data', (body: string) => void heard.push(JSON.parse(body)));
      request.on('end', () => response.end());
    });
    await once(hooks.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => void hooks.close());
    const dataDir = temporaryFolder();
    const first = await startLocalStreamProcess(['--data-dir', dataDir]);
    await first.call('PUT', '/webhook', {
      notificationUrl: `http://127.0.0.1:${(hooks.address() as AddressInfo).port}/`,
    });
    const input = await first.createInput();
    const { spawn, close } = createChildSpawner({
      ...{ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() },
    });
    onTestFinished(close);
    pushTestPattern(spawn, input);
    await advances(input.playback.hls);
    await until(async () => {
      const listed = await listedSegments(input.playback.hls);
      return typeof listed !== 'number' && listed.names.length > 2;
    });
    process.kill(first.pid, 'SIGKILL');
    await first.child.exited;
    const second = await startLocalStreamProcess(['--data-dir', dataDir]);
    const video = await until(async () => heard[0]);
    expect(video.playback.hls).toBe(`http://127.0.0.1:${second.ready.httpPort}/${video.uid}/manifest/video.m3u8`);
    expect(video.status.state).toBe('ready');
    expect((await fetch(video.playback.hls)).status).toBe(200);
  });
});
