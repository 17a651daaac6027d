/** Waits until a server that somebody else wrote listens on loopback: such programs say nothing that could be waited for. */
import { connect } from 'node:net';
import type { Child } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';

const START_TIMEOUT_MS = 10_000;

/** Stops it when it does not come. @throws GlasscastError CHILD_START_FAILED with its last line */
export async function untilListening(clock: Clock, child: Child, name: string, port: number): Promise<void> {
  const deadlineMs = clock.monotonicMs() + START_TIMEOUT_MS;
  let complaint: string | undefined;
  void child.exited.then(({ lastLines }) => {
    complaint = lastLines.at(-1) ?? 'it said nothing';
  });
  while (!(await accepts(port))) {
    if (complaint === undefined && clock.monotonicMs() > deadlineMs) complaint = 'it does not listen';
    if (complaint !== undefined) {
      await child.stop();
      throw new GlasscastError('CHILD_START_FAILED', { reason: `${name}: ${complaint}` });
    }
    await clock.sleep(20);
  }
}

/** Whether somebody listens on this port of loopback. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
