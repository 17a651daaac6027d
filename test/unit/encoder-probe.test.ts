/** Encoders as scripted Node children; then the real ones of both ffmpegs, which takes a second. */
import { afterEach, expect, test } from 'vitest';
import {
  encoderProbeText,
  type ProbedEncoder,
  probeVideoEncoders,
  ranked,
} from '../../device/encoding/encoder-probe.ts';
import { libx264, type VideoEncoder, videoEncoders } from '../../device/encoding/video-encoders.ts';
import { type ChildSpec, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg, type FfmpegBinary, findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { type FlvTag, flvHeader, flvTagBytes } from '../../shared/rtmp/flv.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const binary: FfmpegBinary = {
  ...{ file: 'ffmpeg', version: '4.1', origin: 'PATH', inputs: new Set(), hasFpsMode: false, reason: 'test' },
  encoders: new Set(['libx264']),
};
const size = { widthPx: 640, heightPx: 360, frameRate: 25 };
const second = stretch({ fromMs: 0, untilMs: 1000, hasSound: false });

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

function children(clock = createSystemClock()) {
  const made = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  closers.push(made.close);
  return made;
}

/** A child that writes these tags to where the picture goes, then runs the rest. */
const writing = (given: FlvTag[], rest = '') =>
  `require('fs').writeSync(3, Buffer.from('${Buffer.concat([flvHeader({ audio: false, video: true }), ...given.map(flvTagBytes)]).toString('base64')}', 'base64')); ${rest}`;
const dying = (words: string) => `console.error(${JSON.stringify(words)}); process.exitCode = 1;`;

async function probed(code: string, { encoder = libx264 as VideoEncoder, videoBitrateBps = 2_000_000 } = {}) {
  const { spawn } = children();
  const specs: ChildSpec[] = [];
  const results = await probeVideoEncoders({
    ...{ binary: { ...binary, encoders: new Set([encoder.name]) }, clock: createSystemClock(), log: silentLog() },
    ...{ candidates: [encoder], settings: { videoBitrateBps }, ...size },
    spawn(spec) {
      specs.push(spec);
      return spawn({ ...spec, file: process.execPath, args: ['-e', code] });
    },
  });
  return { results, specs, text: encoderProbeText(results) };
}

test('what comes is measured, with the arguments of a stream', async () => {
  const bench = `console.error('[info] bench: utime=0.150s stime=0.050s rtime=0.100s');`;
  const { results, specs } = await probed(writing([tags.videoConfig(), ...second], bench));
  expect(results).toEqual([
    {
      ...{ encoder: libx264, works: true, codec: 'avc1.64001e', cpuCores: expect.closeTo(0.2, 3) },
      speed: expect.any(Number),
    },
  ]);
  expect(specs[0]?.args.join(' ')).toContain('testsrc2=size=640x360:rate=25:duration=1');
  expect(specs[0]?.args.join(' ')).toContain('-c:v libx264 -preset ultrafast');
});

test.each([
  ['', 'it ended without a word'],
  [dying('[h264 @ 0x1] [error] it rains'), 'it rains'],
  [dying('[h264_v4l2m2m @ 0x1] [error] Could not find a valid device'), 'no device: no /dev/video* encodes H.264'],
  [dying('[error] Cannot load libcuda.so.1'), 'no NVIDIA driver'],
  [dying('[error] Error initializing an internal MFX session: unsupported (-3)'), 'no Intel Quick Sync device'],
  [dying('[warning] libOMX_Core.so not found'), 'no OpenMAX library'],
  [dying("[error] Unrecognized option 'rc_mode'."), 'this ffmpeg does not know its option rc_mode'],
  [writing([tags.videoConfig('1280x720'), ...second]), 'it makes 1280x720 of 640x360'],
  [writing(second), 'it sends no sequence header'],
  [writing([tags.videoConfig(), second[0] ?? tags.picture(0), tags.picture(40, { ctsMs: 80 })]), 'it makes B-frames'],
  [
    `require('fs').writeSync(3, 'no FLV at all, but long enough');`,
    `The encoder's output is not valid FLV: the data do not begin with "FLV", at byte 0`,
  ],
  [writing([tags.videoConfig(), ...second], dying('[error] lost the device')), 'lost the device'],
])('refused: %#', async (code, reason) => {
  const { text } = await probed(code);
  expect(text).toBe(`libx264: ${reason}`);
});

test('a bitrate far above the cap is refused', async () => {
  const { text } = await probed(writing([tags.videoConfig(), ...second]), { videoBitrateBps: 800 });
  expect(text).toBe('libx264: it ignores the bitrate: 3 of 1 kbit/s');
});

test('a missing device file is seen without a run', async () => {
  const encoder = { ...libx264, name: 'h264_vaapi', isHardware: true, deviceFile: '/dev/dri/no-such-node' };
  const { text, specs } = await probed('', { encoder });
  expect(text).toBe('h264_vaapi: /dev/dri/no-such-node is missing');
  expect(specs).toEqual([]);
});

test('one that hangs is ended after 4 s, by force, and what it gave until then counts', async () => {
  const clock = createTestClock();
  const made = children(clock);
  const hang = (given: FlvTag[]) =>
    `process.on('SIGINT', () => {}); ${writing(given)} setInterval(() => {}, 1000); console.error('hangs');`;
  const codes = [hang([]), hang([tags.videoConfig(), ...second])];
  const results: ProbedEncoder[][] = [];
  for (const code of codes) {
    let hanging = () => {};
    const hangs = new Promise<void>((resolve) => {
      hanging = resolve;
    });
    const work = probeVideoEncoders({
      ...{ binary, clock, log: silentLog(), ...size },
      spawn: (spec) =>
        made.spawn({ ...spec, file: process.execPath, args: ['-e', code], onStderrLine: () => hanging() }),
    });
    await hangs;
    await clock.advance(4000);
    await clock.advance(200);
    results.push(await work);
    expect(made.running()).toEqual([]);
    expect(clock.pending()).toEqual([]);
  }
  expect(results[0]?.[0]).toMatchObject({ works: false, reason: 'no picture within 4 s' });
  expect(results[1]?.[0]).toMatchObject({ works: true });
});

test('an abort ends the run that is under way and leaves out the rest', async () => {
  const made = children();
  const ending = new AbortController();
  const work = probeVideoEncoders({
    ...{ binary: { ...binary, encoders: new Set(['libx264', 'libopenh264']) }, signal: ending.signal, ...size },
    ...{ clock: createSystemClock(), log: silentLog() },
    spawn: (spec) =>
      made.spawn({
        ...{ ...spec, file: process.execPath, onStderrLine: () => ending.abort() },
        args: ['-e', `setInterval(() => {}, 1000); console.error('runs');`],
      }),
  });
  expect(await work).toEqual([]);
  expect(made.running()).toEqual([]);
});

test('hardware first, then software, then what is slow, then what fails', () => {
  const named = (name: string) => videoEncoders.find((encoder) => encoder.name === name) ?? libx264;
  const given: ProbedEncoder[] = [
    { encoder: named('h264_v4l2m2m'), works: false, reason: 'no device' },
    { encoder: named('h264_vaapi'), works: true, speed: 1.1, reason: 'too slow for 1280x720 at 30/s' },
    { encoder: named('h264_nvenc'), works: true, speed: 8 },
    { encoder: libx264, works: true, speed: 9.84 },
  ];
  expect(encoderProbeText(ranked(given))).toBe(
    'h264_nvenc: works, 8.0× real time; libx264: works, 9.8× real time; ' +
      'h264_vaapi: works, 1.1× real time, too slow for 1280x720 at 30/s; h264_v4l2m2m: no device',
  );
  expect(encoderProbeText([])).toBe('this ffmpeg has no H.264 encoder');
});

test.each([
  ['the ffmpeg found', findOnPath('ffmpeg')],
  ['the bundled ffmpeg', bundledFfmpeg()],
])('%s: libx264 works, as baseline, and the others say what they lack', async (_, file) => {
  if (!file) return;
  const clock = createSystemClock();
  const made = children(clock);
  const found = await findFfmpeg({ spawn: made.spawn, clock, explicitFile: file });
  const results = await probeVideoEncoders({
    ...{ binary: found, clock, log: silentLog(), ...size },
    spawn: made.spawn,
  });
  const x264 = results.find(({ encoder }) => encoder === libx264);
  expect(x264).toMatchObject({ works: true, codec: expect.stringMatching(/^avc1\.42c0/) });
  for (const { works, reason } of results) if (!works) expect(reason).toMatch(/^(no |this ffmpeg |\/dev)/);
  expect(made.running()).toEqual([]);
  expect(clock.pending()).toEqual([]);
});
