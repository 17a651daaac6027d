/**
 * The relay as a program: reads its settings, starts a local Stream unless another provider is named, runs until a signal.
 * SIGINT ends every stream; SIGTERM leaves them to the next process. Exit code 0 after either, 1 when it could not start.
 */
import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChildSpawner, createChildSpawner } from '../shared/child-process.ts';
import { type Clock, createSystemClock } from '../shared/clock.ts';
import { errorText, GlasscastError, isGlasscastError } from '../shared/errors.ts';
import { keepHeapSmall } from '../shared/heap.ts';
import { createLog, type Log } from '../shared/log.ts';
import { type Ending, runProgram, untilSignal } from '../shared/program.ts';
import { releaseKeyOf } from '../shared/release.ts';
import { createRedactor } from '../shared/secrets.ts';
import type { EffectiveSettings } from '../shared/settings.ts';
import { type RelayConfig, relaySettings } from './config.ts';
import { registerConsolePage } from './http/console-page.ts';
import { createLocalStreamChild } from './provider/local-stream-child.ts';
import { createRelay, type RelayProvider } from './relay.ts';

async function run(config: RelayConfig, effective: EffectiveSettings): Promise<void> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = createLog({
    program: 'relay',
    level: config.logLevel,
    redactor,
    pretty: Boolean(process.stderr.isTTY),
  });
  const children = createChildSpawner({ clock, log, redactor });
  log.info({ ...effective, provider: config.provider?.kind ?? 'local, as a child' }, 'relay-config');
  const closers: ((ending: Ending) => Promise<void>)[] = [children.close];
  const closeAll = async (ending: Ending) => {
    for (const close of closers.splice(0).reverse()) await close(ending);
  };
  const { ended, isEnding } = untilSignal(clock, closeAll);
  try {
    const appsFile = config.appsFile === undefined ? undefined : await readAppsFile(config.appsFile);
    const releaseKeys = config.releaseKeys && (await readReleaseKeys(config.releaseKeys));
    const provider = config.provider ?? (await startLocalStream(config, { children, clock, log, closers }));
    const { startDeadlineMs, logLevel: _, appsFile: __, maxConnections, handshakesPerSecond, ...settings } = config;
    const relay = createRelay({
      ...settings,
      appsFile,
      releaseKeys,
      provider,
      timings: { startDeadlineMs },
      doorLimits: {
        maxConnections,
        handshakes: { perSecond: handshakesPerSecond, burst: 10 * handshakesPerSecond },
      },
      pages: registerConsolePage,
      ...{ clock, log, redactor },
    });
    closers.push((ending) => relay.close({ keepStreams: ending === 'restart' }));
    const { url, madeAdminToken: made } = await relay.start();
    process.stdout.write(`Relay ready: ${url}\n`);
    // Once, on standard output, and never in the log.
    if (made) process.stdout.write(`Admin token: ${made.reveal()}\n`);
  } catch (error) {
    // Whatever an earlier process left running is not this failure's to end.
    await closeAll('restart');
    // A signal during the start makes it fail: that is the clean end that was asked for.
    if (!isEnding()) throw error;
  }
  // What the start had built by the time of the signal and nobody had closed.
  await closeAll(await ended);
}

async function startLocalStream(
  config: RelayConfig,
  parts: {
    children: ChildSpawner;
    clock: Clock;
    log: Log;
    closers: ((ending: Ending) => Promise<void>)[];
  },
): Promise<RelayProvider> {
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
    outputPrivateTargets: config.restreamPrivateTargets,
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

async function readReleaseKeys(files: readonly string[]): Promise<KeyObject[]> {
  return Promise.all(
    files.map(async (file) => {
      try {
        return releaseKeyOf(await readFile(file, 'utf8'));
      } catch (error) {
        const why = isGlasscastError(error) ? `${file}: a public Ed25519 key as PEM is wanted` : errorText(error);
        throw new GlasscastError('INVALID_CONFIG', { reason: `release keys: ${why}` });
      }
    }),
  );
}

keepHeapSmall();
await runProgram(relaySettings, run);
