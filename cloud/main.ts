/**
 * The relay as a program: reads its settings, starts the local Stream when no Cloudflare account is configured, runs
 * until a signal. Exit code 0 after a clean end, 1 when it could not start.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChildSpawner, createChildSpawner } from '../shared/child-process.ts';
import { type Clock, createSystemClock } from '../shared/clock.ts';
import { errorText, GlasscastError } from '../shared/errors.ts';
import { createLog, type Log } from '../shared/log.ts';
import { runProgram, untilSignal } from '../shared/program.ts';
import { createRedactor } from '../shared/secrets.ts';
import { newSecret } from './access/credentials.ts';
import { type RelayConfig, readConfig, relaySettings } from './config.ts';
import { registerConsolePage } from './http/console-page.ts';
import { createLocalStreamChild } from './provider/local-stream-child.ts';
import { createRelay, type RelayProvider } from './relay.ts';

async function run(config: RelayConfig): Promise<void> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = createLog({
    program: 'relay',
    level: config.logLevel,
    redactor,
    pretty: Boolean(process.stderr.isTTY),
  });
  const children = createChildSpawner({ clock, log, redactor });
  const closers: (() => Promise<void>)[] = [children.close];
  const closeAll = async () => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  const { ended, isEnding } = untilSignal(clock, closeAll);
  try {
    const appsFile = config.appsFile === undefined ? undefined : await readAppsFile(config.appsFile);
    const provider = await startProvider(config, { children, clock, log, closers });
    const adminToken = config.adminToken ?? newSecret();
    const { startDeadlineMs, adminToken: given, logLevel: _, appsFile: __, ...settings } = config;
    const relay = createRelay({
      ...settings,
      adminToken,
      appsFile,
      provider,
      timings: { startDeadlineMs },
      pages: registerConsolePage,
      ...{ clock, log, redactor },
    });
    closers.push(relay.close);
    const { url } = await relay.start();
    // Once, on standard output, and never in the log.
    process.stdout.write(`Relay ready: ${url}\n${given ? '' : `Admin token: ${adminToken.reveal()}\n`}`);
  } catch (error) {
    await closeAll();
    // A signal during the start makes it fail: that is the clean end that was asked for.
    if (!isEnding()) throw error;
  }
  await ended;
  // What the start had built by then and nobody had closed.
  await closeAll();
}

async function startProvider(
  config: RelayConfig,
  parts: { children: ChildSpawner; clock: Clock; log: Log; closers: (() => Promise<void>)[] },
): Promise<RelayProvider> {
  const { cloudflareAccountId: accountId, cloudflareApiToken: apiToken, cloudflareApiBaseUrl: apiBaseUrl } = config;
  if (accountId !== undefined && apiToken !== undefined) return { kind: 'cloudflare', apiBaseUrl, accountId, apiToken };
  const { children, clock, log, closers } = parts;
  const localStream = createLocalStreamChild({
    spawn: children.spawn,
    clock,
    log,
    env: process.env,
    // The flags carry the loader that runs TypeScript.
    node: { file: process.execPath, flags: process.execArgv },
    dataDir: join(config.dataDir, 'local-stream'),
    logLevel: config.logLevel,
  });
  closers.push(localStream.close);
  return localStream.start();
}

async function readAppsFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new GlasscastError('INVALID_CONFIG', { reason: `apps file: ${errorText(error)}` });
  }
}

await runProgram({ read: readConfig, help: relaySettings.help }, run);
