/**
 * One managed stream from the first request to the last trace: what is wanted, what is, and who hears of it.
 * One thing at a time through a serial inbox; every continuation is void once its generation is over.
 * Knows neither how the glasses are reached nor who hosts the ingest.
 */
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ManagedStreamRequest } from '../../shared/protocol/app-messages.ts';
import type { DeviceStreamStatus, ResolvedConfig, StreamStats } from '../../shared/protocol/glasses-messages.ts';
import {
  deviceStatusMeaning,
  type StreamEvent,
  type StreamState,
  streamTable,
  transition,
} from '../../shared/stream.ts';
import type { IngestPoint, IngestSource } from '../provider/ingest-source.ts';
import type { Playback } from '../provider/playback.ts';
import { createLiveness, type Liveness } from './liveness.ts';
import {
  deviceError,
  errorStatus,
  type Situation,
  type StreamSnapshot,
  statusOf,
  stoppedStatus,
  unsupportedOutputs,
} from './managed-status.ts';
import { createSerialInbox, type SerialInbox } from './serial-inbox.ts';
import { type GlassesLink, startOrder, stopOrder } from './stream-orders.ts';
import { defaultStreamTimings, type StreamTimings } from './stream-timings.ts';
import { createViewers, type JoinRequest, type Viewer, type Viewers } from './viewers.ts';

export interface ManagedStreamOptions {
  streamId: string;
  userId: string;
  request: Omit<ManagedStreamRequest, 'type'>;
  glasses: GlassesLink;
  source: IngestSource;
  playback: Playback;
  clock: Clock;
  log: Log;
  timings?: Partial<StreamTimings>;
  /** Something that a snapshot shows has changed. */
  onChange: () => void;
  /** Once, when the device is done (or was waited for): the next stream may start. */
  onEnded: () => void;
  /** A defect of ours, e.g. a refused transition. Default: logged. */
  onDefect?: (error: GlasscastError) => void;
}

export interface ManagedStream {
  readonly streamId: string;
  /** Has the ingest made. Once, after the first viewer joined. */
  begin(): void;
  /** Takes new viewers; false from the stop on. */
  isOpen(): boolean;
  /** @param asked what is this viewer's own; its settings count only when it is the first. */
  join(viewer: Viewer, asked?: JoinRequest): void;
  /** Says `stopped` to it; false when it was no viewer. */
  leave(viewerId: string): boolean;
  /** Tells a viewer that came back what it may have missed. */
  repeat(viewerId: string): void;
  /** True when the status was about this stream. */
  deviceStatus(status: DeviceStreamStatus): boolean;
  keepAliveAck(ack: { streamId: string; ackId: string }): void;
  /** The control link is lost: only what is missed from now on counts. */
  glassesGone(): void;
  glassesBack(): void;
  /** Ends for everybody. */
  fail(error: GlasscastError): void;
  stop(message?: string): void;
  snapshot(): StreamSnapshot;
}

export function createManagedStream(options: ManagedStreamOptions): ManagedStream {
  return new Stream(options);
}

class Stream implements ManagedStream {
  readonly streamId: string;
  readonly #options: ManagedStreamOptions;
  readonly #timings: StreamTimings;
  readonly #viewers: Viewers;
  readonly #liveness: Liveness;
  readonly #inbox: SerialInbox;
  readonly #createdAtMs: number;
  readonly #requestedMs: number;
  #state: StreamState = 'provisioning';
  #ingest: IngestPoint | undefined;
  #startDelivered = false;
  /** The device has said that it works on this stream. */
  #isKnownThere = false;
  #awaitingStop = false;
  #ended = false;
  #measured: { startSentMs?: number; publishingMs?: number; liveMs?: number } = {};
  #stats: StreamStats | undefined;
  #resolvedConfig: ResolvedConfig | undefined;
  #error: GlasscastError | undefined;
  #message: string | undefined = 'Waiting for stream to start...';

  constructor(options: ManagedStreamOptions) {
    const { clock, glasses, log, playback, streamId } = options;
    this.streamId = streamId;
    this.#options = options;
    this.#timings = { ...defaultStreamTimings, ...options.timings };
    this.#createdAtMs = clock.now();
    this.#requestedMs = clock.monotonicMs();
    this.#viewers = createViewers({ clock });
    const logDefect = ({ code, message }: GlasscastError) =>
      log.error({ streamId, code, reason: message }, 'stream-defect');
    this.#inbox = createSerialInbox({ clock, onDefect: options.onDefect ?? logDefect });
    this.#liveness = createLiveness({
      clock,
      playback,
      keepAliveIntervalMs: this.#timings.keepAliveIntervalMs,
      // Segments end at key frames: far apart, they are no stall.
      stallMs: Math.max(this.#timings.stallMs, 3 * (options.request.video?.keyFrameIntervalMs ?? 0)),
      settleMs: this.#timings.stopTimeoutMs,
      sendKeepAlive: (ackId) => glasses.send({ type: 'keep_stream_alive', streamId, ackId }),
      events: {
        live: () => this.#inbox.do(() => this.#onLive()),
        stalled: () => this.#inbox.do(() => this.#interrupt('No new picture arrives')),
        lost: () => this.#inbox.do(() => this.#onLost()),
      },
    });
  }

  begin(): void {
    this.#options.source.provision(this.streamId).then(
      this.#inbox.current((ingest: IngestPoint) => this.#onProvisioned(ingest)),
      this.#inbox.current((thrown: unknown) => this.#fail(asGlasscastError(thrown), 'device-idle')),
    );
  }

  // ── asked by apps ──

  isOpen(): boolean {
    return !['stopping', 'stopped', 'failed'].includes(this.#state);
  }

  join(viewer: Viewer, { restreamDestinations, requestedMs }: JoinRequest = {}): void {
    this.#inbox.do(() => {
      this.#viewers.add(viewer, unsupportedOutputs(restreamDestinations));
      if (this.#state !== 'active') {
        const nowMs = this.#options.clock.monotonicMs();
        const patienceMs = this.#timings.startDeadlineMs - (nowMs - (requestedMs ?? nowMs));
        this.#viewers.expect(viewer.id, patienceMs, () => this.#inbox.do(() => this.#onLate(viewer.id)));
      }
      this.#viewers.tell(viewer.id, statusOf(this.#situation()));
      this.#options.onChange();
    });
  }

  leave(viewerId: string): boolean {
    const wasViewer = this.#viewers.has(viewerId);
    this.#inbox.do(() => {
      if (!this.#viewers.dismiss(viewerId, stoppedStatus(this.streamId))) return;
      this.#options.onChange();
      if (this.#viewers.size === 0 && this.isOpen()) this.#stop(undefined);
    });
    return wasViewer;
  }

  repeat(viewerId: string): void {
    this.#inbox.do(() => this.#viewers.tell(viewerId, statusOf(this.#situation())));
  }

  fail(error: GlasscastError): void {
    this.#inbox.do(() => this.#fail(error));
  }

  stop(message?: string): void {
    this.#inbox.do(() => {
      if (this.isOpen()) this.#stop(message);
    });
  }

  // ── said by the glasses ──

  deviceStatus(status: DeviceStreamStatus): boolean {
    // Old firmware leaves the id out of its errors and last words: they belong to what was started last.
    const isMine = status.streamId ? status.streamId === this.streamId : this.#startDelivered;
    if (isMine && !this.#ended) this.#inbox.do(() => this.#onDeviceStatus(status));
    return isMine;
  }

  keepAliveAck({ streamId }: { streamId: string; ackId: string }): void {
    if (streamId === this.streamId) this.#inbox.do(() => this.#liveness.heard());
  }

  glassesGone(): void {
    this.#inbox.do(() => this.#liveness.forgive());
  }

  glassesBack(): void {
    this.#inbox.do(() => {
      if (!this.#ingest || !this.isOpen()) return;
      if (!this.#startDelivered) {
        this.#sendStart();
        return;
      }
      // It may still be pushing: asked first, told again only when it does not know the stream any more.
      const askedMs = this.#options.clock.monotonicMs();
      this.#liveness.askNow();
      this.#inbox.arm('reconcile', this.#timings.reconcileMs, () => {
        if (!this.#liveness.heardSince(askedMs)) this.#sendStart();
      });
    });
  }

  snapshot(): StreamSnapshot {
    return {
      streamId: this.streamId,
      userId: this.#options.userId,
      state: this.#state,
      createdAt: new Date(this.#createdAtMs).toISOString(),
      viewers: this.#viewers.ids(),
      urls: this.#state === 'active' ? this.#ingest?.urls : undefined,
      startSentMs: this.#measured.startSentMs,
      publishingMs: this.#measured.publishingMs,
      liveMs: this.#measured.liveMs,
      stats: this.#stats,
      resolvedConfig: this.#resolvedConfig,
      errorCode: this.#error?.code,
      message: this.#message,
    };
  }

  // ── inside: called from the inbox only ──

  #onProvisioned(ingest: IngestPoint): void {
    this.#ingest = ingest;
    this.#move('provisioned');
    this.#sendStart();
    const { hlsUrl, dashUrl } = ingest.urls;
    this.#liveness.begin({ streamId: this.streamId, hlsUrl, dashUrl });
    this.#options.onChange();
  }

  #sendStart(): void {
    const { glasses, log, request } = this.#options;
    if (!this.#ingest || !glasses.send(startOrder(this.#options, this.#ingest, request))) return;
    this.#startDelivered = true;
    this.#isKnownThere = false;
    this.#measured.startSentMs ??= this.#sinceRequestMs();
    log.info({ streamId: this.streamId, ms: this.#sinceRequestMs() }, 'stream-start-sent');
  }

  #onDeviceStatus(status: DeviceStreamStatus): void {
    const meaning = deviceStatusMeaning[status.status];
    if (this.#awaitingStop) {
      if (meaning === 'ended' || meaning === 'failed') this.#end();
      return;
    }
    if (!this.isOpen()) return;
    // Firmware ends what ran before when it gets START, and says so without an id: not about us.
    const isLastWord = meaning === 'ended' || status.errorDetails === 'not_streaming';
    if (!status.streamId && isLastWord && !this.#isKnownThere) return;
    if (['starting', 'publishing', 'retrying'].includes(meaning)) this.#isKnownThere = true;
    this.#liveness.heard();
    if (status.stats) this.#stats = status.stats;
    if (status.resolvedConfig) this.#resolvedConfig = status.resolvedConfig;
    switch (meaning) {
      case 'starting':
      case 'stopping':
        return;
      case 'publishing':
        this.#measured.publishingMs ??= this.#sinceRequestMs();
        this.#liveness.devicePublishes();
        if (this.#state === 'active' && status.stats) {
          this.#viewers.tellAll(statusOf(this.#situation(), this.#stats), 'stats');
        }
        this.#options.onChange();
        return;
      case 'retrying':
        this.#liveness.deviceRetries();
        this.#interrupt('The glasses are reconnecting');
        return;
      case 'ended':
        this.#stop('The glasses stopped the stream', 'device-idle');
        return;
      case 'failed':
        this.#fail(deviceError(status), 'device-idle');
        return;
      default:
        meaning satisfies never;
    }
  }

  #onLive(): void {
    if (this.#state === 'active' || !this.isOpen()) return;
    this.#move('live');
    this.#measured.liveMs ??= this.#sinceRequestMs();
    this.#message = 'Stream is now live';
    this.#inbox.disarm('interrupted');
    this.#viewers.satisfied();
    this.#armDurationLimit();
    this.#options.log.info({ streamId: this.streamId, ms: this.#sinceRequestMs() }, 'stream-live');
    this.#viewers.tellAll(statusOf(this.#situation()), 'state');
    this.#options.onChange();
  }

  #interrupt(message: string): void {
    if (this.#state !== 'active') return;
    this.#move('interrupt');
    this.#message = message;
    this.#options.log.info({ streamId: this.streamId, reason: message }, 'stream-interrupted');
    this.#inbox.arm('interrupted', this.#timings.interruptedDeadlineMs, () =>
      this.#fail(new GlasscastError('STREAM_INTERRUPTED')),
    );
    this.#viewers.tellAll(statusOf(this.#situation()), 'state');
    this.#liveness.proveAgain();
    this.#options.onChange();
  }

  #onLost(): void {
    this.#fail(new GlasscastError(this.#options.glasses.isConnected() ? 'GLASSES_SILENT' : 'GLASSES_NOT_CONNECTED'));
  }

  #onLate(viewerId: string): void {
    const code = this.#startDelivered || !this.#ingest ? 'START_TIMEOUT' : 'GLASSES_NOT_CONNECTED';
    if (!this.#viewers.dismiss(viewerId, errorStatus(new GlasscastError(code), this.streamId))) return;
    this.#options.log.warn({ streamId: this.streamId, appId: viewerId, code }, 'stream-start-late');
    this.#options.onChange();
    if (this.#viewers.size > 0 || !this.isOpen()) return;
    this.#error ??= new GlasscastError(code);
    this.#stop(undefined);
  }

  #armDurationLimit(): void {
    const seconds = this.#options.request.stream?.durationLimit;
    if (seconds === undefined || this.#inbox.isArmed('duration-limit')) return;
    this.#inbox.arm('duration-limit', seconds * 1000, () => this.#stop('The duration limit is reached'));
  }

  #stop(message: string | undefined, device?: 'device-idle'): void {
    this.#move('stop');
    this.#message = message ?? this.#error?.message;
    this.#viewers.dismissAll(stoppedStatus(this.streamId, message));
    this.#windDown(device);
  }

  #fail(error: GlasscastError, device?: 'device-idle'): void {
    if (!this.isOpen()) return;
    this.#move('fail');
    this.#error = error;
    this.#message = error.message;
    const level = error.fault === 'us' ? 'error' : 'warn';
    this.#options.log[level]({ streamId: this.streamId, code: error.code, reason: error.message }, 'stream-failed');
    this.#viewers.dismissAll(errorStatus(error, this.streamId));
    this.#windDown(device);
  }

  /** The device first: a stop sent after the next start would end that one. */
  #windDown(device: 'device-idle' | undefined): void {
    this.#inbox.supersede();
    this.#liveness.close();
    this.#options.onChange();
    if (device === 'device-idle' || !this.#startDelivered || !this.#options.glasses.send(stopOrder(this.#options))) {
      this.#end();
      return;
    }
    this.#awaitingStop = true;
    this.#inbox.arm('device-stop', this.#timings.stopTimeoutMs, () => this.#end());
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#awaitingStop = false;
    this.#inbox.disarm('device-stop');
    this.#options.source.discard(this.streamId);
    if (this.#state === 'stopping') this.#move('stopped');
    this.#options.log.info({ streamId: this.streamId, state: this.#state }, 'stream-ended');
    this.#options.onChange();
    this.#options.onEnded();
  }

  #situation(): Situation {
    return {
      streamId: this.streamId,
      state: this.#state,
      message: this.#message,
      urls: this.#ingest?.urls,
      liveMs: this.#measured.liveMs,
      resolvedConfig: this.#resolvedConfig,
    };
  }

  #move(event: StreamEvent): void {
    this.#state = transition(streamTable, this.#state, event);
  }

  #sinceRequestMs(): number {
    return Math.round(this.#options.clock.monotonicMs() - this.#requestedMs);
  }
}
