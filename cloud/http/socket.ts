/**
 * One WebSocket connection: frames to messages and back, size and rate bounds, pings. A slow peer loses statistics but
 * never a state. Knows no message by meaning; a bad frame is answered on the open socket, and so is one too many.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, GlasscastError, isDefect } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Decoded, Dialect } from '../../shared/protocol/dialects.ts';
import { type Bucket, createBucket, type Rate } from '../access/rate-limits.ts';
import type { Importance } from '../streams/viewers.ts';

export interface SocketLimits {
  /** A peer that has said nothing for this long is pinged, as proxies drop idle connections. Default 10000. */
  pingIntervalMs: number;
  /** Without any answer the peer is gone. Default 30000. */
  silenceMs: number;
  /** Statistics are left out above this many waiting bytes. Default 64 KiB. */
  statsBufferBytes: number;
  /** Above this the peer does not read at all: it is cut and comes back to a fresh state. Default 1 MiB. */
  maxBufferBytes: number;
  /** Bad frames that are answered each 10 s; more go unanswered. Default 10. */
  answeredErrors: number;
  /** Bad frames each 10 s that end the connection (1008). Default 500. */
  maxErrors: number;
  /** Frames of every kind; more are bad frames. Default 200 each second, 1000 at once: a phone passes on a lot. */
  frames: Rate;
  /** What those frames hold. Default 1 MiB each second, 4 MiB at once. */
  bytes: Rate;
}

export const defaultSocketLimits: SocketLimits = {
  pingIntervalMs: 10_000,
  silenceMs: 30_000,
  statsBufferBytes: 64 * 1024,
  maxBufferBytes: 1024 * 1024,
  answeredErrors: 10,
  maxErrors: 500,
  frames: { perSecond: 200, burst: 1_000 },
  bytes: { perSecond: 1024 * 1024, burst: 4 * 1024 * 1024 },
};

/** Apps ask and stop; nothing that they do comes in this number. */
export const appSocketLimits: Partial<SocketLimits> = {
  frames: { perSecond: 50, burst: 200 },
  bytes: { perSecond: 512 * 1024, burst: 2 * 1024 * 1024 },
};

const ERROR_WINDOW_MS = 10_000;
const MAX_REASON_BYTES = 123;

/** Close codes and what the SDK makes of them: reconnects after 1012 and 4000; takes 1000 as the end. */
export const closeCodes = { done: 1000, policy: 1008, restart: 1012, tryAgain: 1013, replaced: 4001 } as const;

export interface Socket<Out> {
  readonly isOpen: boolean;
  /** What the peer has shown that it speaks; undefined: nothing yet. */
  readonly dialect: Dialect | undefined;
  /** False when the message did not go out. @param dialect in place of the peer's own. */
  send(message: Out, importance?: Importance, dialect?: Dialect): boolean;
  close(code: number, reason: string): void;
}

/** What of a `ws` WebSocket is needed: the real one, or what stands for one that is at another node. */
export interface FrameSocket {
  readonly readyState: number;
  readonly bufferedAmount: number;
  /** @param flushed once it has been written, or never will be. */
  send(frame: string, flushed?: () => void): void;
  ping(): void;
  close(code: number, reason: string): void;
  terminate(): void;
  on(event: 'message', take: (data: Buffer, isBinary: boolean) => void): unknown;
  on(event: 'ping' | 'pong', take: () => void): unknown;
  on(event: 'error', take: (error: Error) => void): unknown;
  on(event: 'close', take: (code: number, reason: Buffer) => void): unknown;
  once(event: 'close', take: () => void): unknown;
}

/** Counts; called for every frame. */
export interface SocketMeter {
  opened(): void;
  received(message: { type: string }): void;
  /** With what was received last. */
  handled(): void;
  sent(message: { type: string }): void;
  refused(code: ErrorCode): void;
  closed(code: number): void;
}

export interface SocketOptions<In, Out> {
  ws: FrameSocket;
  decode: (frame: string) => Decoded<In>;
  encode: (message: Out, dialect: Dialect, nowMs: number) => string;
  /** The answer to a frame that cannot be used. */
  complaint: (error: GlasscastError) => Out;
  clock: Clock;
  log: Log;
  limits?: Partial<SocketLimits>;
  meter?: SocketMeter | undefined;
  /** Who is there, for the log; asked for each line. */
  about?: () => Readonly<Record<string, unknown>>;
  onMessage: (message: In) => void;
  /** Once, also when the peer vanished (1006). */
  onClose: (code: number, reason: string) => void;
}

export function createSocket<In extends { type: string }, Out extends { type: string }>(
  options: SocketOptions<In, Out>,
): Socket<Out> {
  return new Connection(options);
}

class Connection<In extends { type: string }, Out extends { type: string }> implements Socket<Out> {
  readonly #options: SocketOptions<In, Out>;
  readonly #limits: SocketLimits;
  readonly #pings: Timer;
  readonly #frames: Bucket;
  readonly #bytes: Bucket;
  /** The peer's last word decides how it is answered. */
  #dialect: Dialect | undefined;
  #heardMs: number;
  #errors = 0;
  #errorsSinceMs = 0;
  #isClosed = false;

  constructor(options: SocketOptions<In, Out>) {
    const { ws, clock } = options;
    this.#options = options;
    this.#limits = options.limits ? { ...defaultSocketLimits, ...options.limits } : defaultSocketLimits;
    this.#frames = createBucket({ clock, ...this.#limits.frames });
    this.#bytes = createBucket({ clock, ...this.#limits.bytes });
    this.#heardMs = clock.monotonicMs();
    ws.on('message', (data: Buffer, isBinary) => {
      // Binary frames are audio, for other services.
      if (this.#isWithinRate(data.length) && !isBinary) this.#receive(data.toString());
    });
    for (const event of ['ping', 'pong'] as const) ws.on(event, () => void this.#isWithinRate(0));
    // 'close' follows; without a listener an oversized frame would end the process.
    ws.on('error', (error) => options.log.debug({ ...this.#about(), reason: error.message }, 'socket-error'));
    ws.on('close', (code, reason) => this.#onClose(code, reason.toString()));
    options.meter?.opened();
    this.#pings = clock.every('socket-ping', this.#limits.pingIntervalMs, () => this.#ping());
  }

  get isOpen(): boolean {
    return !this.#isClosed && this.#options.ws.readyState === 1;
  }

  get dialect(): Dialect | undefined {
    return this.#dialect;
  }

  send(message: Out, importance: Importance = 'state', dialect: Dialect = this.#dialect ?? 'rtmp'): boolean {
    const { ws, encode, clock, log } = this.#options;
    if (!this.isOpen) return false;
    if (importance === 'stats' && ws.bufferedAmount > this.#limits.statsBufferBytes) return false;
    if (ws.bufferedAmount > this.#limits.maxBufferBytes) {
      log.warn({ ...this.#about(), bufferedBytes: ws.bufferedAmount }, 'socket-peer-does-not-read');
      ws.terminate();
      return false;
    }
    try {
      ws.send(encode(message, dialect, clock.now()));
      this.#options.meter?.sent(message);
      return true;
    } catch (thrown) {
      // An encoder refuses only what we built wrongly.
      log.error(
        { ...this.#about(), type: message.type, reason: asGlasscastError(thrown).message },
        'message-not-encodable',
      );
      return false;
    }
  }

  close(code: number, reason: string): void {
    const { ws, clock } = this.#options;
    if (this.#isClosed || ws.readyState >= 2) return;
    ws.close(code, fitting(reason));
    // A peer that does not answer the close is cut.
    const cut = clock.after('socket-close', 2_000, () => ws.terminate());
    ws.once('close', () => cut.cancel());
  }

  /** False: one too many, which is not even looked into. */
  #isWithinRate(bytes: number): boolean {
    this.#heardMs = this.#options.clock.monotonicMs();
    if (this.#frames.take() && this.#bytes.take(bytes)) return true;
    if (this.isOpen) this.#complain(new GlasscastError('RATE_LIMITED'));
    return false;
  }

  #receive(frame: string): void {
    // After our close nothing that was still on its way counts: its session may be over.
    if (!this.isOpen) return;
    let decoded: Decoded<In>;
    try {
      decoded = this.#options.decode(frame);
    } catch (thrown) {
      this.#complain(asGlasscastError(thrown));
      return;
    }
    if (decoded.dialect) this.#dialect = decoded.dialect;
    this.#options.meter?.received(decoded.message);
    try {
      this.#options.onMessage(decoded.message);
    } catch (thrown) {
      const error = asGlasscastError(thrown);
      if (isDefect(error)) {
        this.#options.log.error({ ...this.#about(), code: error.code, reason: error.message }, 'message-failed');
      }
      this.#complain(error);
    } finally {
      this.#options.meter?.handled();
    }
  }

  #complain(error: GlasscastError): void {
    const { clock, log, complaint } = this.#options;
    this.#options.meter?.refused(error.code);
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#errorsSinceMs >= ERROR_WINDOW_MS) {
      if (this.#errors > this.#limits.answeredErrors)
        log.warn({ ...this.#about(), count: this.#errors }, 'bad-frames-suppressed');
      this.#errors = 0;
      this.#errorsSinceMs = nowMs;
    }
    this.#errors += 1;
    if (this.#errors > this.#limits.maxErrors)
      this.close(closeCodes.policy, `Too many ${error.code === 'RATE_LIMITED' ? '' : 'bad '}messages`);
    else if (this.#errors <= this.#limits.answeredErrors) this.send(complaint(error));
  }

  #about(): Readonly<Record<string, unknown>> {
    return this.#options.about?.() ?? {};
  }

  #ping(): void {
    const { ws, clock, log } = this.#options;
    const { pingIntervalMs, silenceMs } = this.#limits;
    const quietMs = clock.monotonicMs() - this.#heardMs;
    if (quietMs > silenceMs) {
      log.info({ ...this.#about(), silenceMs }, 'socket-peer-silent');
      ws.terminate();
    } else if (quietMs >= pingIntervalMs && this.isOpen) {
      // Who has spoken lately lives: with ten thousand glasses every ping that is not sent counts.
      ws.ping();
    }
  }

  #onClose(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#pings.cancel();
    this.#options.meter?.closed(code);
    this.#options.onClose(code, reason);
  }
}

/** A close frame has room for 123 bytes (RFC 6455 §5.5). */
function fitting(reason: string): string {
  if (Buffer.byteLength(reason) <= MAX_REASON_BYTES) return reason;
  // A character that is cut leaves a mark of three bytes.
  return Buffer.from(reason)
    .subarray(0, MAX_REASON_BYTES - 3)
    .toString();
}
