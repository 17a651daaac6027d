/**
 * The picture of one stream: an encoder that comes back when it dies, gives way to the next kind when it is unfit, and is
 * exchanged for another quality without a gap. Owns the runs; knows no device, no ffmpeg argument and no ingest.
 *
 * At most two runs live, and only while one takes over from the other. Time stamps that leave here never go back.
 */
import { type BackoffPolicy, backoffMs, type Clock, type Timer } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { StreamNotice } from '../../shared/protocol/glasses-messages.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader, timestampDiffMs } from '../../shared/rtmp/flv.ts';
import type { PictureQuality } from '../../shared/stream.ts';
import type { Encoder, EncoderEnd } from './encoder.ts';
import { isHollowHeader } from './stream-rules.ts';
import { createWayChoice, type WayChoice } from './way-choice.ts';

/** One way to make the picture: a mode of the camera and an encoder. */
export interface PictureWay {
  /** ffmpeg's name of the encoder; `copy`: the camera's own H.264. */
  encoder: string;
  /** Of what is captured; undefined: as asked. */
  captureSize?: { widthPx: number; heightPx: number } | undefined;
  /** What the camera gives, for people: "mjpeg 640x480". */
  captureName?: string | undefined;
  /** What the camera makes, whatever is asked for: another quality takes another way. */
  fixed?: Omit<PictureQuality, 'videoBitrateBps'> | undefined;
  /** Two runs can capture at once, so that one can take over from the other. */
  isShared: boolean;
  /** A run, not started. @throws GlasscastError when the source cannot be used now */
  open(quality: PictureQuality, onTag: (tag: FlvTag) => void): Promise<Encoder>;
  /** Looks at each tag of one run; gives why no provider would take it. Default: all is well. */
  newRules?: (quality: PictureQuality) => (tag: FlvTag) => GlasscastError | undefined;
}

export interface PictureOptions {
  clock: Clock;
  log: Log;
  quality: PictureQuality;
  /** Best first, at least one; asked before each new beginning, since devices come and go. @throws GlasscastError CAMERA_… */
  findWays: () => Promise<readonly PictureWay[]>;
  /** Ends what runs share. */
  closeWays: () => Promise<void>;
  /** Describes each run that begins to speak; the first tag. */
  describe: (quality: PictureQuality) => FlvTag;
  onTag: (tag: FlvTag) => void;
  /** No picture comes any more, another run will follow; `attempt` counts from 1 and anew after a healthy run. */
  onLost: (cause: GlasscastError, attempt: number) => void;
  /** Over for good. Called once. */
  onFailed: (cause: GlasscastError) => void;
  /** Another quality or another encoder is on the air. */
  onChanged: () => void;
  onNotice: (notice: StreamNotice) => void;
  random?: () => number;
}

export interface Picture {
  start(): void;
  /** A run of this quality takes over at its first key frame; until then the one before goes on, where the source allows. */
  change(quality: PictureQuality): void;
  /** The same without a change: the wall clock that the run stamps by was set. */
  renew(): void;
  /** On the air, or the last one that was. */
  readonly onAir: { quality: PictureQuality; way: PictureWay } | undefined;
  readonly pid: number | undefined;
  close(): Promise<void>;
}

const BACKOFF: BackoffPolicy = { firstMs: 100, factor: 2.2, maxMs: 5_000, jitter: 0.2 };
/** With the backoff above about 18 s. */
const MAX_ATTEMPTS = 7;
/** A run this long was healthy: what ends it counts from zero again. */
const HEALTHY_MS = 10_000;
/** A device that is away is looked for this often; at the start only so long, since somebody waits for an answer. */
const DEVICE_RETRY_MS = 1_000;
const START_PATIENCE_MS = 10_000;
const CHANGE_BACKOFF: BackoffPolicy = { firstMs: 2_000, factor: 2, maxMs: 60_000, jitter: 0.2 };

/** They come back by themselves, or somebody plugs them in. */
const AWAY: readonly ErrorCode[] = [
  'CAMERA_NOT_FOUND',
  'CAMERA_BUSY',
  'CAMERA_SILENT',
  'CAPTURE_FORBIDDEN',
  'PRIVACY_LIGHT_FAILED',
];
const ANSWERS_AT_START: readonly ErrorCode[] = ['CAPTURE_FILE_UNREADABLE'];

interface Run {
  encoder: Encoder | undefined;
  readonly way: PictureWay;
  readonly wanted: PictureQuality;
  /** What it makes: other than wanted only where that cannot be chosen. */
  readonly quality: PictureQuality;
  readonly rules: ((tag: FlvTag) => GlasscastError | undefined) | undefined;
  header: FlvTag | undefined;
  isIntroduced: boolean;
}

export function createPicture(options: PictureOptions): Picture {
  return new SwappingPicture(options);
}

class SwappingPicture implements Picture {
  readonly #options: PictureOptions;
  #quality: PictureQuality;
  readonly #ways: WayChoice;
  #current: Run | undefined;
  #next: Run | undefined;
  #onAir: Run | undefined;
  /** Grows with each change: what was begun for an older one is given up. */
  #generation = 0;
  #opening: Promise<void> = Promise.resolve();
  /** Replaced and not gone yet. */
  readonly #leaving = new Set<Promise<void>>();
  #timer: Timer | undefined;
  #closed = false;
  #attempt = 0;
  #changeTries = 0;
  #sawPictures = false;
  #awaySinceMs: number | undefined;
  #toldCause: ErrorCode | undefined;
  #lastMs: number | undefined;

  constructor(options: PictureOptions) {
    this.#options = options;
    this.#quality = options.quality;
    this.#ways = createWayChoice(options);
  }

  get onAir() {
    return this.#onAir && { quality: this.#onAir.quality, way: this.#onAir.way };
  }

  get pid() {
    return this.#current?.encoder?.pid;
  }

  start(): void {
    this.#opening = this.#begin();
  }

  change(quality: PictureQuality): void {
    if (this.#closed) return;
    this.#quality = quality;
    this.#changeTries = 0;
    // Without a run on its way to speak there is nothing to take over from: the next one begins so.
    if (this.#current) this.#follow(this.#current);
  }

  renew(): void {
    if (this.#closed || !this.#current) return;
    this.#changeTries = 0;
    this.#takeUp(this.#current);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#opening;
    await Promise.all([this.#current?.encoder?.close(), this.#next?.encoder?.close(), ...this.#leaving]);
    await this.#options.closeWays();
  }

  /** The first run, or one after a loss. */
  async #begin(): Promise<void> {
    if (this.#closed) return;
    const generation = this.#generation;
    try {
      await this.#ways.look();
      const way = this.#ways.now(this.#quality);
      if (!way) throw new GlasscastError('ENCODER_FAILED', { reason: 'no way to make a picture' });
      const run = await this.#open(way);
      if (this.#closed || generation !== this.#generation) {
        await run.encoder?.close();
        return;
      }
      this.#current = run;
      run.encoder?.start();
      // Meanwhile another quality may have come to be wanted.
      if (run.wanted !== this.#quality) this.#follow(run);
    } catch (error) {
      if (!this.#closed && generation === this.#generation) this.#lost(asGlasscastError(error), undefined);
    }
  }

  /** Not started yet. */
  async #open(way: PictureWay): Promise<Run> {
    const wanted = this.#quality;
    const quality = way.fixed ? { ...wanted, ...way.fixed } : wanted;
    const run: Run = {
      ...{ encoder: undefined, way, wanted, quality, header: undefined, isIntroduced: false },
      rules: way.newRules?.(quality),
    };
    run.encoder = await way.open(quality, (tag) => this.#take(run, tag));
    void run.encoder.ended.then((end) => this.#over(run, end));
    return run;
  }

  /** The quality wanted now takes the place of this run's. */
  #follow(run: Run): void {
    if (run.way.fixed && this.#ways.now(this.#quality)?.fixed) this.#ways.tellFixed();
    else this.#takeUp(run);
  }

  #takeUp(from: Run): void {
    this.#timer?.cancel();
    this.#generation += 1;
    const before = this.#opening;
    const given = this.#next;
    this.#next = undefined;
    this.#opening = before
      .then(() => given?.encoder?.close())
      .then(() => (from.way.isShared ? this.#openNext(from) : this.#breakAndBegin(from)));
  }

  async #openNext(from: Run): Promise<void> {
    const generation = this.#generation;
    try {
      const run = await this.#open(from.way);
      // Meanwhile the one before may have died, and another may be on its way in the new quality already.
      const isStill = !this.#closed && generation === this.#generation && this.#current;
      if (!isStill || (isStill !== from && isStill.quality === this.#quality)) {
        await run.encoder?.close();
        return;
      }
      this.#next = run;
      run.encoder?.start();
    } catch (error) {
      if (!this.#closed && generation === this.#generation) this.#changeFailed(asGlasscastError(error));
    }
  }

  async #breakAndBegin(from: Run): Promise<void> {
    if (this.#closed || this.#current !== from) return;
    this.#current = undefined;
    await from.encoder?.close();
    if (!this.#closed) await this.#begin();
  }

  #take(run: Run, tag: FlvTag): void {
    if (this.#closed) return;
    if ((run !== this.#next && run !== this.#current) || isHollowHeader(tag)) return;
    const unfit = run.rules?.(tag);
    if (unfit) void run.encoder?.close(unfit);
    if (run === this.#next) {
      if (isSequenceHeader(tag)) run.header = tag;
      else if (isKeyFrame(tag) && !unfit) this.#takeOver(run, tag);
    } else this.#emit(run, tag);
  }

  #takeOver(run: Run, keyFrame: FlvTag): void {
    const before = this.#current;
    this.#next = undefined;
    this.#current = run;
    this.#changeTries = 0;
    this.#emit(run, keyFrame);
    this.#letGo(before);
  }

  #letGo(run: Run | undefined): void {
    const left = run?.encoder?.close();
    if (!left) return;
    this.#leaving.add(left);
    void left.then(() => this.#leaving.delete(left));
  }

  #emit(run: Run, tag: FlvTag): void {
    const { onTag, describe, onChanged } = this.#options;
    const isHeader = isSequenceHeader(tag);
    if (isHeader) run.header = tag;
    if (!run.isIntroduced) {
      run.isIntroduced = true;
      onTag(describe(run.quality));
      if (run.header && !isHeader) onTag(run.header);
    }
    const isFirst = !isHeader && this.#onAir !== run;
    const isChange = isFirst && this.#onAir !== undefined;
    // Before the picture leaves: with the first one the stream is told to be live, and with what.
    if (isFirst) this.#goOnAir(run);
    onTag(isHeader ? tag : this.#inOrder(tag));
    if (isChange) onChanged();
  }

  #goOnAir(run: Run): void {
    this.#onAir = run;
    this.#sawPictures = true;
    this.#awaySinceMs = undefined;
    this.#toldCause = undefined;
  }

  /** Two runs stamp by the same clock, but one may be some milliseconds behind the other. */
  #inOrder(tag: FlvTag): FlvTag {
    const last = this.#lastMs;
    const isLate = last !== undefined && timestampDiffMs(tag.timestampMs, last) <= 0;
    const placed = isLate ? { ...tag, timestampMs: last + 1 } : tag;
    this.#lastMs = placed.timestampMs;
    return placed;
  }

  #over(run: Run, end: EncoderEnd): void {
    if (this.#closed) return;
    if (run === this.#next) {
      this.#next = undefined;
      if (end.cause) this.#changeFailed(end.cause);
    } else if (run === this.#current) {
      this.#current = this.#next;
      this.#next = undefined;
      if (end.cause) this.#lost(end.cause, end);
    }
  }

  #changeFailed(cause: GlasscastError): void {
    this.#changeTries += 1;
    const { code, message: reason } = cause;
    this.#options.log.warn({ code, reason, tries: this.#changeTries }, 'picture-change-failed');
    if (!this.#current) return;
    // For as long as it is wanted: whoever asked for it goes by its coming.
    const delayMs = backoffMs(CHANGE_BACKOFF, this.#changeTries - 1, this.#options.random);
    this.#timer = this.#options.clock.after('picture-change', delayMs, () => {
      if (this.#current) this.#takeUp(this.#current);
    });
  }

  #lost(cause: GlasscastError, end: EncoderEnd | undefined): void {
    // A camera that never gave a picture may give one in another mode.
    const mayBeMode = cause.code === 'CAMERA_SILENT' && !this.#sawPictures;
    if (AWAY.includes(cause.code) && !mayBeMode) this.#lostDevice(cause);
    else this.#lostRun(cause, end);
  }

  #lostDevice(cause: GlasscastError): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#awaySinceMs ??= nowMs;
    const mayWait = this.#sawPictures && cause.code !== 'PRIVACY_LIGHT_FAILED';
    if (!mayWait && nowMs - this.#awaySinceMs >= START_PATIENCE_MS) this.#fail(cause);
    else this.#again(cause, DEVICE_RETRY_MS);
  }

  #lostRun(cause: GlasscastError, end: EncoderEnd | undefined): void {
    const { frames = 0, ms = 0 } = end ?? {};
    const wasHealthy = frames > 0 && ms >= HEALTHY_MS && cause.code !== 'ENCODER_UNFIT';
    if (wasHealthy) this.#attempt = 0;
    const isAnswer = !this.#sawPictures && ANSWERS_AT_START.includes(cause.code);
    this.#attempt += 1;
    // It may only lack this encoder, and have the next.
    const isWithout = cause.code === 'FFMPEG_MISSING' && !this.#ways.hasOther;
    if (isAnswer || this.#attempt > MAX_ATTEMPTS || isWithout) {
      this.#fail(cause);
      return;
    }
    // A first loss may be an accident; making nothing, or what no provider takes, is none.
    const isIncapable = frames === 0 || cause.code === 'ENCODER_UNFIT';
    if (!wasHealthy && (isIncapable || this.#attempt > 1)) this.#ways.giveWay(cause);
    this.#again(cause, backoffMs(BACKOFF, this.#attempt - 1, this.#options.random));
  }

  #again(cause: GlasscastError, delayMs: number): void {
    const { clock, log, onLost } = this.#options;
    const fields = { code: cause.code, reason: cause.message, attempt: this.#attempt, delayMs };
    // A device that is away is one line and one status, not one each second.
    const isNews = this.#toldCause !== cause.code || !AWAY.includes(cause.code);
    this.#toldCause = cause.code;
    if (isNews) log.warn(fields, 'picture-lost');
    this.#timer?.cancel();
    if (!this.#current) {
      this.#timer = clock.after('picture-restart', delayMs, () => {
        // A change may still be opening that came too late for the run before.
        this.#opening = this.#opening.then(() => this.#begin());
      });
    }
    if (isNews) onLost(cause, Math.max(1, this.#attempt));
  }

  #fail(cause: GlasscastError): void {
    this.#closed = true;
    this.#options.onFailed(cause);
  }
}
