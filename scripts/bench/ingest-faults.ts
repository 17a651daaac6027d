/**
 * The ways in which an ingest fails, played at its door, and what came of it: lost pictures, darkness, delay, and how soon
 * media is back. The same judgement for every publisher. Knows no goals.
 */
import { isKeyFrame } from '../../shared/rtmp/flv.ts';
import { type Arrivals, type ArrivedPicture, firstArrivals, readPictures, stopRecording } from './arrivals.ts';
import type { LoneWorld, Publishing } from './lone-world.ts';
import { median, missingFrames, rounded } from './measuring.ts';
import type { Bench } from './program.ts';
import { longestGap } from './timeline.ts';

export interface Outage {
  downMs: number;
  upMs: number;
}

export interface IngestFault {
  name: string;
  about: string;
  /** How long it is watched after the last return. */
  settleMs: number;
  play(bench: Bench, world: LoneWorld): Promise<Outage[]>;
}

/** Reset and closed: the kernel refuses, as when the server's process is gone. */
function killed(outageMs: number) {
  return async ({ clock, signal }: Bench, { rtmpTap, rtmpTapPort }: LoneWorld): Promise<Outage[]> => {
    const downMs = clock.monotonicMs();
    await rtmpTap.drop();
    await clock.sleep(outageMs - (clock.monotonicMs() - downMs), { signal });
    await rtmpTap.listen(rtmpTapPort);
    return [{ downMs, upMs: clock.monotonicMs() }];
  };
}

async function silent({ clock, signal }: Bench, { rtmpTap }: LoneWorld): Promise<Outage[]> {
  const downMs = clock.monotonicMs();
  rtmpTap.silence(true);
  rtmpTap.reset();
  await clock.sleep(10_000, { signal });
  rtmpTap.silence(false);
  return [{ downMs, upMs: clock.monotonicMs() }];
}

async function resets({ clock, signal }: Bench, { rtmpTap }: LoneWorld): Promise<Outage[]> {
  const outages: Outage[] = [];
  const beganMs = clock.monotonicMs();
  for (let number = 0; number < 6; number += 1) {
    await clock.sleep(Math.max(0, beganMs + number * 5_000 - clock.monotonicMs()), { signal });
    const atMs = clock.monotonicMs();
    rtmpTap.reset();
    outages.push({ downMs: atMs, upMs: atMs });
  }
  return outages;
}

export const ingestFaults = {
  killed3: {
    name: 'killed for 3 s',
    about: 'all connections reset, nobody listens',
    settleMs: 8_000,
    play: killed(3_000),
  },
  killed20: {
    name: 'killed for 20 s',
    about: 'all connections reset, nobody listens',
    settleMs: 12_000,
    play: killed(20_000),
  },
  refusing: {
    name: 'refusing for 10 s',
    about: 'all connections reset, new ones refused by the kernel (RST)',
    settleMs: 8_000,
    play: killed(10_000),
  },
  silent: {
    name: 'silent for 10 s',
    about:
      'all connections reset, new ones accepted and never answered; those stay silent afterwards, the next are served',
    settleMs: 15_000,
    play: silent,
  },
  resets: {
    name: 'reset each 5 s for 30 s',
    about: 'all connections reset six times, the ingest listens throughout',
    settleMs: 8_000,
    play: resets,
  },
} satisfies Record<string, IngestFault>;

export interface FaultResult {
  /** Over all returns; the worst one counts. Undefined: a return did not come, before the next loss or in time. */
  backMs: number | undefined;
  eachBackMs: (number | undefined)[];
  /** Exposed and never arrived, from the first picture to 1 s before the end of the watch. */
  framesMissing: number;
  /** Of these, what the camera could not hand over, because nobody took it in time. */
  framesNotTaken: number;
  framesTwice: number;
  /** The longest time without a new picture at the ingest, and of this what is longer than the outage itself. */
  darkMs: number;
  darkBeyondMs: number;
  worstDelayMs: number | undefined;
  /** Of the pictures of the last 3 s: whether the delay is left behind. */
  delayAfterMs: number | undefined;
}

/** The publisher streams already; its arrivals are recorded since before its start. */
export async function playFault(
  bench: Bench,
  world: LoneWorld,
  fault: IngestFault,
  { arrivals, publishing }: { arrivals: Arrivals; publishing: Publishing },
): Promise<FaultResult & { outages: Outage[] }> {
  const { clock, signal } = bench;
  await clock.sleep(bench.seconds * 1000, { signal });
  const outages = await fault.play(bench, world);
  await clock.sleep(fault.settleMs, { signal });
  const endMs = clock.monotonicMs();
  const camera = await publishing.cameraStats();
  stopRecording(world);
  const pictures = await readPictures(bench, arrivals.all);
  const keyFramesMs = arrivals.all.filter(({ tag }) => isKeyFrame(tag)).map(({ atMs }) => atMs);
  return { ...judge({ pictures, keyFramesMs, outages, endMs, camera }), outages };
}

/** A second in which the last pictures may still be on their way. */
const LAST_FRAMES = 30;

export interface FaultRecord {
  /** In order of arrival. */
  pictures: readonly ArrivedPicture[];
  keyFramesMs: readonly number[];
  outages: readonly Outage[];
  endMs: number;
  camera: { exposed: number; dropped: readonly number[] };
}

export function judge({ pictures, keyFramesMs, outages, endMs, camera }: FaultRecord): FaultResult {
  const seen = new Map<number, number>();
  const fresh = firstArrivals(pictures);
  for (const { frame } of pictures) seen.set(frame, (seen.get(frame) ?? 0) + 1);
  const first = Math.min(...seen.keys());
  const missing = missingFrames(new Set(seen.keys()), first, camera.exposed - 1 - LAST_FRAMES);
  const notTaken = new Set(camera.dropped);
  const arrivedMs = fresh.map(({ atMs }) => atMs);
  const nextDown = (index: number) => outages[index + 1]?.downMs ?? endMs;
  const dark = outages.map(({ downMs, upMs }, index) => {
    const { ms } = longestGap(arrivedMs, downMs, nextDown(index));
    return { ms, beyondMs: Math.max(0, ms - (upMs - downMs)) };
  });
  const eachBackMs = outages.map(({ upMs }, index) => {
    const back = keyFramesMs.find((atMs) => atMs > upMs && atMs < nextDown(index));
    return back === undefined ? undefined : rounded(back - upMs);
  });
  const delaysSince = (sinceMs: number) => fresh.filter(({ atMs }) => atMs >= sinceMs).map(({ delayMs }) => delayMs);
  const afterDown = delaysSince(outages[0]?.downMs ?? 0);
  const atTheEnd = delaysSince(endMs - 3_000);
  const backs = eachBackMs.filter((ms) => ms !== undefined);
  return {
    backMs: backs.length === outages.length ? Math.max(...backs) : undefined,
    eachBackMs,
    framesMissing: missing.length,
    framesNotTaken: missing.filter((frame) => notTaken.has(frame)).length,
    framesTwice: [...seen.values()].filter((times) => times > 1).length,
    darkMs: rounded(Math.max(...dark.map(({ ms }) => ms))),
    darkBeyondMs: rounded(Math.max(...dark.map(({ beyondMs }) => beyondMs))),
    worstDelayMs: afterDown.length > 0 ? rounded(Math.max(...afterDown)) : undefined,
    delayAfterMs: atTheEnd.length > 0 ? rounded(median(atTheEnd)) : undefined,
  };
}
