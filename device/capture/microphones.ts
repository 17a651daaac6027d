/**
 * Which microphones this machine has, and how the setting names them: ALSA's from /proc, PulseAudio's and PipeWire's from
 * pactl. Records nothing.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';

export interface FoundMicrophone {
  /** As the setting takes it: `alsa:plughw:1,0`, `pulse:NAME`. */
  source: string;
  /** "HDA Intel PCH: ALC257 Analog"; PulseAudio's is its source's name. */
  name: string;
  /** "s16le 1ch 48000Hz", in the words of the system. Undefined: not told before it is opened. */
  sampleSpec: string | undefined;
  /** PulseAudio records from it when nothing is named. */
  isDefault: boolean;
  /** Hears what a loudspeaker plays, not the room. */
  isMonitor: boolean;
}

export interface MicrophoneSearch {
  spawn: SpawnChild;
  clock: Clock;
  /** Where ALSA tells of its devices. Default /proc/asound. */
  alsaFolder?: string;
  /** Where pactl is looked for, as in PATH; default: ours. */
  programs?: string | undefined;
}

const PACTL_TIMEOUT_MS = 3_000;

/** PulseAudio's first, the default foremost, monitors last; then ALSA's. A system that is not there has none; never rejects. */
export async function listMicrophones(search: MicrophoneSearch): Promise<FoundMicrophone[]> {
  const [pulse, alsa] = await Promise.all([listPulse(search), listAlsa(search.alsaFolder ?? '/proc/asound')]);
  const rank = ({ isDefault, isMonitor }: FoundMicrophone) => (isMonitor ? 2 : isDefault ? 0 : 1);
  return [...pulse.sort((a, b) => rank(a) - rank(b)), ...alsa];
}

async function listPulse(search: MicrophoneSearch): Promise<FoundMicrophone[]> {
  const file = findOnPath('pactl', search.programs);
  if (!file) return [];
  const [sources, byDefault, info] = await Promise.all([
    pactl(file, ['list', 'short', 'sources'], search),
    // Younger than 15 only; `info` is translated.
    pactl(file, ['get-default-source'], search),
    pactl(file, ['info'], search),
  ]);
  const fromInfo = info.map((line) => /^Default Source: (.+)$/.exec(line)?.[1]).find((name) => name !== undefined);
  return parsePulseSources(sources, byDefault.length === 1 ? byDefault[0] : fromInfo);
}

async function pactl(file: string, args: string[], { spawn, clock }: MicrophoneSearch): Promise<string[]> {
  const lines: string[] = [];
  const child = spawn({ name: 'pactl', file, args, stdout: 'lines', onStdoutLine: (line) => void lines.push(line) });
  const ended = withTimeout(clock, 'pactl', PACTL_TIMEOUT_MS, child.exited, () => new Error('pactl does not answer'));
  return ended
    .then(({ code }) => (code === 0 ? lines : []))
    .catch(() => [])
    .finally(() => void child.stop());
}

/** Of `pactl list short sources`. */
export function parsePulseSources(lines: readonly string[], defaultName?: string): FoundMicrophone[] {
  return lines.flatMap((line) => {
    const [number = '', name = '', , sampleSpec] = line.split('\t');
    if (!/^\d+$/.test(number) || !name) return [];
    const isMonitor = name.endsWith('.monitor');
    const isDefault = name === defaultName;
    return [{ source: `pulse:${name}`, name, sampleSpec: sampleSpec || undefined, isDefault, isMonitor }];
  });
}

async function listAlsa(folder: string): Promise<FoundMicrophone[]> {
  const read = (...path: string[]) => readFile(join(folder, ...path), 'utf8').catch(() => '');
  const [pcm, cards] = await Promise.all([read('pcm'), read('cards')]);
  const found = parseAlsaDevices(pcm.split('\n'), cards.split('\n'));
  return Promise.all(
    found.map(async ({ card, device, name }) => ({
      ...{ source: `alsa:plughw:${card},${device}`, name, isDefault: false, isMonitor: false },
      // USB devices only tell.
      sampleSpec: parseAlsaStream(await read(`card${card}`, `stream${device}`)),
    })),
  );
}

/** Capture devices of /proc/asound/pcm with their cards' names of /proc/asound/cards. */
export function parseAlsaDevices(
  pcm: readonly string[],
  cards: readonly string[],
): { card: number; device: number; name: string }[] {
  const names = new Map<number, string>();
  for (const line of cards) {
    const [, card, name] = /^\s*(\d+) \[[^\]]*\]: .+? - (.+)$/.exec(line) ?? [];
    if (card !== undefined && name !== undefined) names.set(Number(card), name.trim());
  }
  return pcm.flatMap((line) => {
    const [, card, device, rest = ''] = /^(\d+)-(\d+): (.*)$/.exec(line) ?? [];
    if (card === undefined || device === undefined || !/ : capture \d+/.test(rest)) return [];
    const own = rest.split(' : ')[0]?.trim() ?? '';
    const name = [names.get(Number(card)), own].filter(Boolean).join(': ');
    return [{ card: Number(card), device: Number(device), name }];
  });
}

/** The first capture format of /proc/asound/cardN/stream0. */
export function parseAlsaStream(text: string): string | undefined {
  const capture = text.split(/^Capture:/m)[1];
  if (capture === undefined) return undefined;
  const fact = (key: string) => new RegExp(`^\\s*${key}: (.+)$`, 'm').exec(capture)?.[1]?.trim();
  const [format, channels, rates] = [fact('Format'), fact('Channels'), fact('Rates')];
  if (!format || !channels || !rates) return undefined;
  return `${format} ${channels}ch ${rates}Hz`;
}
