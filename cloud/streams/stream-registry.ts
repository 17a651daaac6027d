/**
 * At most one stream per user, managed or unmanaged: starts it, joins it, ends the one for the other by the rules of
 * MentraOS, or lets a request wait for the old one's end. Every decision is made without a pause between looking and
 * acting, so that two requests in one instant get one live input. Knows no app and no socket.
 */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { StreamStatusCheckResponse } from '../../shared/protocol/app-messages.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { redactUrl } from '../../shared/secrets.ts';
import { deviceStatusMeaning, managedStatusOf, unmanagedStatusOf } from '../../shared/stream.ts';
import type { IngestPoint, IngestSource } from '../provider/ingest-source.ts';
import type { Playback, PlaybackEvents, PlaybackWatch } from '../provider/playback.ts';
import type { Restreaming, RestreamOutputs } from '../provider/restream-outputs.ts';
import type { StreamRecord } from '../store/records.ts';
import { createSaves, type Saves } from '../store/saves.ts';
import type { Store } from '../store/store.ts';
import { LiveStream } from './live-stream.ts';
import type { IngestHint } from './liveness.ts';
import { type GlassesLink, MANAGED_APP_ID, stopOrder } from './stream-orders.ts';
import { type AskedStream, newRecord, type StreamRequest, type UnmanagedRequest } from './stream-requests.ts';
import { endings } from './stream-story.ts';
import { defaultStreamTimings, type StreamTimings, timingsFor } from './stream-timings.ts';
import type { StreamSnapshot } from './stream-views.ts';
import { lastWord, wordsOf } from './stream-words.ts';
import type { Viewer } from './viewers.ts';

export interface StreamRegistry {
  /** Starts or joins the managed stream; the viewer hears everything else by its statuses. SHUTTING_DOWN is thrown. */
  request(userId: string, viewer: Viewer, request: StreamRequest, glasses: GlassesLink): void;
  /** Always answered, once, whether or not anything runs: `stopped`, or `error` when there is a reason. */
  leave(userId: string, viewer: Viewer, because?: GlasscastError): void;
  /** Starts an unmanaged stream in place of whatever runs. SHUTTING_DOWN is thrown. */
  requestUnmanaged(userId: string, owner: Viewer, request: UnmanagedRequest, glasses: GlassesLink): void;
  /** Always answered. @param streamId undefined: whatever this app owns. */
  stopUnmanaged(userId: string, owner: Viewer, streamId: string | undefined): void;
  /** The app is gone: as its stop of everything, but says nothing where it watched nothing. */
  drop(userId: string, appId: string): void;
  /** Tells an app that came back how its stream is; false when it has none. */
  repeat(userId: string, appId: string): boolean;
  /** @param appId who asks: an unmanaged stream's key is for its owner. */
  check(userId: string, appId: string): Pick<StreamStatusCheckResponse, 'hasActiveStream' | 'streamInfo'>;
  deviceStatus(userId: string, status: DeviceStreamStatus, glasses: GlassesLink): void;
  keepAliveAck(userId: string, ack: { streamId: string; ackId: string }): void;
  glassesGone(userId: string): void;
  glassesBack(userId: string): void;
  /** What somebody has seen of a live input. */
  hint(liveInputUid: string, hint: IngestHint): void;
  /** Ends it for everybody, who hear this message. @returns false when there is no such stream. */
  end(streamId: string, message: string): boolean;
  /** Takes one viewer, or an owner, off it, who hears this message. @returns false when that one does not watch it. */
  removeViewer(streamId: string, viewerId: string, message: string): boolean;
  /** The user's session is over. */
  endUser(userId: string, error: GlasscastError): void;
  /** Goes on with what an earlier process had saved; nobody is told anything until they come back. */
  resume(records: readonly StreamRecord[], peers: StreamPeers): void;
  /** A stream of the user runs or ends here, a request waits, or something of them is not saved yet. */
  has(userId: string): boolean;
  snapshots(): StreamSnapshot[];
  /** The restream outputs of an open stream; undefined: no such stream, or none that can have any. */
  outputs(streamId: string): { viewers: string[]; outputs: RestreamOutputs } | undefined;
  /** Stops every stream and waits for the glasses to say so, or for their time to run out. */
  close(): Promise<void>;
  /** Lets go of every stream: the next process goes on with them, and with who has not left until the end of this one. */
  suspend(): Promise<void>;
  /** As `suspend`, of one user. @param why.isLost another process has them already: nothing is saved any more */
  handOver(userId: string, why: { isLost: boolean }): Promise<void>;
  /** The store answers again: what could not be saved is saved now. */
  saveAgain(): void;
}

/** Who belongs to a stream of an earlier process. */
export interface StreamPeers {
  /** Undefined when the app runs no more. */
  viewer(userId: string, appId: string): Viewer | undefined;
  glasses(userId: string): GlassesLink;
}

export interface StreamRegistryOptions {
  source: IngestSource;
  restreaming: Restreaming;
  playback: Playback;
  store: Pick<Store, 'streams'>;
  clock: Clock;
  log: Log;
  timings?: Partial<StreamTimings>;
  /** A stream's snapshot has changed. */
  onChange: (snapshot: StreamSnapshot) => void;
  onKeepAliveMissed?: (() => void) | undefined;
  /** All that there was to say of this user's streams is in the store. */
  onSaved?: (userId: string) => void;
  /** Default: logged. */
  onDefect?: (error: GlasscastError) => void;
}

interface UserStreams {
  stream: LiveStream | undefined;
  /** Requests that came while the stream was ending, by kind and app. */
  parked: Map<string, AskedStream>;
  strayStopMs: number;
}

const KINDS = ['managed', 'unmanaged'] as const;

/** A stray stream is told to stop at most this often: it may take a moment to obey. */
const STRAY_STOP_GAP_MS = 5_000;

export function createStreamRegistry(options: StreamRegistryOptions): StreamRegistry {
  return new Registry(options);
}

class Registry implements StreamRegistry {
  readonly #options: StreamRegistryOptions;
  readonly #users = new Map<string, UserStreams>();
  readonly #onEmpty: (() => void)[] = [];
  readonly #saves: Saves<StreamRecord>;
  readonly #timings: Readonly<Record<StreamRecord['kind'], StreamTimings>>;
  #closing = false;

  constructor(options: StreamRegistryOptions) {
    const timings = { ...defaultStreamTimings, ...options.timings };
    this.#options = options;
    this.#timings = { managed: timingsFor('managed', timings), unmanaged: timingsFor('unmanaged', timings) };
    this.#saves = createSaves({ ...options, collection: options.store.streams, name: 'stream', keyName: 'streamId' });
  }

  request(userId: string, viewer: Viewer, request: StreamRequest, glasses: GlassesLink): void {
    this.#serve(userId, { kind: 'managed', viewer, request, glasses, requestedAtMs: this.#options.clock.now() });
  }

  requestUnmanaged(userId: string, viewer: Viewer, request: UnmanagedRequest, glasses: GlassesLink): void {
    this.#serve(userId, { kind: 'unmanaged', viewer, request, glasses, requestedAtMs: this.#options.clock.now() });
  }

  leave(userId: string, viewer: Viewer, because?: GlasscastError): void {
    this.#leave(userId, viewer, 'managed', undefined, because);
  }

  stopUnmanaged(userId: string, owner: Viewer, streamId: string | undefined): void {
    const stream = this.#users.get(userId)?.stream;
    const isOthers = stream?.isOpen() && stream.kind === 'unmanaged' && !stream.snapshot().viewers.includes(owner.id);
    if (streamId && streamId === stream?.streamId && isOthers) {
      owner.deliver(wordsOf.unmanaged.failed(new GlasscastError('STREAM_NOT_YOURS'), streamId), 'state');
      return;
    }
    // The stop of an earlier stream says nothing about the present one.
    if (streamId && stream?.kind === 'unmanaged' && streamId !== stream.streamId) {
      owner.deliver(wordsOf.unmanaged.stopped(streamId), 'state');
      return;
    }
    this.#leave(userId, owner, 'unmanaged', streamId);
  }

  drop(userId: string, appId: string): void {
    const user = this.#users.get(userId);
    for (const kind of KINDS) user?.parked.delete(`${kind} ${appId}`);
    user?.stream?.leave(appId);
  }

  repeat(userId: string, appId: string): boolean {
    const { stream, parked } = this.#users.get(userId) ?? {};
    // Not answered yet: it hears when the stream before has ended.
    if (KINDS.some((kind) => parked?.has(`${kind} ${appId}`))) return true;
    if (!stream?.snapshot().viewers.includes(appId)) return false;
    stream.repeat(appId);
    return true;
  }

  check(userId: string, appId: string): Pick<StreamStatusCheckResponse, 'hasActiveStream' | 'streamInfo'> {
    const stream = this.#users.get(userId)?.stream;
    if (!stream?.isOpen()) return { hasActiveStream: false };
    const { streamId, kind, state, createdAt, viewers, urls } = stream.snapshot();
    if (kind === 'managed') {
      const status = managedStatusOf[state];
      const info = { type: kind, streamId, status, createdAt, activeViewers: viewers.length, ...urls };
      return { hasActiveStream: true, streamInfo: info };
    }
    const [owner = ''] = viewers;
    const publishUrl = stream.saved().ingest?.publishUrl ?? '';
    const rtmpUrl = owner === appId ? publishUrl : redactUrl(publishUrl);
    const info = { type: kind, streamId, status: unmanagedStatusOf[state], createdAt, requestingAppId: owner, rtmpUrl };
    return { hasActiveStream: true, streamInfo: info };
  }

  deviceStatus(userId: string, status: DeviceStreamStatus, glasses: GlassesLink): void {
    if (this.#users.get(userId)?.stream?.deviceStatus(status)) return;
    const { streamId } = status;
    const isRunning = ['publishing', 'retrying', 'starting'].includes(deviceStatusMeaning[status.status]);
    if (!streamId || !isRunning) return;
    // What runs there is wanted by nobody. Not while a start is on its way: old firmware stops whatever runs.
    const user = this.#user(userId);
    const nowMs = this.#options.clock.monotonicMs();
    if (user.stream?.saved().isStarted || nowMs < user.strayStopMs + STRAY_STOP_GAP_MS) return;
    user.strayStopMs = nowMs;
    this.#options.log.info({ userId, streamId }, 'stray-stream-stopped');
    glasses.send(stopOrder({ streamId, userId, appId: MANAGED_APP_ID }));
  }

  keepAliveAck(userId: string, ack: { streamId: string; ackId: string }): void {
    this.#users.get(userId)?.stream?.keepAliveAck(ack);
  }

  glassesGone(userId: string): void {
    this.#users.get(userId)?.stream?.glassesGone();
  }

  glassesBack(userId: string): void {
    this.#users.get(userId)?.stream?.glassesBack();
  }

  hint(liveInputUid: string, hint: IngestHint): void {
    for (const stream of this.#streams()) if (stream.saved().ingest?.liveInputUid === liveInputUid) stream.hint(hint);
  }

  end(streamId: string, message: string): boolean {
    const stream = this.#streams().find((candidate) => candidate.streamId === streamId);
    stream?.stop(message);
    return stream !== undefined;
  }

  removeViewer(streamId: string, viewerId: string, message: string): boolean {
    const stream = this.#streams().find((candidate) => candidate.streamId === streamId);
    return stream?.leave(viewerId, message) ?? false;
  }

  endUser(userId: string, error: GlasscastError): void {
    const user = this.#users.get(userId);
    refuseParked(user, error);
    if (user?.stream) user.stream.fail(error);
    else this.#users.delete(userId);
  }

  resume(records: readonly StreamRecord[], peers: StreamPeers): void {
    // Two of one user: the end of the older one could not be written.
    for (const record of [...records].sort((a, b) => b.createdAtMs - a.createdAtMs)) {
      const user = this.#user(record.userId);
      const stream = this.#take(record, peers.glasses(record.userId));
      if (user.stream) {
        stream.stop();
        continue;
      }
      user.stream = stream;
      for (const request of record.viewers) {
        const viewer = peers.viewer(record.userId, request.id);
        if (viewer) stream.rejoin(viewer, request);
      }
      this.#options.log.info({ userId: record.userId, streamId: record.streamId }, 'stream-resumed');
      if (stream.snapshot().viewers.length > 0) stream.begin();
      else stream.stop();
    }
  }

  has(userId: string): boolean {
    return this.#users.has(userId) || this.#saves.has(userId);
  }

  snapshots(): StreamSnapshot[] {
    return this.#streams().map((stream) => stream.snapshot());
  }

  outputs(streamId: string): { viewers: string[]; outputs: RestreamOutputs } | undefined {
    const stream = this.#streams().find((candidate) => candidate.streamId === streamId);
    const outputs = stream?.outputs();
    return stream && outputs && { viewers: stream.snapshot().viewers, outputs };
  }

  async close(): Promise<void> {
    this.#closing = true;
    for (const user of this.#users.values()) refuseParked(user, new GlasscastError('SHUTTING_DOWN'));
    for (const stream of this.#streams()) stream.stop(endings.relay);
    if (this.#streams().length > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve));
    await this.#saves.close();
  }

  async suspend(): Promise<void> {
    this.#closing = true;
    for (const user of this.#users.values()) refuseParked(user, new GlasscastError('SHUTTING_DOWN'));
    for (const stream of this.#streams()) stream.suspend();
    await this.#saves.close();
  }

  async handOver(userId: string, { isLost }: { isLost: boolean }): Promise<void> {
    const user = this.#users.get(userId);
    this.#users.delete(userId);
    refuseParked(user, new GlasscastError('SESSION_MOVED'));
    const { stream } = user ?? {};
    stream?.suspend({ isLost });
    if (stream) {
      this.#options.source.forget(stream.streamId);
      this.#options.log.info({ userId, streamId: stream.streamId, isLost }, 'stream-handed-over');
      this.#tellEmpty();
    }
    const saved = this.#saves.release(userId, { isLost });
    if (!isLost) await saved;
  }

  saveAgain(): void {
    this.#saves.retry();
  }

  #serve(userId: string, asked: AskedStream): void {
    if (this.#closing) throw new GlasscastError('SHUTTING_DOWN');
    const { kind, viewer } = asked;
    const user = this.#user(userId);
    const { stream } = user;
    if (stream?.isOpen() && kind === 'managed') {
      if (stream.kind === 'managed') join(stream, asked);
      else viewer.deliver(wordsOf.managed.failed(new GlasscastError('UNMANAGED_STREAM_ACTIVE')), 'state');
    } else if (stream) {
      // An unmanaged stream takes the place of whatever runs.
      user.parked.set(`${kind} ${viewer.id}`, asked);
      stream.stop(`${viewer.id} has started an unmanaged stream`);
    } else {
      user.stream = this.#take(newRecord(userId, asked), asked.glasses);
      this.#options.log.info({ userId, streamId: user.stream.streamId, kind }, 'stream-requested');
      join(user.stream, asked);
      user.stream.begin();
    }
  }

  #take(record: StreamRecord, glasses: GlassesLink): LiveStream {
    const { source, restreaming, playback, clock, log, onChange } = this.#options;
    const { streamId, userId } = record;
    const logDefect = ({ code, message }: GlasscastError) =>
      log.error({ userId, streamId, code, reason: message }, 'stream-defect');
    const stream: LiveStream = new LiveStream({
      record,
      glasses,
      source,
      restreaming,
      clock,
      log: log.child({ userId, streamId }),
      onKeepAliveMissed: this.#options.onKeepAliveMissed,
      timings: this.#timings[record.kind],
      look: (ingest, events) => look(playback, streamId, ingest, events),
      save: (changed) => this.#saves.save({ key: streamId, userId }, changed),
      onChange: () => onChange(stream.snapshot()),
      onEnded: () => this.#ended(userId, stream),
      onDefect: this.#options.onDefect ?? logDefect,
    });
    return stream;
  }

  #leave(userId: string, viewer: Viewer, kind: AskedStream['kind'], streamId?: string, because?: GlasscastError): void {
    const user = this.#users.get(userId);
    user?.parked.delete(`${kind} ${viewer.id}`);
    const wasViewer = user?.stream?.kind === kind && user.stream.leave(viewer.id, because);
    if (!wasViewer) viewer.deliver(lastWord(kind, streamId, because), 'state');
  }

  #ended(userId: string, stream: LiveStream): void {
    const user = this.#users.get(userId);
    if (user?.stream !== stream) return;
    user.stream = undefined;
    const waiting = [...user.parked.values()];
    user.parked.clear();
    if (waiting.length === 0) this.#users.delete(userId);
    for (const asked of waiting) this.#serve(userId, asked);
    this.#tellEmpty();
  }

  #tellEmpty(): void {
    if (this.#streams().length === 0) for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  #streams(): LiveStream[] {
    return [...this.#users.values()].flatMap(({ stream }) => stream ?? []);
  }

  #user(userId: string): UserStreams {
    const known = this.#users.get(userId);
    if (known) return known;
    const user = { stream: undefined, parked: new Map(), strayStopMs: Number.NEGATIVE_INFINITY };
    this.#users.set(userId, user);
    return user;
  }
}

function join(stream: LiveStream, { viewer, request, requestedAtMs }: AskedStream): void {
  const destinations = 'restreamDestinations' in request ? request.restreamDestinations : undefined;
  stream.join(viewer, { restreamDestinations: destinations, requestedAtMs });
}

/** Of an address of the app's own choice the glasses' word is the only proof there is. */
function look(playback: Playback, streamId: string, { urls }: IngestPoint, events: PlaybackEvents): PlaybackWatch {
  if (!urls) return { hurry: () => events.live(), close() {} };
  return playback.watch({ streamId, hlsUrl: urls.hlsUrl, dashUrl: urls.dashUrl }, events);
}

function refuseParked(user: UserStreams | undefined, error: GlasscastError): void {
  for (const { kind, viewer } of user?.parked.values() ?? []) viewer.deliver(wordsOf[kind].failed(error), 'state');
  user?.parked.clear();
}

export type { StreamRequest, UnmanagedRequest } from './stream-requests.ts';
