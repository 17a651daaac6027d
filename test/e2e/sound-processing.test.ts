/** Echo cancellation by a real PulseAudio: loaded, heard through, put back; and what a dead agent left is taken away. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { soundArguments } from '../../device/encoding/encoder-arguments.ts';
import { openMediaPipe } from '../../device/encoding/media-pipe.ts';
import { type PreparedSound, prepareSound } from '../../device/encoding/sound-processing.ts';
import { type ChildSpec, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createFlvParser, type FlvTag, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { resolveSettings } from '../../shared/stream.ts';

// The bundled ffmpeg has no PulseAudio.
const [pulseaudio, pactl, ffmpeg] = ['pulseaudio', 'pactl', 'ffmpeg'].map((name) => findOnPath(name));
const hasPulse = pulseaudio !== undefined && pactl !== undefined && ffmpeg !== undefined;
if (!hasPulse)
  process.stderr.write('Echo cancellation is not tested: it needs pulseaudio, pactl and ffmpeg on PATH.\n');

const SAMPLE_RATE_HZ = 48_000;
const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const folder = mkdtempSync(join(tmpdir(), 'glasscast-echo-'));

beforeAll(async () => {
  if (!hasPulse) return;
  const socket = join(folder, 'native');
  const config = join(folder, 'pa.conf');
  // What is played into the sink "room" is what its monitor, the microphone, hears.
  const lines = [
    `load-module module-native-protocol-unix auth-anonymous=1 socket=${socket}`,
    ...['speaker', 'room'].map((name) => `load-module module-null-sink sink_name=${name} rate=48000 channels=1`),
    'set-default-sink speaker',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const { HOME: _home, ...rest } = process.env;
  await new Promise<void>((resolve, reject) => {
    const daemon = children.spawn({
      ...{ name: 'pulseaudio', file: pulseaudio, env: { ...rest, HOME: folder, XDG_RUNTIME_DIR: folder } },
      args: ['-n', '-F', config, '--exit-idle-time=-1', '--daemonize=no', '-v'],
      onStderrLine: (line) => /Daemon startup complete/.test(line) && resolve(),
    });
    void daemon.exited.then(({ lastLines }) => reject(new Error(lastLines.join('\n'))));
  });
  process.env.PULSE_SERVER = `unix:${socket}`;
});
afterAll(async () => {
  delete process.env.PULSE_SERVER;
  await children.close();
  rmSync(folder, { recursive: true, force: true });
  expect(clock.pending()).toEqual([]);
});

const prepare = (wanted: { echoCancellation: boolean; noiseSuppression: boolean }, name = 'room.monitor') =>
  prepareSound({
    ...{ microphone: { kind: 'pulse', name }, settings: wanted, binary: { file: ffmpeg ?? '' } },
    ...{ spawn: children.spawn, clock, log: silentLog() },
  });
const both = { echoCancellation: true, noiseSuppression: true };

async function ask(...args: string[]): Promise<string> {
  const lines: string[] = [];
  const spec: ChildSpec = { name: 'pactl', file: pactl ?? '', args, stdout: 'lines' };
  await children.spawn({ ...spec, onStdoutLine: (line) => void lines.push(line) }).exited;
  return lines.join('\n');
}
const nameOf = ({ microphone }: PreparedSound) => (microphone && 'name' in microphone ? microphone.name : '');

/** Loudness of each second of so many, without the first three, in which everything starts. */
async function loudnessDb(name: string, seconds: number): Promise<number[]> {
  // 20 ms at a time, as the agent records: with the default of 2 s the null sinks run so late that no echo is found.
  const input = ['-f', 'pulse', '-sample_rate', String(SAMPLE_RATE_HZ), '-channels', '1', '-fragment_size', '1920'];
  const args = ['-v', 'error', ...input, '-i', name, '-t', String(seconds), '-f', 's16le', 'pipe:1'];
  const child = children.spawn({ name: 'recorder', file: ffmpeg ?? '', args, stdout: 'raw' });
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  await child.exited;
  const samples = new Int16Array(new Uint8Array(Buffer.concat(chunks)).buffer);
  return Array.from({ length: seconds - 3 }, (_, i) => {
    const part = samples.subarray((i + 3) * SAMPLE_RATE_HZ, (i + 4) * SAMPLE_RATE_HZ);
    return 10 * Math.log10(part.reduce((sum, sample) => sum + (sample / 32_768) ** 2, 0) / part.length + 1e-12);
  });
}

/** Plays bursts of noise by the default speaker; the room hears them 40 ms later, half as loud. */
function playIntoRoom() {
  const source = `anoisesrc=color=pink:r=${SAMPLE_RATE_HZ}:amplitude=0.3,tremolo=f=4:d=0.9`;
  const split = '[0]asplit[a][b];[b]adelay=40,volume=0.5[c]';
  const outputs = ['-map', '[a]', '-f', 'pulse', 'speech', '-map', '[c]', '-f', 'pulse', '-device', 'room', 'echo'];
  const args = ['-v', 'error', '-re', '-f', 'lavfi', '-i', source, '-filter_complex', split, ...outputs];
  return children.spawn({ name: 'player', file: ffmpeg ?? '', args });
}

describe.runIf(hasPulse)('with PulseAudio', () => {
  // On a busy machine the null sinks lose step now and then, and the canceller has to find the echo anew.
  test('what the speaker plays is no longer in what the microphone hears', { retry: 2 }, async () => {
    const sound = await prepare({ ...both, noiseSuppression: false });
    expect(sound).toMatchObject({
      honoured: { echoCancellation: true, noiseSuppression: false },
      ...{ filters: [], unavailable: [] },
    });
    const player = playIntoRoom();
    const [heard = [], cleaned = []] = await Promise.all(
      ['room.monitor', nameOf(sound)].map((name) => loudnessDb(name, 10)),
    );
    await player.stop();
    await sound.close();
    const quietest = Math.min(...heard);
    expect(quietest).toBeGreaterThan(-45);
    expect(Math.min(...cleaned)).toBeLessThan(quietest - 10);
  });

  test('a sound run records from it; afterwards the sound server is as before', async () => {
    const before = [await ask('list', 'short', 'modules'), await ask('get-default-sink')];
    const sound = await prepare(both);
    const settings = resolveSettings();
    const { kind, ...rest } = { kind: 'test-pattern' as const, hasAudio: true, settings };
    const source = { kind, microphone: sound.microphone ?? { kind: 'silence' as const } };
    const epochMs = clock.now();
    const args = soundArguments({ source, ...rest, epochMs, nowMs: epochMs, extraFilters: sound.filters });
    const given: FlvTag[] = [];
    await new Promise<void>((resolve, reject) => {
      const parser = createFlvParser({
        onTag(tag) {
          given.push(tag);
          if (given.length >= 60) resolve();
        },
      });
      void openMediaPipe((bytes) => {
        parser.push(bytes);
        return true;
      }).then(async (pipe) => {
        const child = children.spawn({ name: 'encoder', file: ffmpeg ?? '', args, givenSockets: [pipe.childEnd] });
        void child.exited.then(({ lastLines }) => reject(new Error(lastLines.join('\n'))));
      }, reject);
    });
    const times = given.filter((tag) => tag.kind === 'audio' && !isSequenceHeader(tag)).map((tag) => tag.timestampMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    for (const { name, pid } of children.running()) if (name === 'encoder') process.kill(pid, 'SIGINT');
    await sound.close();
    expect([await ask('list', 'short', 'modules'), await ask('get-default-sink')]).toEqual(before);
  });

  test('what a dead agent left is unloaded by the next start', async () => {
    const names = ['source_name=glasscast_echo_999999999', 'sink_name=glasscast_speaker_999999999'];
    const masters = ['source_master=room.monitor', 'sink_master=speaker'];
    await ask('load-module', 'module-echo-cancel', 'aec_method=webrtc', ...names, ...masters);
    expect(await ask('list', 'short', 'sources')).toContain('glasscast_echo_999999999');
    const sound = await prepare({ echoCancellation: false, noiseSuppression: false });
    expect(await ask('list', 'short', 'sources')).not.toContain('glasscast_echo');
    await sound.close();
  });

  test('a microphone that is not there: told, and nothing stays loaded', async () => {
    const before = await ask('list', 'short', 'modules');
    const sound = await prepare(both, 'no-such-microphone');
    expect(sound.unavailable).toEqual([
      { setting: 'echoCancellation', reason: 'load-module: Failure: Module initialization failed' },
    ]);
    expect(sound.honoured).toEqual({ echoCancellation: false, noiseSuppression: true });
    expect(await ask('list', 'short', 'modules')).toBe(before);
  });
});
