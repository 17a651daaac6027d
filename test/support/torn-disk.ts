/**
 * A disk that loses what was not synced when the power goes: of a file's bytes the old, the new, a part of the new or garbage is
 * there afterwards; of a changed name any of what it has been since its folder was synced.
 */
import { dirname } from 'node:path';
import type { SlotDisk } from '../../device/updates/slot-disk.ts';

export class PowerCut extends Error {
  constructor() {
    super('the power went');
  }
}

interface Content {
  now: Uint8Array;
  /** What the platter has; undefined: nothing sure. */
  kept: Uint8Array | undefined;
}

export interface TornDisk extends SlotDisk {
  /** The power goes at the operation of this number from now on; 0: at the next one. Undefined: never. */
  cutAfter: number | undefined;
  /** Operations that changed something, so far. */
  readonly operations: number;
  /** After a cut: what is there is what happened to be kept. */
  boot(): void;
  /** A power cut between two operations. */
  lose(): void;
  /** Every write fails like this while set. */
  failure: string | undefined;
}

/** @param random 0 to 1 */
export function createTornDisk(random: () => number): TornDisk {
  /** Each name's present, and what it may be after a cut. Undefined: no such file. */
  const names = new Map<string, { now: Content | undefined; maybe: (Content | undefined)[] }>();
  let operations = 0;

  const entry = (file: string) => {
    const known = names.get(file) ?? { now: undefined, maybe: [undefined] };
    names.set(file, known);
    return known;
  };
  const pick = <T>(all: readonly T[]): T | undefined => all[Math.floor(random() * all.length)];
  /** @param half what is done of it when the power goes in its middle */
  function change(all: () => void, half: () => void = () => {}): void {
    if (disk.failure !== undefined)
      throw Object.assign(new Error(disk.failure), { code: disk.failure, syscall: 'write' });
    operations += 1;
    if (disk.cutAfter !== undefined) disk.cutAfter -= 1;
    if (disk.cutAfter === undefined || disk.cutAfter >= 0) {
      all();
      return;
    }
    const luck = random();
    if (luck < 0.5) half();
    else if (luck < 0.75) all();
    throw new PowerCut();
  }
  function put(file: string, now: Content | undefined): void {
    const name = entry(file);
    name.now = now;
    name.maybe.push(now);
  }
  function torn({ now, kept }: Content): Uint8Array {
    if (kept === now) return now;
    const part = now.slice(0, Math.floor(random() * now.length));
    const garbage = now.map((byte) => (random() < 0.3 ? 0 : byte));
    return pick([kept ?? new Uint8Array(0), now, part, garbage]) ?? now;
  }
  function lose(): void {
    for (const [file, { maybe }] of names) {
      const survivor = pick(maybe);
      const bytes = survivor && torn(survivor);
      const content = bytes && { now: bytes, kept: bytes };
      names.set(file, { now: content, maybe: [content] });
    }
  }

  const disk: TornDisk = {
    cutAfter: undefined,
    failure: undefined,
    get operations() {
      return operations;
    },
    lose,
    boot() {
      disk.cutAfter = undefined;
      lose();
    },
    read: (file) => entry(file).now?.now,
    write(file, bytes) {
      const whole = Uint8Array.from(bytes);
      const half = whole.slice(0, Math.floor(random() * whole.length));
      const add = (now: Uint8Array) => {
        const there = entry(file).now;
        if (there) there.now = now;
        else put(file, { now, kept: undefined });
      };
      change(
        () => add(whole),
        () => add(half),
      );
    },
    sync(file) {
      change(() => {
        const content = entry(file).now;
        if (content) content.kept = content.now;
      });
    },
    rename(from, to) {
      change(() => {
        put(to, entry(from).now);
        put(from, undefined);
      });
    },
    syncFolder(folder) {
      change(() => {
        for (const [file, name] of names) if (dirname(file) === folder) name.maybe = [name.now];
      });
    },
    makeFolder: () => change(() => {}),
    remove: (file) => change(() => put(file, undefined)),
  };
  return disk;
}
