/**
 * The local Stream as a program: reads its configuration, runs the server until a signal or until the parent that started it with
 * a message channel goes away. Exit code 0 after a clean end, 1 when it could not start.
 */
import { createChildSpawner } from '../../shared/child-process.ts';
import { type Clock, createSystemClock } from '../../shared/clock.ts';
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
  const stream = createLocalStream({
    ...{ clock, log, redactor, spawn: children.spawn, defaultHoldSeconds: holdSeconds, ...rest },
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

function readyLine({ apiBaseUrl, rtmpPort }: LocalStreamReady, dataDir: string, isTokenKept: boolean): string {
  const where = isTokenKept ? `; API token in ${dataDir}/api-token` : '';
  return `Local Stream ready: ${apiBaseUrl}, RTMP on port ${rtmpPort}${where}\n`;
}

await runProgram(localStreamSettings, run);
