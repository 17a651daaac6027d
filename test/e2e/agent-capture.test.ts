/** Pictures and sound that do not come from the test pattern: frames of this program, PulseAudio; by real ffmpegs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Agent, createAgent } from '../../device/agent.ts';
import { type CaptureSource, parseCaptureSource } from '../../device/capture/capture-source.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { readVideoConfig } from '../../shared/codec-config.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { type FlvTag, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { type FakeRelay, startFakeRelay } from '../support/fake-relay.ts';
import { type RtmpSink, startRtmpSink } from '../support/rtmp-sink.ts';

const bundled = bundledFfmpeg();
const pulseaudio = findOnPath('pulseaudio');
const video = { width: 320, height: 180, bitrate: 300_000, frameRate: 30 };

let relay: FakeRelay;
let sink: RtmpSink;
let agent: Agent | undefined;
const clock = createSystemClock();

beforeEach(async () => {
  relay = await startFakeRelay();
  sink = await startRtmpSink();
});
afterEach(async () => {
  await agent?.close();
  agent = undefined;
  await relay.close();
  await sink.close();
  expect(clock.pending()).toEqual([]);
});

async function goLive(source: CaptureSource, ffmpegPath: string | undefined): Promise<void> {
  agent = createAgent({
    ...{ clock, source, ffmpegPath, log: silentLog(), redactor: createRedactor(), relayUrl: relay.url },
    ...{ coreToken: new Secret('token'), statsEveryMs: 200, encoders: [libx264] },
  });
  await agent.start();
  await relay.untilConnected();
  const rtmpUrl = `rtmp://127.0.0.1:${sink.port}/live/key`;
  relay.send({ type: 'start_rtmp_stream', streamId: 'm1', rtmpUrl, video, audio: {}, stream: {} });
  await relay.until(({ status }) => status === 'streaming');
}
const media = (kind: FlvTag['kind']) => sink.tags.filter((tag) => tag.kind === kind && !isSequenceHeader(tag));

/** A camera of 640x360 gray frames, which nobody but the encoder paces. */
function grayCamera() {
  const frame = Buffer.alloc(640 * 360 * 1.5, 128);
  const sinks: ('attached' | 'let go')[] = [];
  const attach = (next: Writable) => {
    sinks.push('attached');
    const give = (into: Writable) => {
      while (into.writable && into.write(frame));
      into.once('drain', () => give(into));
    };
    give(next);
    return () => void sinks.push('let go');
  };
  const source: CaptureSource = {
    ...{ kind: 'rawvideo', widthPx: 640, heightPx: 360, frameRate: 30, attach },
    microphone: { kind: 'silence' },
  };
  return { source, sinks };
}

test.each([
  ['the ffmpeg found', undefined],
  ['the bundled ffmpeg', bundled],
])('frames of this program, by %s: scaled, on a growing timeline, beside sound, let go at the end', async (_, file) => {
  const { source, sinks } = grayCamera();
  await goLive(source, file);
  await sink.until(() => media('video').length >= 60 && media('audio').length >= 20);
  const header = sink.tags.find((tag) => tag.kind === 'video' && isSequenceHeader(tag));
  expect(readVideoConfig(header?.body.subarray(5) ?? Buffer.alloc(0))).toMatchObject({ width: 320, height: 180 });
  for (const kind of ['video', 'audio'] as const) {
    const times = media(kind).map(({ timestampMs }) => timestampMs);
    expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
  }
  relay.send({ type: 'stop_rtmp_stream', streamId: 'm1' });
  await relay.until(({ status }) => status === 'stopped');
  expect(sinks).toEqual(['attached', 'let go']);
});

// The bundled ffmpeg has no PulseAudio.
const hasPulse = pulseaudio !== undefined && findOnPath('ffmpeg') !== undefined;
if (!hasPulse) process.stderr.write('The PulseAudio test is skipped: it needs pulseaudio and ffmpeg on PATH.\n');

test.runIf(hasPulse)('a PulseAudio microphone is heard', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-pulse-'));
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const socket = join(folder, 'native');
  const config = join(folder, 'pa.conf');
  writeFileSync(
    config,
    `load-module module-native-protocol-unix auth-anonymous=1 socket=${socket}\nload-module module-null-sink sink_name=glasses rate=48000 channels=1\n`,
  );
  const { HOME: _home, ...rest } = process.env;
  let ready = () => {};
  const started = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const daemon = children.spawn({
    name: 'pulseaudio',
    file: pulseaudio ?? '',
    args: ['-n', '-F', config, '--exit-idle-time=-1', '--daemonize=no', '-v'],
    env: { ...rest, HOME: folder, XDG_RUNTIME_DIR: folder },
    onStderrLine: (line) => /Daemon startup complete/.test(line) && ready(),
  });
  try {
    const died = daemon.exited.then(({ lastLines }) => Promise.reject(new Error(lastLines.join('\n'))));
    await Promise.race([started, died]);
    process.env.PULSE_SERVER = `unix:${socket}`;
    await goLive(parseCaptureSource('test-pattern', 'pulse:glasses.monitor'), undefined);
    await sink.until(() => media('audio').length >= 50);
    const times = media('audio').map(({ timestampMs }) => timestampMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  } finally {
    delete process.env.PULSE_SERVER;
    await agent?.close();
    await children.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
