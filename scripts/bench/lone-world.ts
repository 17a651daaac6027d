/**
 * The agent alone before an ingest that can be made to fail: the local Stream behind the RTMP tap, and a relay that only keeps
 * the stream alive. Starts the product and its peer the same way. Knows no faults and no goals.
 */
import { Secret } from '../../shared/secrets.ts';
import { type AgentKind, type AgentProcess, type AgentStart, startAgentProcess } from './agent-process.ts';
import type { FrameSource } from './frame-source.ts';
import { type LoneRelay, startLoneRelay } from './lone-relay.ts';
import { type PlainPush, plainBarcode } from './plain-ffmpeg.ts';
import { superviseFfmpeg } from './plain-supervisor.ts';
import { descendantsOf, type ProcessMark, stillRunning } from './process-use.ts';
import type { Bench } from './program.ts';
import { testAudio, testVideo } from './start-run.ts';
import { createLiveInput, deleteLiveInput, type LiveInput, type LiveInputSettings } from './stream-process.ts';
import { type MediaWorld, startMedia, until } from './world.ts';

export interface LoneWorld extends MediaWorld {
  relay: LoneRelay;
}

/** @param host where the agent and its peers find relay and ingest */
export async function startLoneWorld(bench: Bench, host = '127.0.0.1'): Promise<LoneWorld> {
  const media = await startMedia(bench, host);
  const relay = await startLoneRelay(bench, host);
  bench.defer(relay.close);
  return Object.defineProperties({ relay } as LoneWorld, Object.getOwnPropertyDescriptors(media));
}

/** Something that publishes: the product or plain ffmpeg. */
export interface Publishing {
  /** `Clock.monotonicMs` of the START or of the spawn. */
  askedMs: number;
  /** `rtmp://…` for who watches, not through the door. Holds a key. */
  playUrl: string;
  input: LiveInput;
  cameraStats(): Promise<ReturnType<FrameSource['stats']>>;
  /** Ends it; gives what it has left behind. */
  stop(): Promise<Leftovers>;
}

export interface Leftovers {
  /** Commands of processes that ran on 3 s after the stream's end, and after the end of all. */
  afterStream: string[];
  afterEnd: string[];
}

export interface ProductRun extends Publishing {
  agent: AgentProcess;
}

/** As the relay asks for with the local provider. */
const askedVideo = { ...testVideo, keyFrameIntervalMs: 1_000 } as const;

export interface ProductStart extends AgentStart {
  kind?: AgentKind;
  /** Of the live input; by default nothing is packaged. */
  settings?: LiveInputSettings;
  /** Publishes to this address of another server, past the tap; the live input stays idle. */
  elsewhere?: string;
}

/** A new agent each time, so that no run knows of the one before. Resolves when START is sent. */
export async function startProduct(
  bench: Bench,
  world: LoneWorld,
  { kind = 'barcode', settings = { mode: 'off' }, elsewhere, ...start }: ProductStart = {},
): Promise<ProductRun> {
  const { relay, stream } = world;
  const input = await createLiveInput(stream, settings);
  const coreToken = new Secret(crypto.randomUUID());
  const agent = await startAgentProcess(bench, kind, { relayUrl: relay.url, coreToken }, start);
  bench.defer(agent.stop);
  await until(bench, 'the agent did not connect', () => {
    agent.mustRun();
    return relay.isConnected;
  });
  const family = watchFamily(bench, agent.pid);
  const streamId = `m${crypto.randomUUID().slice(0, 10)}`;
  const publishUrl = elsewhere ?? world.publishUrl(input.publishKey.reveal());
  const askedMs = relay.start({ streamId, publishUrl, video: askedVideo, audio: testAudio });
  return {
    ...{ agent, askedMs, input, playUrl: elsewhere ?? world.playUrl(input.playbackKey.reveal()) },
    async cameraStats() {
      // A process that died has sent nothing more, which must not pass for a figure.
      agent.mustRun();
      return agent.cameraStats();
    },
    async stop() {
      await relay.stop();
      await bench.clock.sleep(GRACE_MS, { signal: bench.signal });
      const afterStream = await family.left();
      await agent.stop();
      relay.hangUp();
      await until(bench, 'the agent did not leave', () => !relay.isConnected);
      const afterEnd = await family.left();
      family.close();
      await cleared(world, input);
      return { afterStream, afterEnd };
    },
  };
}

/** The same pictures by plain ffmpeg under a restart loop. */
export async function startPlain(
  bench: Bench,
  world: LoneWorld,
  options: Pick<PlainPush, 'outputOptions'> & Pick<AgentStart, 'launcher' | 'isBusyPicture'> = {},
): Promise<Publishing> {
  const { outputOptions, ...supervision } = options;
  const input = await createLiveInput(world.stream, { mode: 'off' });
  const args = plainBarcode('fast', {
    publishUrl: world.publishUrl(input.publishKey.reveal()),
    videoBitrateBps: testVideo.bitrate,
    audioBitrateBps: testAudio.bitrate,
    ...(outputOptions === undefined ? {} : { outputOptions }),
  });
  const askedMs = bench.clock.monotonicMs();
  const plain = superviseFfmpeg(bench, { args, ...supervision });
  bench.defer(plain.close);
  return {
    ...{ askedMs, input },
    playUrl: world.playUrl(input.playbackKey.reveal()),
    cameraStats: async () => plain.cameraStats(),
    async stop() {
      await plain.close();
      await cleared(world, input);
      return { afterStream: [], afterEnd: [] };
    },
  };
}

/** Gives back the ingest as it was: nobody connected, no input. */
async function cleared({ rtmpTap, stream }: LoneWorld, { uid }: LiveInput): Promise<void> {
  rtmpTap.reset();
  await deleteLiveInput(stream, uid);
}

/** A stopped encoder may need its patience: three seconds until SIGKILL. */
const GRACE_MS = 3_500;
const LOOK_MS = 250;
/** What our loader and tsx run beside the program that they load. */
const LOADER = /esbuild --service/;

/** Remembers every process that was ever seen below this one. */
function watchFamily(bench: Bench, pid: number): { left(): Promise<string[]>; close(): void } {
  const seen = new Map<string, ProcessMark>();
  const look = async () => {
    for (const mark of await descendantsOf(pid)) {
      if (!LOADER.test(mark.command)) seen.set(`${mark.pid} ${mark.startTicks}`, mark);
    }
  };
  const timer = bench.clock.every('family', LOOK_MS, () => void look());
  bench.defer(() => timer.cancel());
  return {
    async left() {
      await look();
      return (await stillRunning([...seen.values()])).map(({ command }) => command.slice(0, 100));
    },
    close: () => timer.cancel(),
  };
}
