/**
 * The local Stream as a program: reads its configuration, runs the server until a signal or until the parent that started it with
 * a message channel goes away. Exit code 0 after a clean end, 1 when it could not start.
 */
import { createChildSpawner } from '../../shared/child-process.ts';
import { type Clock, createSystemClock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createLog } from '../../shared/log.ts';
import { runProgram, untilSignal } from '../../shared/program.ts';
import { createRedactor } from '../../shared/secrets.ts';
import type { EffectiveSettings } from '../../shared/settings.ts';
import { type LocalStreamConfig, localStreamSettings } from './config.ts';
import { createLocalStream } from './server.ts';

/** Said over the message channel, when there is one, as soon as both ports listen. */
export interface LocalStreamReady {
  type: 'ready';
  apiBaseUrl: string;
  accountId: string;
  apiToken: string;
  httpPort: number;
  rtmpPort: number;
  rtmpsPort?: number;
  adminPort?: number;
}

async function run(
  { logLevel, holdSeconds, ...config }: LocalStreamConfig,
  effective: EffectiveSettings,
): Promise<void> {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = createLog({ program: 'local-stream', level: logLevel, redactor, pretty: Boolean(process.stderr.isTTY) });
  log.info(effective, 'local-stream-config');
  const children = createChildSpawner({ clock, log, redactor });
  const { apiToken, ffmpegPath, liveWebhookUrl: url, liveWebhookSecret: secret, ...rest } = config;
  const { rtmps, ingestLimits } = ingestOptions(config);
  const stream = createLocalStream({
    ...{ clock, log, redactor, spawn: children.spawn, defaultHoldSeconds: holdSeconds, ...rest },
    ...{ rtmps, ingestLimits },
    ...(apiToken ? { apiToken } : {}),
    ...(ffmpegPath ? { ffmpegPath } : {}),
    ...(url && secret ? { liveWebhook: { url, secret } } : {}),
  });
  const ended = untilEnd(clock, async () => {
    await stream.close();
    await children.close();
  });
  try {
    const { apiToken: token, ...address } = await stream.start();
    const ready: LocalStreamReady = { type: 'ready', ...address, apiToken: token.reveal() };
    if (process.send) process.send(ready);
    else process.stdout.write(readyLine(ready, rest.dataDir, apiToken === undefined));
  } catch (error) {
    await children.close();
    throw error;
  }
  await ended;
}

/** @throws GlasscastError INVALID_CONFIG */
function ingestOptions(config: Omit<LocalStreamConfig, 'logLevel' | 'holdSeconds'>) {
  const { rtmpsPort: port, tlsCertFile: certFile, tlsKeyFile: keyFile } = config;
  const isComplete = port !== undefined && certFile !== undefined && keyFile !== undefined;
  const isAsked = port !== undefined || certFile !== undefined || keyFile !== undefined;
  if (isAsked && !isComplete) {
    throw new GlasscastError('INVALID_CONFIG', {
      reason: '--rtmps-port, --tls-cert-file and --tls-key-file belong together: give all of them or none',
    });
  }
  return {
    rtmps: isComplete ? { port, certFile, keyFile } : undefined,
    ingestLimits: {
      maxPublishers: config.maxPublishers,
      maxConnections: config.maxRtmpConnections,
      maxConnectionsPerAddress: config.maxRtmpConnectionsPerAddress,
      maxBitrateBps: config.maxPublisherBitrateBps,
    },
  };
}

/** A signal, or the parent's end, closes everything. */
function untilEnd(clock: Clock, close: () => Promise<void>): Promise<unknown> {
  const { ended, end } = untilSignal(clock, async () => {
    await close();
    process.removeListener('disconnect', end);
    if (process.connected) process.disconnect();
  });
  process.once('disconnect', end);
  return ended;
}

function readyLine(ready: LocalStreamReady, dataDir: string, isTokenKept: boolean): string {
  const { apiBaseUrl, rtmpPort, rtmpsPort } = ready;
  const where = isTokenKept ? `; API token in ${dataDir}/api-token` : '';
  const rtmps = rtmpsPort === undefined ? '' : `, RTMPS on port ${rtmpsPort}`;
  return `Local Stream ready: ${apiBaseUrl}, RTMP on port ${rtmpPort}${rtmps}${where}\n`;
}

await runProgram(localStreamSettings, run);
