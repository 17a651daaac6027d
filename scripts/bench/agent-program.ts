/**
 * The agent as a process for benchmarks: the composition root of production, with the barcode camera as its capture
 * source. Settings come over the message channel, where no process list shows the token.
 */
import { createAgent } from '../../device/agent.ts';
import type { CaptureSource } from '../../device/capture/capture-source.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { asGlasscastError } from '../../shared/errors.ts';
import { createLog, type LogLevel } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createFrameSource, frameShape } from './frame-source.ts';

export interface AgentProgramSettings {
  relayUrl: string;
  coreToken: string;
  ffmpegFile: string;
  logLevel: LogLevel;
}

/** Parent → child. */
export type AgentProgramRequest = { type: 'start'; settings: AgentProgramSettings } | { type: 'camera-stats' };
/** Child → parent. */
export type AgentProgramAnswer =
  | { type: 'ready' }
  | { type: 'failed'; reason: string }
  | { type: 'camera-stats'; exposed: number; dropped: number[] };

const clock = createSystemClock();
const camera = createFrameSource({ clock });
const say = (answer: AgentProgramAnswer) => process.send?.(answer);

function captureSource(): CaptureSource {
  const { width: widthPx, height: heightPx, framesPerSecond: frameRate } = frameShape;
  return { kind: 'rawvideo', widthPx, heightPx, frameRate, microphone: { kind: 'beep' }, attach: camera.attach };
}

async function start({ relayUrl, coreToken, ffmpegFile, logLevel }: AgentProgramSettings): Promise<void> {
  const redactor = createRedactor();
  const log = createLog({ program: 'agent', level: logLevel, redactor });
  const agent = createAgent({
    ...{ clock, log, redactor, relayUrl },
    coreToken: new Secret(coreToken),
    source: captureSource(),
    ffmpegPath: ffmpegFile,
  });
  const end = () => {
    camera.close();
    void agent.close().finally(() => process.exit(0));
  };
  process.once('SIGINT', end);
  process.once('disconnect', end);
  camera.start();
  await agent.start();
  say({ type: 'ready' });
}

process.on('message', (request: AgentProgramRequest) => {
  if (request.type === 'camera-stats') say({ type: 'camera-stats', ...camera.stats() });
  else start(request.settings).catch((error) => say({ type: 'failed', reason: asGlasscastError(error).message }));
});
