/** Encoders that stall, die, chatter, refuse and will not go: real ffmpegs, and scripts in front of them. */
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CameraWorld, createCameraWorld } from '../support/camera-world.ts';
import { ffmpegFiles } from '../support/fake-cameras.ts';
import { isRunning } from '../support/processes.ts';

const [real = 'ffmpeg'] = ffmpegFiles;
let world: CameraWorld;

beforeEach(async () => {
  world = await createCameraWorld();
});
afterEach(async () => {
  await world.close();
  // Also none that a script started.
  expect(world.leftOver()).toEqual([]);
  expect(world.clock.pending()).toEqual([]);
});

const stamps = () => world.media('video').map(({ timestampMs }) => timestampMs);
const encoders = () => world.pids('picture-encoder');
const said = (from: number) => world.relay.frames.slice(from).map(({ status }) => status);

async function goLive(ffmpegPath = real): Promise<void> {
  await world.start('test-pattern', { ffmpegPath });
  world.order();
  await world.says('streaming');
  await world.morePictures(10);
}
/** An ffmpeg whose runs for the picture of a stream do this first; `$n` is the how many-eth it is. */
function wrapper(body: string): string {
  const count = join(world.cameras.folders.names, 'count');
  return world.cameras.program(
    'wrapped',
    `[[ " $* " = *" pipe:3"* && " $* " = *" libx264 "* ]] || exec ${real} "$@"
echo >> ${count}; n=$(wc -l < ${count})
${body}`,
  );
}
/** On one connection, each later than the one before. */
function expectOneTimeline(): void {
  expect(world.sink.connections).toBe(1);
  expect(stamps()).toEqual([...new Set(stamps())].sort((a, b) => a - b));
}

test('a picture encoder that stands still is seen after three seconds, and another takes its place', async () => {
  await goLive();
  const from = world.relay.frames.length;
  const [pid = 0] = encoders();
  const sinceMs = world.clock.monotonicMs();
  process.kill(pid, 'SIGSTOP');
  expect(await world.says('reconnecting', from)).toMatchObject({ errorCode: 'ENCODER_STALLED' });
  expect(world.clock.monotonicMs() - sinceMs).toBeLessThan(4_500);
  await world.says('reconnected', from);
  expect(isRunning(pid)).toBe(false);
  await world.morePictures(10);
  expectOneTimeline();
});

test('killed encoders: the picture comes back, and of the sound the picture notices nothing', async () => {
  await goLive();
  let from = world.relay.frames.length;
  process.kill(world.pids('sound-encoder')[0] ?? 0, 'SIGKILL');
  expect((await world.relay.until(({ notice }) => notice !== undefined, from)).notice).toMatchObject({
    code: 'MICROPHONE_LOST',
  });
  await world.relay.until(({ notice }) => (notice as { code?: string } | undefined)?.code === 'MICROPHONE_BACK', from);
  expect(said(from)).not.toContain('reconnecting');
  expect(Math.max(...world.gaps())).toBeLessThan(250);

  from = world.relay.frames.length;
  process.kill(encoders()[0] ?? 0, 'SIGKILL');
  await world.says('reconnected', from);
  await world.morePictures(10);
  expect(encoders()).toHaveLength(2);
  expectOneTimeline();
});

test('an encoder that floods its standard error: neither memory nor log grows with it, and the stream goes on', async () => {
  const line = `[libx264 @ 0x5581] [warning] ${'the same thing again '.repeat(6)}`;
  await goLive(wrapper(`yes '${line}' >&2 & exec ${real} "$@"`));
  const before = process.memoryUsage().rss;
  const lines = world.logLines();
  const sinceMs = world.clock.monotonicMs();
  await world.morePictures(75);
  expect(world.clock.monotonicMs() - sinceMs).toBeLessThan(15_000);
  expect(process.memoryUsage().rss - before).toBeLessThan(150e6);
  expect(world.logLines() - lines).toBeLessThan(20);
  expectOneTimeline();
});

test('an encoder that fails three times recovers', async () => {
  await goLive(wrapper(`[ $n -gt 3 ] || { echo "[error] not in the mood" >&2; exit 1; }; exec ${real} "$@"`));
  const { frames } = world.relay;
  expect(frames.find(({ status }) => status === 'connecting')).toMatchObject({
    ...{ errorCode: 'ENCODER_FAILED', errorDetails: expect.stringContaining('not in the mood') },
  });
  expect(frames.some(({ status }) => status === 'error')).toBe(false);
  expectOneTimeline();
});

test('an encoder that always fails ends the stream with its words, within half a minute', async () => {
  await world.start('test-pattern', { ffmpegPath: wrapper('echo "[error] never" >&2; exit 1') });
  const sinceMs = world.clock.monotonicMs();
  world.order();
  expect(await world.says('error')).toMatchObject({
    ...{ errorCode: 'ENCODER_FAILED', errorDetails: expect.stringContaining('never') },
  });
  expect(world.clock.monotonicMs() - sinceMs).toBeLessThan(30_000);
  await expect.poll(world.isLit).toBe(false);
});

test('an encoder behind a script that hears no signal and has a child of its own: nothing of it stays', async () => {
  await goLive(wrapper(`trap '' INT TERM HUP; sleep 1000 & ${real} "$@"; wait`));
  expect(encoders()).toHaveLength(1);
  await world.stop();
  expect(world.leftOver().filter(({ name }) => name === 'picture-encoder')).toEqual([]);
});
