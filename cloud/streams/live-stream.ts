/**
 * One stream from the first request to the last trace, managed or unmanaged: what is wanted, what is, and who hears of it.
 * One thing at a time; every continuation is void once its generation is over. What the next process needs to go on is
 * saved as it changes. Knows neither how the glasses are reached nor who hosts the ingest.
 */
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { DeviceStreamStatus, StreamStats } from '../../shared/protocol/glasses-messages.ts';
import { isStreamOver, type StreamEvent, type StreamState, streamTable, transition } from '../../shared/stream.ts';
import type { IngestPoint, IngestSource } from '../provider/ingest-source.ts';
import type { PlaybackEvents, PlaybackWatch } from '../provider/playback.ts';
import type { Restreaming, RestreamOutputs } from '../provider/restream-outputs.ts';
import type { StreamRecord } from '../store/records.ts';
import { createGlassesPush, type GlassesPush } from './glasses-push.ts';
import { createLiveness, type IngestHint, type Liveness } from './liveness.ts';
import { createSerialInbox, type SerialInbox } from './serial-inbox.ts';
import { createStreamDeadlines, type StreamDeadlines } from './stream-deadlines.ts';
import { createStreamFacts, type StreamFacts } from './stream-facts.ts';
import { type GlassesLink, identityOf, type StreamSettings, startOrder } from './stream-orders.ts';
import { createStreamOutputs, type StreamOutputs } from './stream-outputs.ts';
import { endings } from './stream-story.ts';
import { type StreamTimings, stallMsFor } from './stream-timings.ts';
import { recordOf, type StreamParts, type StreamSnapshot, situationOf, snapshotOf, stateOf } from './stream-views.ts';
import { deviceError, lastWord, reconnectingText, STALLED, type StreamWords, wordsOf } from './stream-words.ts';
import { createViewers, type JoinRequest, type Viewer, type Viewers } from './viewers.ts';

export interface LiveStreamOptions {
  /** What is known of it: a new stream's request, or what an earlier process had saved. */
  record: StreamRecord;
  glasses: GlassesLink;
  source: IngestSource;
  restreaming: Restreaming;
  /** Begins to look whether viewers can see the picture. */
  look: (ingest: IngestPoint, events: PlaybackEvents) => PlaybackWatch;
  clock: Clock;
  log: Log;
  timings: StreamTimings;
  /** What has to outlive the process; undefined: nothing any more. Rejects when it could not be kept. */
  save: (record: StreamRecord | undefined) => Promise<void>;
  /** Something that a snapshot shows has changed. */
  onChange: () => void;
  /** Once, when the device is done (or was waited for): the next stream may start. */
  onEnded: () => void;
  onKeepAliveMissed?: (() => void) | undefined;
  /** A defect of ours, e.g. a refused transition. */
  onDefect: (error: GlasscastError) => void;
}

export class LiveStream {
  readonly streamId: string;
  readonly kind: StreamRecord['kind'];
  readonly #options: LiveStreamOptions;
  readonly #words: StreamWords;
  readonly #settings: StreamSettings;
  readonly #viewers: Viewers;
  readonly #liveness: Liveness;
  readonly #inbox: SerialInbox;
  readonly #push: GlassesPush;
  readonly #outputs: StreamOutputs;
  readonly #facts: StreamFacts;
  readonly #deadlines: StreamDeadlines;
  readonly #lasting: StreamParts['lasting'];
  #state: StreamState;
  #ingest: IngestPoint | undefined;
  #isSuspended = false;

  constructor(options: LiveStreamOptions) {
    const { clock, glasses, record, timings } = options;
    const { streamId, kind, liveMs, createdAtMs } = record;
    this.streamId = streamId;
    this.kind = kind;
    this.#options = options;
    this.#words = wordsOf[kind];
    this.#settings = record.request;
    this.#state = stateOf(record);
    this.#facts = createStreamFacts({ clock, createdAtMs, liveMs });
    this.#outputs = createStreamOutputs(options.restreaming, record);
    this.#inbox = createSerialInbox({ clock, onDefect: options.onDefect });
    const onLate = (viewerId: string) => this.#inbox.do(() => this.#onLate(viewerId));
    this.#viewers = createViewers({ clock, patienceMs: timings.startDeadlineMs, onLate });
    this.#lasting = { record, facts: this.#facts, outputs: this.#outputs, viewers: this.#viewers };
    this.#liveness = createLiveness({
      clock,
      keepAliveIntervalMs: timings.keepAliveIntervalMs,
      onMiss: options.onKeepAliveMissed,
      // Nobody can look at an address of an app's own choice.
      stallMs: kind === 'managed' ? stallMsFor(timings, this.#settings.video) : undefined,
      settleMs: timings.stopTimeoutMs,
      sendKeepAlive: (ackId) => glasses.send({ type: 'keep_stream_alive', streamId, ackId }),
      isReachable: () => glasses.isConnected(),
      events: {
        live: () => this.#inbox.do(() => this.#onLive()),
        stalled: () => this.#inbox.do(() => this.#interrupt(STALLED)),
        lost: () => this.fail(new GlasscastError('GLASSES_SILENT')),
      },
    });
    const ask = () => this.#liveness.askNow();
    const heardSince = (sinceMs: number) => this.#liveness.heardSince(sinceMs);
    const onStartSent = () => this.#onStartSent();
    this.#push = createGlassesPush({ clock, glasses, timings, inbox: this.#inbox, ask, heardSince, onStartSent });
    const fail = (error: GlasscastError) => this.#fail(error);
    const stop = (message: string) => this.#stop(message);
    const limitSeconds = this.#settings.stream?.durationLimit;
    this.#deadlines = createStreamDeadlines({ timings, inbox: this.#inbox, limitSeconds, fail, stop });
  }

  /** Has the ingest made, or takes it up again. Once, after the first viewers joined. */
  begin(): void {
    const { record, source } = this.#options;
    const { ingest } = record;
    if (ingest) {
      this.#inbox.do(() => this.#onIngest(source.adopt(this.streamId, ingest)));
      return;
    }
    // What is not saved before it is made could not be found again after a crash.
    const made = this.#save().then(() => {
      return this.isOpen() ? source.provision(this.streamId, record.userId) : undefined;
    });
    made.then(
      this.#inbox.current((point) => point && this.#onIngest(point)),
      this.#inbox.current((thrown: unknown) => this.#fail(asGlasscastError(thrown), 'device-idle')),
    );
  }

  /** Takes new viewers; false from the stop on. */
  isOpen(): boolean {
    return !this.#isSuspended && !isStreamOver(this.#state);
  }

  /** What is asked is this viewer's own; its settings count only when it is the first. */
  join(viewer: Viewer, { restreamDestinations, requestedAtMs }: JoinRequest = {}): void {
    this.#inbox.do(() => {
      const isWaiting = this.#state !== 'active';
      this.#viewers.add(viewer, { isWaiting, requestedAtMs: requestedAtMs ?? this.#options.clock.now() });
      this.#outputs.want(viewer.id, restreamDestinations);
      this.#viewers.tell(viewer.id, this.#words.status(situationOf(this.#parts()), viewer.id));
      this.#changed();
    });
  }

  /** An earlier process's viewer: told nothing until it comes back. */
  rejoin(viewer: Viewer, { requestedAtMs, isWaiting }: StreamRecord['viewers'][number]): void {
    this.#inbox.do(() => this.#viewers.add(viewer, { requestedAtMs, isWaiting }));
  }

  /** False when it was no viewer. @param because see `lastWord`. */
  leave(viewerId: string, because?: GlasscastError | string): boolean {
    const wasViewer = this.#viewers.has(viewerId);
    this.#inbox.do(() => {
      if (!this.#viewers.dismiss(viewerId, lastWord(this.kind, this.streamId, because))) return;
      this.#outputs.forget(viewerId);
      if (this.#viewers.size > 0 || !this.isOpen()) this.#changed();
      else this.#stop(typeof because === 'string' ? because : undefined);
    });
    return wasViewer;
  }

  /** Tells a viewer that came back what it may have missed. */
  repeat(viewerId: string): void {
    this.#inbox.do(() => this.#viewers.tell(viewerId, this.#words.status(situationOf(this.#parts()), viewerId)));
  }

  /** Ends for everybody. */
  fail(error: GlasscastError): void {
    this.#inbox.do(() => this.#fail(error));
  }

  stop(message?: string): void {
    this.#inbox.do(() => {
      if (this.isOpen()) this.#stop(message);
    });
  }

  /**
   * Lets go of it without a word to anybody: the next process goes on with what was saved. Who leaves now has left.
   * @param isLost another process has it already: nothing is saved any more
   */
  suspend({ isLost = false } = {}): void {
    this.#inbox.do(() => {
      if (!isLost) this.#changed();
      this.#isSuspended = true;
      this.#rest();
    });
  }

  /** True when the status was about this stream. */
  deviceStatus(status: DeviceStreamStatus): boolean {
    const isMine = status.streamId === this.streamId || this.#push.concerns(status);
    if (isMine) this.#inbox.do(() => this.#onDeviceStatus(status));
    return isMine;
  }

  keepAliveAck({ streamId }: { streamId: string; ackId: string }): void {
    if (streamId === this.streamId) this.#inbox.do(() => this.#liveness.acked());
  }

  hint(hint: IngestHint): void {
    this.#inbox.do(() => {
      if (!this.isOpen()) return;
      if (hint.kind === 'errored') this.#fail(hint.error);
      else this.#liveness.hurry();
    });
  }

  /** The control link is lost: only what is missed from now on counts. */
  glassesGone(): void {
    this.#inbox.do(() => {
      this.#liveness.forgive();
      if (this.isOpen()) this.#deadlines.glassesAway();
    });
  }

  glassesBack(): void {
    this.#inbox.do(() => {
      this.#deadlines.glassesBack();
      if (this.#ingest && this.isOpen()) this.#push.back();
    });
  }

  /** Undefined until its ingest is made, and for streams that have none. */
  outputs(): RestreamOutputs | undefined {
    return this.isOpen() ? this.#outputs.live() : undefined;
  }

  /** With the addresses it is pushed to: secrets. */
  saved(): StreamRecord {
    return recordOf(this.#parts(), this.#options.clock.now());
  }

  snapshot(): StreamSnapshot {
    return snapshotOf(this.#parts());
  }

  // ── inside: called from the inbox only ──

  #onIngest(ingest: IngestPoint): void {
    const { clock, glasses, look, record } = this.#options;
    const { liveInputUid, urls } = ingest;
    if (!this.isOpen()) return;
    this.#ingest = ingest;
    const onOutputs = this.#inbox.current(() => {
      if (this.#state === 'active') this.#facts.message = 'Outputs updated';
      this.#tellAll('state');
      this.#changed();
    });
    const onBegun = this.#inbox.current(() => this.#changed());
    if (liveInputUid) this.#outputs.open(this.streamId, liveInputUid, onOutputs, onBegun);
    if (this.#state === 'provisioning') this.#move('provisioned');
    if (this.#state === 'interrupted') {
      this.#deadlines.interrupted(Math.max(0, clock.now() - record.savedAtMs));
      this.#deadlines.limit(this.#facts.liveForMs());
    }
    if (!glasses.isConnected()) this.#deadlines.glassesAway();
    this.#push.want(startOrder(identityOf(record), ingest, this.#settings), record.isStarted);
    this.#liveness.begin((events) => look(ingest, events), { wasLive: this.#state === 'interrupted' });
    if (record.isStarted && urls) this.#liveness.hurry();
    this.#changed();
  }

  #onStartSent(): void {
    this.#facts.reached('startSentMs');
    this.#options.log.info({ ms: this.#facts.sinceRequestMs() }, 'stream-start-sent');
    this.#changed();
  }

  #onDeviceStatus(status: DeviceStreamStatus): void {
    if (this.#push.readLast(status) || !this.isOpen()) return;
    const news = this.#push.read(status);
    if (news === undefined) return;
    this.#liveness.heard();
    this.#facts.learn(status);
    switch (news) {
      case 'starting':
      case 'stopping':
        return;
      case 'publishing':
        this.#facts.reached('publishingMs');
        this.#liveness.devicePublishes();
        if (this.#state === 'active' && (status.stats || status.notice)) {
          this.#tellAll(status.notice ? 'state' : 'stats', this.#facts.stats, status.notice?.text);
        }
        this.#options.onChange();
        return;
      case 'retrying':
        this.#liveness.deviceRetries();
        this.#interrupt(reconnectingText(status));
        return;
      case 'ended':
        this.#stop(endings.glasses, 'device-idle');
        return;
      case 'failed':
        this.#fail(deviceError(status), 'device-idle');
        return;
      default:
        news satisfies never;
    }
  }

  #onLive(): void {
    if (this.#state === 'active' || !this.isOpen()) return;
    this.#move('live');
    this.#facts.reached('liveMs');
    this.#facts.message = 'Stream is now live';
    this.#viewers.satisfied();
    this.#deadlines.live(this.#facts.liveForMs());
    this.#options.log.info({ ms: this.#facts.sinceRequestMs() }, 'stream-live');
    this.#tellAll('state');
    this.#changed();
  }

  #interrupt(message: string): void {
    if (this.#state !== 'active') return;
    this.#move('interrupt');
    this.#facts.message = message;
    this.#options.log.info({ reason: message }, 'stream-interrupted');
    this.#deadlines.interrupted();
    this.#tellAll('state');
    this.#liveness.proveAgain();
    this.#options.onChange();
  }

  #onLate(viewerId: string): void {
    const code = this.#push.isStarted || !this.#ingest ? 'START_TIMEOUT' : 'GLASSES_NOT_CONNECTED';
    if (!this.#viewers.dismiss(viewerId, this.#words.failed(new GlasscastError(code), this.streamId))) return;
    this.#options.log.warn({ appId: viewerId, code }, 'stream-start-late');
    this.#changed();
    if (this.#viewers.size > 0 || !this.isOpen()) return;
    this.#facts.error ??= new GlasscastError(code);
    this.#stop(undefined);
  }

  #stop(message: string | undefined, device?: 'device-idle'): void {
    this.#move('stop');
    this.#facts.message = message ?? this.#facts.error?.message;
    this.#viewers.dismissAll(this.#words.stopped(this.streamId, message));
    this.#windDown(device);
  }

  #fail(error: GlasscastError, device?: 'device-idle'): void {
    if (!this.isOpen()) return;
    this.#move('fail');
    this.#facts.error = error;
    this.#facts.message = error.message;
    const level = error.fault === 'us' ? 'error' : 'warn';
    this.#options.log[level]({ code: error.code, reason: error.message }, 'stream-failed');
    this.#viewers.dismissAll(this.#words.failed(error, this.streamId));
    this.#windDown(device);
  }

  /** The device first: a stop sent after the next start would end that one. */
  #windDown(device: 'device-idle' | undefined): void {
    this.#rest();
    void this.#options.save(undefined).catch(() => {});
    this.#options.onChange();
    this.#push.stop(device === 'device-idle', () => this.#end());
  }

  /** Nothing begun earlier acts any more. */
  #rest(): void {
    this.#inbox.supersede();
    this.#liveness.close();
    this.#outputs.close();
    this.#viewers.close();
  }

  #end(): void {
    this.#options.source.discard(this.streamId);
    if (this.#state === 'stopping') this.#move('stopped');
    this.#options.log.info({ state: this.#state }, 'stream-ended');
    this.#options.onChange();
    this.#options.onEnded();
  }

  #tellAll(importance: 'state' | 'stats', stats?: StreamStats, message = this.#facts.message): void {
    const situation = { ...situationOf(this.#parts()), message };
    this.#viewers.tellAll((appId) => this.#words.status(situation, appId, stats), importance);
  }

  #changed(): void {
    this.#options.onChange();
    if (!isStreamOver(this.#state)) void this.#save().catch(() => {});
  }

  #save(): Promise<void> {
    const { save, timings } = this.#options;
    if (this.isOpen()) this.#inbox.arm('save', timings.saveEveryMs, () => void this.#save().catch(() => {}));
    return save(this.saved());
  }

  #parts(): StreamParts {
    return { lasting: this.#lasting, state: this.#state, ingest: this.#ingest, isStarted: this.#push.isStarted };
  }

  #move(event: StreamEvent): void {
    this.#state = transition(streamTable, this.#state, event);
  }
}
