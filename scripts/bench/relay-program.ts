/**
 * The relay as a process for benchmarks: the composition root of production, but its provider's address is given, so that
 * the API can be tapped and the local Stream killed without being restarted at once. Settings come over the message channel.
 */

import { createRelay } from '../../cloud/relay.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { asGlasscastError } from '../../shared/errors.ts';
import { keepHeapSmall } from '../../shared/heap.ts';
import { createLog, type LogLevel } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';

export interface RelayProgramSettings {
  dataDir: string;
  logLevel: LogLevel;
  adminToken: string;
  apiBaseUrl: string;
  accountId: string;
  apiToken: string;
  coreTokenSecret?: string;
  appGraceMs?: number;
}

export type RelayProgramAnswer = { type: 'ready'; url: string; port: number } | { type: 'failed'; reason: string };

const say = (answer: RelayProgramAnswer) => process.send?.(answer);

async function run({ adminToken, apiToken, ...settings }: RelayProgramSettings): Promise<void> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = createLog({ program: 'relay', level: settings.logLevel, redactor });
  const provider = {
    kind: 'local' as const,
    apiBaseUrl: settings.apiBaseUrl,
    accountId: settings.accountId,
    apiToken: new Secret(apiToken),
  };
  const { dataDir, appGraceMs, coreTokenSecret } = settings;
  const relay = createRelay({
    ...{ dataDir, adminToken: new Secret(adminToken), provider, clock, log, redactor },
    ...(coreTokenSecret === undefined ? {} : { coreTokenSecret: new Secret(coreTokenSecret) }),
    ...(appGraceMs === undefined ? {} : { appGraceMs }),
  });
  const end = () => void relay.close().finally(() => process.exit(0));
  process.once('SIGINT', end);
  process.once('disconnect', end);
  say({ type: 'ready', ...(await relay.start()) });
}

keepHeapSmall();
process.once('message', (settings: RelayProgramSettings) => {
  run(settings).catch((error: unknown) => say({ type: 'failed', reason: asGlasscastError(error).message }));
});
