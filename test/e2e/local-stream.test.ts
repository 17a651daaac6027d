/** The local Stream with real publishers, players and decoders: from the first picture to the deleted recording. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ffmpegs, probe } from '../support/ffprobe.ts';
import {
  advances,
  createLocalStreamWorld,
  type InputJson,
  listedSegments,
  until,
  type VideoJson,
} from '../support/local-stream-world.ts';

const lifecycle = async (input: InputJson) => {
  const answer = await fetch(input.playback.hls.replace('/manifest/video.m3u8', '/lifecycle'));
  return (await answer.json()) as { isInput: boolean; videoUID: string | null; live: boolean };
};

describe.each(ffmpegs())('pushed by the $name', ({ file }) => {
  it('plays live as HLS and DASH, freezes while held, ends, and is a recording until it is deleted', async () => {
    const world = await createLocalStreamWorld({ ffmpegPath: file });
    const input = await world.createInput(3);
    expect(input.status).toBeNull();
    expect((await fetch(input.playback.hls)).status).toBe(204);
    expect((await fetch(input.playback.dash)).status).toBe(204);
    expect(await lifecycle(input)).toEqual({ isInput: true, videoUID: null, live: false });

    const push = world.push(input, { ffmpeg: file, size: '854x480' });
    await advances(input.playback.hls);
    for (const url of [input.playback.hls, input.playback.dash]) {
      const { streams, complaints } = await probe(world.spawn, url);
      expect(complaints).toBe('');
      expect(streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
      expect(streams.find(({ codec_type }) => codec_type === 'video')).toMatchObject({ width: 854, height: 480 });
    }
    const { videoUID, live } = await lifecycle(input);
    expect(live).toBe(true);
    const video = async () => (await world.call<VideoJson>('GET', `/${videoUID}`)).result;
    expect(await video()).toMatchObject({ status: { state: 'live-inprogress' }, duration: -1 });
    const refused = await world.call('DELETE', `/${videoUID}`);
    expect([refused.http, refused.errors[0]?.code]).toEqual([409, 10046]);
    const picture = Buffer.from(await (await fetch((await video()).thumbnail)).arrayBuffer());
    expect(picture.subarray(0, 3)).toEqual(Buffer.from([0xff, 0xd8, 0xff]));

    await push.stop();
    await until(async () => !(await lifecycle(input)).live);
    const held = await listedSegments(input.playback.hls);
    expect(await listedSegments(input.playback.hls)).toEqual(held);
    expect(held).toMatchObject({ playlist: expect.not.stringContaining('ENDLIST') });
    const status = await world.call<InputJson>('GET', `/live_inputs/${input.uid}`);
    expect(status.result.status).toMatchObject({
      current: { state: 'disconnected' },
      history: [{ state: 'connected' }],
    });

    expect(await until(async () => (await fetch(input.playback.hls)).status === 204)).toBe(true);
    const ready = await until(async () => {
      const now = await video();
      return now.status.state === 'ready' && now;
    });
    const recorded = await probe(world.spawn, ready.playback.hls, { countFrames: true });
    expect(recorded.complaints).toBe('');
    expect(recorded.durationS).toBeCloseTo(ready.duration, 0);
    const frames = recorded.streams.find(({ codec_type }) => codec_type === 'video')?.nb_read_frames;
    expect(Math.abs(Number(frames) - ready.duration * 30)).toBeLessThanOrEqual(3);
    expect((await probe(world.spawn, ready.playback.dash)).streams).toHaveLength(2);
    expect((await world.call<{ videoCount: number }>('GET', '/storage-usage')).result.videoCount).toBe(1);

    expect((await world.call('DELETE', `/${videoUID}`)).http).toBe(200);
    expect((await fetch(ready.playback.hls)).status).toBe(404);
    expect(existsSync(join(world.dataDir, 'videos', String(videoUID)))).toBe(false);
  });
});

describe('broadcasts', () => {
  it('a publisher that comes back in the hold window continues its video, later it starts a new one', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(4);
    const first = world.push(input);
    await advances(input.playback.hls);
    const { videoUID } = await lifecycle(input);
    await first.stop();
    await until(async () => !(await lifecycle(input)).live);

    const second = world.push(input, { size: '320x240' });
    await advances(input.playback.hls);
    expect((await lifecycle(input)).videoUID).toBe(videoUID);
    // What was open when the first publisher went away is listed before what the second one sends.
    await until(async () => {
      const listed = await listedSegments(input.playback.hls);
      return typeof listed !== 'number' && listed.playlist.includes('#EXT-X-DISCONTINUITY\n');
    });
    await second.stop();
    // Switching the input off ends the hold at once.
    await world.call('PUT', `/live_inputs/${input.uid}`, { enabled: false });
    const video = await until(async () => {
      const { result } = await world.call<VideoJson>('GET', `/${videoUID}`);
      return result.status.state === 'ready' && result;
    });
    // The change of size in the middle decodes too.
    const { streams, complaints, durationS } = await probe(world.spawn, video.playback.hls, { countFrames: true });
    expect(complaints).toBe('');
    expect(Number(streams.find(({ codec_type }) => codec_type === 'video')?.nb_read_frames)).toBeGreaterThan(60);
    expect(durationS).toBeCloseTo(video.duration, 0);

    await world.call('PUT', `/live_inputs/${input.uid}`, { enabled: true });
    const third = world.push(input);
    await advances(input.playback.hls);
    expect((await lifecycle(input)).videoUID).not.toBe(videoUID);
    await third.stop();
    const { result } = await world.call<VideoJson[]>('GET', `/live_inputs/${input.uid}/videos`);
    expect(result.map(({ status }) => status.state)).toEqual(['live-inprogress', 'ready']);
  });

  it('plays without sound, and without being recorded it does not play at all', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    const silent = world.push(input, { hasAudio: false });
    await advances(input.playback.hls);
    const { streams } = await probe(world.spawn, input.playback.hls);
    expect(streams.map(({ codec_name }) => codec_name)).toEqual(['h264']);

    await world.call('PUT', `/live_inputs/${input.uid}`, { recording: { mode: 'off' } });
    const off = await fetch(input.playback.hls);
    expect([off.status, await off.text()]).toEqual([404, 'NotFound']);
    const { result } = await world.call<InputJson>('GET', `/live_inputs/${input.uid}`);
    expect(result.status?.current.state).toBe('connected');
    await world.call('PUT', `/live_inputs/${input.uid}`, { recording: { mode: 'automatic' } });
    await advances(input.playback.hls);
    await silent.stop();
  });

  it('refuses a wrong key, cuts a disabled input, and a deleted input leaves its recording', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    const wrong = { ...input, rtmps: { ...input.rtmps, streamKey: `0${input.rtmps.streamKey.slice(1)}x` } };
    expect((await world.push(wrong).exited).code).not.toBe(0);

    const push = world.push(input);
    await advances(input.playback.hls);
    const { videoUID } = await lifecycle(input);
    await world.call('PUT', `/live_inputs/${input.uid}`, { enabled: false });
    expect((await push.exited).end).toBe('exited');
    expect((await world.push(input).exited).code).not.toBe(0);
    await world.call('DELETE', `/live_inputs/${input.uid}`);
    expect((await fetch(input.playback.hls)).status).toBe(404);
    const { result } = await world.call<VideoJson[]>('GET', `/?live_input_id=${input.uid}`);
    expect(result.map(({ uid }) => uid)).toEqual([videoUID]);
  });
});
