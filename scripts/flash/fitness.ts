/** Whether a board can run the agent, and what to do when it does not, in words for a person. Pure. */
import type { BoardFacts } from './board.ts';

/** What the package's Node is built for. */
const MIN_LIBC = [2, 28] as const;
/** TLS and codes stop being good beyond this. */
const MAX_CLOCK_ERROR_MS = 300_000;

/** @returns undefined: it can */
export function whyUnfit(facts: BoardFacts, source: string, isOffline: boolean): string | undefined {
  if (!facts.needsNoDebian) {
    const lack = whatDebianLacks(facts);
    if (lack !== undefined) return lack;
  }
  const { readOnlyFolders: [readOnly] = [] } = facts;
  if (readOnly !== undefined)
    return `its ${readOnly} cannot be written to; mount it read-write (on Raspberry Pi OS: raspi-config, overlay file system)`;
  // An image's cameras come with the board.
  if (!isOffline && source.startsWith('v4l2:') && facts.cameras.length === 0) {
    return 'it has no camera (/dev/video*); plug one in, or flash with --source test-pattern';
  }
  return undefined;
}

function whatDebianLacks(facts: BoardFacts): string | undefined {
  if (!facts.hasDpkg) return `it has no dpkg (${facts.os}); the agent comes as a package of Debian and its kin`;
  if (!facts.hasSystemd) return `systemd does not run there (${facts.os})`;
  if (!isNewEnough(facts.libcVersion)) {
    return `its C library is ${facts.libcVersion ? `glibc ${facts.libcVersion}` : 'not glibc'}; glibc ${MIN_LIBC.join('.')} or newer is needed (Debian 10)`;
  }
  return undefined;
}

function isNewEnough(version: string | undefined): boolean {
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  return major > MIN_LIBC[0] || (major === MIN_LIBC[0] && minor >= MIN_LIBC[1]);
}

export function warningsOf(facts: BoardFacts, nowMs: number): string[] {
  const { clockMs, isUnfinished, isApplying } = facts;
  const offMs = clockMs === undefined ? 0 : Math.abs(clockMs - nowMs);
  return [
    ...(offMs > MAX_CLOCK_ERROR_MS
      ? [`its clock is ${Math.round(offMs / 60_000)} min off; let it reach a time server`]
      : []),
    ...(isApplying ? ['a flash is under way there, and is waited for'] : []),
    ...(isUnfinished && !isApplying ? ['a flash was cut there, and is ended first'] : []),
  ];
}

export function boardText(facts: BoardFacts): string {
  const { os, architecture, libcVersion, freeBytes, cameras, soundCards, ffmpeg, installedVersion } = facts;
  const h264 = ffmpeg?.encoders.filter((name) => name.startsWith('h264')) ?? [];
  return [
    `${os}, ${architecture}`,
    ...(libcVersion ? [`glibc ${libcVersion}`] : []),
    ...(Number.isFinite(freeBytes) ? [`${Math.round(freeBytes / 1e6)} MB free`] : []),
    counted(cameras.length, 'camera node'),
    counted(soundCards.length, 'sound card'),
    ffmpeg ? `ffmpeg ${ffmpeg.version}${h264.length > 0 ? ` (${h264.join(' ')})` : ''}` : 'no ffmpeg of its own',
    installedVersion ? `agent ${installedVersion}` : 'no agent yet',
  ].join(', ');
}

const counted = (count: number, noun: string) => `${count || 'no'} ${noun}${count === 1 ? '' : 's'}`;

const NEXT: readonly [RegExp, string][] = [
  [
    /does not reach the relay/,
    'See that the board reaches the relay: name it with --agent-relay-url as seen from there',
  ],
  [/^no agent of/, 'See that --relay-url and --agent-relay-url are the same relay, and --email the user of the code'],
  [
    /^(Camera|Microphone|Encoder|Privacy light|ffmpeg):/,
    'See to that, or flash with another --source, --microphone or --set',
  ],
  [/test stream/, 'See what "glasscast streams watch" and the journal of glasscast-agent on the board say'],
  [/No space left|is there room/, 'Make room on /var of the board'],
  [/depends on/, 'Install that on the board by apt-get, or take the package for its system'],
];

/** @param reason of a flash that failed. @returns undefined: the reason says it all */
export function nextAfter(reason: string): string | undefined {
  return NEXT.find(([pattern]) => pattern.test(reason))?.[1];
}
