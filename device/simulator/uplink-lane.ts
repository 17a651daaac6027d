/**
 * One connection on the simulated network: what the push writes waits for its turn and for the way, then reaches the ingest;
 * what the ingest says comes back. Owns both of its inner sockets.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../shared/clock.ts';
import type { WorldState } from './timeline.ts';

export interface UplinkLaneOptions {
  /** The push's own end. */
  socket: Socket;
  /** The other end of that. */
  carrier: Socket;
  /** Connected to the ingest. */
  far: Socket;
  clock: Clock;
  state: () => WorldState['network'];
  /** How much of this the uplink takes now, in bytes. */
  takeCredit: (wantedBytes: number) => number;
  /** Something waits: `pump` has to be called again soon. */
  onWaiting: () => void;
  onClosed: () => void;
}

export interface UplinkLane {
  readonly far: Socket;
  /** The push's. */
  readonly localPort: number | undefined;
  /** Written by the push, and not yet taken by the ingest's side. */
  queuedBytes(): number;
  pump(): void;
  /** Ends it for both sides; for the push as a reset. */
  cut(): void;
  /** From here on nothing moves; neither side is told. */
  strand(): void;
}

/** As much as a kernel holds for a connection; then the push's own queue grows. */
const MAX_HELD_BYTES = 4_000_000;
/** An ingest that reads slowly is the ingest's affair, but its queue is ours. */
const MAX_FAR_BYTES = 262_144;

export function openLane(options: UplinkLaneOptions): UplinkLane {
  const { socket, carrier, far, clock, state, takeCredit, onWaiting, onClosed } = options;
  const { localPort } = socket;
  /** Before the narrow place, and behind it on the way. */
  const waiting: Buffer[] = [];
  const flying: { bytes: Buffer; dueMs: number }[] = [];
  let receivedBytes = 0;
  let forwardedBytes = 0;
  let hasEnded = false;
  let isStranded = false;

  function isStill(): boolean {
    return isStranded || state().down;
  }
  function pump(): void {
    if (isStill()) {
      far.pause();
      return;
    }
    if (far.isPaused()) far.resume();
    admitWaiting();
    land();
    if (carrier.isPaused() && receivedBytes - forwardedBytes < MAX_HELD_BYTES) carrier.resume();
    if (waiting.length + flying.length > 0) onWaiting();
    else if (hasEnded && !far.writableEnded) far.end();
  }
  function admitWaiting(): void {
    for (let first = waiting[0]; first; first = waiting[0]) {
      const bytes = takeCredit(first.length);
      if (bytes === 0) return;
      flying.push({ bytes: first.subarray(0, bytes), dueMs: clock.monotonicMs() + state().delayMs });
      if (bytes === first.length) waiting.shift();
      else waiting[0] = first.subarray(bytes);
    }
  }
  function land(): void {
    const nowMs = clock.monotonicMs();
    for (let first = flying[0]; first && first.dueMs <= nowMs; first = flying[0]) {
      if (far.writableLength > MAX_FAR_BYTES) return;
      flying.shift();
      forwardedBytes += first.bytes.length;
      far.write(first.bytes);
    }
  }
  function cut(): void {
    carrier.resetAndDestroy();
    far.destroy();
  }

  for (const end of [carrier, far]) end.on('error', () => {});
  carrier.on('data', (chunk: Buffer) => {
    receivedBytes += chunk.length;
    waiting.push(chunk);
    if (receivedBytes - forwardedBytes >= MAX_HELD_BYTES) carrier.pause();
    pump();
  });
  carrier.on('end', () => {
    hasEnded = true;
    // Nobody is left to find out.
    if (isStranded) cut();
    else pump();
  });
  carrier.on('close', () => {
    onClosed();
    far.destroy();
  });
  far.on('data', (chunk: Buffer) => void carrier.write(chunk));
  far.on('end', () => void carrier.end());
  far.on('close', (hadError) => {
    if (isStranded) return;
    if (hadError) carrier.resetAndDestroy();
    else carrier.end();
  });
  pump();

  return {
    far,
    localPort,
    queuedBytes() {
      // Of a TLS connection only what has come is known: its writes go past the socket.
      const writtenBytes = Math.max(receivedBytes, socket.bytesWritten - socket.writableLength);
      return writtenBytes - forwardedBytes + far.writableLength;
    },
    pump,
    cut,
    strand() {
      isStranded = true;
      far.pause();
    },
  };
}
