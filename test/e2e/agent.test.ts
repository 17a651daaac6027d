/** The agent with real ffmpeg and real sockets, between a scripted relay and a scripted ingest. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Agent, type AgentOptions, createAgent } from '../../device/agent.ts';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { type Clock, createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { createLog, silentLog } from '../../shared/log.ts';
import { flvHeader, flvTagBytes, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { type FakeRelay, startFakeRelay } from '../support/fake-relay.ts';
import { probe } from '../support/ffprobe.ts';
import { isRunning } from '../support/processes.ts';
import { type RtmpSink, startRtmpSink } from '../support/rtmp-sink.ts';

const KEY = 'very-secret-stream-key';
const TOKEN = 'very-secret-core-token';
const small = { width: 320, height: 180, bitrate: 300_000, frameRate: 15 };
const bundled = bundledFfmpeg();

let relay: FakeRelay;
let sink: RtmpSink;
let clock: Clock;
let agent: Agent | undefined;
let logged: string;
let folder: string;

beforeEach(async () => {
  relay = await startFakeRelay();
  sink = await startRtmpSink();
  logged = '';
  folder = mkdtempSync(join(tmpdir(), 'glasscast-agent-'));
});
afterEach(async () => {
  const pid = agent?.status().stream?.encoderPid;
  await agent?.close();
  agent = undefined;
  await relay.close();
  await sink.close();
  rmSync(folder, { recursive: true, force: true });
  // Whatever a test did: no child, no timer, no secret in the log is left.
  if (pid !== undefined) expect(isRunning(pid)).toBe(false);
  expect(clock.pending()).toEqual([]);
  expect(logged).not.toContain(KEY);
  expect(logged).not.toContain(TOKEN);
});

async function startAgent(options: Partial<AgentOptions> = {}): Promise<Agent> {
  clock = createSystemClock();
  const redactor = createRedactor();
  const write = (line: string) => {
    logged += line;
  };
  agent = createAgent({
    clock,
    redactor,
    log: createLog({ program: 'agent', level: 'debug', redactor, destination: { write } }),
    relayUrl: relay.url,
    coreToken: new Secret(TOKEN),
    source: parseCaptureSource('test-pattern'),
    statsEveryMs: 200,
    encoders: [libx264],
    ...options,
  });
  await agent.start();
  return agent;
}
function startFrame(streamId: string, more: object = {}) {
  const rtmpUrl = `rtmp://127.0.0.1:${sink.port}/live/${KEY}`;
  return { type: 'start_rtmp_stream', streamId, rtmpUrl, video: small, audio: {}, stream: {}, ...more };
}
const says = (status: string, streamId?: string) => (frame: { status?: string; streamId?: string }) =>
  frame.status === status && (streamId === undefined || frame.streamId === streamId);
const pictures = () => sink.tags.filter((tag) => tag.kind === 'video' && !isSequenceHeader(tag));

async function goLive(streamId: string, more?: object): Promise<void> {
  relay.send(startFrame(streamId, more));
  await relay.until(says('streaming', streamId));
}

describe.each([
  ['the ffmpeg found', undefined],
  ['the bundled ffmpeg', bundled],
])('with %s', (_, ffmpegPath) => {
  test('START brings the media asked for, STOP takes everything down', async () => {
    const running = await startAgent({ ffmpegPath });
    await relay.untilConnected();
    expect(relay.authorizations).toEqual([`Bearer ${TOKEN}`]);
    await goLive('m1', {
      video: { ...small, keyFrameIntervalMs: 500 },
      audio: { bitrate: 48_000, sampleRate: 44_100 },
    });
    const streaming = await relay.until(says('streaming', 'm1'));
    expect(streaming.resolvedConfig).toMatchObject({
      transport: 'rtmp',
      video: { width: 320, height: 180, bitrate: 300_000, fps: 15 },
      audio: { bitrate: 48_000, sampleRate: 44_100 },
    });
    await sink.until(() => pictures().length >= 45);
    const stats = await relay.until(({ kind, stats }) => kind === 'snapshot' && (stats?.duration ?? 0) >= 2);
    expect(stats.stats).toMatchObject({ droppedFrames: 0, width: 320, height: 180, reconnects: 0 });
    expect(stats.stats?.bitrate).toBeGreaterThan(150_000);
    const pid = running.status().stream?.encoderPid ?? 0;
    expect(isRunning(pid)).toBe(true);

    relay.send({ type: 'stop_rtmp_stream', streamId: 'm1' });
    await relay.until(says('stopped', 'm1'));
    expect(isRunning(pid)).toBe(false);
    expect(sink.commands.map(({ name }) => name)).toContain('deleteStream');
    const words = relay.frames.flatMap(({ type, kind, status }) =>
      type === 'rtmp_stream_status' && kind === 'lifecycle' ? [status] : [],
    );
    expect(words).toEqual(['initializing', 'streaming', 'stopping', 'stopped']);
    expectEvenTimeline();
    await expectInFile({ width: 320, height: 180, sample_rate: '44100' });
  });
});

/** Time stamps: no repeats, no gaps beyond a frame and a half, key frames as asked, sound beside picture. */
function expectEvenTimeline(): void {
  const times = pictures().map(({ timestampMs }) => timestampMs);
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThan(0);
  // 15 a second. What ffprobe calls the rate is its guess by a few stamps: 15/1 or 15000/1001.
  expect(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length).toBeCloseTo(1000 / 15, -1);
  const keys = pictures()
    .filter(isKeyFrame)
    .map(({ timestampMs }) => timestampMs);
  // Of 500 ms, the first two halved; to the next picture.
  expect((keys[1] ?? 0) - (keys[0] ?? 0)).toBeLessThan(350);
  expect((keys[4] ?? 0) - (keys[3] ?? 0)).toBeLessThan(600);
  const sound = sink.tags.find((tag) => tag.kind === 'audio' && !isSequenceHeader(tag));
  expect(Math.abs((sound?.timestampMs ?? 0) - (times[0] ?? 0))).toBeLessThan(400);
}

/** ffprobe on what the ingest received. */
async function expectInFile(expected: Record<string, unknown>): Promise<void> {
  const file = join(folder, 'dump.flv');
  writeFileSync(file, Buffer.concat([flvHeader({ audio: true, video: true }), ...sink.tags.map(flvTagBytes)]));
  const spawner = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const { streams } = await probe(spawner.spawn, file, { countFrames: true });
  const video = streams.find(({ codec_type }) => codec_type === 'video');
  const audio = streams.find(({ codec_type }) => codec_type === 'audio');
  expect({ ...audio, ...video }).toMatchObject({ ...expected, codec_name: 'h264', has_b_frames: 0 });
  expect(audio?.codec_name).toBe('aac');
  expect(Number(video?.nb_read_frames)).toBe(pictures().length);
}

test('the newer dialect is answered in itself', async () => {
  await startAgent();
  await relay.untilConnected();
  const { rtmpUrl: streamUrl, ...rest } = startFrame('s1');
  relay.send({ ...rest, type: 'start_stream', streamUrl });
  expect((await relay.until(says('streaming', 's1'))).type).toBe('stream_status');
  relay.send({ type: 'get_stream_status' });
  relay.send({ type: 'stop_stream', streamId: 's1' });
  expect((await relay.until(says('stopped', 's1'))).type).toBe('stream_status');
});

test('what apps ask beside streams is refused at once, by its id; what needs no answer gets none', async () => {
  await startAgent();
  await relay.untilConnected();
  relay.send({ type: 'display_event', layout: { layoutType: 'text_wall', text: 'hi' } });
  relay.send({ type: 'set_location_tier', tier: 'high' });
  relay.send({ type: 'photo_request', requestId: 'p1', appId: 'com.a', webhookUrl: 'http://127.0.0.1:9/photo-upload' });
  relay.send({ type: 'audio_play_request', requestId: 'a1', appId: 'com.a', audioUrl: 'http://127.0.0.1:9/a.mp3' });
  relay.send({ type: 'rgb_led_control', requestId: 'l1', appId: 'com.a', action: 'on' });
  const light = await relay.until(({ type }) => type === 'rgb_led_control_response');
  expect(relay.frames.slice(relay.frames.indexOf(light) - 2)).toMatchObject([
    { type: 'photo_response', requestId: 'p1', success: false, error: { code: 'CAMERA_CAPTURE_FAILED' } },
    { type: 'audio_play_response', requestId: 'a1', success: false, error: expect.any(String) },
    { type: 'rgb_led_control_response', requestId: 'l1', success: false, error: expect.any(String) },
  ]);
});

test('the same START is answered, another one replaces, a late STOP stops nothing', async () => {
  const running = await startAgent();
  await relay.untilConnected();
  await goLive('m1');
  const pid = running.status().stream?.encoderPid;
  let from = relay.frames.length;
  relay.send(startFrame('m1'));
  await relay.until((frame) => frame.kind === 'lifecycle' && says('streaming', 'm1')(frame), from);
  expect(running.status().stream?.encoderPid).toBe(pid);

  from = relay.frames.length;
  relay.send(startFrame('m2'));
  await relay.until(says('streaming', 'm2'));
  expect(relay.frames.slice(from).findIndex(says('stopped', 'm1'))).toBeLessThan(
    relay.frames.slice(from).findIndex(says('initializing', 'm2')),
  );
  from = relay.frames.length;
  relay.send({ type: 'stop_rtmp_stream', streamId: 'm1' });
  await relay.until(says('stopped', 'm1'), from);
  expect(running.status().stream).toMatchObject({ streamId: 'm2', state: 'publishing' });
  relay.send({ type: 'stop_rtmp_stream', streamId: '' });
  await relay.until(says('stopped', 'm2'));
});

test('keep-alives are acknowledged and hold the lease; without them all ends with an error', async () => {
  const running = await startAgent({ leaseMs: 1500 });
  await relay.untilConnected();
  relay.send({ type: 'keep_rtmp_stream_alive', streamId: 'm1', ackId: 'idle' });
  await goLive('m1');
  const pid = running.status().stream?.encoderPid ?? 0;
  for (const ackId of ['a1', 'a2', 'a3']) {
    relay.send({ type: 'keep_rtmp_stream_alive', streamId: 'm1', ackId });
    await relay.until((frame) => frame.type === 'keep_alive_ack' && frame.ackId === ackId);
  }
  relay.send({ type: 'keep_rtmp_stream_alive', streamId: 'other', ackId: 'stranger' });
  const error = await relay.until(says('error', 'm1'));
  expect(error).toMatchObject({
    errorDetails: 'Stream timed out - no keep-alive from cloud',
    errorCode: 'LEASE_EXPIRED',
  });
  relay.send({ type: 'stop_rtmp_stream', streamId: 'm1' });
  await relay.until(says('stopped', 'm1'));
  expect(isRunning(pid)).toBe(false);
  const acks = relay.frames.flatMap(({ type, ackId }) => (type === 'keep_alive_ack' ? [ackId] : []));
  expect(acks).toEqual(['a1', 'a2', 'a3']);
});

test('an ingest that goes and comes back: the encoder never notices, no picture is lost', async () => {
  const running = await startAgent();
  await relay.untilConnected();
  await goLive('m1');
  const pid = running.status().stream?.encoderPid;
  await sink.until(() => pictures().length > 15);
  const gone = sink.stopListening();
  sink.reset();
  await gone;
  const lost = await relay.until(says('reconnecting', 'm1'));
  expect(lost.errorCode).toMatch(/^INGEST_/);
  await sink.listen();
  const back = await relay.until(says('reconnected', 'm1'));
  expect(back.attempt).toBeGreaterThan(0);
  expect(running.status().stream).toMatchObject({ encoderPid: pid, state: 'publishing' });
  const seen = pictures().length;
  await sink.until(() => pictures().length > seen + 15);
  const times = [...new Set(pictures().map(({ timestampMs }) => timestampMs))].sort((a, b) => a - b);
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  // One missed picture in a busy machine is the encoder's; a lost stretch would be the whole outage.
  expect(Math.max(...gaps)).toBeLessThan(250);
});

test('a killed encoder is followed by another on the same connection and the same timeline', async () => {
  const running = await startAgent();
  await relay.untilConnected();
  await goLive('m1');
  await sink.until(() => pictures().length > 10);
  const pid = running.status().stream?.encoderPid ?? 0;
  process.kill(pid, 'SIGKILL');
  const from = relay.frames.length;
  await relay.until(says('reconnecting', 'm1'), from);
  await relay.until(says('reconnected', 'm1'), from);
  const seen = pictures().length;
  await sink.until(() => pictures().length > seen + 10);
  expect(running.status().stream?.encoderPid).not.toBe(pid);
  expect(sink.connections).toBe(1);
  const times = pictures().map(({ timestampMs }) => timestampMs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
});

test('a refused key ends the stream with its cause', async () => {
  sink.behaviour = { refuseCode: 'NetStream.Publish.BadName' };
  await startAgent();
  await relay.untilConnected();
  relay.send(startFrame('m1'));
  expect((await relay.until(says('error', 'm1'))).errorCode).toBe('INGEST_REFUSED_KEY');
});

test.each([
  ['', 'missing_rtmp_url'],
  ['http://127.0.0.1/live/key', 'not rtmp or rtmps'],
  [`rtmp://u:${KEY}@127.0.0.1/live/x`, 'user name'],
  ['nonsense', 'no scheme'],
])('START with address %j is answered with a precise error', async (rtmpUrl, text) => {
  const running = await startAgent();
  await relay.untilConnected();
  relay.send(startFrame('m1', { rtmpUrl }));
  const error = await relay.until(says('error', 'm1'));
  expect(error.errorCode).toBe('INVALID_PUBLISH_URL');
  expect(error.errorDetails).toContain(text);
  expect(error.errorDetails).not.toContain(KEY);
  expect(running.status().stream).toBeUndefined();
});

test('a START that cannot be carried out leaves the running stream alone', async () => {
  const running = await startAgent();
  await relay.untilConnected();
  await goLive('m1');
  const pid = running.status().stream?.encoderPid;
  relay.send(startFrame('m2', { rtmpUrl: 'nonsense' }));
  expect((await relay.until(says('error', 'm2'))).errorCode).toBe('INVALID_PUBLISH_URL');
  const seen = pictures().length;
  await sink.until(() => pictures().length > seen + 5);
  expect(running.status().stream).toMatchObject({ streamId: 'm1', state: 'publishing', encoderPid: pid });
  expect(relay.frames.filter(({ streamId, status }) => streamId === 'm1' && status !== 'streaming')).toHaveLength(1);
});

test.each([
  ['file:/no/such/film.mp4', 'CAPTURE_FILE_UNREADABLE', '/no/such/film.mp4'],
  ['file:package.json', 'CAPTURE_FILE_UNREADABLE', 'package.json'],
])('source %s is the error %s', async (source, code, name) => {
  await startAgent({ source: parseCaptureSource(source) });
  await relay.untilConnected();
  relay.send(startFrame('m1'));
  const error = await relay.until(says('error', 'm1'));
  expect(error.errorCode).toBe(code);
  expect(error.errorDetails).toContain(name);
});

test('a camera that is not there is told at once, waited for, and an error after ten seconds', async () => {
  await startAgent({ source: parseCaptureSource('v4l2:/dev/video99') });
  await relay.untilConnected();
  relay.send(startFrame('m1'));
  const waits = await relay.until(says('connecting', 'm1'));
  expect(waits).toMatchObject({ errorCode: 'CAMERA_NOT_FOUND', errorDetails: expect.stringContaining('/dev/video99') });
  expect((await relay.until(says('error', 'm1'))).errorCode).toBe('CAMERA_NOT_FOUND');
});

test('a microphone that is not there is told and replaced by silence; the picture goes on', async () => {
  await startAgent({ source: parseCaptureSource('test-pattern', 'alsa:hw:99') });
  await relay.untilConnected();
  relay.send(startFrame('m1'));
  const { notice } = await relay.until((frame) => frame.notice !== undefined);
  expect(notice).toMatchObject({ code: 'MICROPHONE_LOST', text: expect.stringContaining('alsa:hw:99') });
  await sink.until(() => pictures().length > 20 && sink.tags.filter(({ kind }) => kind === 'audio').length > 20);
});

test('garbage from the relay changes nothing', async () => {
  const running = await startAgent();
  await relay.untilConnected();
  await goLive('m1');
  const pid = running.status().stream?.encoderPid;
  for (const frame of [
    'not json',
    '[]',
    '{"type":7}',
    '{}',
    '{"type":"no_such_thing"}',
    '{"type":"start_rtmp_stream","streamId":5}',
    '{"type":"stop_rtmp_stream","streamId":{}}',
    '{"type":"keep_rtmp_stream_alive"}',
  ]) {
    relay.send(frame);
  }
  relay.send(Buffer.from([1, 2, 3]));
  await relay.ping();
  relay.send({ type: 'keep_rtmp_stream_alive', streamId: 'm1', ackId: 'after' });
  await relay.until(({ ackId }) => ackId === 'after');
  expect(running.status().stream).toMatchObject({ streamId: 'm1', state: 'publishing', encoderPid: pid });
  expect(relay.connections).toBe(1);
});

test('a relay that goes and comes back finds the stream running and is told so', async () => {
  const running = await startAgent();
  await relay.untilConnected();
  await goLive('m1');
  const pid = running.status().stream?.encoderPid;
  const from = relay.frames.length;
  relay.drop();
  await relay.untilConnected(2);
  const hello = await relay.until(({ type }) => type === 'glasses_connection_state', from);
  expect(hello).toMatchObject({ status: 'CONNECTED', wifi: { connected: true, localIp: '127.0.0.1' } });
  await relay.until((frame) => frame.kind === 'lifecycle' && says('streaming', 'm1')(frame), from);
  expect(running.status().stream?.encoderPid).toBe(pid);
});

test('without an ffmpeg the agent does not start and says what it tried', async () => {
  await expect(startAgent({ ffmpegPath: '/no/such/ffmpeg' })).rejects.toMatchObject({
    code: 'FFMPEG_MISSING',
    message: expect.stringContaining('/no/such/ffmpeg'),
  });
});
