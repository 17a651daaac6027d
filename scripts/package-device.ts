/**
 * `npm run package:device -- --arch arm64`: the agent as a Debian package for a board. Exit code 0 when all are made, 1 when one
 * could not be made (one line says why), 2 when asked wrongly.
 */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { createChildSpawner } from '../shared/child-process.ts';
import { createSystemClock } from '../shared/clock.ts';
import { asGlasscastError } from '../shared/errors.ts';
import { silentLog } from '../shared/log.ts';
import { onFirstSignal } from '../shared/program.ts';
import { releaseVersion } from '../shared/release.ts';
import { createRedactor } from '../shared/secrets.ts';
import { buildDevicePackage } from './package/device-package.ts';
import { type DeviceArchitecture, deviceArchitectures } from './package/runtimes.ts';

interface Options {
  arch: DeviceArchitecture | 'all';
  version?: string;
  out: string;
  cache?: string;
}

const program = new Command('npm run package:device --')
  .description(
    'Makes glasscast-agent_VERSION_ARCHITECTURE.deb: the agent with Node and ffmpeg, for a board with Debian.',
  )
  .addOption(
    new Option('--arch <name>', "Debian's name of the board's architecture; all: each of them")
      .choices([...deviceArchitectures, 'all'])
      .makeOptionMandatory(),
  )
  .option('--version <number>', "of the package, MAJOR.MINOR.PATCH (default: package.json's)", version)
  .option('--out <folder>', 'where the package goes', 'dist')
  .option('--cache <folder>', 'keeps what was fetched (default: node_modules/.cache/glasscast)')
  .addHelpText(
    'after',
    '\nNode and ffmpeg come from npm’s registry, once; the bytes are pinned in scripts/package/runtimes.ts.',
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

function version(text: string): string {
  if (releaseVersion.safeParse(text).success) return text;
  throw new InvalidArgumentError('Expected MAJOR.MINOR.PATCH, as 1.4.0.');
}

async function ownVersion(): Promise<string> {
  const file = fileURLToPath(new URL('../package.json', import.meta.url));
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version;
}

const { arch, out, cache, version: wanted } = program.parse().opts<Options>();
const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const say = (line: string) => void process.stderr.write(`${line}\n`);
const interrupted = new AbortController();
/** A fetch that is cut fails, and tidies up; anything else leaves nothing behind. */
function interrupt(): void {
  interrupted.abort();
  if (children.running().length === 0) process.exit(130);
  void children.close();
}
onFirstSignal(clock, interrupt, 130);
try {
  for (const architecture of arch === 'all' ? deviceArchitectures : [arch]) {
    const made = await buildDevicePackage({
      ...{ architecture, version: wanted ?? (await ownVersion()), outFolder: resolve(out), cacheFolder: cache },
      ...{ spawn: children.spawn, clock, onProgress: say },
    });
    process.stdout.write(`${made.file}\n`);
  }
} catch (error) {
  if (!interrupted.signal.aborted) say(asGlasscastError(error).message);
  process.exitCode = interrupted.signal.aborted ? 130 : 1;
} finally {
  await children.close();
}
