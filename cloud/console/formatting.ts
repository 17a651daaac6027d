/** Numbers, times and states as people read them. Pure. */
import type { StreamStateWord } from './relay-shapes.ts';

/** 13:04:05, in the reader's own time zone. */
export function clockTime(atMs: number): string {
  const at = new Date(atMs);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

/** Today as a time, otherwise with the day: 28 Nov, 13:04. */
export function dayAndTime(atMs: number, nowMs: number): string {
  const [at, now] = [new Date(atMs), new Date(nowMs)];
  const time = clockTime(atMs).slice(0, 5);
  if (at.toDateString() === now.toDateString()) return `Today, ${time}`;
  const month = at.toLocaleString('en', { month: 'short' });
  const year = at.getFullYear() === now.getFullYear() ? '' : ` ${at.getFullYear()}`;
  return `${at.getDate()} ${month}${year}, ${time}`;
}

/** 0:07, 12:30, 1:02:03. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const twoDigits = (part: number) => String(part).padStart(2, '0');
  return hours > 0 ? `${hours}:${twoDigits(minutes)}:${twoDigits(rest)}` : `${minutes}:${twoDigits(rest)}`;
}

/** 45 s, 3 min. */
export function spoken(seconds: number): string {
  return seconds < 60 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/** A number of a timeline entry, whose name ends with its unit: `interruptedMs` is "interrupted 2.4 s". */
export function namedNumber(name: string, value: number): string {
  const [, stem = name, unit = ''] = /^(.*?)(Ms|Bps|Bytes|Px|Percent|C)?$/.exec(name) ?? [];
  const words = stem.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  const shown: Record<string, string> = {
    Ms: value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`,
    Bps: bitsPerSecond(value),
    Bytes: bytes(value),
    Px: `${value} px`,
    Percent: `${value} %`,
    C: `${value} °C`,
  };
  return `${words} ${shown[unit] ?? value}`;
}

/** Decimal units, as disks are sold. */
export function bytes(count: number): string {
  const [value, unit] = scaled(count, ['B', 'kB', 'MB', 'GB', 'TB']);
  return `${value} ${unit}`;
}

export function bitsPerSecond(rateBps: number): string {
  const [value, unit] = scaled(rateBps, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s']);
  return `${value} ${unit}`;
}

/** Seconds behind, as far as they can be known: never more digits than are true. */
export function latency(latencyMs: number): string {
  if (latencyMs < 1000) return `≈ ${Math.max(10, Math.round(latencyMs / 10) * 10)} ms`;
  return `≈ ${(latencyMs / 1000).toFixed(1)} s`;
}

const stateNames: Record<StreamStateWord, string> = {
  provisioning: 'Preparing',
  starting: 'Starting',
  active: 'Live',
  interrupted: 'Interrupted',
  stopping: 'Stopping',
  stopped: 'Stopped',
  failed: 'Failed',
};

/** A word of a newer relay is shown as it is. */
export function stateName(state: string): string {
  return Object.hasOwn(stateNames, state) ? stateNames[state as StreamStateWord] : state;
}

const recordingStates: Record<string, string> = {
  ready: 'Ready',
  'live-inprogress': 'Being recorded',
  inprogress: 'Being finished',
  queued: 'Waiting to be finished',
  downloading: 'Being fetched',
  pendingupload: 'Being fetched',
  error: 'Failed',
};
export function recordingState(state: string): string {
  return recordingStates[state] ?? state;
}

function scaled(value: number, units: readonly string[]): [string, string] {
  let rest = value;
  let step = 0;
  while (rest >= 999.5 && step < units.length - 1) {
    rest /= 1000;
    step += 1;
  }
  const digits = step === 0 || rest >= 100 ? 0 : rest >= 10 ? 1 : 2;
  return [rest.toFixed(digits), units[step] ?? ''];
}
