/** `glasscast`: the programs and the relay's operator REST on the command line. */
import { runCommandLine } from './cli/command-line.ts';

// Who reads our output has seen enough: `glasscast streams watch | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
const { env: environment, stdout: output, stderr: errors } = process;
process.exitCode = await runCommandLine(process.argv.slice(2), { environment, output, errors });
