/** A `ws` socket without a network: what was sent and how it ended, and frames put in by hand. */
import { EventEmitter } from 'node:events';
import type { WebSocket } from 'ws';

export function fakeWebSocket() {
  const fake = Object.assign(new EventEmitter(), {
    readyState: 1,
    bufferedAmount: 0,
    sent: [] as string[],
    pings: 0,
    ended: undefined as string | undefined,
    waiting: [] as (() => void)[],
    send(frame: string, flushed?: () => void) {
      fake.sent.push(frame);
      if (flushed) fake.waiting.push(flushed);
    },
    /** What was sent has been written. */
    flush() {
      for (const flushed of fake.waiting.splice(0)) flushed();
    },
    ping: () => {
      fake.pings += 1;
    },
    close(code: number, reason: string) {
      fake.readyState = 2;
      fake.ended = `${code} ${reason}`;
    },
    terminate() {
      fake.readyState = 3;
      fake.ended = 'terminated';
      fake.emit('close', 1006, Buffer.alloc(0));
    },
    closeByPeer(code: number) {
      fake.readyState = 3;
      fake.emit('close', code, Buffer.alloc(0));
    },
    receive: (frame: string | object, isBinary = false) =>
      fake.emit('message', Buffer.from(typeof frame === 'string' ? frame : JSON.stringify(frame)), isBinary),
    frames: () => fake.sent.map((frame) => JSON.parse(frame) as { type: string } & Record<string, unknown>),
  });
  return Object.assign(fake, { ws: fake as unknown as WebSocket });
}
