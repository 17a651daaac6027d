/** The shared capture, with the made-up camera of test/support/fake-cameras.ts. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CameraSource } from '../../device/encoding/camera-ways.ts';
import { createCameraWays } from '../../device/encoding/camera-ways.ts';
import type { Encoder } from '../../device/encoding/encoder.ts';
import type { PictureWay } from '../../device/encoding/picture.ts';
import { createTimeline } from '../../device/encoding/timeline.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { type FfmpegBinary, findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { qualityOf, resolveSettings } from '../../shared/stream.ts';
import { webcam } from '../support/camera-listings.ts';
import { agentFfmpeg, createFakeCameras, type FakeCameras, v4l2Ctl } from '../support/fake-cameras.ts';

const clock = createSystemClock();
const log = silentLog();
const children = createChildSpawner({ clock, log, redactor: createRedactor() });
const settings = resolveSettings({ width: 320, height: 180, frameRate: 15 });
let cameras: FakeCameras;
let binary: FfmpegBinary;

beforeEach(async () => {
  cameras = createFakeCameras();
  cameras.program('v4l2-ctl', v4l2Ctl({ video0: webcam, video1: webcam }));
  cameras.node('video0', 'HD Pro Webcam C920');
  binary = await findFfmpeg({
    ...children,
    clock,
    explicitFile: cameras.program('ffmpeg', agentFfmpeg({ busyFile: '$node.busy' })),
  });
});
afterEach(async () => {
  await children.close();
  cameras.dispose();
});

const captures = () => children.running().filter(({ name }) => name === 'capture');

async function world() {
  const source: CameraSource = { kind: 'camera', driver: 'v4l2', device: 'auto', microphone: { kind: 'silence' } };
  const ways = createCameraWays(source, {
    ...{ clock, log, spawn: children.spawn, binary, settings, lamp: undefined },
    timeline: createTimeline({ clock, log }),
    ...{ findEncoders: async () => [libx264], cameraFolders: cameras.folders },
  });
  const [way] = await ways.find();
  if (!way) throw new Error('no way');
  return { ways, way };
}

/** A run with its first picture. */
async function run(way: PictureWay): Promise<Encoder> {
  let seen = () => {};
  const first = new Promise<void>((resolve) => {
    seen = resolve;
  });
  const encoder = await way.open(qualityOf(settings), () => seen());
  encoder.start();
  await first;
  return encoder;
}

test('the capture waits a little for the next run, and ends with its ways, leaving no timer', async () => {
  const { ways, way } = await world();
  await (await run(way)).close();
  expect(captures()).toHaveLength(1);
  const [{ pid } = { pid: 0 }] = captures();
  const next = await run(way);
  expect(captures()).toMatchObject([{ pid }]);
  expect(clock.pending()).not.toContain('camera-linger');
  await next.close();
  await ways.close();
  expect(captures()).toEqual([]);
  expect(clock.pending()).toEqual([]);
});

test('a capture that nobody wants any more ends, and the next run has one of its own', async () => {
  const { ways, way } = await world();
  const first = await run(way);
  const [{ pid } = { pid: 0 }] = captures();
  await first.close();
  // Unused for as long as it lingers.
  await expect.poll(() => captures().length, { timeout: 5_000 }).toBe(0);
  const second = await run(way);
  expect(captures()).toHaveLength(1);
  expect(captures()).not.toMatchObject([{ pid }]);
  await Promise.all([second.close(), ways.close()]);
  expect(captures()).toEqual([]);
});

test('after the end nothing opens the camera any more', async () => {
  const { ways, way } = await world();
  await ways.close();
  await expect(way.open(qualityOf(settings), () => {})).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  expect(captures()).toEqual([]);
});

test('auto: a camera that is in use is passed over while there is another, and taken up again when there is none', async () => {
  const { ways, way } = await world();
  const ended = async (which: PictureWay | undefined) => {
    const encoder = await which?.open(qualityOf(settings), () => {});
    encoder?.start();
    return (await encoder?.ended)?.cause?.message;
  };
  const first = join(cameras.folders.devices, 'video0');
  writeFileSync(`${first}.busy`, '');
  expect(await ended(way)).toBe(`The camera is used by another program: ${first}`);
  const second = cameras.node('video1', 'Other');
  const [other] = await ways.find();
  writeFileSync(`${second}.busy`, '');
  expect(await ended(other)).toContain(second);
  expect(await ended((await ways.find())[0])).toContain(first);
  rmSync(`${second}.busy`);
  const [free] = await ways.find();
  const encoder = free && (await run(free));
  await Promise.all([encoder?.close(), ways.close()]);
});
