import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitForCamera } from '../../device/capture/camera-presence.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createFakeCameras, type FakeCameras } from '../support/fake-cameras.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

let fakes: FakeCameras;
beforeEach(() => {
  fakes = createFakeCameras();
});
afterEach(() => fakes.dispose());

const systemClock = createSystemClock();
const children = createChildSpawner({ clock: systemClock, log: silentLog(), redactor: createRedactor() });
function waiting(file: string) {
  const clock = createTestClock();
  const abort = new AbortController();
  const outcome: string[] = [];
  const binary = { file: 'ffmpeg', inputs: new Set(['v4l2']) };
  const camera = { driver: 'v4l2', device: join(fakes.folders.devices, file) } as const;
  const done = waitForCamera({ camera, clock, signal: abort.signal, spawn: children.spawn, binary }).then(
    () => outcome.push('there'),
    (error: unknown) => outcome.push(String(error)),
  );
  /** One look, with the file system's own time. */
  async function look(): Promise<void> {
    await clock.advance(500);
    for (let turn = 0; turn < 50 && outcome.length === 0 && clock.pending().length === 0; turn += 1) await settle();
  }
  return { clock, abort, outcome, done, look };
}

test('resolves at the look after it came, not before', async () => {
  const { outcome, done, look, clock } = waiting('video0');
  for (let turn = 0; turn < 5; turn += 1) await look();
  expect(outcome).toEqual([]);
  fakes.node('video0', 'Back');
  await look();
  await done;
  expect(outcome).toEqual(['there']);
  expect(clock.pending()).toEqual([]);
});

test('one that is there all along is looked at half a second later', async () => {
  const device = fakes.node('video0', 'There');
  const { outcome, done, clock, look } = waiting('video0');
  await clock.advance(499);
  expect(outcome).toEqual([]);
  await look();
  await done;
  expect(outcome).toEqual(['there']);
  rmSync(device);
});

test('ends with the signal, no timer left', async () => {
  const { abort, outcome, done, clock, look } = waiting('video0');
  await look();
  abort.abort(new Error('stream is over'));
  await done;
  expect(outcome).toEqual(['Error: stream is over']);
  expect(clock.pending()).toEqual([]);
});
