/**
 * Glass to glass for one source: plays it by RTMP or in Chromium for a while and gives the latency of each picture.
 * Owns the warm-up; knows nothing of goals.
 */
import type { BrowserPlayer, SourceName } from './browser-play.ts';
import { type Summary, summary } from './measuring.ts';
import type { Bench } from './program.ts';
import { playRtmp } from './rtmp-play.ts';
import { until } from './world.ts';

export interface Watched {
  /** Of each picture after the warm-up. */
  latenciesMs: number[];
  unreadable: number;
  /** Frames that the encoder did not take from the camera meanwhile: many say that the machine was too busy to measure. */
  notTaken?: number;
  /** In a browser only. */
  stalls?: number;
  firstPicture?: { afterOpeningMs: number; afterPlayMs: number } | undefined;
  /** Way and latency as the console would show them at the end. */
  shown?: { way?: string; latencyMs?: number };
}

/** A joining player first works off what the server and itself have buffered: not what a viewer sees for long. */
const WARM_UP_MS = 3_000;
/** To see when the first picture comes, and no more. */
const GLANCE_MS = 500;

export async function watchRtmp(bench: Bench, url: string): Promise<Watched> {
  const { clock, spawn, ffmpeg, signal } = bench;
  const latenciesMs: number[] = [];
  let unreadable = 0;
  let firstMs: number | undefined;
  const player = playRtmp({
    ...{ clock, spawn, ffmpeg, url },
    onFrame({ latencyMs, atMs }) {
      firstMs ??= atMs;
      if (atMs - firstMs >= WARM_UP_MS) latenciesMs.push(latencyMs);
    },
    onUnreadable() {
      unreadable += 1;
    },
  });
  await until(bench, 'the RTMP player shows nothing', () => firstMs !== undefined);
  await clock.sleep(WARM_UP_MS + bench.seconds * 1000, { signal });
  await player.stop();
  return { latenciesMs, unreadable };
}

export interface BrowserWatch {
  player: BrowserPlayer;
  source: SourceName;
  url: string;
}

export async function watchInBrowser(bench: Bench, { player, source, url }: BrowserWatch): Promise<Watched> {
  const played = await player.watch(source, url, WARM_UP_MS + bench.seconds * 1000);
  const { frames, unreadable, stalls, firstPicture, state } = played;
  if (frames.length === 0) bench.progress(`no picture by ${source}: ${state.message ?? 'the player says nothing'}`);
  const firstMs = frames[0]?.atMs ?? 0;
  const counted = frames.filter(({ atMs }) => atMs - firstMs >= WARM_UP_MS);
  const latenciesMs = counted.map(({ latencyMs }) => latencyMs);
  return { latenciesMs, unreadable, stalls, firstPicture, shown: state };
}

/** Opens the page only until its first picture. */
export async function glanceInBrowser({ player, source, url }: BrowserWatch): Promise<Watched> {
  const { unreadable, firstPicture } = await player.watch(source, url, GLANCE_MS);
  return { latenciesMs: [], unreadable, firstPicture };
}

export interface LatencyReport extends Partial<Summary> {
  unreadable: number;
  notTaken: number;
  stalls?: number;
  /** Ms, from the navigation's start and from the player's. */
  firstPicture?: { afterOpening: Summary | undefined; afterPlay: Summary | undefined };
  shown?: Watched['shown'];
}

/** All rounds together. */
export function latencyReport(rounds: readonly Watched[]): LatencyReport {
  const firsts = rounds.flatMap(({ firstPicture }) => firstPicture ?? []);
  const stalls = rounds.reduce((sum, round) => sum + (round.stalls ?? 0), 0);
  const shown = rounds.findLast((round) => round.shown)?.shown;
  const firstPicture = {
    afterOpening: summary(firsts.map(({ afterOpeningMs }) => afterOpeningMs)),
    afterPlay: summary(firsts.map(({ afterPlayMs }) => afterPlayMs)),
  };
  return {
    ...summary(rounds.flatMap(({ latenciesMs }) => latenciesMs)),
    unreadable: rounds.reduce((sum, { unreadable }) => sum + unreadable, 0),
    notTaken: rounds.reduce((sum, { notTaken = 0 }) => sum + notTaken, 0),
    ...(firsts.length > 0 ? { firstPicture, stalls } : {}),
    ...(shown ? { shown } : {}),
  };
}
