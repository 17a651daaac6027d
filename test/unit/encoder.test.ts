/** The encoder over Node children that misbehave as scripted, in the place of ffmpeg. */
import { afterEach, expect, test, vi } from 'vitest';
import { type CaptureSource, parseCaptureSource } from '../../device/capture/capture-source.ts';
import { createEncoder } from '../../device/encoding/encoder.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { decodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { type FlvTag, flvHeader, flvTagBytes } from '../../shared/rtmp/flv.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { resolveSettings } from '../../shared/stream.ts';
import { createTestClock } from '../support/test-clock.ts';

const binary: FfmpegBinary = {
  file: 'ffmpeg',
  version: '4.1',
  origin: 'PATH',
  encoders: new Set(),
  inputs: new Set(),
  hasFpsMode: false,
  reason: 'test',
};
const picture: FlvTag = { kind: 'video', timestampMs: 40, body: Buffer.from([0x17, 1, 0, 0, 0, 9]) };
const sound: FlvTag = { kind: 'audio', timestampMs: 41, body: Buffer.from([0xaf, 1, 9]) };
const script: FlvTag = { kind: 'script', timestampMs: 0, body: Buffer.from([2, 0, 1, 65]) };
const stream = (...tags: FlvTag[]) =>
  Buffer.concat([flvHeader({ audio: true, video: true }), ...tags.map(flvTagBytes)]).toString('base64');
const write = (descriptor: number, base64: string) =>
  `require('fs').writeSync(${descriptor}, Buffer.from('${base64}', 'base64'));`;
const stay = 'setInterval(() => {}, 1000);';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** An encoder whose child runs this script. */
function encoderOf(
  code: string,
  { source = parseCaptureSource('test-pattern') as CaptureSource, file = process.execPath } = {},
) {
  const clock = createTestClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const tags: FlvTag[] = [];
  let onTag = () => {};
  const encoder = createEncoder({
    clock,
    log: silentLog(),
    spawn: (spec) => children.spawn({ ...spec, file, args: ['-e', code] }),
    binary,
    source,
    hasAudio: true,
    settings: resolveSettings({ width: 640, height: 360 }),
    epochMs: clock.now(),
    onTag(tag) {
      tags.push(tag);
      onTag();
    },
  });
  closers.push(encoder.close, children.close);
  const untilTags = (count: number) =>
    new Promise<void>((resolve) => {
      onTag = () => tags.length >= count && resolve();
      onTag();
    });
  return { clock, encoder, tags, untilTags };
}

test('gives tags of both pipes behind one description of both', async () => {
  const { encoder, tags, untilTags } = encoderOf(
    `${write(3, stream(script, picture))} ${write(4, stream(script, sound))} ${stay}`,
  );
  encoder.start();
  await untilTags(3);
  expect(tags.map(({ kind }) => kind).sort()).toEqual(['audio', 'script', 'video']);
  const [name, fields] = decodeAmf0(tags[0]?.body ?? Buffer.alloc(0));
  expect(name).toBe('onMetaData');
  expect(fields).toMatchObject({
    width: 640,
    height: 360,
    framerate: 30,
    videodatarate: 2000,
    audiosamplerate: 48_000,
  });
  await encoder.close();
  expect(await encoder.ended).toMatchObject({ cause: undefined, frames: 1 });
});

test('dies with words: the cause is read from them', async () => {
  const source = parseCaptureSource('v4l2:/dev/video9');
  const { encoder } = encoderOf("console.error('[error] /dev/video9: Device or resource busy'); process.exit(1)", {
    source,
  });
  encoder.start();
  expect((await encoder.ended).cause).toMatchObject({ code: 'CAMERA_BUSY' });
});

test('writes something else than FLV: ended and named', async () => {
  const { encoder } = encoderOf(`require('fs').writeSync(3, 'hello, this is not FLV'); ${stay}`);
  encoder.start();
  expect((await encoder.ended).cause).toMatchObject({ code: 'MALFORMED_FLV' });
});

test('says nothing: killed after the stall time, though it ignores signals', async () => {
  const { encoder, clock, untilTags } = encoderOf(`process.on('SIGINT', () => {}); ${stay}`);
  encoder.start();
  await untilTags(1);
  await clock.advance(10_000);
  expect((await encoder.ended).cause).toMatchObject({ code: 'ENCODER_STALLED' });
});

test('pictures hold the stall off', async () => {
  // The listener first: without it the signal would end the child.
  const onSignal = `process.on('SIGUSR2', () => { ${write(3, flvTagBytes(picture).toString('base64'))} });`;
  const { encoder, clock, untilTags } = encoderOf(`${onSignal} ${write(3, stream(picture))} ${stay}`);
  encoder.start();
  await untilTags(2);
  await clock.advance(9000);
  process.kill(encoder.pid ?? 0, 'SIGUSR2');
  await untilTags(3);
  await clock.advance(9000);
  await encoder.close();
  expect((await encoder.ended).cause).toBeUndefined();
});

test('cannot be run at all', async () => {
  const { encoder } = encoderOf('', { file: '/no/such/ffmpeg' });
  encoder.start();
  expect((await encoder.ended).cause).toMatchObject({ code: 'FFMPEG_MISSING' });
});

test('no pipe can be made: it ends and says why', async () => {
  vi.stubEnv('TMPDIR', '/no/such/folder');
  const { encoder, clock } = encoderOf(stay);
  encoder.start();
  const { cause } = await encoder.ended;
  vi.unstubAllEnvs();
  expect(cause).toMatchObject({ code: 'ENCODER_FAILED', message: expect.stringContaining('/no/such/folder') });
  expect(clock.pending()).toEqual([]);
});

test('closed before its start it never starts', async () => {
  const { encoder, tags } = encoderOf(stay);
  await encoder.close();
  encoder.start();
  expect([encoder.pid, tags]).toEqual([undefined, []]);
});

test('closed while it starts: no child, no frame, and it has ended', async () => {
  const { encoder, tags, clock } = encoderOf(`${write(3, stream(picture))} ${stay}`);
  encoder.start();
  await encoder.close();
  expect([await encoder.ended, encoder.pid, tags]).toEqual([{ cause: undefined, frames: 0, ms: 0 }, undefined, []]);
  expect(clock.pending()).toEqual([]);
});

test('what a dying encoder still wrote is read, sound that waited too', async () => {
  const many = Array.from({ length: 400 }, () => sound);
  const { encoder, tags } = encoderOf(`${write(3, stream(picture))} ${write(4, stream(...many))} process.exit(1)`);
  encoder.start();
  expect((await encoder.ended).frames).toBe(1);
  expect(tags.filter(({ kind }) => kind === 'audio')).toHaveLength(400);
});

test('sound that comes without pictures is fetched all the same', async () => {
  const onSignal = `process.on('SIGUSR2', () => { ${write(4, flvTagBytes(sound).toString('base64'))} });`;
  const { encoder, clock, untilTags } = encoderOf(`${onSignal} ${write(4, stream(sound))} ${stay}`);
  encoder.start();
  await untilTags(2);
  process.kill(encoder.pid ?? 0, 'SIGUSR2');
  const third = untilTags(3);
  await clock.advance(500);
  await third;
  await encoder.close();
  expect(clock.pending()).toEqual([]);
});

test('raw frames are attached to its input and let go at its end', async () => {
  const sinks: unknown[] = [];
  const source: CaptureSource = {
    kind: 'rawvideo',
    widthPx: 640,
    heightPx: 360,
    frameRate: 30,
    microphone: { kind: 'beep' },
    attach: (sink) => sinks.push(sink),
  };
  const { encoder, untilTags } = encoderOf(stay, { source });
  encoder.start();
  await untilTags(1);
  await encoder.close();
  await encoder.ended;
  expect(sinks).toEqual([expect.objectContaining({ writable: expect.any(Boolean) }), undefined]);
});
