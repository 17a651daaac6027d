/**
 * One pair of glasses without a camera: the agent's side of the protocol on one WebSocket that comes back for ever.
 * Acknowledges, obeys, tells; light enough for ten thousand in a process. What is seen goes to the figures.
 */
import { WebSocket } from 'ws';
import { type BackoffPolicy, backoffMs, type Clock, type Timer } from '../../shared/clock.ts';
import { asGlasscastError } from '../../shared/errors.ts';
import { createWatchdog, type Watchdog } from '../../shared/keep-alive.ts';
import { type Dialect, decodeToGlasses, encodeFromGlasses, MAX_FRAME_BYTES } from '../../shared/protocol/dialects.ts';
import type {
  DeviceStreamStatus,
  FromGlasses,
  StartStream,
  ToGlasses,
} from '../../shared/protocol/glasses-messages.ts';
import type { FigureKeeper } from './fleet-figures.ts';

export interface SimulatedGlasses {
  readonly userId: string;
  readonly isConnected: boolean;
  /** The stream that they say they publish. */
  readonly streamId: string | undefined;
  /** Resolves with the first acknowledgement. */
  connect(): Promise<void>;
  /** As a network that is gone: no farewell; they come back by themselves. */
  cut(): void;
  /** Switched off: they come back when `connect` is called. */
  leave(): void;
  battery(percent: number): void;
  startApp(packageName: string): void;
  /** Measured values of the running stream; what is sent carries its moment in `duration`. False: nothing went out. */
  tellStats(): boolean;
  close(): void;
}

export interface MediaSource {
  /** Begins to push; `onLost` when it ends by itself. */
  begin(publishUrl: string, onPublishing: () => void, onLost: (reason: string) => void): () => void;
}

export interface SimulatedGlassesOptions {
  userId: string;
  /** ws://HOST:PORT/glasses-ws */
  url: string;
  /** Asked for at the first connection. */
  token: () => string | Promise<string>;
  /** With timers that cost next to nothing. */
  clock: Clock;
  random: () => number;
  figures: FigureKeeper;
  /** START has arrived. */
  onStart: (userId: string, streamId: string) => void;
  /** Default: none is pushed, and they say that one is. */
  media?: MediaSource | undefined;
}

/** The agent's own numbers (device/runtime/cloud-connection.ts, device/publishing). */
const BACKOFF: BackoffPolicy = { firstMs: 250, factor: 1.7, maxMs: 15_000, jitter: 0.5 };
const CONNECT_TIMEOUT_MS = 10_000;
const SILENCE_MS = 45_000;
const LEASE_MS = 60_000;
/** The relay asks each 15 s and waits 5 s for the answer. */
const LATE_AFTER_MS = 20_000;

interface Push {
  streamId: string;
  /** Monotonic, of the first frame. */
  sinceMs: number;
  isPublishing: boolean;
  heardMs: number;
  lease: Watchdog;
  end: () => void;
}

export function createSimulatedGlasses(options: SimulatedGlassesOptions): SimulatedGlasses {
  return new Glasses(options);
}

class Glasses implements SimulatedGlasses {
  readonly #options: SimulatedGlassesOptions;
  #socket: WebSocket | undefined;
  #dialect: Dialect = 'stream';
  #attempt = 0;
  #push: Push | undefined;
  #retry: Timer | undefined;
  #asking: Timer | undefined;
  #heardMs = 0;
  #askedMs = 0;
  #lostMs: number | undefined;
  #isAcknowledged = false;
  #isWanted = false;
  /** The next loss is of our own making. */
  #isCutting = false;
  #onFirst: (() => void) | undefined;

  constructor(options: SimulatedGlassesOptions) {
    this.#options = options;
  }

  get userId(): string {
    return this.#options.userId;
  }

  get isConnected(): boolean {
    return this.#isAcknowledged;
  }

  get streamId(): string | undefined {
    return this.#push?.isPublishing ? this.#push.streamId : undefined;
  }

  connect(): Promise<void> {
    this.#isWanted = true;
    const first = new Promise<void>((resolve) => {
      this.#onFirst = resolve;
    });
    void this.#open();
    return first;
  }

  cut(): void {
    const socket = this.#socket;
    this.#isCutting = true;
    socket?.terminate();
    // Its own 'close' comes a turn later.
    if (socket) this.#lost(1006);
  }

  leave(): void {
    this.#isWanted = false;
    this.#endPush();
    this.#retry?.cancel();
    this.#isCutting = true;
    this.#socket?.close(1000);
  }

  battery(percent: number): void {
    this.#send({ type: 'glasses_battery_update', level: percent, charging: false });
  }

  startApp(packageName: string): void {
    this.#send({ type: 'start_app', packageName });
  }

  tellStats(): boolean {
    const push = this.#push;
    if (!push?.isPublishing || !this.#isAcknowledged) return false;
    const duration = (this.#options.clock.monotonicMs() - push.sinceMs) / 1000;
    const stats = { bitrate: 2_000_000, fps: 30, droppedFrames: 0, duration };
    this.#send({ type: 'stream_status', kind: 'snapshot', status: 'streaming', streamId: push.streamId, stats });
    return true;
  }

  close(): void {
    this.#isWanted = false;
    this.#endPush();
    this.#retry?.cancel();
    this.#asking?.cancel();
    this.#socket?.terminate();
  }

  async #open(): Promise<void> {
    const { clock, figures, url } = this.#options;
    this.#askedMs = clock.monotonicMs();
    let token: string;
    try {
      token = await this.#options.token();
    } catch (error) {
      figures.error(`token: ${asGlasscastError(error).code}`);
      this.#lost(1006);
      return;
    }
    if (!this.#isWanted) return;
    const socket = new WebSocket(url, {
      headers: { authorization: `Bearer ${token}` },
      handshakeTimeout: CONNECT_TIMEOUT_MS,
      perMessageDeflate: false,
      maxPayload: MAX_FRAME_BYTES,
    });
    this.#socket = socket;
    this.#isCutting = false;
    socket.on('open', () => this.#opened(socket));
    socket.on('message', (data) => this.#take(String(data)));
    const heard = () => {
      this.#heardMs = clock.monotonicMs();
    };
    socket.on('ping', heard);
    socket.on('pong', heard);
    socket.on('unexpected-response', (_request, response) => {
      figures.error(`HTTP ${response.statusCode}`);
      response.resume();
      socket.terminate();
    });
    socket.on('error', (error) => {
      if (!this.#isAcknowledged) figures.error('code' in error ? String(error.code) : error.message);
    });
    socket.on('close', (code) => {
      if (this.#socket === socket) this.#lost(code);
    });
  }

  #opened(socket: WebSocket): void {
    const { clock } = this.#options;
    this.#heardMs = clock.monotonicMs();
    this.#asking = clock.every('glasses-ping', SILENCE_MS / 3, () => {
      if (clock.monotonicMs() - this.#heardMs > SILENCE_MS) socket.terminate();
      else if (socket.readyState === WebSocket.OPEN) socket.ping();
    });
    this.#send({ type: 'connection_init' });
    this.#send({ type: 'glasses_connection_state', modelName: 'Mentra Live', status: 'CONNECTED' });
    const push = this.#push;
    if (push?.isPublishing) this.#status('streaming', push.streamId);
  }

  #lost(code: number): void {
    const { clock, figures, random } = this.#options;
    const wasThere = this.#isAcknowledged;
    this.#socket = undefined;
    this.#isAcknowledged = false;
    this.#asking?.cancel();
    if (wasThere) this.#lostMs = clock.monotonicMs();
    else figures.count.connectAttemptsFailed += 1;
    if (wasThere && !this.#isCutting) {
      figures.count.cutByRelay += 1;
      figures.error(`glasses' socket closed (${code})`);
    }
    if (!this.#isWanted) return;
    const delayMs = backoffMs(BACKOFF, this.#attempt, random);
    this.#attempt += 1;
    this.#retry = clock.after('glasses-retry', delayMs, () => void this.#open());
  }

  #take(frame: string): void {
    const { clock, figures } = this.#options;
    this.#heardMs = clock.monotonicMs();
    let message: ToGlasses;
    try {
      const decoded = decodeToGlasses(frame);
      this.#dialect = decoded.dialect ?? this.#dialect;
      message = decoded.message;
    } catch {
      figures.error('message not understood');
      return;
    }
    switch (message.type) {
      case 'connection_ack':
        this.#acknowledged();
        return;
      case 'start_stream':
        this.#start(message);
        return;
      case 'stop_stream':
        this.#stop(message.streamId);
        return;
      case 'keep_stream_alive':
        this.#keepAlive(message);
        return;
      case 'connection_error':
        figures.error(message.code ?? 'connection_error');
        return;
      case 'ping':
        this.#send({ type: 'pong' });
        return;
      default:
    }
  }

  #acknowledged(): void {
    const { clock, figures } = this.#options;
    // The relay answers our init as well as the connection itself.
    if (this.#isAcknowledged) return;
    this.#isAcknowledged = true;
    this.#attempt = 0;
    const nowMs = clock.monotonicMs();
    if (this.#lostMs === undefined) figures.connectMs.push(nowMs - this.#askedMs);
    else figures.reconnectMs.push(nowMs - this.#lostMs);
    this.#onFirst?.();
    this.#onFirst = undefined;
  }

  #start({ streamId, publishUrl }: StartStream): void {
    const { clock, media, onStart, userId } = this.#options;
    if (this.#push?.streamId === streamId) return;
    this.#endPush();
    const lease = createWatchdog({ clock, name: 'lease', timeoutMs: LEASE_MS, onExpired: () => this.#leaseMissed() });
    const nowMs = clock.monotonicMs();
    const push: Push = { streamId, sinceMs: nowMs, isPublishing: false, heardMs: nowMs, lease, end() {} };
    this.#push = push;
    lease.touch();
    onStart(userId, streamId);
    this.#status('initializing', streamId);
    const publishing = () => {
      if (this.#push !== push) return;
      push.isPublishing = true;
      this.#status('streaming', streamId);
    };
    if (media) push.end = media.begin(publishUrl, publishing, (reason) => this.#mediaLost(push, reason));
    else publishing();
  }

  #mediaLost(push: Push, reason: string): void {
    if (this.#push !== push) return;
    this.#options.figures.error('media lost');
    this.#endPush();
    this.#send({ type: 'stream_status', status: 'error', streamId: push.streamId, errorDetails: reason });
  }

  #stop(streamId: string): void {
    if (streamId !== '' && streamId !== this.#push?.streamId) return;
    const id = this.#push?.streamId ?? streamId;
    this.#endPush();
    this.#status('stopped', id);
  }

  #keepAlive({ streamId, ackId }: { streamId: string; ackId: string }): void {
    const { clock, figures } = this.#options;
    figures.count.received += 1;
    const push = this.#push;
    // The agent acknowledges only what it works on.
    if (push?.streamId !== streamId) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - push.heardMs > LATE_AFTER_MS) figures.count.late += 1;
    push.heardMs = nowMs;
    push.lease.touch();
    this.#send({ type: 'keep_alive_ack', streamId, ackId });
    figures.count.acked += 1;
  }

  #leaseMissed(): void {
    this.#options.figures.count.leasesMissed += 1;
    const streamId = this.#push?.streamId;
    this.#endPush();
    if (streamId) this.#status('stopped', streamId);
  }

  #endPush(): void {
    this.#push?.lease.close();
    this.#push?.end();
    this.#push = undefined;
  }

  #status(status: DeviceStreamStatus['status'], streamId: string): void {
    this.#send({ type: 'stream_status', status, streamId, kind: 'lifecycle' });
  }

  #send(message: FromGlasses): void {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return;
    socket.send(encodeFromGlasses(message, this.#dialect, this.#options.clock.now()), () => {});
  }
}
