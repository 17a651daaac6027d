/**
 * The agent's versions on disk: folders `a` and `b` (each with `head`, the signed line, and `agent.mjs`), and `slots.json`,
 * the record of `slot-state.ts`. A version is fit only when its signature and its hash are proven, at every start anew.
 */
import type { KeyObject } from 'node:crypto';
import { dirname, join } from 'node:path';
import { errorText } from '../../shared/errors.ts';
import { MAX_RELEASE_HEAD_BYTES, provenManifest, requireCode } from '../../shared/release.ts';
import { type SlotDisk, writeDurably } from './slot-disk.ts';
import {
  confirmed,
  failed,
  freeSlot,
  marked,
  nextStart,
  type Place,
  type Placed,
  readState,
  rollbackTarget,
  type SlotName,
  type SlotState,
} from './slot-state.ts';

export interface ReleaseSlotsOptions {
  disk: SlotDisk;
  /** Holds `slots.json`, `a` and `b`; made when something is written first. */
  folder: string;
  flashedVersion: string;
  trustedKeys: readonly KeyObject[];
  /** Major version of the Node that is to run it. */
  nodeMajor: number;
}

export interface SlotLaunch {
  isTrial: boolean;
  placed: Placed;
  /** What went wrong, for a log; the launch is good all the same. */
  trouble: string | undefined;
}

export interface ReleaseSlots {
  /** As it is on record now. Never throws: what cannot be read is the flashed version alone. */
  state(): SlotState;
  /** What runs now, with its trial written down. Never throws, and then never gives a trial. */
  start(): SlotLaunch;
  /** What `start` would give if there were no trial; writes nothing. */
  look(): SlotLaunch;
  /** Why it cannot be run; undefined: it can. */
  unfitness(placed: Placed): string | undefined;
  free(running: Place): SlotName;
  rollbackTarget(running: Placed): Placed | undefined;
  /**
   * Puts a proven version into a slot that does not run. A cut leaves it unfit or whole.
   * @throws as node:fs; GlasscastError RELEASE_REFUSED: it is not what was signed
   */
  install(slot: SlotName, headLine: string, code: Uint8Array): void;
  /** The next start tries `target`. @throws as node:fs */
  mark(running: Placed, target: Placed): void;
  /** @returns false: `running` is not on trial. @throws as node:fs */
  confirm(running: Placed): boolean;
  /** Of the version on trial; the first reason stays. @throws as node:fs */
  fail(reason: string): void;
}

const CODE_FILE = 'agent.mjs';
const HEAD_FILE = 'head';
const RECORD_FILE = 'slots.json';

export function createReleaseSlots(options: ReleaseSlotsOptions): ReleaseSlots {
  const { disk, folder, flashedVersion, trustedKeys, nodeMajor } = options;
  const record = join(folder, RECORD_FILE);
  const inSlot = (slot: SlotName, file: string) => join(folder, slot, file);

  function state(): SlotState {
    try {
      return readState(disk.read(record), flashedVersion);
    } catch {
      return readState(undefined, flashedVersion);
    }
  }
  function keep(next: SlotState): void {
    disk.makeFolder(folder);
    disk.syncFolder(dirname(folder));
    writeDurably(disk, record, Buffer.from(`${JSON.stringify(next)}\n`));
  }
  function unfitness({ place, version }: Placed): string | undefined {
    if (place === 'flashed') return undefined;
    try {
      const head = disk.read(inSlot(place, HEAD_FILE));
      const code = disk.read(inSlot(place, CODE_FILE));
      if (!head || !code || head.byteLength > MAX_RELEASE_HEAD_BYTES) return `${version} is not whole`;
      const manifest = provenManifest(Buffer.from(head).toString('utf8').trimEnd(), trustedKeys);
      if (manifest.version !== version) return `${version} is not there, but ${manifest.version}`;
      requireCode(code, manifest);
      return nodeUnfitness(manifest, nodeMajor);
    } catch (error) {
      return `${version} cannot be run (${errorText(error)})`;
    }
  }

  return {
    state,
    start() {
      const before = state();
      const { isTrial, placed, next, otherwise } = nextStart(before, unfitness);
      try {
        if (next !== before) keep(next);
        return { isTrial, placed, trouble: next.trial ? undefined : troubleOf(before, next) };
      } catch (error) {
        // Untried it stays, and no version is ever tried twice.
        return { isTrial: false, placed: otherwise, trouble: `${record}: ${errorText(error)}` };
      }
    },
    look() {
      const { trial: _, ...before } = state();
      const { placed } = nextStart(before, unfitness);
      return { isTrial: false, placed, trouble: undefined };
    },
    unfitness,
    free: (running) => freeSlot(state(), running),
    rollbackTarget: (running) => rollbackTarget(state(), running, unfitness),
    install(slot, headLine, code) {
      requireCode(code, provenManifest(headLine, trustedKeys));
      const slotFolder = join(folder, slot);
      disk.makeFolder(slotFolder);
      disk.syncFolder(folder);
      // Without its head the slot is unfit until all of it is new.
      disk.remove(inSlot(slot, HEAD_FILE));
      disk.syncFolder(slotFolder);
      writeDurably(disk, inSlot(slot, CODE_FILE), code);
      writeDurably(disk, inSlot(slot, HEAD_FILE), Buffer.from(`${headLine}\n`));
    },
    mark: (running, target) => keep(marked(state(), running, target)),
    confirm(running) {
      const next = confirmed(state(), running);
      if (next) keep(next);
      return next !== undefined;
    },
    fail(reason) {
      const next = failed(state(), reason);
      if (next) keep(next);
    },
  };
}

/** Why a release is not for this Node. */
export function nodeUnfitness(
  { version, minNode }: { version: string; minNode: number },
  nodeMajor: number,
): string | undefined {
  return minNode > nodeMajor
    ? `${version} needs Node ${minNode}, here is ${nodeMajor}: flash a newer package`
    : undefined;
}

function troubleOf(before: SlotState, { last }: SlotState): string | undefined {
  return last && last !== before.last ? `${last.version} ${last.outcome}: ${last.reason ?? ''}` : undefined;
}
