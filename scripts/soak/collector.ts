/**
 * Has a Node process collect its garbage, by the inspector that each opens on SIGUSR1: what is left then is what it holds, and can
 * be compared with what it held before.
 */
import { WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';

export interface Collector {
  /** To be given the standard error of the part: there its inspector says where it listens. */
  heard(part: string, line: string): void;
  /** Gives the heap that is used afterwards; undefined when it could not be asked. @param look after each of several times */
  collect(part: string, pid: number, look: () => Promise<void>): Promise<{ heapUsedMb: number } | undefined>;
}

const LISTENING = /^Debugger listening on (ws:\S+)/;
const ANSWER_WITHIN_MS = 10_000;
const LOOK_MS = 50;
/** V8 gives pages back by threads of its own, after it has answered. */
const GIVEN_BACK_MS = 500;
/** Finalizers let go of more after the first; the nursery is given back after some and kept after others, 1 MB of it. */
const COLLECTIONS = 4;

export function createCollector({ clock }: { clock: Clock }): Collector {
  const inspectors = new Map<string, { pid: number | undefined; url: string }>();

  async function inspectorOf(part: string, pid: number): Promise<string> {
    const known = inspectors.get(part);
    if (known?.pid === pid) return known.url;
    inspectors.delete(part);
    process.kill(pid, 'SIGUSR1');
    const deadlineMs = clock.monotonicMs() + ANSWER_WITHIN_MS;
    for (;;) {
      const opened = inspectors.get(part);
      if (opened) {
        opened.pid = pid;
        return opened.url;
      }
      if (clock.monotonicMs() > deadlineMs) throw new GlasscastError('INTERNAL', { reason: 'no inspector' });
      await clock.sleep(LOOK_MS);
    }
  }
  return {
    heard(part, line) {
      const url = LISTENING.exec(line)?.[1];
      if (url) inspectors.set(part, { pid: undefined, url });
    },
    async collect(part, pid, look) {
      try {
        return await collectBy(clock, await inspectorOf(part, pid), look);
      } catch {
        // It has just ended, or takes no such signal: the sample is what it is.
        return undefined;
      }
    },
  };
}

type Look = () => Promise<void>;
type Answer = { usedSize?: number };

async function collectBy(clock: Clock, url: string, look: Look): Promise<{ heapUsedMb: number }> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const late = () => new GlasscastError('INTERNAL', { reason: 'the inspector does not answer' });
  try {
    return await withTimeout(clock, 'soak-collect', ANSWER_WITHIN_MS, conversation(clock, socket, look), late);
  } finally {
    socket.terminate();
  }
}

/**
 * V8 throws compiled code away that some collections in a row have found unused; as often as they are made here that would be
 * nearly all, only to be compiled again in the next cycle, which moved a heap of 35 MB by 1.5 MB to and fro.
 */
export const KEEP_CODE = ['--no-flush-bytecode'];
/**
 * The optimizing compiler off, and each function compiled by the baseline one at its first call: otherwise code comes for an
 * hour and more, as fast as the leak that is looked for.
 */
export const COMPILE_ONCE = ['--no-opt', '--always-sparkplug'];

async function conversation(clock: Clock, socket: WebSocket, look: Look): Promise<{ heapUsedMb: number }> {
  const lost = new Promise<never>((_resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => reject(new GlasscastError('INTERNAL', { reason: 'the inspector has closed' })));
  });
  const answers = new Map<number, (result: Answer) => void>();
  socket.on('message', (data) => {
    const { id = 0, result = {} } = JSON.parse(String(data)) as { id?: number; result?: Answer };
    answers.get(id)?.(result);
  });
  const ask = (method: string, params: object = {}) => {
    const id = answers.size + 1;
    const answered = new Promise<Answer>((resolve) => answers.set(id, resolve));
    socket.send(JSON.stringify({ id, method, params }));
    return Promise.race([answered, lost]);
  };
  await Promise.race([new Promise((resolve) => socket.on('open', resolve)), lost]);
  for (let time = 0; time < COLLECTIONS; time += 1) {
    await ask('HeapProfiler.collectGarbage');
    await clock.sleep(GIVEN_BACK_MS);
    await look();
  }
  const { usedSize } = await ask('Runtime.getHeapUsage');
  if (usedSize === undefined) throw new GlasscastError('INTERNAL', { reason: 'the inspector does not tell the heap' });
  return { heapUsedMb: usedSize / 2 ** 20 };
}
