/** What look.sh printed, as facts. Reads text of a stranger: anything missing or odd is said, nothing is believed. */
import { GlasscastError } from '../../shared/errors.ts';
import { architectures, type BoardArchitecture, type BoardFacts } from './board.ts';

/** What `uname -m` says where there is no dpkg. */
const KERNEL_NAMES: Readonly<Record<string, BoardArchitecture>> = {
  x86_64: 'amd64',
  aarch64: 'arm64',
  armv7l: 'armhf',
  armv8l: 'armhf',
};
const MAX_LISTED = 64;

/** @throws GlasscastError BOARD_UNFIT: the output is not whole, or the architecture is none of ours */
export function boardFactsOf(output: string): BoardFacts {
  const all = new Map<string, string[]>();
  for (const line of output.split('\n')) {
    const [, name, value] = /^([a-z_]+)=(.*)$/.exec(line) ?? [];
    const values = name === undefined ? [] : (all.get(name) ?? []);
    if (name !== undefined && value && values.length < MAX_LISTED) all.set(name, [...values, printable(value)]);
  }
  const first = (name: string) => all.get(name)?.[0];
  const has = (name: string) => first(name) === 'yes';
  if (!has('end'))
    throw new GlasscastError('BOARD_UNFIT', { reason: 'the look at it broke off; is there a POSIX sh?' });
  const fingerprint = first('fingerprint');
  const version = first('ffmpeg');
  return {
    architecture: architectureOf(first('architecture') ?? ''),
    os: first('os') ?? 'an unknown system',
    hasDpkg: has('dpkg'),
    hasSystemd: has('systemd'),
    libcVersion: /^glibc (\d+\.\d+)/.exec(first('libc') ?? '')?.[1],
    freeBytes: Math.min(...(all.get('free_kb') ?? ['0']).map((kb) => (/^\d{1,15}$/.test(kb) ? Number(kb) * 1024 : 0))),
    readOnlyFolders: all.get('read_only') ?? [],
    clockMs: /^\d{1,12}$/.test(first('clock_s') ?? '') ? Number(first('clock_s')) * 1000 : undefined,
    cameras: all.get('camera') ?? [],
    soundCards: all.get('sound') ?? [],
    ffmpeg: version === undefined ? undefined : { version, encoders: all.get('encoder') ?? [] },
    installedVersion: first('installed'),
    isRunning: has('running'),
    hasToken: has('token'),
    flashed: fingerprint === undefined ? undefined : { fingerprint, user: first('user') },
    isUnfinished: has('unfinished'),
    isApplying: has('applying'),
    hasBefore: has('before'),
  };
}

function architectureOf(name: string): BoardArchitecture {
  const known = architectures.find((each) => each === name) ?? KERNEL_NAMES[name];
  if (known) return known;
  const reason = `its architecture is ${name || 'not to be told'}, and there are packages for ${architectures.join(', ')}`;
  throw new GlasscastError('BOARD_UNFIT', { reason });
}

const printable = (text: string) =>
  text
    .replace(/\p{Cc}/gu, ' ')
    .trim()
    .slice(0, 300);
