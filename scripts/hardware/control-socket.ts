/** One Unix socket on which lines go both ways: connects with patience, since the other side has only just been started. */
import { connect, type Socket } from 'node:net';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';

export interface ControlSocket {
  send(line: string): void;
  /** Settles when the other side is gone. */
  readonly closed: Promise<void>;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 10_000;
const RETRY_MS = 50;

/** @throws GlasscastError CHILD_START_FAILED: nobody listens there in time */
export async function openControlSocket(
  path: string,
  clock: Clock,
  onLine: (line: string) => void,
): Promise<ControlSocket> {
  const deadlineMs = clock.monotonicMs() + CONNECT_TIMEOUT_MS;
  for (;;) {
    try {
      return lines(await connected(path), onLine);
    } catch (error) {
      if (clock.monotonicMs() > deadlineMs)
        throw new GlasscastError('CHILD_START_FAILED', { reason: errorText(error) });
      await clock.sleep(RETRY_MS);
    }
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

function lines(socket: Socket, onLine: (line: string) => void): ControlSocket {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    for (const line of parts) if (line.trim() !== '') onLine(line.trim());
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return { send: (line) => void socket.write(`${line}\n`), closed, close: () => socket.destroy() };
}
