/** Echo and noise over a made-up sound server; then ffmpeg's noise filter, really run on a tone in noise. */
import { describe, expect, test } from 'vitest';
import type { Microphone } from '../../device/capture/capture-source.ts';
import { prepareSound } from '../../device/encoding/sound-processing.ts';
import { type ChildExit, type ChildSpec, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

const pulse: Microphone = { kind: 'pulse', name: 'mic' };
const ours = `glasscast_echo_${process.pid}`;
const ourSink = `glasscast_speaker_${process.pid}`;

/** A sound server that answers by its state; `refuses` names commands that fail. */
function soundServer({ modules = [] as string[], refuses = [] as string[], hasFilter = true } = {}) {
  const asked: string[] = [];
  let defaultSink = 'speaker';
  const answer = (args: readonly string[]): string => {
    const [command = '', name = ''] = args;
    if (command === '-hide_banner') return hasFilter ? 'Filter afftdn' : "Unknown filter 'afftdn'.";
    if (command === 'list') return modules.join('\n');
    if (command === 'get-default-sink') return defaultSink;
    if (command === 'set-default-sink') defaultSink = name;
    return command === 'load-module' ? '7' : '';
  };
  const spawn = (spec: ChildSpec) => {
    asked.push(spec.args.join(' '));
    const fails = refuses.includes(spec.args[0] ?? '');
    if (!fails) for (const line of answer(spec.args).split('\n')) spec.onStdoutLine?.(line);
    const exit: ChildExit = {
      ...{ end: 'exited', code: fails ? 1 : 0, signal: null, ms: 1 },
      lastLines: fails ? ['Failure: Module initialization failed'] : [],
    };
    const exited = Promise.resolve(exit);
    return {
      ...{ pid: 1, stdin: undefined, stdout: undefined, exited, progressed: () => {}, send: () => {} },
      stop: () => exited,
      kill() {},
    };
  };
  return { asked, spawn, defaultSink: () => defaultSink };
}

function prepare(
  server: ReturnType<typeof soundServer>,
  microphone: Microphone | undefined,
  wanted: 'echo' | 'noise' | 'both' | 'none' = 'both',
  pactl: string | null = 'pactl',
) {
  const settings = {
    echoCancellation: wanted === 'echo' || wanted === 'both',
    noiseSuppression: wanted === 'noise' || wanted === 'both',
  };
  const deps = { binary: { file: 'ffmpeg' }, clock: createTestClock(), log: silentLog(), spawn: server.spawn };
  return prepareSound({ microphone, settings, pactl, ...deps });
}

test('nothing asked for, nothing done', async () => {
  const server = soundServer();
  const sound = await prepare(server, { kind: 'alsa', name: 'hw:1' }, 'none');
  expect(sound).toMatchObject({
    ...{ microphone: { kind: 'alsa', name: 'hw:1' }, filters: [], unavailable: [] },
    honoured: { echoCancellation: false, noiseSuppression: false },
  });
  await sound.close();
  expect(server.asked).toEqual([]);
});

test('with a sound server its canceller does both, between microphone and speaker, and all is put back', async () => {
  const server = soundServer();
  const sound = await prepare(server, pulse);
  expect(sound).toMatchObject({
    ...{ microphone: { kind: 'pulse', name: ours }, filters: [], unavailable: [] },
    honoured: { echoCancellation: true, noiseSuppression: true },
  });
  expect(server.asked.slice(1)).toEqual([
    'get-default-sink',
    `load-module module-echo-cancel aec_method=webrtc source_name=${ours} sink_name=${ourSink} source_master=mic sink_master=speaker rate=48000 channels=1 aec_args="noise_suppression=1 analog_gain_control=0 digital_gain_control=0"`,
    `set-default-sink ${ourSink}`,
  ]);
  await Promise.all([sound.close(), sound.close()]);
  expect(server.asked.slice(4)).toEqual(['get-default-sink', 'set-default-sink speaker', 'unload-module 7']);
});

test('echo alone leaves noise as it is; the default microphone is left to the server', async () => {
  const server = soundServer();
  const sound = await prepare(server, { kind: 'pulse', name: 'default' }, 'echo');
  expect(sound.honoured).toEqual({ echoCancellation: true, noiseSuppression: false });
  expect(server.asked[2]).toContain('noise_suppression=0');
  expect(server.asked[2]).not.toContain('source_master');
});

test('a speaker that somebody else chose meanwhile stays', async () => {
  const server = soundServer();
  const sound = await prepare(server, pulse);
  server.spawn({ name: 'x', file: 'pactl', args: ['set-default-sink', 'headset'] });
  await sound.close();
  expect(server.defaultSink()).toBe('headset');
  expect(server.asked.at(-1)).toBe('unload-module 7');
});

test('modules of dead agents and our own old one go, even when nothing is asked for', async () => {
  const line = (index: number, name: string) =>
    `${index}\tmodule-echo-cancel\taec_method=webrtc source_name=${name} x=y\t`;
  const modules = [
    '1\tmodule-null-sink\tsink_name=glasscast_echo_1',
    ...[line(2, 'glasscast_echo_999999999'), line(3, ours), line(4, 'glasscast_echo_1'), line(5, 'somebody')],
  ];
  const server = soundServer({ modules });
  await prepare(server, pulse, 'none');
  expect(server.asked).toEqual(['list short modules', 'unload-module 2', 'unload-module 3']);
});

describe('what cannot be had is told', () => {
  const echo = (reason: string) => ({ setting: 'echoCancellation', reason });
  const noise = (reason: string) => ({ setting: 'noiseSuppression', reason });

  test.each<[string, Microphone | undefined, string]>([
    ['ALSA', { kind: 'alsa', name: 'hw:0' }, 'it needs PulseAudio or PipeWire: name the microphone as pulse:NAME'],
    ['a file', undefined, 'a file has no echo of this device in it'],
  ])('%s: no echo cancellation, but the noise filter', async (_, microphone, reason) => {
    expect(await prepare(soundServer(), microphone)).toMatchObject({
      ...{ microphone, filters: ['afftdn=nr=12:nf=-30:tn=1'], unavailable: [echo(reason)] },
      honoured: { echoCancellation: false, noiseSuppression: true },
    });
  });
  test.each<Microphone>([{ kind: 'beep' }, { kind: 'silence' }])('generated sound: neither', async (microphone) => {
    expect(await prepare(soundServer(), microphone)).toMatchObject({
      filters: [],
      unavailable: [
        echo('the sound is generated, there is no echo in it'),
        noise('the sound is generated, there is no noise in it'),
      ],
      honoured: { echoCancellation: false, noiseSuppression: false },
    });
  });
  test('no pactl', async () => {
    const { unavailable, microphone } = await prepare(soundServer(), pulse, 'echo', null);
    expect(unavailable).toEqual([echo('the program pactl is missing; install pulseaudio-utils')]);
    expect(microphone).toBe(pulse);
  });
  test('a server without the canceller: its own words, and the filter against noise', async () => {
    const { unavailable, filters } = await prepare(soundServer({ refuses: ['load-module'] }), pulse);
    expect(unavailable).toEqual([echo('load-module: Failure: Module initialization failed')]);
    expect(filters).toHaveLength(1);
  });
  test('a canceller that hears no speaker is taken away again', async () => {
    const server = soundServer({ refuses: ['set-default-sink'] });
    expect((await prepare(server, pulse, 'echo')).honoured.echoCancellation).toBe(false);
    expect(server.asked.at(-1)).toBe('unload-module 7');
  });
  test('an ffmpeg without the filter', async () => {
    const { unavailable } = await prepare(soundServer({ hasFilter: false }), { kind: 'alsa', name: 'x' }, 'noise');
    expect(unavailable).toEqual([noise('this ffmpeg has no filter afftdn')]);
  });
});

const SAMPLE_RATE_HZ = 48_000;

/** Decibels between a tone of 1 kHz and all else, once the filter has learned the noise. */
function signalToNoiseDb(samples: Float32Array): number {
  const part = samples.slice(3 * SAMPLE_RATE_HZ, 5 * SAMPLE_RATE_HZ);
  const turn = (i: number) => (2 * Math.PI * 1000 * i) / SAMPLE_RATE_HZ;
  const [sin, cos] = [Math.sin, Math.cos].map(
    (wave) => (2 / part.length) * part.reduce((sum, value, i) => sum + value * wave(turn(i)), 0),
  );
  const tone = (i: number) => (sin ?? 0) * Math.sin(turn(i)) + (cos ?? 0) * Math.cos(turn(i));
  const power = (of: (i: number) => number) => part.reduce((sum, _, i) => sum + of(i) ** 2, 0);
  return 10 * Math.log10(power(tone) / power((i) => (part[i] ?? 0) - tone(i)));
}

test.each([
  ['the ffmpeg found', findOnPath('ffmpeg'), 9],
  ['the bundled ffmpeg', bundledFfmpeg(), 6],
])('%s: a tone stands out of noise by so much more', async (_, file, gainDb) => {
  if (!file) return;
  const clock = createSystemClock();
  const { spawn, close } = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const settings = { echoCancellation: false, noiseSuppression: true };
  const microphone: Microphone = { kind: 'alsa', name: 'x' };
  const { filters } = await prepareSound({ microphone, settings, binary: { file }, spawn, clock, log: silentLog() });
  const ratios: number[] = [];
  for (const filter of ['anull', ...filters]) {
    const source = `aevalsrc='0.1*sin(2*PI*1000*t)+0.0173*(2*random(0)-1)':s=${SAMPLE_RATE_HZ}:d=5.5`;
    const args = ['-v', 'error', '-f', 'lavfi', '-i', source, '-af', filter, '-f', 'f32le', 'pipe:1'];
    const child = spawn({ name: 'noise', file, args, stdout: 'raw' });
    const chunks: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
    await child.exited;
    ratios.push(signalToNoiseDb(new Float32Array(new Uint8Array(Buffer.concat(chunks)).buffer)));
  }
  await close();
  expect(ratios[0]).toBeCloseTo(17, 0);
  expect((ratios[1] ?? 0) - (ratios[0] ?? 0)).toBeGreaterThan(gainDb);
});
