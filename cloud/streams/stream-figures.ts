/**
 * How one stream serves, in figures: counted from its snapshots, the glasses' statuses and what was proven of its picture.
 * Figures only; what they mean is said by the verdict. Pure: times come in.
 */
import type { DeviceStreamStatus, StreamStats } from '../../shared/protocol/glasses-messages.ts';
import { deviceStatusMeaning, isStreamOver, type StreamState } from '../../shared/stream.ts';
import type { OpenSpans, ServiceRecord, Spans } from './stream-story.ts';
import type { StreamSnapshot } from './stream-views.ts';

/** Times are wall clock. */
export interface RecordKeeper {
  /** @param cause of a picture that is back, a code; undefined: nobody has told one. */
  saw(snapshot: Pick<StreamSnapshot, 'state' | 'liveMs'>, atMs: number, cause?: string | undefined): void;
  /** @returns true when the figures have changed by more than the time that passes. */
  heard(status: DeviceStreamStatus, atMs: number): boolean;
  glasses(areThere: boolean, atMs: number): void;
  providerRetried(waitMs: number): void;
  /** What was live still is, until it is known to be otherwise. */
  takenOver(): void;
  /** What is under way counts up to then. */
  read(atMs: number): ServiceRecord;
  /** For the next process. */
  kept(): { record: ServiceRecord; open: OpenSpans };
}

/** A smaller change of the worst delay is no news. */
const DELAY_NEWS_MS = 500;
/** Rates below this come from a push that hardly began. */
const MIN_RATE_BPS = 20_000;
/** Proof of a picture after a take-over comes within this, else there was none meanwhile. */
const PROOF_PATIENCE_MS = 15_000;

export function createServiceRecord(kept?: { record: ServiceRecord; open: OpenSpans }): RecordKeeper {
  return new Figures(kept);
}

/** A class: there may be ten thousand of them. */
class Figures implements RecordKeeper {
  readonly #record: ServiceRecord;
  readonly #open: OpenSpans;
  #state: StreamState | undefined;
  #isUnproven = false;
  /** After a take-over, from its first look on. */
  #takenOverAtMs = Number.POSITIVE_INFINITY;

  constructor(kept: { record: ServiceRecord; open: OpenSpans } | undefined) {
    this.#record = kept ? structuredClone(kept.record) : emptyRecord();
    this.#open = { ...kept?.open };
  }

  saw({ state, liveMs }: Pick<StreamSnapshot, 'state' | 'liveMs'>, atMs: number, cause?: string): void {
    const [record, open] = [this.#record, this.#open];
    if (liveMs !== undefined) record.timeToFirstFrameMs ??= liveMs;
    const before = this.#state;
    this.#state = state;
    if (before === undefined && this.#isUnproven) this.#takenOverAtMs = atMs;
    if (before === state) return;
    if (state === 'active') this.#proven(atMs, cause);
    // The first look after a take-over: not proven yet, and nobody's interruption.
    else if (state === 'interrupted' && before !== undefined) this.#lost(atMs);
    else if (isStreamOver(state)) {
      this.#endLive(atMs);
      this.#endStall(atMs, cause ?? 'UNKNOWN');
      closeSpan(record, open, 'reconnects', atMs);
      closeSpan(record, open, 'controlLosses', atMs);
    }
  }

  heard(status: DeviceStreamStatus, atMs: number): boolean {
    const open = this.#open;
    const meaning = deviceStatusMeaning[status.status];
    const { bitrate: videoBps } = status.resolvedConfig?.video ?? {};
    if (videoBps !== undefined) open.videoBps ??= videoBps;
    let isNews = status.notice !== undefined;
    if (meaning === 'retrying') {
      isNews ||= open.pushLostSinceMs === undefined;
      open.pushLostSinceMs ??= atMs;
      if (this.#isUnproven && open.liveSinceMs !== undefined) this.#lost(atMs);
    } else if (meaning === 'publishing' && open.pushLostSinceMs !== undefined) {
      isNews = true;
      closeSpan(this.#record, open, 'reconnects', atMs);
    }
    if (status.notice) this.#noticed(status.notice);
    const audioBps = status.resolvedConfig?.audio?.bitrate ?? 0;
    return this.#learn(status.stats, videoBps === undefined ? undefined : videoBps + audioBps) || isNews;
  }

  glasses(areThere: boolean, atMs: number): void {
    if (areThere) closeSpan(this.#record, this.#open, 'controlLosses', atMs);
    else this.#open.controlLostSinceMs ??= atMs;
  }

  providerRetried(waitMs: number): void {
    this.#record.providerRetries += 1;
    this.#record.providerWaitMs += Math.round(waitMs);
  }

  takenOver(): void {
    this.#record.takeOvers += 1;
    this.#isUnproven = true;
    // With the process before every line ended, and what it had heard of them.
    this.#open.controlLostSinceMs = undefined;
  }

  read(atMs: number): ServiceRecord {
    const now = structuredClone(this.#record);
    const running = { ...this.#open };
    if (running.liveSinceMs !== undefined) now.liveMs += Math.max(0, atMs - running.liveSinceMs);
    for (const name of ['stalls', 'reconnects', 'controlLosses'] as const) closeSpan(now, running, name, atMs);
    return now;
  }

  kept(): { record: ServiceRecord; open: OpenSpans } {
    return { record: structuredClone(this.#record), open: defined(this.#open) };
  }

  #endLive(atMs: number): void {
    const { liveSinceMs } = this.#open;
    if (liveSinceMs !== undefined) this.#record.liveMs += Math.max(0, atMs - liveSinceMs);
    this.#open.liveSinceMs = undefined;
  }

  #endStall(atMs: number, cause: string): void {
    const { stalledSinceMs } = this.#open;
    if (stalledSinceMs === undefined) return;
    const record = this.#record;
    const { stallCauses } = record;
    const lengthMs = Math.round(Math.max(0, atMs - stalledSinceMs));
    record.stalls = withSpan(record.stalls, lengthMs);
    const { count = 0, totalMs = 0 } = Object.hasOwn(stallCauses, cause) ? (stallCauses[cause] ?? {}) : {};
    record.stallCauses = { ...stallCauses, [cause]: { count: count + 1, totalMs: totalMs + lengthMs } };
    this.#open.stalledSinceMs = undefined;
  }

  #proven(atMs: number, cause: string | undefined): void {
    const open = this.#open;
    const takenOverAtMs = this.#takenOverAtMs;
    const isLate = this.#isUnproven && open.liveSinceMs !== undefined && atMs - takenOverAtMs > PROOF_PATIENCE_MS;
    if (isLate) {
      this.#endLive(takenOverAtMs);
      open.stalledSinceMs = takenOverAtMs;
    }
    this.#endStall(atMs, cause ?? (isLate ? 'TAKEN_OVER' : 'UNKNOWN'));
    this.#isUnproven = false;
    open.liveSinceMs ??= atMs;
  }

  #lost(atMs: number): void {
    this.#endLive(atMs);
    this.#open.stalledSinceMs ??= atMs;
    this.#isUnproven = false;
  }

  #learn(stats: StreamStats | undefined, rateBps: number | undefined): boolean {
    if (!stats) return false;
    const [record, open] = [this.#record, this.#open];
    const { droppedFrames, queuedBytes } = stats;
    let isNews = false;
    if (droppedFrames !== undefined) {
      // Counted from 0 again by a new push.
      const before = open.droppedFrames ?? 0;
      const more = droppedFrames < before ? droppedFrames : droppedFrames - before;
      record.framesLost += more;
      open.droppedFrames = droppedFrames;
      isNews = more > 0;
    }
    const knownBps = rateBps ?? stats.bitrate;
    if (queuedBytes !== undefined && knownBps !== undefined && knownBps >= MIN_RATE_BPS) {
      const delayMs = Math.round((queuedBytes * 8_000) / knownBps);
      isNews ||= delayMs > (record.worstDelayMs ?? 0) + DELAY_NEWS_MS;
      record.worstDelayMs = Math.max(record.worstDelayMs ?? 0, delayMs);
    }
    return isNews;
  }

  #noticed({ code, numbers = {} }: NonNullable<DeviceStreamStatus['notice']>): void {
    const [record, open] = [this.#record, this.#open];
    const { askedBps, uplinkBps, videoBitrateBps } = numbers;
    if (code === 'UPLINK_NARROW' && askedBps !== undefined) {
      const lowestBps = smaller(record.uplink?.lowestBps, uplinkBps);
      record.uplink = { askedBps, ...(lowestBps === undefined ? {} : { lowestBps }) };
    }
    if (videoBitrateBps === undefined) return;
    const before = open.videoBps;
    open.videoBps = videoBitrateBps;
    const isDown = before === undefined ? !code.endsWith('_RECOVERED') : videoBitrateBps < before;
    if (isDown) record.stepsDown += 1;
    else if (before === undefined || videoBitrateBps > before) record.stepsUp += 1;
  }
}

/** One for all streams of which nothing is to be told: replaced, never changed. */
const NO_SPANS: Spans = Object.freeze({ count: 0, totalMs: 0, longestMs: 0 });
const NO_CAUSES: ServiceRecord['stallCauses'] = Object.freeze({});

function emptyRecord(): ServiceRecord {
  // Field by field: made of spreads, each would take 350 B more.
  return {
    liveMs: 0,
    stalls: NO_SPANS,
    stallCauses: NO_CAUSES,
    reconnects: NO_SPANS,
    controlLosses: NO_SPANS,
    framesLost: 0,
    stepsDown: 0,
    stepsUp: 0,
    providerRetries: 0,
    providerWaitMs: 0,
    takeOvers: 0,
  };
}

function withSpan({ count, totalMs, longestMs }: Spans, lengthMs: number): Spans {
  const rounded = Math.round(lengthMs);
  return { count: count + 1, totalMs: totalMs + rounded, longestMs: Math.max(longestMs, rounded) };
}

const openSince = {
  stalls: 'stalledSinceMs',
  reconnects: 'pushLostSinceMs',
  controlLosses: 'controlLostSinceMs',
} as const;

function closeSpan(record: ServiceRecord, open: OpenSpans, name: keyof typeof openSince, atMs: number): void {
  const since = openSince[name];
  const sinceMs = open[since];
  if (sinceMs === undefined) return;
  record[name] = withSpan(record[name], Math.max(0, atMs - sinceMs));
  open[since] = undefined;
}

function smaller(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}

/** JSON knows no undefined. */
function defined(open: OpenSpans): OpenSpans {
  return Object.fromEntries(Object.entries(open).filter(([, value]) => value !== undefined));
}
