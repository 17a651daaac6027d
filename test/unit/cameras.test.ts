import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PI_ENCODER } from '../../device/capture/camera-listings.ts';
import { type CameraSearch, findCamera, listCameras, refusalOfNode } from '../../device/capture/cameras.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import * as texts from '../support/camera-listings.ts';
import { createFakeCameras, type FakeCameras, rpicamVid, v4l2Ctl } from '../support/fake-cameras.ts';

const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
let fakes: FakeCameras;
let search: CameraSearch;

beforeEach(() => {
  fakes = createFakeCameras();
  const binary = { file: join(fakes.folders.programs, 'ffmpeg'), inputs: new Set(['v4l2']) };
  search = { spawn: children.spawn, clock, folders: fakes.folders, binary };
});
afterEach(async () => {
  await children.close();
  fakes.dispose();
});

const codecs = Object.entries(texts.piNodes);
/** A board with a webcam of two nodes, a codec, an image processor and a camera port. */
function board(): void {
  fakes.node('video0', 'HD Pro Webcam C920');
  fakes.node('video1', 'HD Pro Webcam C920');
  for (const [index, [name]] of codecs.entries()) fakes.node(`video${10 + index}`, name);
  const listings = Object.fromEntries(codecs.map(([, text], index) => [`video${10 + index}`, text]));
  fakes.program('v4l2-ctl', v4l2Ctl({ video0: texts.webcam, video1: texts.webcamMetadata, ...listings }));
}
const summary = ({ driver, device, name, modes }: Awaited<ReturnType<typeof listCameras>>[number]) =>
  `${driver}:${device.split('/').at(-1)} ${name} ${modes.length}`;

describe('listCameras', () => {
  test('cameras only, V4L2 before libcamera', async () => {
    board();
    fakes.node('video31', PI_ENCODER);
    fakes.program('rpicam-vid', rpicamVid(texts.libcameraList));
    expect((await listCameras(search)).map(summary)).toEqual([
      'v4l2:video0 HD Pro Webcam C920 7',
      'libcamera:0 imx708_wide 5',
      'libcamera:1 imx477 6',
    ]);
  });

  test('by number, not by letter', async () => {
    for (const number of [10, 2, 0]) fakes.node(`video${number}`, 'C');
    fakes.program('v4l2-ctl', v4l2Ctl({ video0: texts.vivid, video2: texts.vivid, video10: texts.vivid }));
    const devices = (await listCameras(search)).map(({ device }) => device.split('/').at(-1));
    expect(devices).toEqual(['video0', 'video2', 'video10']);
  });

  test('the name it keeps when plugged in again, which can be asked for too', async () => {
    const device = fakes.node('video0', 'HD Pro Webcam C920');
    const byId = join(fakes.folders.devices, 'v4l', 'by-id');
    mkdirSync(byId, { recursive: true });
    const lastingDevice = join(byId, 'usb-C920-video-index0');
    symlinkSync('../../video0', lastingDevice);
    fakes.program('ffmpeg', `cat >&2 <<'END'\n${texts.ffmpegFormats}END\nexit 1`);
    expect(await listCameras(search)).toMatchObject([{ device, lastingDevice }]);
    const found = await findCamera({ driver: 'v4l2', device: lastingDevice }, search);
    expect(found).toMatchObject({ device: lastingDevice, name: 'HD Pro Webcam C920' });
  });

  test('without v4l2-ctl ffmpeg is asked; the name comes from the kernel', async () => {
    fakes.node('video0', 'Cheap Camera');
    fakes.node('video10', 'bcm2835-codec-decode');
    fakes.program('ffmpeg', `cat >&2 <<'END'\n${texts.ffmpegFormats}END\nexit 1`);
    expect((await listCameras(search)).map(summary)).toEqual(['v4l2:video0 Cheap Camera 7']);
  });

  test('no H.264 of libcamera without the encoder of a Raspberry Pi', async () => {
    fakes.node('video20', 'pispbe-input');
    fakes.program('rpicam-vid', rpicamVid(texts.libcameraList));
    const formats = (await listCameras(search)).flatMap(({ modes }) => modes.map(({ pixelFormat }) => pixelFormat));
    expect(new Set(formats)).toEqual(new Set(['yuv420p']));
  });

  test('the older name of libcamera’s program', async () => {
    fakes.program('libcamera-vid', rpicamVid(texts.oldLibcameraList));
    expect((await listCameras(search)).map(summary)).toEqual(['libcamera:0 imx477 4']);
  });

  test('one that is busy is listed with its cause', async () => {
    const device = fakes.node('video0', 'Busy Camera');
    fakes.program('v4l2-ctl', 'echo "Failed to open $2: Device or resource busy" >&2; exit 1');
    expect(await listCameras(search)).toEqual([
      {
        driver: 'v4l2',
        device,
        name: 'Busy Camera',
        modes: [],
        cause: expect.objectContaining({ code: 'CAMERA_BUSY' }),
      },
    ]);
  });

  test('nothing there, not even the folder', async () => {
    expect(await listCameras(search)).toEqual([]);
    expect(await listCameras({ ...search, folders: { ...fakes.folders, devices: '/no/such/folder' } })).toEqual([]);
  });
});

describe('findCamera', () => {
  test('by name, and the first that can be used', async () => {
    board();
    const device = join(fakes.folders.devices, 'video0');
    expect(await findCamera({ driver: 'v4l2', device }, search)).toMatchObject({ device, name: 'HD Pro Webcam C920' });
    expect(await findCamera({ driver: 'v4l2', device: 'auto' }, search)).toMatchObject({ device });
  });

  test.each([
    ['v4l2', '/dev/video77', 'CAMERA_NOT_FOUND'],
    ['v4l2', 'video1', 'CAMERA_NOT_FOUND'],
    ['libcamera', '3', 'CAMERA_NOT_FOUND'],
  ] as const)('%s:%s is %s', async (driver, name, code) => {
    board();
    const device = name === 'video1' ? join(fakes.folders.devices, name) : name;
    await expect(findCamera({ driver, device }, search)).rejects.toMatchObject({ code });
  });

  test('auto without any camera; with a busy one its cause', async () => {
    const auto = { driver: 'v4l2', device: 'auto' } as const;
    await expect(findCamera(auto, search)).rejects.toMatchObject({ code: 'CAMERA_NOT_FOUND' });
    fakes.node('video0', 'Busy Camera');
    fakes.program('v4l2-ctl', 'echo "Device or resource busy" >&2; exit 1');
    await expect(findCamera(auto, search)).rejects.toMatchObject({ code: 'CAMERA_BUSY' });
  });

  test('neither v4l2-ctl nor an ffmpeg with v4l2: says what to install', async () => {
    const device = fakes.node('video0', 'C');
    const found = findCamera({ driver: 'v4l2', device }, { ...search, binary: { file: 'ffmpeg', inputs: new Set() } });
    await expect(found).rejects.toThrow(/install v4l-utils/);
  });
});

test.each([
  ['EACCES', 'CAPTURE_FORBIDDEN'],
  ['EPERM', 'CAPTURE_FORBIDDEN'],
  ['EBUSY', 'CAMERA_BUSY'],
  ['ENOENT', 'CAMERA_NOT_FOUND'],
  ['ENODEV', 'CAMERA_NOT_FOUND'],
])('a node that answers %s', (code, expected) => {
  const refusal = refusalOfNode('/dev/video0', Object.assign(new Error('x'), { code }));
  expect(refusal).toMatchObject({ code: expected, message: expect.stringContaining('/dev/video0') });
});
