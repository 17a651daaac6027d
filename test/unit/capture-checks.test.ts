/** Cameras as in test/support/fake-cameras.ts, sound from scripts under ffmpeg's name. */
import { rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import type { Lamp } from '../../device/capture/lit-capture.ts';
import { findDevices } from '../../device/found-devices.ts';
import { type CaptureChecksOptions, captureChecks } from '../../device/runtime/capture-checks.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { type FfmpegBinary, findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { defaultEncoderSettings } from '../../shared/stream.ts';
import { webcam } from '../support/camera-listings.ts';
import { agentFfmpeg, createFakeCameras, type FakeCameras, v4l2Ctl } from '../support/fake-cameras.ts';

const clock = createSystemClock();
const log = silentLog();
const children = createChildSpawner({ clock, log, redactor: createRedactor() });
const settings = { ...defaultEncoderSettings, widthPx: 640, heightPx: 360 };
let cameras: FakeCameras;
let binary: FfmpegBinary;
let device: string;

beforeAll(async () => {
  cameras = createFakeCameras();
  device = cameras.node('video0', 'HD Pro Webcam C920');
  cameras.program('v4l2-ctl', v4l2Ctl({ video0: webcam, video1: webcam }));
  binary = await findFfmpeg({ ...children, clock, explicitFile: cameras.program('ffmpeg', agentFfmpeg()) });
});
afterEach(() => {
  expect(children.running()).toEqual([]);
  expect(clock.pending()).toEqual([]);
});
afterAll(() => cameras.dispose());

function findings(source: string, microphone: string | undefined, more: Partial<CaptureChecksOptions> = {}) {
  const checks = captureChecks({
    ...{ spawn: children.spawn, clock, log, settings, lamp: undefined, cameraFolders: cameras.folders },
    source: () => parseCaptureSource(source, microphone),
    binary: () => binary,
    whyTaken: async () => undefined,
    ...more,
  });
  const look = async (name: string) => checks.find((check) => check.name === name)?.look();
  return { encoder: () => look('Encoder'), camera: () => look('Camera'), microphone: () => look('Microphone') };
}

/** A lamp that counts. */
function lamp() {
  const said: string[] = [];
  const own: Lamp = {
    async hold() {
      said.push('lit');
      return async () => void said.push('out');
    },
  };
  return { own, said };
}

describe('camera', () => {
  test('is opened under the light until a picture came', async () => {
    const { own, said } = lamp();
    expect(await findings(`v4l2:${device}`, undefined, { lamp: own }).camera()).toEqual({
      state: 'ok',
      text: expect.stringMatching(
        /^HD Pro Webcam C920 \(v4l2:.*video0\) would give yuyv422 640x360 at 30\/s: raw, .*\. A picture came after \d+ ms$/,
      ),
    });
    await expect.poll(() => said).toEqual(['lit', 'out']);
  });

  test('that the agent has is named and left alone', async () => {
    const { own, said } = lamp();
    const taken = { lamp: own, whyTaken: async () => 'the agent is streaming' };
    expect(await findings('v4l2:auto', undefined, taken).camera()).toMatchObject({
      state: 'unknown',
      text: expect.stringMatching(/640x360.*Not opened, because the agent is streaming$/),
    });
    expect(said).toEqual([]);
  });

  test('that is not there, is busy, or gives nothing, is told in its own words', async () => {
    await expect(findings('v4l2:/dev/video99', undefined).camera()).rejects.toMatchObject({ code: 'CAMERA_NOT_FOUND' });
    const busy = { ...binary, file: cameras.program('busy', agentFfmpeg({ busyFile: device })) };
    await expect(findings(`v4l2:${device}`, undefined, { binary: () => busy }).camera()).rejects.toMatchObject({
      code: 'CAMERA_BUSY',
    });
  });

  test('of auto that is in use gives way to the next', async () => {
    const other = cameras.node('video1', 'Other');
    const busy = { ...binary, file: cameras.program('busy', agentFfmpeg({ busyFile: '$node.busy' })) };
    const look = () => findings('v4l2:auto', undefined, { binary: () => busy }).camera();
    writeFileSync(`${device}.busy`, '');
    expect(await look()).toMatchObject({ state: 'ok', text: expect.stringContaining(`(v4l2:${other})`) });
    writeFileSync(`${other}.busy`, '');
    await expect(look()).rejects.toMatchObject({ code: 'CAMERA_BUSY' });
    for (const file of [`${device}.busy`, `${other}.busy`, other]) rmSync(file);
  });

  test('is not needed by what is generated', async () => {
    expect(await findings('test-pattern', undefined).camera()).toMatchObject({
      ...{ state: 'ok', text: expect.stringContaining('needs no camera') },
    });
    expect(await findings('test-pattern', undefined, { binary: () => undefined }).camera()).toMatchObject({
      ...{ state: 'unknown', text: expect.stringContaining('no ffmpeg') },
    });
  });
});

describe('microphone', () => {
  const recorder = (...lines: string[]) => ({
    ...{ ...binary, inputs: new Set(['alsa']) },
    file: cameras.program('recorder', `[ "\${@: -1}" = - ] || exit 9\ncat >&2 <<'END'\n${lines.join('\n')}\nEND`),
  });
  const volumes = (mean: string, max: string) => [
    `[Parsed_volumedetect_0 @ 0x55] [info] n_samples: 24000`,
    `[Parsed_volumedetect_0 @ 0x55] [info] mean_volume: ${mean} dB`,
    `[Parsed_volumedetect_0 @ 0x55] [info] max_volume: ${max} dB`,
  ];

  test('says how loud it was, or that it is dead', async () => {
    const heard = recorder(...volumes('-34.5', '-12.0'));
    expect(await findings('test-pattern', 'alsa:hw:1', { binary: () => heard }).microphone()).toMatchObject({
      ...{ state: 'ok', text: expect.stringMatching(/alsa:hw:1 was heard: on average -34.5 dB, at most -12 dB/) },
    });
    const dead = recorder(...volumes('-91.0', '-91.0'));
    expect(await findings('test-pattern', 'alsa:hw:1', { binary: () => dead }).microphone()).toMatchObject({
      ...{ state: 'bad', text: expect.stringContaining('nothing but silence') },
    });
  });

  test('that cannot be opened is told in its own words; the one of the agent is left alone', async () => {
    const none = recorder('[alsa @ 0x5] [error] cannot open audio device hw:9 (No such file or directory)');
    await expect(findings('test-pattern', 'alsa:hw:9', { binary: () => none }).microphone()).rejects.toMatchObject({
      ...{ code: 'MICROPHONE_NOT_FOUND', message: expect.stringContaining('alsa:hw:9') },
    });
    const more = { binary: () => none, whyTaken: async () => 'the agent is streaming' };
    expect(await findings('test-pattern', 'alsa:hw:9', more).microphone()).toMatchObject({ state: 'unknown' });
    expect(await findings('test-pattern', 'silence').microphone()).toMatchObject({ state: 'ok' });
    expect(await findings('file:package.json', undefined).microphone()).toMatchObject({ state: 'ok' });
  });
});

test('encoders are tried, and one that works is named', async () => {
  expect(await findings('test-pattern', undefined).encoder()).toMatchObject({
    ...{ state: 'ok', text: expect.stringMatching(/^\S+ would be taken \(.*libx264: works/) },
  });
  const none = { ...binary, encoders: new Set<string>() };
  expect(await findings('test-pattern', undefined, { binary: () => none }).encoder()).toMatchObject({ state: 'bad' });
});

test('devices are told to people and to programs', async () => {
  const found = { ffmpegPath: binary.file, spawn: children.spawn, clock, log, alsaFolder: '/nowhere' };
  const { lines, data } = await findDevices({ ...found, cameraFolders: cameras.folders });
  const text = lines.join('\n');
  expect(text).toContain(`v4l2:${device}  HD Pro Webcam C920`);
  expect(text).toMatch(/Microphones\n {2}None found[\s\S]*Encoders, for 1280x720 at 30\/s\n[\s\S]*would take \S+$/);
  expect(JSON.parse(JSON.stringify(data))).toMatchObject({
    cameras: [{ driver: 'v4l2', device, name: 'HD Pro Webcam C920', wouldTake: { pixelFormat: 'h264' } }],
    ...{ microphones: [], encoder: expect.any(String) },
  });
});
