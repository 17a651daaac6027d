/**
 * Echo cancellation and noise suppression with what ffmpeg and the sound server really have: what cannot be had is told with
 * its reason, never passed over. Owns one module of the sound server while a stream runs, and takes away what a dead agent left.
 */
import { access } from 'node:fs/promises';
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import type { Microphone } from '../capture/capture-source.ts';

export type SoundSetting = 'echoCancellation' | 'noiseSuppression';

export interface SoundProcessingOptions {
  /** Undefined: the sound of a file. */
  microphone: Microphone | undefined;
  settings: Pick<EncoderSettings, SoundSetting>;
  binary: Pick<FfmpegBinary, 'file'>;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  /** Of PulseAudio's and PipeWire's control program; `null`: there is none. Default: looks on PATH. */
  pactl?: string | null;
}

export interface PreparedSound {
  /** The one to record from: maybe another source of the sound server. */
  microphone: Microphone | undefined;
  /** For ffmpeg, after the sound's own. */
  filters: readonly string[];
  honoured: Readonly<Record<SoundSetting, boolean>>;
  /** Asked for and not to be had; each reason is the end of a sentence for people. */
  unavailable: readonly { setting: SoundSetting; reason: string }[];
  /** After the last run that records from it. Puts the sound server back as it was. */
  close(): Promise<void>;
}

/**
 * Measured with a tone of -20 dBFS in white noise of -40: the noise falls by 11 dB (5.1) and 9 dB (4.1), the tone by nothing;
 * 0.3 % of a core. More (nr=20) begins to eat quiet speech; with a lower floor (nf) noise of that strength is left alone.
 */
const NOISE_FILTER = 'afftdn=nr=12:nf=-30:tn=1';
const COMMAND_TIMEOUT_MS = 3000;
/** Our modules' sources are known by it, and the process that loaded one by the number behind it. */
const SOURCE_NAME = 'glasscast_echo_';
const SINK_NAME = 'glasscast_speaker_';

/** Runs a program to its end and gives what it printed. */
type Ask = (...args: string[]) => Promise<string>;

/** One at a time in a process: a module of an earlier one that was not closed is taken away. Never rejects. */
export async function prepareSound(options: SoundProcessingOptions): Promise<PreparedSound> {
  const { microphone, settings } = options;
  const unavailable: PreparedSound['unavailable'][number][] = [];
  const canceller = await echoCanceller(options).catch(errorText);
  const cancels = typeof canceller === 'object';
  if (settings.echoCancellation && !cancels) {
    unavailable.push({ setting: 'echoCancellation', reason: canceller ?? 'it was not started' });
  }
  const filters: string[] = [];
  // The canceller's own suppression knows more than a filter behind it.
  if (settings.noiseSuppression && !cancels) {
    const reason = await noNoiseFilter(options).catch(errorText);
    if (reason === undefined) filters.push(NOISE_FILTER);
    else unavailable.push({ setting: 'noiseSuppression', reason });
  }
  let closed: Promise<void> | undefined;
  return {
    microphone: cancels ? canceller.microphone : microphone,
    filters,
    honoured: {
      echoCancellation: cancels,
      noiseSuppression: settings.noiseSuppression && (cancels || filters.length > 0),
    },
    unavailable,
    async close() {
      closed ??= cancels ? canceller.close() : Promise.resolve();
      await closed;
    },
  };
}

/** Why noise cannot be suppressed by ffmpeg, if so. */
async function noNoiseFilter({
  microphone,
  binary,
  spawn,
  clock,
}: SoundProcessingOptions): Promise<string | undefined> {
  if (microphone && isGenerated(microphone)) return 'the sound is generated, there is no noise in it';
  // Printed by both kinds of answer: "Filter afftdn", "Unknown filter 'afftdn'."
  const text = await asking(spawn, clock, binary.file)('-hide_banner', '-h', 'filter=afftdn');
  return /^Filter afftdn/m.test(text) ? undefined : 'this ffmpeg has no filter afftdn';
}

const isGenerated = ({ kind }: Microphone) => kind === 'beep' || kind === 'silence';

interface EchoCanceller {
  microphone: Microphone;
  close(): Promise<void>;
}

/** The canceller, or why there is none; undefined when it was not asked for. */
async function echoCanceller(options: SoundProcessingOptions): Promise<EchoCanceller | string | undefined> {
  const { microphone, settings, spawn, clock, pactl = findOnPath('pactl') } = options;
  const wanted = settings.echoCancellation;
  if (!microphone) return 'a file has no echo of this device in it';
  if (isGenerated(microphone)) return 'the sound is generated, there is no echo in it';
  if (microphone.kind !== 'pulse') return 'it needs PulseAudio or PipeWire: name the microphone as pulse:NAME';
  if (!pactl) return 'the program pactl is missing; install pulseaudio-utils';
  const ask = asking(spawn, clock, pactl);
  // Whatever is asked for: a module left behind keeps the microphone open.
  await unloadLeftovers(ask);
  return wanted ? load(ask, microphone, options) : undefined;
}

/** A dead agent's modules, and ours from before. */
async function unloadLeftovers(ask: Ask): Promise<void> {
  const modules = await ask('list', 'short', 'modules');
  for (const [, index = '', pid = ''] of modules.matchAll(
    /^(\d+)\tmodule-echo-cancel\t.*source_name=glasscast_echo_(\d+)/gm,
  )) {
    if (Number(pid) === process.pid || !(await isAlive(pid))) await ask('unload-module', index);
  }
}

const isAlive = (pid: string) =>
  access(`/proc/${pid}`).then(
    () => true,
    () => false,
  );

async function load(
  ask: Ask,
  { name }: { name: string },
  { settings, log }: SoundProcessingOptions,
): Promise<EchoCanceller> {
  const source = `${SOURCE_NAME}${process.pid}`;
  const sink = `${SINK_NAME}${process.pid}`;
  const speaker = (await ask('get-default-sink')).trim();
  const args = moduleArguments({ source, sink, name, speaker, suppressesNoise: settings.noiseSuppression });
  const index = (await ask('load-module', 'module-echo-cancel', ...args)).trim();
  const unload = () => ask('unload-module', index);
  try {
    // The canceller knows only what is played through its own sink.
    await ask('set-default-sink', sink);
  } catch (error) {
    await unload();
    throw error;
  }
  log.info({ source, speaker, module: index }, 'echo-canceller-loaded');
  return {
    microphone: { kind: 'pulse', name: source },
    async close() {
      try {
        // Unless somebody chose another speaker meanwhile.
        if ((await ask('get-default-sink')).trim() === sink) await ask('set-default-sink', speaker);
        await unload();
      } catch (error) {
        log.warn({ module: index, reason: errorText(error) }, 'echo-canceller-not-unloaded');
      }
    },
  };
}

interface CancellerModule {
  source: string;
  sink: string;
  /** Of the microphone. */
  name: string;
  speaker: string;
  suppressesNoise: boolean;
}

function moduleArguments({ source, sink, name, speaker, suppressesNoise }: CancellerModule): string[] {
  // Without a master the server takes its default source.
  const masters = [...(name === 'default' ? [] : [`source_master=${name}`]), `sink_master=${speaker}`];
  // Analog gain control would turn the microphone's own volume, and leave it turned.
  const aec = `noise_suppression=${suppressesNoise ? 1 : 0} analog_gain_control=0 digital_gain_control=0`;
  return [
    ...['aec_method=webrtc', `source_name=${source}`, `sink_name=${sink}`, ...masters],
    ...['rate=48000', 'channels=1', `aec_args="${aec}"`],
  ];
}

/** @returns standard output; throws an Error with the program's own words when it fails. */
function asking(spawn: SpawnChild, clock: Clock, file: string): Ask {
  return async (...args) => {
    const lines: string[] = [];
    const child = spawn({
      ...{ name: 'sound-setup', file, args, stdout: 'lines', stopTimeoutMs: 200 },
      onStdoutLine: (line) => void lines.push(line),
    });
    try {
      const slow = () => new Error('the sound server does not answer');
      const exit = await withTimeout(clock, 'sound-setup', COMMAND_TIMEOUT_MS, child.exited, slow);
      if (exit.end === 'exited' && exit.code === 0) return lines.join('\n');
      throw new Error(`${args[0]}: ${exit.lastLines.at(-1) ?? exit.error?.message ?? `ended with ${exit.code}`}`);
    } finally {
      await child.stop();
    }
  };
}
