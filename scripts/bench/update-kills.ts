/**
 * One update that is cut at a given place: every process of the board ends at once, all of it is started again as an init does
 * it, and has to come back and stream. Which place is drawn evenly over the steps of an update, the moment within it at random.
 */
import { watch } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createReleaseSlots, type ReleaseSlots } from '../../device/updates/release-slots.ts';
import { slotDisk } from '../../device/updates/slot-disk.ts';
import type { SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { readReleaseHead, releaseKeyOf } from '../../shared/release.ts';
import type { ReleaseShop } from './release-shop.ts';
import { makeUpdateBoard, type UpdateBoard } from './update-board.ts';
import { type GlassesWord, startUpdateRelay, type UpdateRelay } from './update-relay.ts';

/** In their order. */
export const updatePhases = ['download', 'unpack', 'mark', 'switch', 'trial', 'confirm'] as const;
export type UpdatePhase = (typeof updatePhases)[number];

export interface KillWorld {
  clock: Clock;
  spawn: SpawnChild;
  shop: ReleaseShop;
  ffmpegFile: string;
  /** Empty folders are made in it, and removed. */
  folder: string;
  /** Where a stream goes. */
  ingest: {
    /** Of a new stream. */
    openUrl(): Promise<string>;
    /** Resolves when a key frame has arrived there. */
    untilKeyFrame(url: string): Promise<void>;
  };
  onLine?: (line: string) => void;
}

export interface Kill {
  phase: UpdatePhase;
  /** 0…1: how far into the phase. */
  moment: number;
  /** The version before runs from a slot, not from the package. */
  isFromSlot: boolean;
}

/** What the record said when the power went. */
export type RecordAtCut = 'untouched' | 'marked' | 'started' | 'confirmed';

export interface KillResult extends Kill {
  record: RecordAtCut;
  /** By the record; a trial that was started is not started again. */
  expected: 'old' | 'new';
  booted: boolean;
  streamed: boolean;
  ran: 'old' | 'new' | 'neither';
  /** From the start after the cut to the key frame at the ingest. */
  pictureMs: number | undefined;
  trouble: string | undefined;
}

const FLASHED = '0.1.0';
const IN_SLOT = '0.2.0';
const NEW = '0.3.0';
const WAIT_MS = 30_000;
const STREAM = {
  video: { width: 320, height: 180, bitrate: 300_000, frameRate: 15 },
  ...{ audio: {}, stream: {} },
};
/** How long each phase takes here, with some to spare. */
const SPAN_MS: Readonly<Record<UpdatePhase, number>> = {
  ...{ download: 0, unpack: 60, mark: 8, switch: 350, trial: 500, confirm: 1_300 },
};

/** @returns the draws, as many of each phase as fit. Same seed, same draws. */
export function drawKills(count: number, random: () => number): Kill[] {
  return Array.from({ length: count }, (_, at) => ({
    phase: updatePhases[at % updatePhases.length] ?? 'download',
    moment: random(),
    isFromSlot: random() < 0.5,
  }));
}

export async function killUpdate(world: KillWorld, kill: Kill): Promise<KillResult> {
  const relay = await startUpdateRelay();
  const folder = join(world.folder, `board-${Math.round(world.clock.monotonicMs())}`);
  const { clock, spawn, shop, ffmpegFile, onLine } = world;
  const board = await makeUpdateBoard({
    ...{ spawn, shop, folder, ffmpegFile, flashedVersion: FLASHED, relayUrl: relay.url, trialMs: 20_000 },
    ...(onLine ? { onLine } : {}),
  });
  const old = kill.isFromSlot ? IN_SLOT : FLASHED;
  try {
    const slots = slotsOf(board, shop);
    if (kill.isFromSlot) settle(board, shop, { flashed: FLASHED, version: IN_SLOT });
    relay.releases.set(NEW, shop.seal(NEW));
    board.start();
    await within(clock, 'the agent did not come', hello(relay, 0));
    await cut(world, { relay, board, kill });
    const record = recordOf(slots);
    const expected = record === 'marked' || record === 'confirmed' ? 'new' : 'old';
    return { ...kill, record, expected, ...(await comeBack(world, relay, board, old)) };
  } finally {
    await board.cutPower();
    await relay.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Resolves when every process of the board is gone. */
async function cut(
  { clock }: KillWorld,
  { relay, board, kill }: { relay: UpdateRelay; board: UpdateBoard; kill: Kill },
): Promise<void> {
  const { behaviour } = relay;
  behaviour.pauseMs = kill.phase === 'download' ? 8 : 0;
  await mkdir(board.releasesFolder, { recursive: true });
  const begun = phaseBegin(relay, board, kill);
  relay.send({ type: 'agent_update', version: NEW });
  await within(clock, `no ${kill.phase} began`, begun);
  const waitMs = kill.moment * SPAN_MS[kill.phase];
  // Timers are too coarse for the shortest phase.
  const untilMs = clock.monotonicMs() + waitMs;
  if (waitMs > 20) await clock.sleep(waitMs - 10);
  while (clock.monotonicMs() < untilMs);
  await board.cutPower();
}

function phaseBegin(relay: UpdateRelay, board: UpdateBoard, { phase, moment }: Kill): Promise<unknown> {
  const served = (share: number) =>
    new Promise<void>((resolve) => {
      relay.behaviour.onServed = (bytes, whole) => bytes >= share * whole && resolve();
    });
  switch (phase) {
    case 'download':
      return served(moment * 0.95);
    case 'unpack':
      return served(1);
    case 'mark':
      return untilFile(board.releasesFolder, (name) => name.startsWith('slots.json'));
    case 'switch':
      return relay.until(({ state }) => state === 'switching');
    case 'trial':
      return untilFile(board.releasesFolder, () => recordIn(board) === 'started');
    case 'confirm':
      return relay.until(({ agent }) => agent?.version === NEW);
  }
}

function untilFile(folder: string, isSo: (name: string) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const watcher = watch(folder, { persistent: false }, (_event, name) => {
      if (!isSo(name ?? '')) return;
      watcher.close();
      resolve();
    });
    watcher.on('error', reject);
  });
}

async function comeBack(
  { clock, ingest }: KillWorld,
  relay: UpdateRelay,
  board: UpdateBoard,
  old: string,
): Promise<Pick<KillResult, 'booted' | 'streamed' | 'ran' | 'pictureMs' | 'trouble'>> {
  const result = { booted: false, streamed: false, ran: 'neither' as KillResult['ran'] };
  const from = relay.words.length;
  const startedMs = clock.monotonicMs();
  board.start();
  try {
    const { agent } = await within(clock, 'the agent did not come back', hello(relay, from));
    result.booted = true;
    result.ran = agent?.version === old ? 'old' : agent?.version === NEW ? 'new' : 'neither';
    const rtmpUrl = await ingest.openUrl();
    const arrived = ingest.untilKeyFrame(rtmpUrl);
    relay.send({ type: 'start_rtmp_stream', streamId: 'm1', rtmpUrl, ...STREAM });
    await within(clock, 'no key frame arrived', arrived);
    result.streamed = true;
    return { ...result, pictureMs: Math.round(clock.monotonicMs() - startedMs), trouble: undefined };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...result, pictureMs: undefined, trouble: `${reason}; ${board.lines.at(-1) ?? 'it said nothing'}` };
  }
}

const hello = (relay: UpdateRelay, from: number): Promise<GlassesWord> =>
  relay.until(({ type, agent }) => type === 'glasses_connection_state' && agent !== undefined, from);

function within<T>(clock: Clock, otherwise: string, work: Promise<T>): Promise<T> {
  return withTimeout(clock, 'update-kill', WAIT_MS, work, () => new Error(otherwise));
}

function slotsOf(
  { releasesFolder: folder }: Pick<UpdateBoard, 'releasesFolder'>,
  { publicKeyPem }: ReleaseShop,
  flashedVersion = FLASHED,
): ReleaseSlots {
  const trustedKeys = [releaseKeyOf(publicKeyPem)];
  return createReleaseSlots({ disk: slotDisk, folder, flashedVersion, trustedKeys, nodeMajor: 99 });
}

/** As after an update that went well, on a board that has not run yet. */
export function settle(
  board: Pick<UpdateBoard, 'releasesFolder'>,
  shop: ReleaseShop,
  { flashed, version }: { flashed: string; version: string },
): void {
  const slots = slotsOf(board, shop, flashed);
  const place = slots.free('flashed');
  const head = readReleaseHead(shop.seal(version));
  slots.install(place, head?.line ?? '', shop.agentCode(version));
  slots.mark({ place: 'flashed', version: flashed }, { place, version });
  slots.start();
  slots.confirm({ place, version });
}

function recordOf(slots: Pick<ReleaseSlots, 'state'>): RecordAtCut {
  const { trial, current } = slots.state();
  if (trial) return trial.isStarted ? 'started' : 'marked';
  return current.version === NEW ? 'confirmed' : 'untouched';
}

/** Without keys: only the record counts. */
function recordIn({ releasesFolder: folder }: UpdateBoard): RecordAtCut {
  return recordOf(
    createReleaseSlots({ disk: slotDisk, folder, flashedVersion: FLASHED, trustedKeys: [], nodeMajor: 99 }),
  );
}
