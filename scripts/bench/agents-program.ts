/**
 * Many glasses in one process: for each user the composition root of the agent with a barcode camera of its own. Settings come over
 * the message channel, where no process list shows a token. Counts the STARTs that made an encoder begin; decides nothing.
 */
import { type Agent, createAgent } from '../../device/agent.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { asGlasscastError } from '../../shared/errors.ts';
import { createLog, type LogLevel } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createFrameSource, type FrameShape, type FrameSource } from './frame-source.ts';

export interface AgentsProgramSettings {
  relayUrl: string;
  ffmpegFile: string;
  logLevel: LogLevel;
  shape: FrameShape;
  statsEveryMs: number;
  users: readonly { userId: string; coreToken: string }[];
}

/** Of one pair of glasses. */
export interface AgentFacts {
  userId: string;
  isConnected: boolean;
  /** STARTs after which an encoder began. */
  starts: number;
  /** Times its push came back after a loss. */
  reconnects: number;
  /** Numbers of the frames that the encoder did not take. */
  notTaken: number[];
}

/** Parent → child. */
export type AgentsProgramRequest = { type: 'start'; settings: AgentsProgramSettings } | { type: 'facts' };
/** Child → parent. */
export type AgentsProgramAnswer =
  | { type: 'ready' }
  | { type: 'failed'; reason: string }
  | { type: 'facts'; agents: AgentFacts[] };

interface Glasses {
  agent: Agent;
  camera: FrameSource;
  facts(): AgentFacts;
}

const clock = createSystemClock();
const redactor = createRedactor();
const glasses: Glasses[] = [];
const say = (answer: AgentsProgramAnswer) => process.send?.(answer);

function addGlasses(
  settings: AgentsProgramSettings,
  { userId, coreToken }: AgentsProgramSettings['users'][number],
): Glasses {
  const { relayUrl, ffmpegFile, logLevel, shape, statsEveryMs } = settings;
  const camera = createFrameSource({ clock, shape });
  let starts = 0;
  const destination = {
    write(line: string) {
      if (line.includes('"msg":"stream-start"')) starts += 1;
      if (logLevel === 'debug' || /"level":"?(50|40)/.test(line)) process.stderr.write(line);
    },
  };
  const agent = createAgent({
    ...{ clock, redactor, relayUrl, statsEveryMs, ffmpegPath: ffmpegFile },
    log: createLog({ program: `agent ${userId}`, level: 'info', redactor, destination }),
    coreToken: new Secret(coreToken),
    source: {
      kind: 'rawvideo',
      ...{ widthPx: shape.width, heightPx: shape.height, frameRate: shape.framesPerSecond, attach: camera.attach },
      microphone: { kind: 'silence' },
    },
    encoders: [libx264],
    // So many at once are more than this machine has cores for: what it would save is what is measured.
    governor: false,
  });
  const facts = (): AgentFacts => {
    const { connected, stream } = agent.status();
    return {
      userId,
      isConnected: connected,
      starts,
      reconnects: stream?.reconnects ?? 0,
      notTaken: camera.stats().dropped,
    };
  };
  return { agent, camera, facts };
}

async function start(settings: AgentsProgramSettings): Promise<void> {
  for (const user of settings.users) {
    const added = addGlasses(settings, user);
    glasses.push(added);
    added.camera.start();
    await added.agent.start();
  }
  say({ type: 'ready' });
}

async function close(): Promise<void> {
  for (const { camera } of glasses) camera.close();
  await Promise.all(glasses.map(({ agent }) => agent.close()));
}

const end = () => void close().finally(() => process.exit(0));
process.once('SIGINT', end);
process.once('disconnect', end);
process.on('message', (request: AgentsProgramRequest) => {
  if (request.type === 'facts') say({ type: 'facts', agents: glasses.map(({ facts }) => facts()) });
  else start(request.settings).catch((error) => say({ type: 'failed', reason: asGlasscastError(error).message }));
});
