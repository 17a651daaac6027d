/** Encoder runs over a camera's feed, with both binaries and a real ffmpeg as the camera: see test/support/fake-cameras.ts. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { passthroughArguments } from '../../device/capture/camera-commands.ts';
import { type CameraFeed, type CameraFeedOptions, openCameraFeed } from '../../device/capture/camera-feed.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createFlvParser, type FlvTag } from '../../shared/rtmp/flv.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createFakeCameras, type FakeCameras, ffmpegFiles, rpicamVid, v4l2Ffmpeg } from '../support/fake-cameras.ts';

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

/** An encoder run over the feed; FLV tags of its pictures. */
function run(file: string, before: string[], after: string[], take: (tag: FlvTag) => void) {
  const child = children.spawn({
    name: 'encoder',
    file,
    args: [
      '-hide_banner',
      '-nostats',
      '-loglevel',
      'level+warning',
      ...before,
      ...after,
      '-flush_packets',
      '1',
      '-f',
      'flv',
      'pipe:1',
    ],
    stdin: 'pipe',
    stdout: 'raw',
  });
  const parser = createFlvParser({ onTag: (tag) => void (tag.kind === 'video' && tag.body[1] === 1 && take(tag)) });
  child.stdout?.on('data', (bytes: Buffer) => parser.push(bytes));
  return child;
}

describe.each(ffmpegFiles)('encoded by %s', (file) => {
  test.each(['yuyv422', 'mjpeg'])('%s: two runs at once', async (pixelFormat) => {
    const feed = open(pixelFormat);
    const code = [
      '-vf',
      'settb=1/1000,format=yuv420p',
      '-c:v',
      'libx264',
      '-preset',
      'ultrafast',
      '-tune',
      'zerolatency',
    ];
    const runs = [1, 2].map(() => {
      let pictures = 0;
      return new Promise<string[]>((resolve) => {
        const child = run(file, [...feed.inputArguments, '-i', 'pipe:0'], code, () => {
          pictures += 1;
          if (pictures === 10) void child.stop();
        });
        if (child.stdin) feed.attach(child.stdin);
        void child.exited.then(({ lastLines }) => resolve(lastLines));
      });
    });
    const said = (await Promise.all(runs)).flat();
    expect(said.filter((line) => /\[(error|fatal)\]/.test(line))).toEqual([]);
  });

  test('the H.264 of rpicam-vid, copied: stamped with the wall clock', async () => {
    const epochMs = clock.now() - 5_000;
    const feed = open('h264', libcamera);
    const { inputOptions, url, outputOptions } = passthroughArguments(libcamera.camera, modeOf('h264'), epochMs);
    const delays: number[] = [];
    const stamps: number[] = [];
    const child = run(file, [...inputOptions, '-i', url], outputOptions, ({ timestampMs }) => {
      delays.push(clock.now() - epochMs - timestampMs);
      stamps.push(timestampMs);
      if (stamps.length === 40) void child.stop();
    });
    if (child.stdin) feed.attach(child.stdin);
    const { lastLines } = await child.exited;
    expect(lastLines.filter((line) => /\[(error|fatal)\]/.test(line))).toEqual([]);
    expect(stamps).toEqual([...stamps].sort((a, b) => a - b));
    // A frame's time to see that a picture is whole, and a busy machine's hesitation.
    const late = [...delays].sort((a, b) => a - b);
    // Both clocks are read in whole milliseconds.
    expect(late[0]).toBeGreaterThanOrEqual(-1);
    expect(late[20]).toBeLessThan(120);
    const spanMs = (stamps[39] ?? 0) - (stamps[9] ?? 0);
    expect(Math.abs(spanMs - 1000)).toBeLessThan(150);
  });
});
