/**
 * One line between two nodes: calls with their answers and what is merely told, as JSON over one WebSocket, in order. Bounded
 * in frames, backlog and open calls. Knows no subject by meaning; a peer that breaks the rules, or does not read, is cut.
 */
import type { WebSocket } from 'ws';
import * as z from 'zod';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, errorKinds, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';

export interface MeshLimits {
  /** Of one frame. Default 16 MiB: answers of HTTP travel in them. */
  maxFrameBytes: number;
  /** More that waits to be read by the other node cuts the line. Default 64 MiB. */
  maxBacklogBytes: number;
  /** Open at once, in each direction. Default 20000. */
  maxCalls: number;
  /** Unless the call says it. Default 5000. */
  callTimeoutMs: number;
  /** Default 1000. */
  pingIntervalMs: number;
  /** Without any sign for so long the other node is lost. Default 3000. */
  silenceMs: number;
}

export const defaultMeshLimits: MeshLimits = {
  maxFrameBytes: 16 * 1024 * 1024,
  maxBacklogBytes: 64 * 1024 * 1024,
  maxCalls: 20_000,
  callTimeoutMs: 5_000,
  pingIntervalMs: 1_000,
  silenceMs: 3_000,
};

const CLOSE_MS = 500;

const frame = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('call'), id: z.number(), subject: z.string(), body: z.unknown().optional() }),
  z.object({ kind: z.literal('tell'), subject: z.string(), body: z.unknown().optional() }),
  z.object({ kind: z.literal('answer'), id: z.number(), body: z.unknown().optional() }),
  z.object({
    ...{ kind: z.literal('error'), id: z.number(), code: z.string(), message: z.string() },
    details: z.record(z.string(), z.unknown()).optional(),
  }),
]);
type Frame = z.output<typeof frame>;

export interface MeshLineOptions {
  ws: WebSocket;
  /** The other node. */
  peerId: string;
  clock: Clock;
  log: Log;
  limits: MeshLimits;
  /** What the other node asks and tells; may throw, and may promise. */
  answer: (subject: string, body: unknown) => unknown;
  /** Once. Open calls have failed by then. */
  onClose: () => void;
}

export interface MeshLine {
  readonly isOpen: boolean;
  /** @throws GlasscastError NODE_UNREACHABLE, or the other node's */
  call(subject: string, body: unknown, timeoutMs?: number): Promise<unknown>;
  /** False when it certainly did not go out. */
  tell(subject: string, body: unknown): boolean;
  /** Each `pingIntervalMs`. @param isLate this process itself stood still: nobody is judged by that. */
  ping(isLate: boolean): void;
  /** Resolves when the socket is closed. */
  close(): Promise<void>;
}

interface Waiting {
  resolve: (body: unknown) => void;
  reject: (error: GlasscastError) => void;
}

export function createMeshLine(options: MeshLineOptions): MeshLine {
  return new Line(options);
}

class Line implements MeshLine {
  readonly #options: MeshLineOptions;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #answering = 0;
  #heardMs: number;
  #isClosed = false;

  constructor(options: MeshLineOptions) {
    const { ws, clock } = options;
    this.#options = options;
    this.#heardMs = clock.monotonicMs();
    const heard = () => {
      this.#heardMs = clock.monotonicMs();
    };
    ws.on('message', (data: Buffer) => {
      heard();
      this.#receive(data.toString());
    });
    ws.on('ping', heard);
    ws.on('pong', heard);
    // 'close' follows; without a listener a reset would end the process.
    ws.on('error', () => {});
    ws.on('close', () => this.#onClose());
  }

  get isOpen(): boolean {
    return !this.#isClosed && this.#options.ws.readyState === 1;
  }

  async call(subject: string, body: unknown, timeoutMs = this.#options.limits.callTimeoutMs): Promise<unknown> {
    const { clock, limits } = this.#options;
    if (this.#waiting.size >= limits.maxCalls) throw this.#unreachable('too many calls wait for it');
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    // Awaited below, unless the frame does not go out.
    answered.catch(() => {});
    try {
      if (!this.#send({ kind: 'call', id, subject, body })) throw this.#unreachable();
      return await withTimeout(clock, 'mesh-call', timeoutMs, answered, () =>
        this.#unreachable(`no answer to ${subject} within ${timeoutMs} ms`),
      );
    } finally {
      this.#waiting.delete(id);
    }
  }

  tell(subject: string, body: unknown): boolean {
    return this.#send({ kind: 'tell', subject, body });
  }

  ping(isLate: boolean): void {
    const { ws, clock, limits } = this.#options;
    if (isLate) this.#heardMs = clock.monotonicMs();
    if (clock.monotonicMs() - this.#heardMs >= limits.silenceMs) this.#cut('silent');
    else if (this.isOpen) ws.ping();
  }

  async close(): Promise<void> {
    const { ws, clock } = this.#options;
    if (this.#isClosed) return;
    const closed = new Promise<void>((resolve) => ws.once('close', () => resolve()));
    ws.close(1001);
    // The other node may hang; what it was told before has had its time.
    const cut = clock.after('mesh-close', CLOSE_MS, () => ws.terminate());
    this.#onClose();
    await closed;
    cut.cancel();
  }

  /** @throws GlasscastError INTERNAL: longer than a frame may be; the line is as good as before. */
  #send(content: Frame): boolean {
    const { ws, limits } = this.#options;
    if (!this.isOpen) return false;
    if (ws.bufferedAmount > limits.maxBacklogBytes) {
      this.#cut('does not read');
      return false;
    }
    const text = JSON.stringify(content);
    if (Buffer.byteLength(text) > limits.maxFrameBytes) {
      throw new GlasscastError('INTERNAL', { reason: `more than ${limits.maxFrameBytes} bytes for another node` });
    }
    ws.send(text);
    return true;
  }

  #receive(text: string): void {
    const reading = frame.safeParse(fromJson(text));
    if (!reading.success) {
      this.#cut('not understood');
      return;
    }
    const got = reading.data;
    switch (got.kind) {
      case 'call':
        void this.#answer(got.id, got.subject, got.body);
        return;
      case 'tell':
        void this.#take(got.subject, got.body);
        return;
      case 'answer':
        this.#waiting.get(got.id)?.resolve(got.body);
        return;
      case 'error':
        this.#waiting.get(got.id)?.reject(errorOf(got));
        return;
      default:
        got satisfies never;
    }
  }

  async #answer(id: number, subject: string, body: unknown): Promise<void> {
    const { limits, log, peerId } = this.#options;
    const fail = (thrown: unknown) => {
      const { code, message, details, fault } = asGlasscastError(thrown);
      if (fault === 'us') log.debug({ peerId, subject, code, reason: message }, 'mesh-call-failed');
      this.#send({ kind: 'error', id, code, message, details });
    };
    if (this.#answering >= limits.maxCalls) {
      fail(new GlasscastError('NODE_UNREACHABLE', { reason: 'it has too many calls to answer' }));
      return;
    }
    this.#answering += 1;
    try {
      this.#send({ kind: 'answer', id, body: await this.#options.answer(subject, body) });
    } catch (thrown) {
      fail(thrown);
    } finally {
      this.#answering -= 1;
    }
  }

  async #take(subject: string, body: unknown): Promise<void> {
    const { answer, log, peerId } = this.#options;
    try {
      await answer(subject, body);
    } catch (thrown) {
      const { code, message } = asGlasscastError(thrown);
      log.warn({ peerId, subject, code, reason: message }, 'mesh-message-failed');
    }
  }

  #cut(reason: string): void {
    const { ws, log, peerId } = this.#options;
    if (this.#isClosed) return;
    log.warn({ peerId, reason, backlogBytes: ws.bufferedAmount }, 'mesh-line-cut');
    ws.terminate();
    this.#onClose();
  }

  #unreachable(reason?: string): GlasscastError {
    return new GlasscastError('NODE_UNREACHABLE', { reason });
  }

  #onClose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const { reject } of this.#waiting.values()) reject(this.#unreachable());
    this.#waiting.clear();
    this.#options.onClose();
  }
}

/** What was thrown on the other node. Its message opens with the sentence of its code, which ours adds again. */
function errorOf({ code, message, details = {} }: { code: string; message: string; details?: object | undefined }) {
  if (!Object.hasOwn(errorKinds, code)) return new GlasscastError('INTERNAL', { reason: message });
  const known = code as ErrorCode;
  const { sentence } = errorKinds[known];
  const rest = message.startsWith(sentence) ? message.slice(sentence.length).replace(/^: /, '') : message;
  return new GlasscastError(known, { reason: rest || undefined, details: { ...details } });
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
