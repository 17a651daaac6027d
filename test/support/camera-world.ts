/** An agent with a made-up camera and a made-up privacy light, between a scripted relay and a scripted ingest. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Agent, type AgentOptions, createAgent } from '../../device/agent.ts';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { createLog, type Log } from '../../shared/log.ts';
import { type FlvTag, isSequenceHeader, timestampDiffMs } from '../../shared/rtmp/flv.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { agentFfmpeg, createFakeCameras } from './fake-cameras.ts';
import { type GlassesFrame, startFakeRelay } from './fake-relay.ts';
import { isRunning, membersOf } from './processes.ts';
import { startRtmpSink } from './rtmp-sink.ts';

export const small = { width: 320, height: 180, bitrate: 300_000, frameRate: 15, keyFrameIntervalMs: 1000 };

export interface StartedChild {
  name: string;
  pid: number;
}

export async function createCameraWorld() {
  const relay = await startFakeRelay();
  const sink = await startRtmpSink();
  const cameras = createFakeCameras();
  const clock = createSystemClock();
  const lines: Record<string, unknown>[] = [];
  const root = join(cameras.folders.devices, '..');
  const busyFile = join(root, 'busy');
  const led = join(root, 'sys/class/leds/cam');
  let agent: Agent | undefined;
  let litAtEnd: boolean | undefined;
  mkdirSync(led, { recursive: true });
  for (const [file, text] of Object.entries({ brightness: '0', max_brightness: '1', trigger: 'none' })) {
    writeFileSync(join(led, file), `${text}\n`);
  }

  const world = {
    ...{ relay, sink, cameras, clock, busyFile },
    get agent(): Agent {
      if (!agent) throw new Error('no agent');
      return agent;
    },
    device: join(cameras.folders.devices, 'video0'),
    plugIn: () => cameras.node('video0', 'HD Pro Webcam C920'),
    unplug: () => rmSync(world.device),
    isLit: () => litAtEnd ?? readFileSync(join(led, 'brightness'), 'utf8').trim() === '1',

    /** @param realFile ffmpeg behind the camera's; default: the first that is found. */
    async start(source: string, options: Partial<AgentOptions> = {}, realFile?: string): Promise<void> {
      const redactor = createRedactor();
      const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>);
      agent = createAgent({
        ...{ clock, redactor, relayUrl: relay.url, coreToken: new Secret('very-secret-core-token') },
        log: withoutChatter(createLog({ program: 'agent', level: 'debug', redactor, destination: { write } })),
        source: parseCaptureSource(source),
        ffmpegPath: cameras.program('ffmpeg', agentFfmpeg({ busyFile, ...(realFile ? { realFile } : {}) })),
        ...{ cameraFolders: cameras.folders, encoders: [libx264], statsEveryMs: 200 },
        privacyLight: { kind: 'led', name: 'cam' },
        sysRoot: join(root, 'sys'),
        ...options,
      });
      await agent.start();
      await relay.untilConnected();
    },
    order(video: object = small): void {
      const rtmpUrl = `rtmp://127.0.0.1:${sink.port}/live/very-secret-stream-key`;
      relay.send({ type: 'start_rtmp_stream', streamId: 'm1', rtmpUrl, video, audio: {}, stream: {} });
    },
    /** The next status with this word, from frame `from` on. */
    says: (status: string, from = 0): Promise<GlassesFrame> => relay.until((frame) => frame.status === status, from),
    async stop(): Promise<void> {
      relay.send({ type: 'stop_rtmp_stream', streamId: 'm1' });
      await world.says('stopped');
    },
    logged: () => JSON.stringify(lines),
    logLines: () => lines.length,
    /** All children of this name that were ever started, in order. */
    started: (name: string): StartedChild[] =>
      lines.flatMap(({ msg, child, pid }) =>
        msg === 'child-started' && child === name ? [{ name, pid: Number(pid) }] : [],
      ),
    pids: (name: string): number[] => world.started(name).map(({ pid }) => pid),
    running: (name: string): number[] => world.pids(name).filter(isRunning),
    /** Any child, or member of a child's process group, that still runs. */
    leftOver: (): StartedChild[] =>
      lines.flatMap(({ msg, child, pid }) =>
        msg === 'child-started' && membersOf(Number(pid)).length > 0 ? [{ name: String(child), pid: Number(pid) }] : [],
      ),
    media: (kind: FlvTag['kind']) => sink.tags.filter((tag) => tag.kind === kind && !isSequenceHeader(tag)),
    /** Between neighbouring pictures, from picture `from` on. */
    gaps(from = 0): number[] {
      const times = world.media('video').slice(from);
      return times
        .slice(1)
        .map(({ timestampMs }, index) => timestampDiffMs(timestampMs, times[index]?.timestampMs ?? 0));
    },
    /** Resolves when so many more pictures have arrived. */
    async morePictures(count: number): Promise<void> {
      const until = world.media('video').length + count;
      await sink.until(() => world.media('video').length >= until);
    },
    async close(): Promise<void> {
      await agent?.close();
      await relay.close();
      await sink.close();
      litAtEnd = world.isLit();
      cameras.dispose();
    },
  };
  return world;
}

/** As a program logs that is not asked for details, but with each child that it starts. */
function withoutChatter(log: Log): Log {
  const debug = (fields: object, message: string) => {
    if (message.startsWith('child-')) log.debug(fields, message);
  };
  const own: Log = Object.create(log);
  return Object.assign(own, { debug });
}

export type CameraWorld = Awaited<ReturnType<typeof createCameraWorld>>;
