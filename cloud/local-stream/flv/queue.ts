/**
 * What waits for one viewer: handed to its socket a little at a time, the rest here, so that a viewer who cannot follow loses
 * the oldest and not the newest. It always goes on at a key frame. Bounded in bytes and in age; never blocks, never ends a viewer.
 */
import { type FlvTag, isConfiguration, isKeyFrame } from '../../../shared/rtmp/flv.ts';

export interface FlvQueue {
  /** `bytes`: the tag as it is sent; may be shared with others. */
  push(tag: FlvTag, bytes: Buffer): void;
  /** A tag of our own, of use only now: left out when anything waits. */
  pushNote(bytes: Buffer): void;
  /** In the socket and here. */
  readonly queuedBytes: number;
  /** Tags that were left out so far. */
  readonly droppedTags: number;
  /** How long something waits and nothing has left; 0 while all is well. */
  stuckMs(): number;
  /** Nothing more is written. */
  close(): void;
}

export interface FlvQueueOptions {
  /** Hands bytes to the socket; `flushed` when the kernel has them, or when it never will. */
  write: (bytes: Buffer, flushed: () => void) => void;
  maxQueuedBytes: number;
  /** Monotonic. */
  nowMs: () => number;
}

interface Waiting {
  tag: FlvTag;
  bytes: Buffer;
  sinceMs: number;
}

/** What the socket is given ahead: nothing of it can be taken back. */
const SOCKET_BYTES = 128 * 1024;
/** With something newer to begin at, what has waited for longer is left out. */
const MAX_LAG_MS = 3000;

export function createFlvQueue({ write, maxQueuedBytes, nowMs }: FlvQueueOptions): FlvQueue {
  let waiting: Waiting[] = [];
  let waitingBytes = 0;
  let socketBytes = 0;
  let leftMs = nowMs();
  let droppedTags = 0;
  /** Everything is left out up to the next key frame. */
  let isSkipping = false;
  /** Newest of those that were left out; they go out with that key frame. */
  const missed = new Map<FlvTag['kind'], Waiting>();
  let isClosed = false;

  const isFull = () => waitingBytes + socketBytes > maxQueuedBytes;

  function hand(bytes: Buffer): void {
    // Nothing was stuck while nothing waited.
    if (socketBytes === 0) leftMs = nowMs();
    socketBytes += bytes.length;
    write(bytes, () => {
      socketBytes -= bytes.length;
      leftMs = nowMs();
      pump();
    });
  }
  function pump(): void {
    for (;;) {
      const next = waiting[0];
      if (!next || isClosed || (socketBytes > 0 && socketBytes + next.bytes.length > SOCKET_BYTES)) return;
      waiting.shift();
      waitingBytes -= next.bytes.length;
      hand(next.bytes);
    }
  }
  function leaveOut(dropped: readonly Waiting[]): void {
    for (const one of dropped) {
      if (isConfiguration(one.tag)) missed.set(one.tag.kind, one);
      else droppedTags += 1;
    }
  }
  /** Leaves out what is older than the newest key frame; with nothing older than that, all of it. */
  function skip(): void {
    const newestKey = waiting.findLastIndex(({ tag }) => isKeyFrame(tag));
    const older = waiting.slice(0, Math.max(0, newestKey));
    const isHelp = older.some(({ tag }) => !isConfiguration(tag));
    leaveOut(isHelp ? older : waiting);
    isSkipping = !isHelp;
    waiting = isHelp ? [...missed.values(), ...waiting.slice(newestKey)] : [];
    if (isHelp) missed.clear();
    waitingBytes = waiting.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }
  function take(one: Waiting): void {
    if (isSkipping && !isKeyFrame(one.tag)) {
      leaveOut([one]);
      return;
    }
    const added = isSkipping ? [...missed.values(), one] : [one];
    if (isSkipping) missed.clear();
    isSkipping = false;
    waiting.push(...added);
    for (const { bytes } of added) waitingBytes += bytes.length;
    while (isFull() && !isSkipping) skip();
  }

  return {
    push(tag, bytes) {
      if (isClosed) return;
      take({ tag, bytes, sinceMs: nowMs() });
      const oldest = waiting.find((one) => !isConfiguration(one.tag));
      const isLate = oldest !== undefined && nowMs() - oldest.sinceMs > MAX_LAG_MS;
      if (isLate && isKeyFrame(tag)) skip();
      pump();
    },
    pushNote(bytes) {
      if (isClosed || waiting.length > 0 || isSkipping || socketBytes + bytes.length > SOCKET_BYTES) return;
      hand(bytes);
    },
    get queuedBytes() {
      return waitingBytes + socketBytes;
    },
    get droppedTags() {
      return droppedTags;
    },
    stuckMs: () => (socketBytes > 0 ? nowMs() - leftMs : 0),
    close() {
      isClosed = true;
      waiting = [];
      waitingBytes = 0;
    },
  };
}
