/**
 * Which way a live stream is played: the best one that works. Goes down when a way fails or its picture stands still, comes
 * back when there is nothing left, and rehearses better ways out of sight. Pure: ways, pictures and time are given to it.
 */

export type PlaybackWay = 'whep' | 'ws-flv' | 'll-hls' | 'hls';

export interface PlaybackSources {
  webrtcUrl?: string;
  flvUrl?: string;
  llHlsUrl?: string;
  hlsUrl?: string;
}

export interface PlayerState {
  way?: PlaybackWay;
  /** From the provider's door to the screen; what the way knows of it, see its player. */
  latencyMs?: number;
  isPlaying: boolean;
  /** For the user, when there is no moving picture. */
  message?: string;
}

export interface WayEvents {
  /** The first picture is there. */
  playing(): void;
  /** It will not play (any more). @param again the server said so: the same way will play at once. */
  failed(reason: string, again?: boolean): void;
}

export interface RunningWay {
  latencyMs(): number | undefined;
  /** The connection lives, and the publisher sends nothing: nothing is won by a new one. */
  isWaiting?(): boolean;
  close(): void;
}

export interface LadderOptions {
  start(way: PlaybackWay, url: string, events: WayEvents): RunningWay;
  /** As `start`, where nobody sees it. */
  rehearse(way: PlaybackWay, url: string, events: WayEvents): RunningWay;
  /** Changes with each picture that is shown; undefined while that proves nothing (paused). */
  pictures(): number | undefined;
  /** Nobody looks, so browsers may show nothing. */
  isHidden(): boolean;
  clock: { nowMs(): number; every(ms: number, fire: () => void): () => void };
  onChange(state: PlayerState): void;
}

export interface PlaybackLadder {
  /** The same sources again change nothing. */
  show(sources: PlaybackSources | undefined): void;
  /** This way first; undefined: the best one first. */
  prefer(way: PlaybackWay | undefined): void;
  state(): PlayerState;
  close(): void;
}

interface Rung {
  way: PlaybackWay;
  url: string;
}

interface Run {
  rung: Rung;
  running: RunningWay | undefined;
  isPlaying: boolean;
  /** Of the start, then of the newest picture. */
  sinceMs: number;
  playingSinceMs: number;
  pictures: number | undefined;
  isOver: boolean;
  failure: string | undefined;
}

const TICK_MS = 250;
/** To the first picture. Segments take longer than packets. */
const START_MS: Record<PlaybackWay, number> = { whep: 4000, 'ws-flv': 4000, 'll-hls': 8000, hls: 10_000 };
const STALL_MS: Record<PlaybackWay, number> = { whep: 3000, 'ws-flv': 4000, 'll-hls': 6000, hls: 8000 };
/** A way that has played for so long is tried again before a worse one, however often; a shorter one once. */
const PROVEN_MS = 5000;
/** Between two rounds in which no way worked. */
const REST_MS = 1500;
const REHEARSAL_MS = { first: 60_000, most: 960_000, afterBreak: 5000 };

export const notStarted = 'Live broadcast not started yet';
const INTERRUPTED = 'The broadcast is interrupted';

export function createPlaybackLadder(options: LadderOptions): PlaybackLadder {
  const { clock } = options;
  let sources: PlaybackSources | undefined;
  let preferred: PlaybackWay | undefined;
  let rungs: Rung[] = [];
  let current: Run | undefined;
  let rehearsal: Run | undefined;
  let rehearseAtMs = 0;
  /** A way that played has failed, and its place is taken by another one. */
  let hasFallen = false;
  /** This way is tried for the second time, as it has played before. */
  let retried: Rung | undefined;
  let rehearsalWaitMs = REHEARSAL_MS.first;
  let restUntilMs = 0;
  /** Why ways did not work, since the last picture. */
  let reasons: string[] = [];
  let message: string | undefined;
  let told = '';

  function open(rung: Rung, start: LadderOptions['start']): Run {
    const nowMs = clock.nowMs();
    const run: Run = {
      ...{ rung, running: undefined, isPlaying: false, sinceMs: nowMs, playingSinceMs: nowMs },
      ...{ pictures: undefined, isOver: false, failure: undefined },
    };
    run.running = start(rung.way, rung.url, {
      playing() {
        if (run.isOver || run.isPlaying) return;
        run.isPlaying = true;
        run.sinceMs = run.playingSinceMs = clock.nowMs();
        if (run === current) begun();
      },
      failed(reason, again = false) {
        if (run.isOver || run.failure !== undefined) return;
        run.failure = reason;
        // Else it is being started, and whoever starts it looks.
        if (run === current) fellDown(run, reason, again);
        else if (run === rehearsal) rehearse(rungs.indexOf(rung) + 1);
      },
    });
    return run;
  }
  function stop(run: Run | undefined): void {
    if (!run || run.isOver) return;
    run.isOver = true;
    run.running?.close();
  }
  function stopRehearsal(): void {
    stop(rehearsal);
    rehearsal = undefined;
  }
  function begun(): void {
    reasons = [];
    message = undefined;
    // A better way that has played is likely to play again.
    rehearseAtMs = clock.nowMs() + (hasFallen ? REHEARSAL_MS.afterBreak : rehearsalWaitMs);
    hasFallen = false;
    tell();
  }

  /** The first that does not fail at once, from this place on. */
  function play(from: number): void {
    stop(current);
    current = undefined;
    stopRehearsal();
    for (const rung of rungs.slice(from)) {
      const run = open(rung, options.start);
      if (run.failure === undefined) {
        current = run;
        if (run.isPlaying) begun();
        tell();
        return;
      }
      stop(run);
      reasons.push(run.failure);
    }
    restUntilMs = clock.nowMs() + REST_MS;
    message = reasons.includes(notStarted) ? notStarted : reasons.at(-1);
    reasons = [];
    tell();
  }
  function fellDown(run: Run, reason: string, again = false): void {
    const isProven = run.isPlaying && clock.nowMs() - run.playingSinceMs >= PROVEN_MS;
    const isWorthIt = isProven || (run.isPlaying && (again || retried !== run.rung));
    retried = isWorthIt ? run.rung : undefined;
    hasFallen ||= run.isPlaying;
    reasons.push(reason);
    const place = rungs.indexOf(run.rung);
    play(isWorthIt ? place : place + 1);
  }

  function watchCurrent(run: Run, nowMs: number): void {
    const { way } = run.rung;
    if (options.isHidden()) {
      run.sinceMs = nowMs;
      return;
    }
    if (!run.isPlaying) {
      if (nowMs - run.sinceMs >= START_MS[way]) fellDown(run, 'No picture came in time');
      return;
    }
    const shown = options.pictures();
    const isWaiting = run.running?.isWaiting?.() ?? false;
    if (shown !== run.pictures || shown === undefined || isWaiting) run.sinceMs = nowMs;
    if (shown !== run.pictures) resumed(nowMs);
    else if (isWaiting) message = INTERRUPTED;
    run.pictures = shown;
    if (nowMs - run.sinceMs >= STALL_MS[way]) fellDown(run, 'The picture stands still');
  }
  /** What did not work may have been the publisher's fault. */
  function resumed(nowMs: number): void {
    if (message !== undefined) rehearseAtMs = Math.min(rehearseAtMs, nowMs + REHEARSAL_MS.afterBreak);
    message = undefined;
  }
  function watchRehearsal(nowMs: number): void {
    const limit = current ? rungs.indexOf(current.rung) : 0;
    if (rehearsal?.isPlaying) {
      const place = rungs.indexOf(rehearsal.rung);
      play(place);
      return;
    }
    if (rehearsal && nowMs - rehearsal.sinceMs >= START_MS[rehearsal.rung.way])
      rehearse(rungs.indexOf(rehearsal.rung) + 1);
    const isDue = !rehearsal && current?.isPlaying && message === undefined && nowMs >= rehearseAtMs;
    if (isDue && limit > 0) rehearse(0);
  }
  function rehearse(from: number): void {
    stopRehearsal();
    const better = rungs.slice(from, current ? rungs.indexOf(current.rung) : 0);
    for (const rung of better) {
      const run = open(rung, options.rehearse);
      if (run.failure === undefined) {
        rehearsal = run;
        return;
      }
      stop(run);
    }
    rehearseAtMs = clock.nowMs() + rehearsalWaitMs;
    rehearsalWaitMs = Math.min(REHEARSAL_MS.most, rehearsalWaitMs * 2);
  }
  function tick(): void {
    const nowMs = clock.nowMs();
    if (rungs.length === 0) return;
    if (!current && nowMs >= restUntilMs) play(0);
    if (current) watchCurrent(current, nowMs);
    if (!options.isHidden()) watchRehearsal(nowMs);
    tell();
  }

  function state(): PlayerState {
    const isPlaying = (current?.isPlaying ?? false) && message === undefined;
    const latencyMs = isPlaying ? current?.running?.latencyMs() : undefined;
    return {
      isPlaying,
      ...(current ? { way: current.rung.way } : {}),
      ...(latencyMs === undefined ? {} : { latencyMs: Math.round(latencyMs) }),
      ...(message === undefined ? {} : { message }),
    };
  }
  function tell(): void {
    const now = state();
    const text = JSON.stringify(now);
    if (text === told) return;
    told = text;
    options.onChange(now);
  }
  function replan(): void {
    const next = rungsOf(sources, preferred);
    const kept = next.find(({ way, url }) => way === current?.rung.way && url === current.rung.url);
    rungs = next;
    rehearsalWaitMs = REHEARSAL_MS.first;
    rehearseAtMs = clock.nowMs();
    stopRehearsal();
    const isWanted =
      kept && (preferred === undefined || kept.way === preferred || !next.some(({ way }) => way === preferred));
    // What shows nothing yet is not worth keeping: a better way may be there only now.
    if (current && kept && isWanted && (current.isPlaying || kept === rungs[0])) {
      current.rung = kept;
      return;
    }
    reasons = [];
    message = undefined;
    if (rungs.length > 0) {
      play(0);
      return;
    }
    stop(current);
    current = undefined;
    tell();
  }

  const stopTicking = clock.every(TICK_MS, tick);
  return {
    show(wanted) {
      if (JSON.stringify(rungsOf(wanted, undefined)) === JSON.stringify(rungsOf(sources, undefined))) return;
      sources = wanted;
      replan();
    },
    prefer(way) {
      if (way === preferred) return;
      preferred = way;
      replan();
    },
    state,
    close() {
      stopTicking();
      stopRehearsal();
      stop(current);
      current = undefined;
      rungs = [];
    },
  };
}

/** Best first. */
function rungsOf(sources: PlaybackSources | undefined, preferred: PlaybackWay | undefined): Rung[] {
  const { webrtcUrl, flvUrl, llHlsUrl, hlsUrl } = sources ?? {};
  const all: [PlaybackWay, string | undefined][] = [
    ['whep', webrtcUrl],
    ['ws-flv', flvUrl],
    ['ll-hls', llHlsUrl],
    ['hls', hlsUrl],
  ];
  const rungs = all.flatMap(([way, url]) => (url ? [{ way, url }] : []));
  return [...rungs.filter(({ way }) => way === preferred), ...rungs.filter(({ way }) => way !== preferred)];
}
