/**
 * An ingest that is killed under a running publisher and comes back: what was lost and how soon the picture returned.
 * Judges by what was recorded at the ingest's door. Knows nothing of goals.
 */
import { isKeyFrame } from '../../shared/rtmp/flv.ts';
import { type Arrival, type Arrivals, readPictures } from './arrivals.ts';
import { missingFrames } from './measuring.ts';
import type { Bench } from './program.ts';
import type { World } from './world.ts';

export interface OutageResult {
  /** From the kill to the ingest listening again. */
  outageMs: number;
  /** From listening again to a publisher's connection, to the first key frame, complete at the door. */
  connectedMs: number | undefined;
  pictureMs: number | undefined;
  /** Frames exposed between the first and the last one that arrived. */
  framesExposed: number;
  framesLost: number;
  /** Of these, what the camera could not hand to the encoder: no fault of the network's. */
  framesNotTaken: number;
  /** Arrived both before and after. */
  framesTwice: number;
  /** For who looks for the reason: what is missing, and where the two parts meet. */
  detail: { lost: number[]; first: number; lastBefore: number; firstAfter: number; last: number };
}

type Door = Pick<World, 'stream' | 'rtmpTap' | 'rtmpTapPort' | 'listeners' | 'restartStream'>;

/** Passed the door but perhaps not yet read by the ingest when it was killed: counts as not arrived unless acknowledged. */
const UNCERTAIN_MS = 100;
const SETTLE_MS = 6_000;
const OUTAGE_MS = 4_000;
/** The process needs about a second until it listens. */
const RESTART_AFTER_MS = 3_000;

export interface OutageOptions {
  arrivals: Arrivals;
  /** How long it streams before the kill. */
  beforeMs: number;
  /** Numbers of frames that the camera could not hand over. */
  notTaken: () => Promise<number[]>;
}

/** The publisher streams already. Leaves the ingest running. */
export async function killIngest(bench: Bench, world: Door, options: OutageOptions): Promise<OutageResult> {
  const { clock, signal } = bench;
  const { arrivals, beforeMs, notTaken } = options;
  await clock.sleep(beforeMs, { signal });

  const killedMs = clock.monotonicMs();
  await Promise.all([world.stream.kill(), world.rtmpTap.drop()]);
  await clock.sleep(RESTART_AFTER_MS, { signal });
  await world.restartStream();
  await clock.sleep(Math.max(0, killedMs + OUTAGE_MS - clock.monotonicMs()), { signal });
  let connectedMs: number | undefined;
  let listeningMs = Number.POSITIVE_INFINITY;
  world.listeners.onConnected = () => {
    connectedMs ??= Math.max(0, clock.monotonicMs() - listeningMs);
  };
  await world.rtmpTap.listen(world.rtmpTapPort);
  listeningMs = clock.monotonicMs();
  await clock.sleep(SETTLE_MS, { signal });
  world.listeners.onConnected = () => {};
  world.listeners.onTag = () => {};
  world.listeners.onAcknowledged = () => {};

  const { all: passed, acknowledged } = arrivals;
  const wasRead = ({ atMs, bytes, connection }: Arrival) =>
    atMs < killedMs - UNCERTAIN_MS || bytes <= (acknowledged.get(connection) ?? 0);
  const isBefore = (arrival: Arrival) => arrival.atMs < killedMs && wasRead(arrival);
  const before = await framesOf(bench, passed.filter(isBefore), passed);
  const after = await framesOf(
    bench,
    passed.filter(({ atMs }) => atMs >= listeningMs),
    passed,
  );
  const all = new Set([...before, ...after]);
  const first = Math.min(...all);
  const last = Math.max(...all);
  const lost = missingFrames(all, first, last);
  const camera = new Set(await notTaken());
  const lostOnTheWay = lost.filter((frame) => !camera.has(frame));
  const picture = passed.find(({ tag, atMs }) => atMs >= listeningMs && isKeyFrame(tag));
  return {
    outageMs: listeningMs - killedMs,
    connectedMs,
    pictureMs: picture && picture.atMs - listeningMs,
    framesExposed: last - first + 1,
    framesLost: lostOnTheWay.length,
    framesNotTaken: lost.filter((frame) => camera.has(frame)).length,
    framesTwice: [...before].filter((frame) => after.has(frame)).length,
    detail: { lost: lostOnTheWay, first, lastBefore: Math.max(...before), firstAfter: Math.min(...after), last },
  };
}

async function framesOf(bench: Bench, arrivals: Arrival[], all: readonly Arrival[]): Promise<Set<number>> {
  return new Set((await readPictures(bench, arrivals, all)).map(({ frame }) => frame));
}
