/** A live input that prefers low latency, with a real publisher: parts and plain playlist hold the same, and end alike. */
import { describe, expect, it } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import { ffmpegs, probe } from '../support/ffprobe.ts';
import {
  advances,
  createLocalStreamWorld,
  listedSegments,
  until,
  type VideoJson,
} from '../support/local-stream-world.ts';

const bytesOf = async (url: URL | string) => Buffer.from(await (await fetch(url)).arrayBuffer());

describe.each(ffmpegs())('pushed by the $name', ({ file }) => {
  it('gives the same bytes in parts and whole, waits for what is asked, plays everywhere, and leaves a recording', async () => {
    const world = await createLocalStreamWorld({ ffmpegPath: file });
    const input = await world.createInput(1, { preferLowLatency: true });
    const push = world.push(input, { ffmpeg: file, keyFrameEveryS: 1 });
    await advances(input.playback.hls);

    const masterUrl = `${input.playback.hls}?protocol=llhls`;
    const uri = (await (await fetch(masterUrl)).text()).trimEnd().split('\n').at(-1) ?? '';
    const videoUrl = new URL(uri, masterUrl);
    for (const track of ['video', 'audio']) {
      const url = new URL(`ll-${track}.m3u8`, videoUrl);
      const playlist = await (await fetch(url)).text();
      const msn = Number(/PRELOAD-HINT:.*-(\d+)\.\d+\.m4s/.exec(playlist)?.[1]);
      const later = await (await fetch(`${url}?_HLS_msn=${msn}`)).text();
      expect(later).toContain(`/${track}-${msn}.m4s\n`);
      const names = [...later.matchAll(/PART:.*URI="([^"]+)"/g)].map(([, name = '']) => name);
      const ours = names.filter((name) => name.includes(`-${msn}.`));
      expect(ours.length).toBeGreaterThanOrEqual(3);
      const parts = await Promise.all(ours.map((name) => bytesOf(new URL(name, url))));
      expect(Buffer.concat(parts).equals(await bytesOf(new URL(`../segments/${track}-${msn}.m4s`, url)))).toBe(true);
      const hinted = /PRELOAD-HINT:.*URI="([^"]+)"/.exec(later)?.[1] ?? '';
      expect((await bytesOf(new URL(hinted, url))).toString('latin1')).toContain('moof');
    }
    for (const url of [input.playback.hls, input.playback.dash, masterUrl]) {
      const { streams, complaints } = await probe(world.spawn, url);
      expect(complaints).toBe('');
      expect(streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
    }
    expect(await listedSegments(input.playback.hls)).toMatchObject({ playlist: expect.not.stringContaining('PART') });
    const picture = await bytesOf(input.playback.hls.replace('/manifest/video.m3u8', '/thumbnails/thumbnail.jpg'));
    expect(picture.subarray(0, 3)).toEqual(Buffer.from([0xff, 0xd8, 0xff]));

    await push.stop();
    const ending = fetch(`${videoUrl}?_HLS_msn=9999`).then(({ status }) => status);
    expect(await ending).toBe(400);
    const ended = await until(async () => {
      const text = await (await fetch(videoUrl)).text();
      return text.includes('#EXT-X-ENDLIST') && text;
    });
    expect(ended).not.toContain('PART');
    const ready = await until(async () => {
      const { result } = await world.call<VideoJson[]>('GET', '');
      return result[0]?.status.state === 'ready' && result[0];
    });
    const recorded = await probe(world.spawn, ready.playback.hls, { countFrames: true });
    expect(recorded.complaints).toBe('');
    const frames = recorded.streams.find(({ codec_type }) => codec_type === 'video')?.nb_read_frames;
    expect(Math.abs(Number(frames) - ready.duration * 30)).toBeLessThanOrEqual(3);
  });
});

it('a publisher that starts again goes on in the same playlist, in a new period', async () => {
  const world = await createLocalStreamWorld();
  const input = await world.createInput(10, { preferLowLatency: true });
  const first = world.push(input);
  await advances(input.playback.hls);
  const masterUrl = `${input.playback.hls}?protocol=llhls`;
  const uri = (await (await fetch(masterUrl)).text()).trimEnd().split('\n').at(-1) ?? '';
  const videoUrl = new URL(uri, masterUrl);
  await first.stop();
  const held = await (await fetch(videoUrl)).text();
  const msn = Number(/PRELOAD-HINT:.*-(\d+)\.\d+\.m4s/.exec(held)?.[1]);
  const waiting = fetch(`${videoUrl}?_HLS_msn=${msn}&_HLS_part=14`).then((answer) => answer.text());
  const second = world.push(input, { size: '320x240' });
  // Held, so nothing new is no failure; or already with what the second one sends.
  expect(await waiting).toContain('#EXT-X-PART-INF');
  const text = await until(async () => {
    const now = await (await fetch(videoUrl)).text();
    return now.includes('#EXT-X-DISCONTINUITY\n') && now;
  });
  expect(text).toContain('-init-1.mp4"');
  await advances(input.playback.hls);
  const { complaints } = await probe(world.spawn, masterUrl);
  expect(complaints).toBe('');
  await second.stop();
  // One that still waits when the server closes: it is cut, and leaves no timer (the world looks).
  const next = Number(/PRELOAD-HINT:.*-(\d+)\.\d+\.m4s/.exec(await (await fetch(videoUrl)).text())?.[1]);
  fetch(`${videoUrl}?_HLS_msn=${next + 1}`).catch(() => {});
  await createSystemClock().sleep(100);
});
