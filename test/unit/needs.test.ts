/** The doctor's capture checks as the settings wire them: light, and the agent that may be running. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentSettings } from '../../device/config.ts';
import { needsOf } from '../../device/needs.ts';
import { openStatusSocket } from '../../device/runtime/status-socket.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { webcam } from '../support/camera-listings.ts';
import { agentFfmpeg, createFakeCameras, type FakeCameras, v4l2Ctl } from '../support/fake-cameras.ts';

const clock = createSystemClock();
const log = silentLog();
const redactor = createRedactor();
const children = createChildSpawner({ clock, log, redactor });
let cameras: FakeCameras;
let path: string;
let led: string;

beforeEach(() => {
  cameras = createFakeCameras();
  cameras.node('video0', 'HD Pro Webcam C920');
  cameras.program('v4l2-ctl', v4l2Ctl({ video0: webcam }));
  path = join(cameras.folders.names, 'agent.sock');
  led = join(cameras.folders.names, 'sys/class/leds/cam');
});
afterEach(async () => {
  await children.close();
  expect(clock.pending()).toEqual([]);
  cameras.dispose();
});

/** Findings of ffmpeg, camera and light, in the doctor's order. */
async function look(...args: string[]) {
  const ffmpegPath = cameras.program('ffmpeg', agentFfmpeg());
  const given = ['--source', 'v4l2:auto', '--status-socket', path, '--ffmpeg-path', ffmpegPath, ...args];
  const config = agentSettings.read(given, {});
  if (config === 'help') throw new Error('help');
  const checks = needsOf(config, {
    ...{ spawn: children.spawn, clock, log, redactor, cameraFolders: cameras.folders },
    surroundings: { credentialsFolder: undefined, runtimeFolder: undefined },
    sysRoot: join(cameras.folders.names, 'sys'),
  });
  const findings: Record<string, string> = {};
  for (const name of ['ffmpeg', 'Camera', 'Privacy light']) {
    const finding = await checks.find((check) => check.name === name)?.look();
    findings[name] = `${finding?.state}: ${finding?.text}`;
  }
  return findings;
}
function plugInLight(): void {
  mkdirSync(led, { recursive: true });
  for (const file of ['brightness', 'max_brightness', 'trigger']) {
    writeFileSync(join(led, file), `${Number(file === 'max_brightness')}\n`);
  }
}

test('camera and light of an agent that does not run are tried, one keeper after the other', async () => {
  plugInLight();
  expect(await look('--privacy-light', 'led:cam')).toMatchObject({
    Camera: expect.stringMatching(/^ok: .*A picture came after \d+ ms$/),
    'Privacy light': expect.stringMatching(/^ok: /),
  });
  expect(readFileSync(join(led, 'brightness'), 'utf8')).toBe('0\n');
});

test('a running agent is not disturbed', async () => {
  plugInLight();
  const status = { connected: true, stream: { streamId: 'm1', state: 'publishing' } };
  const socket = await openStatusSocket({ path, status: () => status, log });
  expect((await look()).Camera).toMatch(/^unknown: .*Not opened, because the agent is streaming \(publishing\)$/);
  status.stream.state = 'stopped';
  expect((await look()).Camera).toMatch(/^ok: .*A picture came/);
  expect(await look('--privacy-light', 'led:cam')).toMatchObject({
    Camera: expect.stringMatching(/^unknown: .*because the agent is running and has the privacy light$/),
    'Privacy light': expect.stringMatching(/^unknown: /),
  });
  await socket.close();
});

test('without its light the camera is left alone, unless the light need not be lit', async () => {
  await expect(look('--privacy-light', 'led:cam')).rejects.toMatchObject({ code: 'PRIVACY_LIGHT_FAILED' });
  expect(await look('--privacy-light', 'led:cam', '--privacy-light-required', 'no')).toMatchObject({
    Camera: expect.stringMatching(/^ok: .*A picture came/),
    'Privacy light': expect.stringMatching(/^bad: /),
  });
});
