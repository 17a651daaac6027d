/** The light viewers of a benchmark, from the bench's side: starts their process, asks for what they got, ends it. */
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from './program.ts';
import { nodeArgs, plainEnv } from './stream-process.ts';
import type { ViewerAnswer, ViewerKind, ViewerOrder } from './viewer-program.ts';

export interface Viewers {
  /** Bytes of each since the last count. Errors: PROVIDER_REJECTED when the address does not play. */
  count(): Promise<{ bytes: number[]; open: number }>;
  stop(): Promise<void>;
}

const ANSWER_TIMEOUT_MS = 10_000;

/** @param url holds a key: it goes over the message channel alone. */
export function startViewers(bench: Bench, kind: ViewerKind, url: string, count: number): Viewers {
  let onCount: (answer: ViewerAnswer & { type: 'bytes' }) => void = () => {};
  let refusal: string | undefined;
  const child = bench.spawn({
    name: 'viewers',
    file: process.execPath,
    args: nodeArgs('scripts/bench/viewer-program.ts'),
    env: plainEnv(),
    ipc: true,
    onMessage(message) {
      const answer = message as ViewerAnswer;
      if (answer.type === 'bytes') onCount(answer);
      else refusal ??= answer.reason;
    },
    onStderrLine: bench.note,
  });
  const order = (say: ViewerOrder) => child.send(say);
  order({ type: 'watch', kind, url, count });
  return {
    async count() {
      const answered = new Promise<ViewerAnswer & { type: 'bytes' }>((resolve) => {
        onCount = resolve;
      });
      order({ type: 'count' });
      const silent = () => new GlasscastError('CHILD_START_FAILED', { reason: 'the viewers do not answer' });
      const answer = await withTimeout(bench.clock, 'viewers', ANSWER_TIMEOUT_MS, answered, silent);
      if (refusal)
        throw new GlasscastError('PROVIDER_REJECTED', { reason: refusal, details: { reason: `${kind}, ${refusal}` } });
      return answer;
    },
    async stop() {
      await child.stop();
    },
  };
}
