/** Once before everything: a Chromium for the browser tests, found or installed, or one line that says what is skipped. */
import type { TestProject } from 'vitest/node';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of a Chromium, or empty: browser tests are then skipped. */
    chromium: string;
  }
}

export default async function setUp(project: TestProject): Promise<void> {
  const found = findChromium() ?? (await installChromium());
  if (!found && process.env.CI) throw new Error('CI skips nothing, and no Chromium could be installed');
  if (!found)
    say('Browser tests are skipped: no Chromium. Install it (Debian: apt-get install chromium) or set CHROMIUM_PATH.');
  project.provide('chromium', found ?? '');
}

function findChromium(): string | undefined {
  return (
    process.env.CHROMIUM_PATH ??
    ['chromium', 'chromium-browser', 'google-chrome'].map((name) => findOnPath(name)).find(Boolean)
  );
}

/** Debian and its kin, as root: nothing else can be installed without asking. */
async function installChromium(): Promise<string | undefined> {
  const apt = findOnPath('apt-get');
  if (!apt || process.getuid?.() !== 0) return undefined;
  say('Installing Chromium for the browser tests (apt-get install chromium) …');
  const spawner = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const run = (...args: string[]) => spawner.spawn({ name: 'apt-get', file: apt, args, env }).exited;
  await run('update', '-q');
  const { code, lastLines } = await run('install', '-qy', '--no-install-recommends', 'chromium');
  if (code !== 0) say(`apt-get failed: ${lastLines.at(-1) ?? code}`);
  return findChromium();
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
