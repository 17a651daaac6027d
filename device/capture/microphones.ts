/**
 * Which microphones this machine has, and how the setting names them: ALSA's from /proc, PulseAudio's and PipeWire's from
 * pactl. Records nothing.
 */
import { access, constants, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { type Microphone, microphoneName } from './capture-source.ts';

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
  /** Why it cannot be used though it is there: CAPTURE_FORBIDDEN. */
  cause?: GlasscastError | undefined;
}

export interface AlsaPlaces {
  /** Where ALSA tells of its devices. Default /proc/asound. */
  alsaFolder?: string;
  /** Rejects as the system does when this process may not open a node below /dev/snd. Default: asks the system. */
  askAccess?: (node: string) => Promise<void>;
}

export interface MicrophoneSearch extends AlsaPlaces {
  spawn: SpawnChild;
  clock: Clock;
  /** Where pactl is looked for, as in PATH; default: ours. */
  programs?: string | undefined;
}

const PACTL_TIMEOUT_MS = 3_000;

/** PulseAudio's first, the default foremost, monitors last; then ALSA's. A system that is not there has none; never rejects. */
export async function listMicrophones(search: MicrophoneSearch): Promise<FoundMicrophone[]> {
  const [pulse, alsa] = await Promise.all([listPulse(search), listAlsa(search)]);
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

async function listAlsa(places: AlsaPlaces): Promise<FoundMicrophone[]> {
  const found = await readAlsaDevices(places);
  return Promise.all(
    found.map(async (each) => {
      const microphone = { kind: 'alsa', name: `plughw:${each.card},${each.device}` } as const;
      return {
        ...{ source: microphoneName(microphone), name: each.name, isDefault: false, isMonitor: false },
        // USB devices only tell.
        sampleSpec: parseAlsaStream(await readAlsa(places, `card${each.card}`, `stream${each.device}`)),
        cause: await refusalOf(each, microphone, places),
      };
    }),
  );
}

const readAlsa = ({ alsaFolder = '/proc/asound' }: AlsaPlaces, ...path: string[]) =>
  readFile(join(alsaFolder, ...path), 'utf8').catch(() => '');

async function readAlsaDevices(places: AlsaPlaces): Promise<AlsaDevice[]> {
  const [pcm, cards] = await Promise.all([readAlsa(places, 'pcm'), readAlsa(places, 'cards')]);
  return parseAlsaDevices(pcm.split('\n'), cards.split('\n'));
}

/**
 * To a user outside the group audio ALSA says of a device that is there: "No such file or directory". Names of the hardware
 * alone are looked at; what stands behind others (`default`) only ALSA knows.
 * @throws GlasscastError CAPTURE_FORBIDDEN
 */
export async function checkMicrophoneAccess(microphone: Microphone, places: AlsaPlaces = {}): Promise<void> {
  if (microphone.kind !== 'alsa') return;
  const [, card, device = '0'] =
    /^(?:plughw|hw|dsnoop):(?:CARD=)?([^,]+)(?:,(?:DEV=)?(\d+))?/.exec(microphone.name) ?? [];
  if (card === undefined) return;
  const isMeant = (each: AlsaDevice) =>
    (String(each.card) === card || each.cardId === card) && each.device === Number(device);
  const found = (await readAlsaDevices(places)).find(isMeant);
  const refusal = found && (await refusalOf(found, microphone, places));
  if (refusal) throw refusal;
}

async function refusalOf(
  { card, device }: AlsaDevice,
  microphone: Extract<Microphone, { name: string }>,
  { askAccess = (node) => access(node, constants.R_OK | constants.W_OK) }: AlsaPlaces,
): Promise<GlasscastError | undefined> {
  try {
    await askAccess(`/dev/snd/pcmC${card}D${device}c`);
    return undefined;
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM') return undefined;
    return new GlasscastError('CAPTURE_FORBIDDEN', { reason: microphoneName(microphone), cause });
  }
}

export interface AlsaDevice {
  card: number;
  /** "Loopback": may stand for the number in a device's name. */
  cardId?: string | undefined;
  device: number;
  name: string;
}

/** Capture devices of /proc/asound/pcm with their cards' names of /proc/asound/cards. */
export function parseAlsaDevices(pcm: readonly string[], cards: readonly string[]): AlsaDevice[] {
  const names = new Map<number, string>();
  const ids = new Map<number, string>();
  for (const line of cards) {
    const [, card, id = '', name] = /^\s*(\d+) \[([^\]]*)\]: .+? - (.+)$/.exec(line) ?? [];
    if (card === undefined || name === undefined) continue;
    names.set(Number(card), name.trim());
    ids.set(Number(card), id.trim());
  }
  return pcm.flatMap((line) => {
    const [, card, device, rest = ''] = /^(\d+)-(\d+): (.*)$/.exec(line) ?? [];
    if (card === undefined || device === undefined || !/ : capture \d+/.test(rest)) return [];
    const own = rest.split(' : ')[0]?.trim() ?? '';
    const name = [names.get(Number(card)), own].filter(Boolean).join(': ');
    return [{ card: Number(card), cardId: ids.get(Number(card)), device: Number(device), name }];
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
