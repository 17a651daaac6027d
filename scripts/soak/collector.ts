/**
 * Has a Node process collect its garbage, by the inspector that each opens on SIGUSR1, with nothing of ours in it: what is left
 * then is what it holds, and can be compared with what it held before.
 */
import { WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';

export interface Collector {
  /** To be given the standard error of the part: there its inspector says where it listens. */
  heard(part: string, line: string): void;
  /** Gives the heap that is used afterwards; undefined when it could not be asked. */
  collect(part: string, pid: number): Promise<{ heapUsedMb: number } | undefined>;
}

const LISTENING = /^Debugger listening on (ws:\S+)/;
const ANSWER_WITHIN_MS = 10_000;
const LOOK_MS = 50;
/** V8 gives pages back by threads of its own, after it has answered. */
const GIVEN_BACK_MS = 500;

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
    async collect(part, pid) {
      try {
        return await collectBy(clock, await inspectorOf(part, pid));
      } catch {
        // It has just ended, or takes no such signal: the sample is what it is.
        return undefined;
      }
    },
  };
}

async function collectBy(clock: Clock, url: string): Promise<{ heapUsedMb: number }> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const late = () => new GlasscastError('INTERNAL', { reason: 'the inspector does not answer' });
  try {
    return await withTimeout(clock, 'soak-collect', ANSWER_WITHIN_MS, conversation(socket), late);
  } finally {
    socket.terminate();
    await clock.sleep(GIVEN_BACK_MS);
  }
}

function conversation(socket: WebSocket): Promise<{ heapUsedMb: number }> {
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => reject(new GlasscastError('INTERNAL', { reason: 'the inspector has closed' })));
    const ask = (id: number, method: string) => socket.send(JSON.stringify({ id, method }));
    socket.on('open', () => ask(1, 'HeapProfiler.collectGarbage'));
    socket.on('message', (data) => {
      const { id, result } = JSON.parse(String(data)) as { id?: number; result?: { usedSize?: number } };
      // The second time for what finalizers have let go of after the first.
      if (id === 1) ask(2, 'HeapProfiler.collectGarbage');
      else if (id === 2) ask(3, 'Runtime.getHeapUsage');
      else if (result?.usedSize !== undefined) resolve({ heapUsedMb: result.usedSize / 2 ** 20 });
      else reject(new GlasscastError('INTERNAL', { reason: 'the inspector does not tell the heap' }));
    });
  });
}
