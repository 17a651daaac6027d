/** One run of ssh or adb: fed with what the script reads, as fast as it is taken, and ended when it is late or not wanted any more. */
import type { Child, ChildExit, SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';

export interface FedRun {
  name: string;
  file: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv | undefined;
  signal: AbortSignal;
  timeoutMs: number;
  /** First of standard input. */
  script?: Uint8Array;
  /** The rest of it. */
  input?: AsyncIterable<Uint8Array> | undefined;
}

const MAX_OUTPUT_CHARS = 1_000_000;

/** @returns its end (`stopped`: it was late) and what it printed, at most 1 MB. @throws the reason of the signal */
export async function runFed(
  { name, file, args, env, signal, timeoutMs, script, input }: FedRun,
  { spawn, clock }: { spawn: SpawnChild; clock: Clock },
): Promise<ChildExit & { output: string }> {
  signal.throwIfAborted();
  const child = spawn({
    ...{ name, file, args, stdin: 'pipe', stdout: 'raw', stopSignal: 'SIGTERM' },
    ...(env ? { env } : {}),
  });
  const stop = () => void child.stop();
  signal.addEventListener('abort', stop, { once: true });
  const late = clock.after(`${name}-run`, timeoutMs, stop);
  try {
    const output = textOf(child);
    await feed(child, script, input);
    const exit = await child.exited;
    signal.throwIfAborted();
    return { ...exit, output: await output };
  } finally {
    late.cancel();
    signal.removeEventListener('abort', stop);
  }
}

async function textOf({ stdout }: Child): Promise<string> {
  let text = '';
  if (!stdout) return text;
  stdout.setEncoding('utf8');
  for await (const chunk of stdout) if (text.length < MAX_OUTPUT_CHARS) text += chunk;
  return text;
}

/** Ends quietly when the child has gone: its exit tells why. */
async function feed(child: Child, script: Uint8Array | undefined, input: FedRun['input']): Promise<void> {
  const { stdin } = child;
  if (!stdin) return;
  const gone = child.exited.then(() => 'gone' as const);
  if (script) stdin.write(script);
  const chunks = input?.[Symbol.asyncIterator]();
  for (;;) {
    const next = await Promise.race([gone, chunks?.next()]);
    if (next === 'gone' || next === undefined || next.done) break;
    if (stdin.write(next.value)) continue;
    await Promise.race([gone, new Promise<void>((resolve) => stdin.once('drain', resolve))]);
  }
  // What is left unread would keep its file open.
  void chunks?.return?.(undefined)?.catch(() => {});
  stdin.end();
}
