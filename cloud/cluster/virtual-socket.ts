/**
 * Stands for a WebSocket whose real end another node holds: the same surface, and frames that go over the mesh. Pings are
 * answered here, since whoever holds the real end watches over it and tells of its end.
 */
import { EventEmitter } from 'node:events';
import type { FrameSocket } from '../http/socket.ts';

/** What the node with the real end is told. False: it certainly does not hear of it. */
export interface FarEnd {
  frame(text: string): boolean;
  close(code: number, reason: string): boolean;
  terminate(): boolean;
}

export interface VirtualSocket {
  readonly ws: FrameSocket;
  receive(text: string): void;
  /** What waits at the real end. */
  buffered(bytes: number): void;
  /** The real end is closed, or out of reach (1006). Once; more changes nothing. */
  ended(code: number): void;
}

const [OPEN, CLOSING, CLOSED] = [1, 2, 3];

/** @param onEnded once, after whoever uses the socket has heard of it. */
export function createVirtualSocket(far: FarEnd, onEnded: () => void): VirtualSocket {
  const events = new EventEmitter();
  let readyState = OPEN;
  let bufferedAmount = 0;

  function ended(code: number): void {
    if (readyState === CLOSED) return;
    readyState = CLOSED;
    events.emit('close', code, Buffer.alloc(0));
    onEnded();
  }
  /** Later, as of a real socket: whoever sends does not hear of an end in the middle of it. */
  function lost(): void {
    readyState = Math.max(readyState, CLOSING);
    queueMicrotask(() => ended(1006));
  }
  const ws: FrameSocket = {
    get readyState() {
      return readyState;
    },
    get bufferedAmount() {
      return bufferedAmount;
    },
    send(frame) {
      if (readyState === OPEN && !far.frame(frame)) lost();
    },
    ping: () => queueMicrotask(() => void (readyState === OPEN && events.emit('pong'))),
    close(code, reason) {
      if (readyState !== OPEN) return;
      readyState = CLOSING;
      if (!far.close(code, reason)) lost();
    },
    terminate() {
      if (readyState === CLOSED) return;
      far.terminate();
      lost();
    },
    on: (event: string, take: (...heard: never[]) => void) => void events.on(event, take as () => void),
    once: (event: string, take: () => void) => void events.once(event, take),
  };
  return {
    ws,
    receive(text) {
      if (readyState !== CLOSED) events.emit('message', Buffer.from(text), false);
    },
    buffered(bytes) {
      bufferedAmount = bytes;
    },
    ended,
  };
}
