/**
 * Looks at what the agent needs, one thing after the other, and says in plain words what is wrong and what to do next. Owns
 * the checks of this machine and their telling; those of the relay stand in relay-checks. Changes nothing.
 */
import { stat, statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { errorText, type GlasscastError } from '../../shared/errors.ts';

/** `unknown`: it was not looked at, and the text says why. */
export type FindingState = 'ok' | 'bad' | 'unknown';

export interface Finding {
  state: FindingState;
  text: string;
  /** What to do about it. */
  next?: string | undefined;
}

export interface Check {
  name: string;
  /** Without it nothing can be streamed. */
  isNeeded: boolean;
  /** What it throws counts as bad, in its own words. */
  look(): Promise<Finding>;
}

export interface Diagnosis extends Finding {
  name: string;
  isNeeded: boolean;
}

export const ok = (text: string): Finding => ({ state: 'ok', text });
export const bad = (text: string, next?: string): Finding => ({ state: 'bad', text, next });
export const unknown = (text: string, next?: string): Finding => ({ state: 'unknown', text, next });

/** @param onDiagnosis called as each is known. */
export async function diagnose(checks: readonly Check[], onDiagnosis: (diagnosis: Diagnosis) => void) {
  const all: Diagnosis[] = [];
  for (const { name, isNeeded, look } of checks) {
    const finding = await look().catch((error: unknown) => bad(errorText(error)));
    const diagnosis = { name, isNeeded, ...finding };
    all.push(diagnosis);
    onDiagnosis(diagnosis);
  }
  return all;
}

export const isWell = (all: readonly Diagnosis[]): boolean => !all.some((one) => one.isNeeded && one.state === 'bad');

const MARKS: Record<FindingState, { mark: string; colour: number }> = {
  ok: { mark: '✓', colour: 32 },
  bad: { mark: '✗', colour: 31 },
  unknown: { mark: '–', colour: 2 },
};

/** One or two lines for people. */
export function diagnosisText({ name, state, text, next }: Diagnosis, isColoured: boolean): string {
  const { mark, colour } = MARKS[state];
  const shown = isColoured ? `\u001b[${colour}m${mark}\u001b[0m` : mark;
  const line = `${shown} ${name.padEnd(15)} ${oneLine(text)}`;
  return next ? `${line}\n  ${''.padEnd(15)} → ${oneLine(next)}` : line;
}

const oneLine = (text: string) => text.replace(/\p{Cc}+/gu, ' ').trim();

/** A check by something that says how well it went, or throws one of our errors, whose sentences say what to do. */
export function checkOf(name: string, isNeeded: boolean, look: () => Promise<string>): Check {
  return { name, isNeeded, look: async () => ok(await look()) };
}

const MIN_NODE = 20;

export function nodeCheck(version = process.versions.node): Check {
  return {
    name: 'Node',
    isNeeded: true,
    async look() {
      if (Number.parseInt(version, 10) >= MIN_NODE) return ok(version);
      return bad(`${version} is too old`, `install Node ${MIN_NODE} or newer`);
    },
  };
}

export interface LightCheckOptions {
  /** Lights it for a moment. @throws PRIVACY_LIGHT_FAILED */
  blink: (() => Promise<void>) | undefined;
  isRequired: boolean;
  /** The running agent has it in its hands: a second keeper would put it out. */
  isInUse: () => Promise<boolean>;
}

export function lightCheck({ blink, isRequired, isInUse }: LightCheckOptions): Check {
  return {
    name: 'Privacy light',
    isNeeded: isRequired && blink !== undefined,
    async look() {
      if (!blink) return unknown('none is configured', 'name one with --privacy-light led:NAME or gpio:CHIP/LINE');
      if (await isInUse()) return unknown('not tried, because the agent is running; see glasscast-agent status');
      try {
        await blink();
        return ok('was lit, read back and put out');
      } catch (error) {
        return bad(errorText(error), 'see that it exists and that this user may write to it (group video, udev rule)');
      }
    },
  };
}

export function diskCheck(folder: string | undefined, neededMb: number): Check {
  return {
    name: 'Disk',
    isNeeded: false,
    async look() {
      if (folder === undefined)
        return unknown('not used: the backlog stays in memory', 'set --backlog-folder to keep more');
      const place = await existing(resolve(folder));
      const { bavail, bsize } = await statfs(place);
      const freeMb = Math.floor((bavail * bsize) / 1e6);
      const text = `${freeMb} MB free in ${place} for a backlog of at most ${neededMb} MB`;
      return freeMb >= neededMb ? ok(text) : bad(text, 'make room, or lower --max-backlog-disk-mb');
    },
  };
}

/** The folder itself, or the nearest above it that exists. */
async function existing(folder: string): Promise<string> {
  const there = await stat(folder).then(
    () => true,
    (error: GlasscastError | NodeJS.ErrnoException) => error.code !== 'ENOENT',
  );
  return there || dirname(folder) === folder ? folder : existing(dirname(folder));
}

const TIMEDATECTL_TIMEOUT_MS = 3_000;

export function timeSyncCheck(
  { spawn, clock }: { spawn: SpawnChild; clock: Clock },
  file = findOnPath('timedatectl'),
): Check {
  return {
    name: 'Time sync',
    isNeeded: false,
    async look() {
      if (!file) return unknown('this system has no timedatectl to ask');
      const lines: string[] = [];
      const child = spawn({
        ...{ name: 'timedatectl', file, args: ['show', '--property=NTPSynchronized', '--value'] },
        stdout: 'lines',
        onStdoutLine: (line) => lines.push(line),
      });
      await withTimeout(clock, 'timedatectl', TIMEDATECTL_TIMEOUT_MS, child.exited, () => new Error('no answer')).catch(
        () => child.stop(),
      );
      if (lines[0] === 'yes') return ok('the clock is set by the network');
      if (lines[0] !== 'no') return unknown('timedatectl does not tell');
      return bad('the clock is not set by the network', 'timedatectl set-ntp true, and let it reach a time server');
    },
  };
}
