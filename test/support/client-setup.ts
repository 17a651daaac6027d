/** Once before the tests with real parts: installs the official Cloudflare client where it is missing, or says what is skipped. */
import type { TestProject } from 'vitest/node';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { clientFolder, isClientInstalled } from './cloudflare-client.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** False: its tests are skipped. */
    hasCloudflareClient: boolean;
  }
}

const INSTALL = [
  ...['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel', 'error'],
  // Without a network it is known soon.
  ...['--prefer-offline', '--fetch-retries', '1', '--fetch-retry-maxtimeout', '5000', '--fetch-timeout', '60000'],
];

export default async function setUp(project: TestProject): Promise<void> {
  if (!isClientInstalled()) await install();
  project.provide('hasCloudflareClient', isClientInstalled());
  if (isClientInstalled()) return;
  if (process.env.CI) throw new Error(`CI skips nothing, and ${clientFolder} could not be installed (npm ci)`);
  say(`Skipped: the official Cloudflare client. For it run npm ci in ${clientFolder}.`);
}

async function install(): Promise<void> {
  const npm = findOnPath('npm');
  if (!npm) return;
  say('Installing the official Cloudflare client, which judges our API (npm ci, 120 MB) …');
  const spawner = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const { code, lastLines } = await spawner.spawn({ name: 'npm', file: npm, args: INSTALL, cwd: clientFolder }).exited;
  // Its last line tells only where the others are kept.
  if (code !== 0) say(`npm failed: ${lastLines.find((line) => !line.includes('complete log')) ?? code}`);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
