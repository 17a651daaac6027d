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
  maxBacklogMs?: number;
  isBusyPicture: boolean;
}

/** Parent → child. */
export type AgentProgramRequest = { type: 'start'; settings: AgentProgramSettings } | { type: 'camera-stats' };
/** Child → parent. */
export type AgentProgramAnswer =
  | { type: 'ready' }
  | { type: 'failed'; reason: string }
  | { type: 'camera-stats'; exposed: number; dropped: number[] };

const clock = createSystemClock();
const say = (answer: AgentProgramAnswer) => process.send?.(answer);

/** Whatever is asked before the start: the camera that has exposed nothing. */
const held = { camera: createFrameSource({ clock }) };

function captureSource(): CaptureSource {
  const { width: widthPx, height: heightPx, framesPerSecond: frameRate } = frameShape;
  return { kind: 'rawvideo', widthPx, heightPx, frameRate, microphone: { kind: 'beep' }, attach: held.camera.attach };
}

async function start(settings: AgentProgramSettings): Promise<void> {
  const { relayUrl, coreToken, ffmpegFile, logLevel, maxBacklogMs, isBusyPicture } = settings;
  const camera = createFrameSource({ clock, isBusy: isBusyPicture });
  held.camera = camera;
  const redactor = createRedactor();
  const log = createLog({ program: 'agent', level: logLevel, redactor });
  const agent = createAgent({
    ...{ clock, log, redactor, relayUrl },
    coreToken: new Secret(coreToken),
    source: captureSource(),
    ffmpegPath: ffmpegFile,
    ...(maxBacklogMs === undefined ? {} : { maxBacklogMs }),
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
  if (request.type === 'camera-stats') say({ type: 'camera-stats', ...held.camera.stats() });
  else start(request.settings).catch((error) => say({ type: 'failed', reason: asGlasscastError(error).message }));
});
