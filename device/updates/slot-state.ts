/**
 * What is on record of the agent's versions, and every decision about it: which one runs next, what a trial leads to, where
 * a roll-back goes. Pure: reads and writes nothing.
 */
import * as z from 'zod';
import { updateOutcome } from '../../shared/protocol/releases.ts';
import { compareVersions, releaseVersion } from '../../shared/release.ts';

const slotNames = ['a', 'b'] as const;
export type SlotName = (typeof slotNames)[number];
/** `flashed`: the version that came with the package. */
export type Place = SlotName | 'flashed';

const placed = z.object({ place: z.enum(['flashed', ...slotNames]), version: releaseVersion });
export type Placed = z.output<typeof placed>;

export const slotState = z.object({
  format: z.literal(1),
  /** The flashed version when this was written. Another one there now: somebody flashed, and nothing of this counts. */
  flashed: releaseVersion,
  current: placed,
  /** Where a roll-back goes; none: to the flashed version. Always older than `current`. */
  previous: placed.optional(),
  /** Of a version that has not proven itself yet. */
  trial: placed
    .extend({
      /** Written before it starts: one that was started is never started again. */
      isStarted: z.boolean(),
      /** Known to have failed, and why. */
      failure: z.string().max(500).optional(),
    })
    .optional(),
  /** How the last update ended. */
  last: updateOutcome.optional(),
});
export type SlotState = z.output<typeof slotState>;

/** Why a version cannot be run; undefined: it can. */
export type Unfitness = (placed: Placed) => string | undefined;

export interface Start {
  /** On trial it has to be written down, as `next`, before it starts. */
  isTrial: boolean;
  placed: Placed;
  /** What is to be on record then. The same object as before: nothing has changed. */
  next: SlotState;
  /** What runs, and is to be on record, when a trial cannot be written down. */
  otherwise: Placed;
}

const MAX_REASON_CHARS = 500;
const bounded = (reason: string) => reason.slice(0, MAX_REASON_CHARS);

export function flashedAlone(version: string): SlotState {
  return { format: 1, flashed: version, current: { place: 'flashed', version } };
}

/** @param bytes of the record; missing, damaged or of another flashed version it says nothing. */
export function readState(bytes: Uint8Array | undefined, flashedVersion: string): SlotState {
  if (!bytes) return flashedAlone(flashedVersion);
  try {
    const state = slotState.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return state.flashed === flashedVersion ? state : flashedAlone(flashedVersion);
  } catch {
    return flashedAlone(flashedVersion);
  }
}

/** What runs next, and what is on record then. */
export function nextStart(state: SlotState, unfitness: Unfitness): Start {
  const { trial } = state;
  if (!trial) return settled(state, unfitness);
  const { place, version } = trial;
  if (trial.isStarted) return settled(withoutTrial(state, outcomeOf(trial)), unfitness);
  const reason = unfitness(trial);
  if (reason !== undefined) {
    return settled(withoutTrial(state, { version, outcome: 'refused', reason: bounded(reason) }), unfitness);
  }
  const { placed: otherwise } = settled(withoutTrial(state, undefined), unfitness);
  const next = { ...state, trial: { ...trial, isStarted: true } };
  return { isTrial: true, placed: { place, version }, next, otherwise };
}

/** The best that can be run: the current version, the one before, the flashed one. */
function settled(state: SlotState, unfitness: Unfitness): Start {
  const flashed: Placed = { place: 'flashed', version: state.flashed };
  const { current, previous } = state;
  const reason = unfitness(current);
  if (reason === undefined) return { isTrial: false, placed: current, next: state, otherwise: current };
  const placed = previous && unfitness(previous) === undefined ? previous : flashed;
  const { previous: _, ...rest } = state;
  const last = { version: current.version, outcome: 'rolled_back' as const, reason: bounded(reason) };
  return { isTrial: false, placed, next: { ...rest, current: placed, last }, otherwise: placed };
}

/** The next start tries `target`. @param running what runs now */
export function marked(state: SlotState, running: Placed, target: Placed): SlotState {
  const { previous, flashed } = state;
  const isKept = previous && previous.place !== target.place && previous.place !== running.place;
  return {
    ...{ format: 1, flashed, current: running },
    ...(isKept ? { previous } : {}),
    trial: { place: target.place, version: target.version, isStarted: false },
  };
}

/** The version on trial has proven itself. Undefined: `running` is not on trial. */
export function confirmed(state: SlotState, running: Placed): SlotState | undefined {
  const { trial, current, flashed } = state;
  if (!isTried(state, running) || !trial) return undefined;
  const { place, version } = trial;
  const isUpdate = compareVersions(current.version, version) < 0;
  return {
    ...{ format: 1, flashed, current: { place, version } },
    ...(isUpdate ? { previous: current } : {}),
    last: { version, outcome: 'installed' },
  };
}

/** Of the version on trial; the first reason counts. Undefined: there is nothing to write down. */
export function failed(state: SlotState, reason: string): SlotState | undefined {
  const { trial } = state;
  if (!trial?.isStarted || trial.failure !== undefined) return undefined;
  return { ...state, trial: { ...trial, failure: bounded(reason) } };
}

function isTried({ trial }: SlotState, { place, version }: Placed): boolean {
  return trial?.isStarted === true && trial.place === place && trial.version === version;
}

/** Undefined: nothing older is here. */
export function rollbackTarget(state: SlotState, running: Placed, unfitness: Unfitness): Placed | undefined {
  const { previous, flashed } = state;
  if (previous && previous.place !== running.place && unfitness(previous) === undefined) return previous;
  return running.place === 'flashed' ? undefined : { place: 'flashed', version: flashed };
}

/** Where another version is put: never where the running one is, and the one before is kept if it can be. */
export function freeSlot({ previous }: SlotState, running: Place): SlotName {
  const free = slotNames.filter((name) => name !== running);
  return free.find((name) => name !== previous?.place) ?? free[0] ?? 'a';
}

function withoutTrial({ trial: _, ...rest }: SlotState, last: SlotState['last']): SlotState {
  return last ? { ...rest, last } : rest;
}

function outcomeOf({ version, failure }: NonNullable<SlotState['trial']>): NonNullable<SlotState['last']> {
  if (failure !== undefined) return { version, outcome: 'rolled_back', reason: failure };
  return { version, outcome: 'interrupted', reason: 'it ended before it had proven itself' };
}
