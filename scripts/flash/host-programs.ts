/** Programs of this machine that flashing makes use of: run to their end, their output kept, their absence told with a way out. */

import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { GlasscastError } from '../../shared/errors.ts';

export interface ProgramRun {
  name: string;
  args: readonly string[];
  /** Debian's package that has it. */
  package: string;
  cwd?: string;
  signal?: AbortSignal;
  /** Gets the output instead of `output`. */
  onOutput?: (bytes: Buffer) => void;
}

export interface ProgramEnd {
  code: number | null;
  output: Buffer;
  errors: string[];
}

const MAX_OUTPUT_BYTES = 64_000_000;

export type RunProgram = (run: ProgramRun) => Promise<ProgramEnd>;

/** @throws (the result) GlasscastError FLASH_FAILED: not installed, not to be started, interrupted, or too much output */
export function createProgramRunner(spawn: SpawnChild): RunProgram {
  return async ({ name, args, package: debianPackage, cwd, signal, onOutput }) => {
    signal?.throwIfAborted();
    const file = findOnPath(name) ?? findOnPath(name, '/usr/sbin:/sbin');
    if (file === undefined) {
      throw failed(`${name} is not installed here (Debian: apt-get install ${debianPackage})`);
    }
    const [chunks, errors]: [Buffer[], string[]] = [[], []];
    let bytes = 0;
    const child = spawn({
      ...{ name, file, args, stdout: 'raw' },
      ...(cwd === undefined ? {} : { cwd }),
      onStderrLine: (line) => void (errors.length < 1_000 && errors.push(line)),
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.byteLength;
      if (onOutput) onOutput(chunk);
      else if (bytes <= MAX_OUTPUT_BYTES) chunks.push(chunk);
      else child.kill();
    });
    const stop = () => void child.stop();
    signal?.addEventListener('abort', stop, { once: true });
    const { end, code, error } = await child.exited;
    signal?.removeEventListener('abort', stop);
    signal?.throwIfAborted();
    if (end === 'not-started') throw failed(`${name} could not be started (${error?.message ?? 'no reason given'})`);
    return { code, output: Buffer.concat(chunks), errors };
  };
}

const failed = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });
