/** The agent with a camera that comes, goes and is in use: real ffmpegs behind the programs of test/support/fake-cameras.ts. */
import { rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PI_ENCODER } from '../../device/capture/camera-listings.ts';
import { readVideoConfig } from '../../shared/codec-config.ts';
import { isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { libcameraList, webcam } from '../support/camera-listings.ts';
import { type CameraWorld, createCameraWorld, small } from '../support/camera-world.ts';
import { ffmpegFiles, rpicamVid, v4l2Ctl } from '../support/fake-cameras.ts';

let world: CameraWorld;

beforeEach(async () => {
  world = await createCameraWorld();
  world.cameras.program('v4l2-ctl', v4l2Ctl({ video0: webcam }));
  world.plugIn();
});
afterEach(async () => {
  await world.close();
  // Whatever a test did: no child, no timer, no light is left.
  expect(world.leftOver()).toEqual([]);
  expect(world.clock.pending()).toEqual([]);
  expect(world.isLit()).toBe(false);
  expect(world.logged()).not.toContain('very-secret');
});

async function goLive(source = 'v4l2:auto', video: object = small): Promise<void> {
  await world.start(source);
  world.order(video);
  await world.says('streaming');
}
const captures = () => world.pids('capture');
const growing = (times: number[]) => expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
const stamps = () => world.media('video').map(({ timestampMs }) => timestampMs);

describe.each(ffmpegFiles)('with %s', (file) => {
  test.each([
    ['raw pictures', webcam, 'yuyv422'],
    ['MJPEG', webcam.replace("'YUYV'", "'WHAT'"), 'mjpeg'],
  ])('%s: goes live with what the camera gives, and goes dark', async (_, listing, format) => {
    world.cameras.program('v4l2-ctl', v4l2Ctl({ video0: listing }));
    await world.start('v4l2:auto', {}, file);
    world.order();
    const streaming = await world.says('streaming');
    const captureSize =
      format === 'mjpeg' ? { captureWidth: 640, captureHeight: 480 } : { captureWidth: 640, captureHeight: 360 };
    expect(streaming.resolvedConfig?.video).toMatchObject({ width: 320, height: 180, ...captureSize });
    expect(streaming.resolvedConfig?.video).toMatchObject({ encoder: 'libx264' });
    await world.morePictures(30);
    expect(world.isLit()).toBe(true);
    const header = world.sink.tags.find((tag) => tag.kind === 'video' && isSequenceHeader(tag));
    expect(readVideoConfig(header?.body.subarray(5) ?? Buffer.alloc(0))).toMatchObject({ width: 320, height: 180 });
    growing(stamps());
    await world.stop();
    expect(world.running('capture')).toEqual([]);
    expect(world.running('picture-encoder')).toEqual([]);
    await expect.poll(world.isLit).toBe(false);
  });

  test('its own H.264 is passed on, with no encoder of ours', async () => {
    const exact = { ...small, width: 1280, height: 720, frameRate: 15 };
    await world.start('v4l2:auto', {}, file);
    world.order(exact);
    const streaming = await world.says('streaming');
    expect(streaming.resolvedConfig?.video).toMatchObject({ width: 1280, captureWidth: 1280, encoder: 'copy' });
    await world.morePictures(30);
    growing(stamps());
    expect(captures()).toEqual([]);
    expect(world.isLit()).toBe(true);
    await world.stop();
    expect(world.running('picture-encoder')).toEqual([]);
  });

  test('the H.264 of a Raspberry Pi camera is passed on', async () => {
    world.cameras.node('video11', PI_ENCODER);
    world.cameras.program('rpicam-vid', rpicamVid(libcameraList));
    await world.start('libcamera', {}, file);
    world.order({ ...small, width: 640, height: 360, frameRate: 30 });
    const streaming = await world.says('streaming');
    expect(streaming.resolvedConfig?.video).toMatchObject({ captureWidth: 640, captureHeight: 360, encoder: 'copy' });
    await world.morePictures(40);
    growing(stamps());
    expect(captures()).toHaveLength(1);
    await world.stop();
    expect(world.running('capture')).toEqual([]);
  });
});

test('unplugged and back: told, sound goes on, the same connection, later time stamps', async () => {
  await goLive();
  await world.morePictures(10);
  let from = world.relay.frames.length;
  const before = stamps();
  world.unplug();
  const lost = await world.says('reconnecting', from);
  expect(lost).toMatchObject({ errorCode: 'CAMERA_NOT_FOUND', errorDetails: expect.stringContaining('video0') });
  const heard = world.media('audio').length;
  await world.sink.until(() => world.media('audio').length > heard + 40);
  from = world.relay.frames.length;
  world.plugIn();
  await world.says('reconnected', from);
  await world.morePictures(10);
  expect(world.sink.connections).toBe(1);
  growing(stamps());
  // As long as it was away, and not one picture of before again.
  expect(stamps().at(-1) ?? 0).toBeGreaterThan((before.at(-1) ?? 0) + 700);
  expect(world.isLit()).toBe(true);
});

test('in use by another program: told, and begun when it is free', async () => {
  writeFileSync(world.busyFile, '');
  await world.start('v4l2:auto');
  world.order();
  expect(await world.says('connecting')).toMatchObject({ errorCode: 'CAMERA_BUSY' });
  rmSync(world.busyFile);
  await world.says('streaming');
  await world.morePictures(10);
  expect(world.relay.frames.some(({ status }) => status === 'error')).toBe(false);
});

test('in use for ever: an error that says so', async () => {
  writeFileSync(world.busyFile, '');
  await world.start('v4l2:auto');
  world.order();
  expect(await world.says('error')).toMatchObject({ errorCode: 'CAMERA_BUSY' });
  await expect.poll(world.isLit).toBe(false);
});

test('a killed capture is followed by another', async () => {
  await goLive();
  await world.morePictures(10);
  const from = world.relay.frames.length;
  process.kill(captures()[0] ?? 0, 'SIGKILL');
  await world.says('reconnecting', from);
  await world.says('reconnected', from);
  await world.morePictures(10);
  expect(captures()).toHaveLength(2);
  expect(world.sink.connections).toBe(1);
  growing(stamps());
});

test('a camera that falls silent: its capture is replaced, no encoder is blamed', async () => {
  await goLive();
  await world.morePictures(10);
  const from = world.relay.frames.length;
  process.kill(captures()[0] ?? 0, 'SIGSTOP');
  expect(await world.says('reconnecting', from)).toMatchObject({
    ...{ errorCode: 'CAMERA_SILENT', errorDetails: expect.stringContaining('video0') },
  });
  await world.says('reconnected', from);
  await world.morePictures(10);
  expect(world.running('capture')).toEqual(captures().slice(1));
  expect(captures()).toHaveLength(2);
  expect(world.relay.frames.flatMap(({ notice }) => notice ?? [])).toEqual([]);
  growing(stamps());
});

test('a killed encoder: the capture goes on for the next one', async () => {
  await goLive();
  await world.morePictures(10);
  const from = world.relay.frames.length;
  process.kill(world.pids('picture-encoder')[0] ?? 0, 'SIGKILL');
  await world.says('reconnecting', from);
  await world.says('reconnected', from);
  await world.morePictures(10);
  expect(world.running('capture')).toEqual(captures());
  expect(captures()).toHaveLength(1);
  expect(world.pids('picture-encoder')).toHaveLength(2);
  growing(stamps());
});

test.each([
  ['a webcam', 'v4l2:auto', { width: 1280, height: 720, frameRate: 15 }, 'libx264'],
  ['a Raspberry Pi camera', 'libcamera', { width: 640, height: 360, frameRate: 30 }, 'copy'],
])('heat, with the H.264 of %s: a smaller picture on the same connection', async (_, source, video, encoder) => {
  world.cameras.node('video11', PI_ENCODER);
  world.cameras.program('rpicam-vid', rpicamVid(libcameraList));
  await world.start(source, { telemetry: { read: async () => ({ temperatureC: 82 }) } });
  world.order({ ...small, ...video });
  expect((await world.says('streaming')).resolvedConfig?.video).toMatchObject({ encoder: 'copy' });
  await world.relay.until(({ notice }) => notice !== undefined);
  const isSmaller = (config: { video?: Record<string, unknown> } = {}) => Number(config.video?.bitrate) <= 150_000;
  const { resolvedConfig } = await world.relay.until(({ resolvedConfig: config }) => isSmaller(config));
  expect(resolvedConfig?.video?.encoder).toBe(encoder);
  const width = () => {
    const header = world.sink.tags.findLast((tag) => tag.kind === 'video' && isSequenceHeader(tag));
    return readVideoConfig(header?.body.subarray(5) ?? Buffer.alloc(0))?.width;
  };
  // The status travels on another line than the picture.
  await world.sink.until(() => width() === resolvedConfig?.video?.width);
  await world.morePictures(15);
  growing(stamps());
  expect(world.sink.connections).toBe(1);
  expect(Math.max(...world.gaps())).toBeLessThan(2_500);
  expect(world.relay.frames.some(({ status }) => status === 'reconnecting')).toBe(false);
});

test('heat: a smaller picture takes over without a gap, the capture goes on', async () => {
  await world.start('v4l2:auto', { telemetry: { read: async () => ({ temperatureC: 82 }) } });
  world.order();
  await world.says('streaming');
  const { notice } = await world.relay.until((frame) => frame.notice !== undefined);
  expect(notice).toMatchObject({ code: 'HEAT', numbers: { temperatureC: 82 } });
  const told = world.relay.frames.length;
  const bitrate = (frame: { resolvedConfig?: { video?: Record<string, number> } }) =>
    frame.resolvedConfig?.video?.bitrate ?? Number.POSITIVE_INFINITY;
  await world.relay.until((frame) => frame.kind === 'lifecycle' && bitrate(frame) <= 150_000, told - 1);
  await world.morePictures(15);
  // Without the takeover it would be the start of ffmpeg and a key frame, half a second and more.
  expect(Math.max(...world.gaps())).toBeLessThan(400);
  growing(stamps());
  expect(captures()).toHaveLength(1);
  expect(world.running('capture')).toEqual(captures());
  expect(world.pids('picture-encoder')).toHaveLength(2);
  await expect.poll(() => world.running('picture-encoder')).toHaveLength(1);
  expect(world.relay.frames.some(({ status }) => status === 'reconnecting')).toBe(false);
});
