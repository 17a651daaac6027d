/** One run of the encoder over Node children that misbehave as scripted, in the place of ffmpeg. */
import { afterEach, expect, test, vi } from 'vitest';
import { createEncoder, type EncoderOptions } from '../../device/encoding/encoder.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { type FlvTag, flvHeader, flvTagBytes } from '../../shared/rtmp/flv.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { isRunning } from '../support/processes.ts';
import { createTestClock } from '../support/test-clock.ts';

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
function encoderOf(code: string, more: Partial<EncoderOptions> = {}) {
  const clock = createTestClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const tags: FlvTag[] = [];
  let onTag = () => {};
  const encoder = createEncoder({
    ...{ clock, log: silentLog(), spawn: children.spawn, file: process.execPath, kind: 'video' },
    arguments: () => ['-e', code],
    causeOf: (lines) => new GlasscastError('ENCODER_FAILED', { reason: lines.at(-1) }),
    onTag(tag) {
      tags.push(tag);
      onTag();
    },
    ...more,
  });
  closers.push(encoder.close, children.close);
  const untilTags = (count: number) =>
    new Promise<void>((resolve) => {
      onTag = () => tags.length >= count && resolve();
      onTag();
    });
  return { clock, encoder, tags, untilTags };
}
/** Until the child can hear signals. */
const untilStarted = async (encoder: { readonly pid: number | undefined }) => {
  await vi.waitFor(() => expect(encoder.pid).toBeDefined());
};

test('gives the tags of its kind; what ffmpeg says of a single pipe describes no stream', async () => {
  const { encoder, tags, untilTags } = encoderOf(`${write(3, stream(script, sound, picture, picture))} ${stay}`);
  encoder.start();
  await untilTags(2);
  expect(tags.map(({ kind }) => kind)).toEqual(['video', 'video']);
  await encoder.close();
  expect(await encoder.ended).toMatchObject({ cause: undefined, frames: 2 });
});

test('dies with words: they are the cause', async () => {
  const { encoder } = encoderOf("console.error('[error] it burns'); process.exit(1)");
  encoder.start();
  expect((await encoder.ended).cause).toMatchObject({
    code: 'ENCODER_FAILED',
    message: expect.stringContaining('it burns'),
  });
});

test('ended of a cause before it was started: starting it tells of its end', async () => {
  const { encoder } = encoderOf(stay);
  await encoder.close(new GlasscastError('PRIVACY_LIGHT_FAILED'));
  encoder.start();
  expect(await encoder.ended).toMatchObject({ cause: { code: 'PRIVACY_LIGHT_FAILED' }, frames: 0 });
  expect(encoder.pid).toBeUndefined();
});

test('writes something else than FLV: ended and named', async () => {
  const { encoder } = encoderOf(`require('fs').writeSync(3, 'hello, this is not FLV'); ${stay}`);
  encoder.start();
  expect((await encoder.ended).cause).toMatchObject({ code: 'MALFORMED_FLV' });
});

test('says nothing: killed after the time to warm up, though it ignores signals', async () => {
  const { encoder, clock } = encoderOf(`process.on('SIGINT', () => {}); ${stay}`);
  encoder.start();
  await untilStarted(encoder);
  await clock.advance(9_999);
  expect(encoder.pid && isRunning(encoder.pid)).toBe(true);
  await clock.advance(1);
  expect((await encoder.ended).cause).toMatchObject({ code: 'ENCODER_STALLED' });
});

test('says nothing, and only copies: what it copies from is blamed', async () => {
  const stallCause = () => new GlasscastError('CAMERA_SILENT', { reason: '/dev/video0' });
  const { encoder, clock } = encoderOf(stay, { stallCause });
  encoder.start();
  await untilStarted(encoder);
  await clock.advance(10_000);
  expect((await encoder.ended).cause).toMatchObject({ code: 'CAMERA_SILENT' });
});

test('falls silent, or is stopped by a signal: killed sooner than one that warms up; pictures hold it off', async () => {
  // The listener first: without it the signal would end the child.
  const onSignal = `process.on('SIGUSR2', () => { ${write(3, flvTagBytes(picture).toString('base64'))} });`;
  const { encoder, clock, untilTags } = encoderOf(`${onSignal} ${write(3, stream(picture))} ${stay}`);
  encoder.start();
  await untilTags(1);
  await clock.advance(2_900);
  process.kill(encoder.pid ?? 0, 'SIGUSR2');
  await untilTags(2);
  await clock.advance(2_900);
  expect(encoder.pid && isRunning(encoder.pid)).toBe(true);
  process.kill(encoder.pid ?? 0, 'SIGSTOP');
  await clock.advance(100);
  expect((await encoder.ended).cause).toMatchObject({ code: 'ENCODER_STALLED' });
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

test('closed for a reason it has ended of that', async () => {
  const { encoder, untilTags } = encoderOf(`${write(3, stream(picture))} ${stay}`);
  encoder.start();
  await untilTags(1);
  await encoder.close(new GlasscastError('PRIVACY_LIGHT_FAILED'));
  expect((await encoder.ended).cause).toMatchObject({ code: 'PRIVACY_LIGHT_FAILED' });
});

test('what a dying encoder still wrote is read, though nobody fetched it', async () => {
  const many = Array.from({ length: 400 }, () => sound);
  const { encoder, tags } = encoderOf(`${write(3, stream(...many))} process.exit(1)`, {
    kind: 'audio',
    isFetched: true,
  });
  encoder.start();
  expect((await encoder.ended).frames).toBe(400);
  expect(tags).toHaveLength(400);
});

test('what is fetched comes when it is asked for, and each 500 ms all the same', async () => {
  const onSignal = `process.on('SIGUSR2', () => { ${write(3, flvTagBytes(sound).toString('base64'))} });`;
  const code = `${onSignal} ${write(3, stream(sound))} ${stay}`;
  const { encoder, clock, untilTags, tags } = encoderOf(code, { kind: 'audio', isFetched: true });
  encoder.start();
  await untilTags(1);
  process.kill(encoder.pid ?? 0, 'SIGUSR2');
  const second = untilTags(2);
  encoder.fetch();
  await second;
  process.kill(encoder.pid ?? 0, 'SIGUSR2');
  const third = untilTags(3);
  await clock.advance(500);
  await third;
  expect(tags).toHaveLength(3);
  await encoder.close();
  expect(clock.pending()).toEqual([]);
});

test('frames are fed to its input and let go at its end', async () => {
  const events: string[] = [];
  const { encoder } = encoderOf(stay, {
    feed: (stdin) => {
      events.push(stdin.writable ? 'fed' : 'broken');
      return () => void events.push('let go');
    },
  });
  encoder.start();
  await untilStarted(encoder);
  await encoder.close();
  await encoder.ended;
  expect(events).toEqual(['fed', 'let go']);
});

test('one that cannot be spawned at all leaves no pipe open', async () => {
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length;
  const before = sockets();
  const { encoder } = encoderOf('', {
    spawn() {
      throw new Error('ENOMEM');
    },
  });
  encoder.start();
  await expect(encoder.ended).resolves.toMatchObject({ cause: { code: 'ENCODER_FAILED' } });
  await vi.waitFor(() => expect(sockets()).toBeLessThanOrEqual(before));
});

test.each([
  ['EAGAIN', 'ENCODER_FAILED'],
  ['EMFILE', 'ENCODER_FAILED'],
  ['ENOENT', 'FFMPEG_MISSING'],
])('a program that does not start because of %s: %s', async (code, expected) => {
  const error = Object.assign(new Error(`spawn ${code}`), { code });
  const exit = { end: 'not-started' as const, code: null, signal: null, lastLines: [], ms: 0, error };
  const exited = Promise.resolve(exit);
  const { encoder } = encoderOf('', {
    spawn: ({ givenSockets = [] }) => {
      for (const socket of givenSockets) socket.destroy();
      const idle = {
        pid: undefined,
        stdin: undefined,
        stdout: undefined,
        exited,
        progressed() {},
        send() {},
        kill() {},
      };
      return { ...idle, stop: () => exited };
    },
  });
  encoder.start();
  expect((await encoder.ended).cause).toMatchObject({ code: expected });
});
