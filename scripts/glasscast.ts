/**
 * `glasscast`: the programs and the relay's operator REST on the command line. Exit code 0 when it is done, 1 when it was
 * refused or failed (one line says why and what to do), 2 when the command line itself is wrong.
 */
import { CommanderError } from 'commander';
import { asGlasscastError, type GlasscastError } from '../shared/errors.ts';
import { commandLine, type GlobalOptions, runProgramOf } from './cli/command-line.ts';
import { nextSteps } from './cli/commands.ts';
import { harmless } from './cli/terminal.ts';

function tell(error: GlasscastError, isJson: boolean): void {
  const next = nextSteps[error.code];
  const { code } = error;
  // It may quote an app or a proxy.
  const message = harmless(error.message);
  const text = isJson
    ? JSON.stringify({ error: code, message, ...(next ? { next } : {}) })
    : `${message}${next ? `. ${next}` : ''}`;
  process.stderr.write(`${text}\n`);
}

async function main(): Promise<number> {
  if (await runProgramOf(process.argv.slice(2))) return 0;
  const command = commandLine();
  try {
    await command.parseAsync();
    return 0;
  } catch (thrown) {
    // Commander has already said what is wrong with the command line.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    tell(asGlasscastError(thrown), command.opts<GlobalOptions>().json === true);
    return 1;
  }
}

// Who reads our output has seen enough: `glasscast streams watch | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
process.exitCode = await main();
