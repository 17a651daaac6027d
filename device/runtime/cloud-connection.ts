/**
 * The agent's line to the relay: one WebSocket that comes back for ever, and the dialect spoken on it. The only file here
 * that knows ws. What is said while the line is down waits, within bounds; what a command means is not known here.
 */
import { networkInterfaces } from 'node:os';
import { WebSocket } from 'ws';
import { type BackoffPolicy, backoffMs, type Clock, type Timer } from '../../shared/clock.ts';
import { type ErrorCode, errorText, GlasscastError } from '../../shared/errors.ts';
import { createWatchdog } from '../../shared/keep-alive.ts';
import { createLocalAddress, type NetworkInterfaces } from '../../shared/local-address.ts';
import type { Log } from '../../shared/log.ts';
import { type Dialect, decodeToGlasses, encodeFromGlasses, MAX_FRAME_BYTES } from '../../shared/protocol/dialects.ts';
import type { DeviceStreamStatus, FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { Secret } from '../../shared/secrets.ts';

export interface CloudConnectionOptions {
  clock: Clock;
  log: Log;
  /** ws:// or wss:// with path, e.g. ws://127.0.0.1:8787/glasses-ws. Holds no token. */
  url: string;
  coreToken: Secret;
  /** First words on each new connection, with our own address on it. What waited meanwhile follows, then `present`. */
  hello: (localIp: string | undefined) => FromGlasses[];
  /** What is true now, so that the relay never goes by old news alone. */
  present: () => FromGlasses[];
  onMessage: (message: ToGlasses) => void;
  random?: () => number;
  /** Default: of this machine. */
  networkInterfaces?: NetworkInterfaces;
  /** The relay is taken for lost when nothing comes for this long; it is asked every third of it. Default 45000. */
  silenceTimeoutMs?: number;
  /** Only of a simulation: the relay is away. */
  outage?: RelayOutage | undefined;
}

/** The seam for a relay that cannot be reached for a while. */
export interface RelayOutage {
  /** No connection comes about while it lasts. */
  readonly isDown: boolean;
  /** Calls `cut` whenever it begins, perhaps more than once; gives the function that lets go of it. */
  onBegin(cut: () => void): () => void;
}

export interface CloudConnection {
  start(): void;
  /** At any time. Offline: states wait in order (the oldest go first), of stats only the newest, acks do not wait. */
  send(message: FromGlasses): void;
  readonly connected: boolean;
  /** Why the last attempt failed, until one succeeds. */
  readonly cause: GlasscastError | undefined;
  /** Says what was given so far, closes, ends. */
  close(): Promise<void>;
}

const BACKOFF: BackoffPolicy = { firstMs: 250, factor: 1.7, maxMs: 15_000, jitter: 0.5 };
/** A refused token will hardly become a good one within seconds. */
const REFUSED_DELAY_MS = 15_000;
const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 500;
const ADDRESS_LOOK_MS = 500;
const MAX_WAITING = 200;
/** A relay that reads this slowly gets no more stats. */
const MAX_BUFFERED_BYTES = 1_000_000;

export function createCloudConnection(options: CloudConnectionOptions): CloudConnection {
  const { clock, log, url, onMessage } = options;
  const silenceMs = options.silenceTimeoutMs ?? 45_000;
  const waiting = createWaitingRoom();
  let socket: WebSocket | undefined;
  let dialect: Dialect = 'rtmp';
  let attempt = 0;
  let cause: GlasscastError | undefined;
  let retry: Timer | undefined;
  let asking: Timer | undefined;
  let looking: Timer | undefined;
  let closed = false;
  const silence = createWatchdog({
    clock,
    name: 'relay-silence',
    timeoutMs: silenceMs,
    onExpired: () => socket?.terminate(),
  });
  const letGo = options.outage?.onBegin(() => socket?.terminate());

  function connect(): void {
    if (closed) return;
    if (options.outage?.isDown) {
      lost(new GlasscastError('RELAY_UNREACHABLE', { reason: `${url} (an outage is simulated)` }));
      return;
    }
    const opening = new WebSocket(url, {
      headers: { authorization: `Bearer ${options.coreToken.reveal()}` },
      handshakeTimeout: CONNECT_TIMEOUT_MS,
      perMessageDeflate: false,
      maxPayload: MAX_FRAME_BYTES,
    });
    socket = opening;
    let why: GlasscastError | undefined;
    let localIp: string | undefined;
    opening.on('upgrade', ({ socket: line }) => {
      localIp = line.localAddress;
    });
    opening.on('open', () => opened(opening, localIp));
    opening.on('message', (data, isBinary) => {
      silence.touch();
      // Binary frames carry audio in MentraOS; none is for us.
      if (!isBinary) take(String(data));
    });
    opening.on('ping', silence.touch);
    opening.on('pong', silence.touch);
    opening.on('unexpected-response', (_request, response) => {
      why = refusal(response.statusCode ?? 0, url);
      response.resume();
      // With a listener here ws leaves the end to us; only this leads to 'close'.
      opening.terminate();
    });
    opening.on('error', (error) => {
      why ??= new GlasscastError('RELAY_UNREACHABLE', { reason: `${url} (${codeOf(error)})` });
    });
    opening.on('close', (code) => {
      if (socket === opening)
        lost(why ?? new GlasscastError('RELAY_UNREACHABLE', { reason: `${url} closed (${code})` }));
    });
  }
  function opened(opening: WebSocket, localIp: string | undefined): void {
    if (closed || socket !== opening) return;
    log.info({ url, attempt }, 'relay-connected');
    attempt = 0;
    cause = undefined;
    silence.touch();
    asking = clock.every('relay-ping', silenceMs / 3, () => opening.ping());
    // After a change of network (Wi-Fi to LTE) nothing else would tell for the whole of that silence.
    const address = createLocalAddress(localIp, options.networkInterfaces ?? networkInterfaces);
    looking = clock.every('relay-address', ADDRESS_LOOK_MS, () => address.isGone(true) && opening.terminate());
    for (const message of [...options.hello(localIp), ...waiting.leave(), ...options.present()])
      write(opening, message);
  }
  function lost(why: GlasscastError): void {
    socket = undefined;
    asking?.cancel();
    looking?.cancel();
    silence.close();
    if (closed) return;
    const delayMs =
      why.code === 'INVALID_TOKEN' ? REFUSED_DELAY_MS : backoffMs(BACKOFF, attempt, options.random ?? Math.random);
    // The same trouble again and again is one line, not a flood.
    const fields = { code: why.code, reason: why.message, attempt, delayMs };
    if (cause?.message === why.message) log.debug(fields, 'relay-lost');
    else log.warn(fields, 'relay-lost');
    cause = why;
    attempt += 1;
    retry = clock.after('relay-retry', delayMs, connect);
  }
  function take(frame: string): void {
    let message: ToGlasses;
    try {
      const decoded = decodeToGlasses(frame);
      dialect = decoded.dialect ?? dialect;
      message = decoded.message;
    } catch (error) {
      log.warn({ reason: errorText(error) }, 'relay-message-malformed');
      return;
    }
    onMessage(message);
  }
  function write(open: WebSocket, message: FromGlasses): void {
    try {
      open.send(encodeFromGlasses(message, dialect, clock.now()), () => {});
    } catch (error) {
      // A mistake of ours in one message must not end a stream.
      log.error({ type: message.type, reason: errorText(error) }, 'relay-message-unfit');
    }
  }

  return {
    start: connect,
    send(message) {
      if (closed) return;
      if (socket?.readyState !== WebSocket.OPEN) waiting.enter(message);
      else if (!isStats(message) || socket.bufferedAmount < MAX_BUFFERED_BYTES) write(socket, message);
    },
    get connected() {
      return socket?.readyState === WebSocket.OPEN;
    },
    get cause() {
      return cause;
    },
    async close() {
      closed = true;
      letGo?.();
      retry?.cancel();
      asking?.cancel();
      looking?.cancel();
      silence.close();
      const last = socket;
      if (!last || last.readyState === WebSocket.CLOSED) return;
      await new Promise<void>((resolve) => {
        const patience = clock.after('relay-close', CLOSE_TIMEOUT_MS, () => last.terminate());
        last.once('close', () => {
          patience.cancel();
          resolve();
        });
        if (last.readyState === WebSocket.OPEN) last.close(1000);
        else last.terminate();
      });
    },
  };
}

interface WaitingRoom {
  enter(message: FromGlasses): void;
  /** All that waited, states first. */
  leave(): FromGlasses[];
}

function createWaitingRoom(): WaitingRoom {
  let states: FromGlasses[] = [];
  let stats: FromGlasses | undefined;
  return {
    enter(message) {
      if (isStats(message)) {
        stats = message;
        return;
      }
      // An ack answers a question of another connection.
      if (message.type === 'keep_alive_ack' || message.type === 'pong') return;
      states.push(message);
      if (states.length > MAX_WAITING) states.shift();
      // Older stats than a state would tell of a past that is over.
      stats = undefined;
    },
    leave() {
      const all = stats ? [...states, stats] : states;
      states = [];
      stats = undefined;
      return all;
    },
  };
}

function isStats(message: FromGlasses): message is DeviceStreamStatus {
  return message.type === 'stream_status' && message.kind === 'snapshot';
}

function refusal(status: number, url: string): GlasscastError {
  const code: ErrorCode = status === 401 || status === 403 ? 'INVALID_TOKEN' : 'RELAY_UNREACHABLE';
  return new GlasscastError(code, { reason: `${url} answered ${status}` });
}

function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : error.message;
}
