/** Root's shell on the board, over a port that needs neither network nor clock nor room on a disk. The other end: guest-files.ts. */
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { openControlSocket } from './control-socket.ts';

export interface GuestAnswer {
  code: number;
  /** Both outputs, without the last line breaks. */
  output: string;
}

export interface GuestShell {
  /** @throws GlasscastError BOARD_UNREACHABLE: no answer in time */
  run(script: string, timeoutMs?: number): Promise<GuestAnswer>;
  /** As `run`. @throws GlasscastError INTERNAL: with what it said, unless it ended with 0 */
  must(script: string, timeoutMs?: number): Promise<string>;
  close(): void;
}

const ANSWER_TIMEOUT_MS = 30_000;
/** A port that is not opened yet by the guest forgets what is sent to it. */
const AGAIN_MS = 1_000;

export async function openGuestShell(path: string, clock: Clock): Promise<GuestShell> {
  const waiting = new Map<string, (answer: GuestAnswer) => void>();
  let count = 0;
  const socket = await openControlSocket(path, clock, (line) => {
    const [id = '', code = '', output = ''] = line.split(' ');
    waiting.get(id)?.({ code: Number(code), output: Buffer.from(output, 'base64').toString('utf8') });
  });

  async function run(script: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<GuestAnswer> {
    count += 1;
    const id = String(count);
    const answered = new Promise<GuestAnswer>((resolve) => waiting.set(id, resolve));
    const late = () => new GlasscastError('BOARD_UNREACHABLE', { reason: 'its root shell does not answer' });
    socket.send(`${id} ${Buffer.from(script).toString('base64')}`);
    try {
      return await withTimeout(clock, 'guest-shell', timeoutMs, answered, late);
    } finally {
      waiting.delete(id);
    }
  }

  return {
    run,
    async must(script, timeoutMs) {
      const { code, output } = await run(script, timeoutMs);
      if (code === 0) return output;
      throw new GlasscastError('INTERNAL', { reason: `on the board: ${script} ended with ${code}: ${output}` });
    },
    close: socket.close,
  };
}

/** Until the guest answers: it has booted so far. @throws GlasscastError BOARD_UNREACHABLE */
export async function awaitGuest(shell: GuestShell, clock: Clock, timeoutMs: number): Promise<void> {
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  for (;;) {
    try {
      // An answer alone would not show that scripts are run.
      if ((await shell.must('echo here', AGAIN_MS)) === 'here') return;
      throw new GlasscastError('INTERNAL', { reason: 'the root shell of the board runs nothing' });
    } catch (error) {
      if (clock.monotonicMs() > deadlineMs) throw error;
    }
  }
}
