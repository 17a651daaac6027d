/**
 * At most one stream per user: starts it, joins it, or lets a request wait for the old one's end. Every decision is
 * made without a pause between looking and acting, so that two requests in one instant get one live input.
 * Knows no app and no socket.
 */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ManagedStreamRequest, StreamStatusCheckResponse } from '../../shared/protocol/app-messages.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { deviceStatusMeaning, managedStatusOf, newStreamId } from '../../shared/stream.ts';
import type { IngestSource } from '../provider/ingest-source.ts';
import type { Playback } from '../provider/playback.ts';
import { errorStatus, type StreamSnapshot, stoppedStatus } from './managed-status.ts';
import { createManagedStream, type ManagedStream } from './managed-stream.ts';
import { type GlassesLink, stopOrder } from './stream-orders.ts';
import type { StreamTimings } from './stream-timings.ts';
import type { Viewer } from './viewers.ts';

export type StreamRequest = Omit<ManagedStreamRequest, 'type'>;

export interface StreamRegistry {
  /** Starts or joins; the viewer hears everything else by its statuses. SHUTTING_DOWN is thrown. */
  request(userId: string, viewer: Viewer, request: StreamRequest, glasses: GlassesLink): void;
  /** Always answered with `stopped`, once, whether or not anything runs. */
  leave(userId: string, viewer: Viewer): void;
  /** As `leave`, for a viewer that is gone: says nothing when it watched nothing. */
  drop(userId: string, viewerId: string): void;
  /** Tells a viewer that came back how its stream is; false when it has none. */
  repeat(userId: string, viewerId: string): boolean;
  check(userId: string): Pick<StreamStatusCheckResponse, 'hasActiveStream' | 'streamInfo'>;
  deviceStatus(userId: string, status: DeviceStreamStatus, glasses: GlassesLink): void;
  keepAliveAck(userId: string, ack: { streamId: string; ackId: string }): void;
  glassesGone(userId: string): void;
  glassesBack(userId: string): void;
  /** The user's session is over. */
  endUser(userId: string, error: GlasscastError): void;
  snapshots(): StreamSnapshot[];
  snapshot(streamId: string): StreamSnapshot | undefined;
  /** Stops every stream and waits for the glasses to say so, or for their time to run out. */
  close(): Promise<void>;
}

export interface StreamRegistryOptions {
  source: IngestSource;
  playback: Playback;
  clock: Clock;
  log: Log;
  timings?: Partial<StreamTimings>;
  /** A stream's snapshot has changed. */
  onChange: (snapshot: StreamSnapshot) => void;
  onDefect?: (error: GlasscastError) => void;
}

interface Parked {
  viewer: Viewer;
  request: StreamRequest;
  glasses: GlassesLink;
  requestedMs: number;
}

interface UserStreams {
  stream: ManagedStream | undefined;
  /** Requests that came while the stream was ending. */
  parked: Map<string, Parked>;
  strayStopMs: number;
}

/** A stray stream is told to stop at most this often: it may take a moment to obey. */
const STRAY_STOP_GAP_MS = 5_000;

export function createStreamRegistry(options: StreamRegistryOptions): StreamRegistry {
  return new Registry(options);
}

class Registry implements StreamRegistry {
  readonly #options: StreamRegistryOptions;
  readonly #users = new Map<string, UserStreams>();
  readonly #onEmpty: (() => void)[] = [];
  #closing = false;

  constructor(options: StreamRegistryOptions) {
    this.#options = options;
  }

  request(userId: string, viewer: Viewer, request: StreamRequest, glasses: GlassesLink): void {
    if (this.#closing) throw new GlasscastError('SHUTTING_DOWN');
    this.#serve(userId, { viewer, request, glasses, requestedMs: this.#options.clock.monotonicMs() });
  }

  leave(userId: string, viewer: Viewer): void {
    const user = this.#users.get(userId);
    const wasParked = user?.parked.delete(viewer.id) ?? false;
    const wasViewer = user?.stream?.leave(viewer.id) ?? false;
    if (wasViewer && !wasParked) return;
    if (!wasViewer) viewer.deliver(stoppedStatus(undefined), 'state');
  }

  drop(userId: string, viewerId: string): void {
    const user = this.#users.get(userId);
    user?.parked.delete(viewerId);
    user?.stream?.leave(viewerId);
  }

  repeat(userId: string, viewerId: string): boolean {
    const stream = this.#users.get(userId)?.stream;
    if (!stream?.snapshot().viewers.includes(viewerId)) return false;
    stream.repeat(viewerId);
    return true;
  }

  check(userId: string): Pick<StreamStatusCheckResponse, 'hasActiveStream' | 'streamInfo'> {
    const stream = this.#users.get(userId)?.stream;
    if (!stream?.isOpen()) return { hasActiveStream: false };
    const { streamId, state, createdAt, viewers, urls } = stream.snapshot();
    return {
      hasActiveStream: true,
      streamInfo: {
        type: 'managed',
        streamId,
        status: managedStatusOf[state],
        createdAt,
        activeViewers: viewers.length,
        ...urls,
      },
    };
  }

  deviceStatus(userId: string, status: DeviceStreamStatus, glasses: GlassesLink): void {
    if (this.#users.get(userId)?.stream?.deviceStatus(status)) return;
    const { streamId } = status;
    const isRunning = ['publishing', 'retrying', 'starting'].includes(deviceStatusMeaning[status.status]);
    if (!streamId || !isRunning) return;
    // What runs there is wanted by nobody. Not while a start is on its way: old firmware stops whatever runs.
    const user = this.#user(userId);
    const nowMs = this.#options.clock.monotonicMs();
    if (user.stream?.snapshot().startSentMs !== undefined || nowMs < user.strayStopMs + STRAY_STOP_GAP_MS) return;
    user.strayStopMs = nowMs;
    this.#options.log.info({ userId, streamId }, 'stray-stream-stopped');
    glasses.send(stopOrder({ streamId, userId }));
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

  endUser(userId: string, error: GlasscastError): void {
    const user = this.#users.get(userId);
    refuseParked(user, error);
    if (user?.stream) user.stream.fail(error);
    else this.#users.delete(userId);
  }

  snapshots(): StreamSnapshot[] {
    return [...this.#users.values()].flatMap(({ stream }) => stream?.snapshot() ?? []);
  }

  snapshot(streamId: string): StreamSnapshot | undefined {
    return this.snapshots().find((snapshot) => snapshot.streamId === streamId);
  }

  async close(): Promise<void> {
    this.#closing = true;
    const streams = [...this.#users.values()].flatMap(({ stream }) => stream ?? []);
    for (const user of this.#users.values()) refuseParked(user, new GlasscastError('SHUTTING_DOWN'));
    for (const stream of streams) stream.stop('The relay is shutting down');
    if (this.snapshots().length > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve));
  }

  #serve(userId: string, asked: Parked): void {
    const { viewer, request, glasses, requestedMs } = asked;
    const { restreamDestinations } = request;
    const user = this.#user(userId);
    if (user.stream && !user.stream.isOpen()) {
      user.parked.set(viewer.id, asked);
      return;
    }
    const isFirst = user.stream === undefined;
    user.stream ??= this.#begin(userId, request, glasses);
    user.stream.join(viewer, { restreamDestinations, requestedMs });
    if (isFirst) user.stream.begin();
  }

  #begin(userId: string, request: StreamRequest, glasses: GlassesLink): ManagedStream {
    const { source, playback, clock, log, timings, onChange, onDefect } = this.#options;
    const streamId = newStreamId('managed');
    const stream: ManagedStream = createManagedStream({
      streamId,
      userId,
      request,
      glasses,
      source,
      playback,
      clock,
      log: log.child({ userId }),
      ...(timings ? { timings } : {}),
      ...(onDefect ? { onDefect } : {}),
      onChange: () => onChange(stream.snapshot()),
      onEnded: () => this.#ended(userId, stream),
    });
    log.info({ userId, streamId }, 'stream-requested');
    return stream;
  }

  #ended(userId: string, stream: ManagedStream): void {
    const user = this.#users.get(userId);
    if (user?.stream !== stream) return;
    user.stream = undefined;
    const waiting = [...user.parked.values()];
    user.parked.clear();
    if (waiting.length === 0) this.#users.delete(userId);
    for (const asked of waiting) this.#serve(userId, asked);
    if (this.snapshots().length === 0) for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  #user(userId: string): UserStreams {
    const known = this.#users.get(userId);
    if (known) return known;
    const user = { stream: undefined, parked: new Map(), strayStopMs: Number.NEGATIVE_INFINITY };
    this.#users.set(userId, user);
    return user;
  }
}

function refuseParked(user: UserStreams | undefined, error: GlasscastError): void {
  for (const { viewer } of user?.parked.values() ?? []) viewer.deliver(errorStatus(error), 'state');
  user?.parked.clear();
}
