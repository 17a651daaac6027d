/** The agent in scripted worlds, with real ffmpeg and real sockets, between a scripted relay and a scripted ingest. */
import { expect, test, vi } from 'vitest';
import { type Agent, type AgentOptions, createAgent } from '../../device/agent.ts';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { parseScenario } from '../../device/simulator/scenario.ts';
import { openSimulation } from '../../device/simulator/simulation.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { createLog } from '../../shared/log.ts';
import { isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { type FakeRelay, type GlassesFrame, startFakeRelay } from '../support/fake-relay.ts';
import { type RtmpSink, startRtmpSink } from '../support/rtmp-sink.ts';

const small = { width: 320, height: 180, bitrate: 300_000, frameRate: 15 };

interface World extends AsyncDisposable {
  agent: Agent;
  relay: FakeRelay;
  sink: RtmpSink;
  /** What the simulator has told so far. */
  simulated: () => object[];
  goLive(video?: object): Promise<void>;
}

async function simulate(events: object[], options: Partial<AgentOptions> & { seed?: number } = {}): Promise<World> {
  const { seed = 1, ...more } = options;
  const [relay, sink] = await Promise.all([startFakeRelay(), startRtmpSink()]);
  const clock = createSystemClock();
  const redactor = createRedactor();
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  const log = createLog({ program: 'agent', level: 'info', redactor, destination: { write } });
  const scenario = parseScenario(JSON.stringify({ about: 'a test', events }), 'test');
  const simulation = await openSimulation({ scenario, seed, clock, log });
  const agent = createAgent({
    ...{ clock, log, redactor, simulation, relayUrl: relay.url, coreToken: new Secret('t'), encoders: [libx264] },
    ...{ source: parseCaptureSource('test-pattern'), ...more },
  });
  await agent.start();
  await relay.untilConnected();
  return {
    ...{ agent, relay, sink },
    simulated: () => lines.filter(({ msg }) => msg === 'simulated').map(({ time: _, ...what }) => what),
    async goLive(video = small) {
      const rtmpUrl = `rtmp://127.0.0.1:${sink.port}/live/key`;
      relay.send({ type: 'start_rtmp_stream', streamId: 'm1', rtmpUrl, video, audio: {}, stream: {} });
      await relay.until(says('streaming'));
    },
    async [Symbol.asyncDispose]() {
      await agent.close();
      await simulation.close();
      await relay.close();
      await sink.close();
      // A reading of the sensors that was under way ends by itself.
      await vi.waitFor(() => expect(clock.pending()).toEqual([]), { timeout: 4_000 });
    },
  };
}
const says = (status: string) => (frame: GlassesFrame) => frame.status === status;
const codeOf = ({ notice }: GlassesFrame) => (notice as { code: string } | undefined)?.code;
const notices = ({ frames }: FakeRelay) => frames.flatMap((frame) => codeOf(frame) ?? []);
const hasNotice = (code: string) => (frame: GlassesFrame) => codeOf(frame) === code;

test.concurrent('a narrow uplink: told, and a smaller picture takes over on the same connection', async () => {
  await using world = await simulate([{ atS: 3, network: { uplinkKbps: 300 } }]);
  const asked = { width: 640, height: 360, bitrate: 1_000_000, frameRate: 15 };
  await world.goLive(asked);
  const told = await world.relay.until(hasNotice('UPLINK_NARROW'));
  expect((told.notice as { numbers: Record<string, number> }).numbers.uplinkBps).toBeLessThan(900_000);
  const from = world.relay.frames.length;
  const isSmaller = ({ resolvedConfig }: GlassesFrame) => (resolvedConfig?.video?.bitrate ?? 1e9) < 700_000;
  await world.relay.until(isSmaller, from);
  // What was held up arrives as well, and what is smaller fits: the queue comes to its end.
  await world.relay.until((frame) => frame.kind === 'snapshot' && (frame.stats?.queuedBytes ?? 1e9) < 30_000, from);
  expect(world.sink.connections).toBe(1);
});

test.concurrent('a camera that goes and comes back: the push stays', async () => {
  await using world = await simulate([{ fromS: 3, toS: 5, camera: 'gone' }]);
  await world.goLive();
  const lost = await world.relay.until(says('reconnecting'));
  expect(lost.errorCode).toBe('CAMERA_NOT_FOUND');
  const pictures = () => world.sink.tags.filter((tag) => tag.kind === 'video' && !isSequenceHeader(tag));
  const before = pictures().length;
  await world.relay.until(says('reconnected'));
  await world.sink.until(() => pictures().length > before + 10);
  expect(world.sink.connections).toBe(1);
  const times = pictures().map(({ timestampMs }) => timestampMs);
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThan(0);
  expect(Math.max(...gaps)).toBeGreaterThan(1_500);
});

test.concurrent('a hot day: told, a smaller picture, and the end of it', async () => {
  await using world = await simulate([
    { atS: 0, temperatureC: 82 },
    { atS: 5, temperatureC: 95 },
  ]);
  await world.goLive();
  await world.relay.until(hasNotice('HEAT'));
  expect(world.agent.status().temperatureC).toBeGreaterThan(80);
  const error = await world.relay.until(says('error'));
  expect(error.errorCode).toBe('OVERHEATED');
  expect(notices(world.relay)).toEqual(['HEAT', 'HEAT']);
});

test.concurrent('the relay away for longer than the lease: the stream ends, and the relay hears it on return', async () => {
  await using world = await simulate([{ fromS: 3, toS: 7, relay: { down: true } }], { leaseMs: 2_000 });
  await world.goLive();
  const keeping = setInterval(
    () => world.relay.send({ type: 'keep_rtmp_stream_alive', streamId: 'm1', ackId: 'a' }),
    500,
  );
  try {
    await world.relay.untilConnected(2);
    expect(world.agent.status().stream?.state).toBe('failed');
    const error = await world.relay.until(says('error'));
    expect(error.errorCode).toBe('LEASE_EXPIRED');
  } finally {
    clearInterval(keeping);
  }
  expect(world.relay.frames.filter(({ type }) => type === 'keep_alive_ack').length).toBeGreaterThan(2);
});

test.concurrent('the same seed gives the same world and the same notices', async () => {
  const once = async () => {
    await using world = await simulate(
      [
        { atS: 0, temperatureC: 82 },
        { fromS: 6, toS: 7.5, jitterS: 0.3, microphone: 'gone' },
        { atS: 11, jitterS: 0.5, battery: { percent: 15 } },
      ],
      { seed: 7 },
    );
    await world.goLive();
    await world.relay.until(hasNotice('BATTERY_LOW'));
    return { notices: notices(world.relay), simulated: world.simulated() };
  };
  const [first, second] = await Promise.all([once(), once()]);
  expect(first).toEqual(second);
  expect(first.notices).toEqual(['HEAT', 'MICROPHONE_LOST', 'MICROPHONE_BACK', 'BATTERY_LOW']);
  expect(first.simulated).toHaveLength(4);
});
