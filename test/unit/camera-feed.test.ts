/** With a real ffmpeg as the camera: see test/support/fake-cameras.ts. */
import { rmSync } from 'node:fs';
import { Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type CameraFeed, type CameraFeedOptions, openCameraFeed } from '../../device/capture/camera-feed.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createFakeCameras, type FakeCameras, rpicamVid, v4l2Ffmpeg } from '../support/fake-cameras.ts';

const clock = createSystemClock();
const log = silentLog();
const children = createChildSpawner({ clock, log, redactor: createRedactor() });
const feeds: CameraFeed[] = [];
let cameras: FakeCameras;
let device: string;
let captureFile: string;

beforeAll(() => {
  cameras = createFakeCameras();
  captureFile = cameras.program('ffmpeg', v4l2Ffmpeg());
  cameras.program('rpicam-vid', rpicamVid(''));
  device = cameras.node('video0', 'Fake Camera');
});
afterEach(async () => {
  await Promise.all(feeds.splice(0).map((feed) => feed.close()));
  await children.close();
});
afterAll(() => cameras.dispose());

const modeOf = (pixelFormat: string) => ({ pixelFormat, widthPx: 320, heightPx: 192, frameRate: 30 });
function open(pixelFormat: string, options: Partial<CameraFeedOptions> = {}): CameraFeed {
  const feed = openCameraFeed({
    ...{ spawn: children.spawn, clock, log, programs: cameras.folders.programs, binary: { file: captureFile } },
    ...{ camera: { driver: 'v4l2', device }, mode: modeOf(pixelFormat) },
    ...{ keyFrameIntervalMs: 500, videoBitrateBps: 500_000 },
    ...options,
  });
  feeds.push(feed);
  return feed;
}
const libcamera = { camera: { driver: 'libcamera', device: '0' } } as const;

/** Takes frames, each write one. */
function recorder(wanted: number) {
  const lengths: number[] = [];
  let finish: () => void = () => {};
  const full = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const sink = new Writable({
    write(bytes: Buffer, _, done) {
      lengths.push(bytes.length);
      if (lengths.length >= wanted) finish();
      done();
    },
  });
  return { sink, lengths, full };
}

describe('frames', () => {
  test.each([
    ['yuyv422', {}, 320 * 192 * 2],
    ['yuv420p', libcamera, 320 * 192 * 1.5],
  ])('%s: whole ones to two sinks, of which one joins later and one dies', async (pixelFormat, options, bytes) => {
    const feed = open(pixelFormat, options);
    const [first, second] = [recorder(12), recorder(5)];
    feed.attach(first.sink);
    const detach = feed.attach(second.sink);
    await second.full;
    detach();
    second.sink.destroy(new Error('died'));
    await first.full;
    expect(new Set([...first.lengths, ...second.lengths])).toEqual(new Set([bytes]));
    expect(feed.dropped).toBe(0);
    await feed.close();
    expect(await feed.ended).toEqual({ cause: undefined, frames: feed.frames });
    expect(feed.frames).toBeGreaterThanOrEqual(12);
    expect(children.running()).toEqual([]);
  });
});

describe('ends', () => {
  test.each([
    ['no such camera', 'CAMERA_NOT_FOUND', { camera: { driver: 'v4l2', device: '/dev/video99' } }],
    ['no rpicam-vid', 'CAMERA_NOT_FOUND', { ...libcamera, programs: '/nowhere' }],
    ['no ffmpeg', 'FFMPEG_MISSING', { binary: { file: '/no/ffmpeg' } }],
  ] as const)('%s', async (_, code, options) => {
    const { cause, frames } = await open('yuyv422', options).ended;
    expect(cause?.code).toBe(code);
    expect(frames).toBe(0);
  });

  test.each([
    ['in use', 'echo "ERROR: *** failed to acquire camera /base/imx708 ***" >&2; exit 255', 'CAMERA_BUSY'],
    ['none', 'echo "ERROR: *** no cameras available ***" >&2; exit 255', 'CAMERA_NOT_FOUND'],
  ])('rpicam-vid: %s', async (_, body, code) => {
    const other = createFakeCameras();
    other.program('rpicam-vid', body);
    const { cause } = await open('yuv420p', { ...libcamera, programs: other.folders.programs }).ended;
    other.dispose();
    expect(cause).toMatchObject({ code });
  });

  test('silent: killed after the stall time', async () => {
    const file = cameras.program('silent', 'exec sleep 60');
    const { cause } = await open('yuyv422', { binary: { file }, firstTimeoutMs: 100 }).ended;
    expect(cause).toMatchObject({ code: 'CAMERA_SILENT', message: expect.stringContaining(device) });
  });

  test('silent after its first frames: killed sooner than an encoder would be that waits for them', async () => {
    const file = cameras.program('falls-silent', 'head -c 245760 /dev/zero; exec sleep 60');
    const sinceMs = clock.monotonicMs();
    const { cause, frames } = await open('yuyv422', { binary: { file } }).ended;
    expect(cause).toMatchObject({ code: 'CAMERA_SILENT', message: expect.stringContaining(device) });
    expect(frames).toBe(2);
    expect(clock.monotonicMs() - sinceMs).toBeLessThan(2_400);
  });

  test('unplugged without a word', async () => {
    const gone = cameras.node('video7', 'Gone');
    const file = cameras.program('ends', `head -c 245760 /dev/zero; rm ${gone}`);
    const { cause, frames } = await open('yuyv422', { binary: { file }, camera: { driver: 'v4l2', device: gone } })
      .ended;
    expect(cause).toMatchObject({ code: 'CAMERA_NOT_FOUND', message: expect.stringContaining(gone) });
    expect(frames).toBe(2);
    rmSync(gone, { force: true });
  });

  test('another size than asked for, or no JPEGs at all', async () => {
    const line = 'The V4L2 driver changed the video from 320x192 to 352x288';
    const resized = cameras.program('resized', `echo "[video4linux2,v4l2 @ 0x1] [info] ${line}" >&2; exec sleep 60`);
    expect((await open('yuyv422', { binary: { file: resized } }).ended).cause?.message).toContain(line);
    const rubbish = cameras.program('rubbish', 'head -c 5000 /dev/zero; exec sleep 60');
    expect((await open('mjpeg', { binary: { file: rubbish } }).ended).cause?.message).toContain('JPEG');
  });

  test('unplugged and back: the next capture runs again', async () => {
    const node = cameras.node('video8', 'Loose');
    const loop = `while [ -e ${node} ]; do head -c 122880 /dev/zero; sleep 0.02; done`;
    const file = cameras.program('loose', `${loop}; echo "[error] ${node}: No such device" >&2; exit 1`);
    const camera = { driver: 'v4l2', device: node } as const;
    const options = { binary: { file, inputs: new Set(['v4l2']) }, camera };
    const first = recorder(3);
    const feed = open('yuyv422', options);
    feed.attach(first.sink);
    await first.full;
    rmSync(node);
    expect((await feed.ended).cause).toMatchObject({ code: 'CAMERA_NOT_FOUND' });
    cameras.node('video8', 'Loose');
    const second = recorder(3);
    open('yuyv422', options).attach(second.sink);
    await second.full;
    expect(second.lengths).toEqual([122_880, 122_880, 122_880]);
  });
});
