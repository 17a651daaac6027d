/** Everything real: the MentraOS SDK as the apps, the agent with a test pattern as the glasses, relay and local Stream. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createAgent } from '../../device/agent.ts';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { ffmpegs, probe } from '../support/ffprobe.ts';
import { descendantsOf, processesWith } from '../support/processes.ts';
import { type SdkLine, sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

const VIDEO = { width: 640, height: 360, frameRate: 24, bitrate: 800_000 };

/** Of this test's glasses, which live in this process. */
const encoders = () => descendantsOf(process.pid).filter((pid) => processesWith('-f flv pipe:1').includes(pid));

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld();
});
afterAll(async () => expect(await world.close()).toEqual([]));
afterEach(async () => {
  await expect.poll(() => world.relay.leftovers(), { timeout: 20_000 }).toEqual([]);
  expect(encoders()).toEqual([]);
});

/** Real glasses of a new user, and two apps in session. */
async function everybody(line: SdkLine, ffmpegPath: string | undefined) {
  const user = world.newUser();
  const { coreToken } = await world.relay.rest<{ coreToken: string }>('POST', '/api/tokens', { email: user });
  const agent = createAgent({
    clock: createSystemClock(),
    log: silentLog(),
    redactor: createRedactor(),
    relayUrl: `${world.relay.wsUrl}/glasses-ws`,
    coreToken: new Secret(coreToken),
    source: parseCaptureSource('test-pattern'),
    ffmpegPath,
  });
  await agent.start();
  const [first, second] = await Promise.all([world.start(line, 'first', user), world.start(line, 'second', user)]);
  await expect.poll(() => first.call<boolean>('device.state.connected.value')).toBe(true);
  return { agent, first, second };
}

/** Every line with one ffmpeg, every ffmpeg with one line. */
const pairs = [
  ...ffmpegs().map(({ name, file }) => ({ line: sdkLines[0], name, file })),
  ...ffmpegs()
    .slice(0, 1)
    .map(({ name, file }) => ({ line: sdkLines[1], name, file })),
];

describe.each(pairs)('@mentra/sdk $line, glasses with the $name', ({ line, file }) => {
  it('starts, plays, is joined, checked and stopped, and starts again', async () => {
    const { agent, first, second } = await everybody(line, file);
    try {
      const stream = await first.startManagedStream({ video: VIDEO, audio: { bitrate: 96_000, sampleRate: 44_100 } });
      const [hls, dash] = await Promise.all([
        probe(world.children.spawn, stream.hlsUrl),
        probe(world.children.spawn, stream.dashUrl),
      ]);
      for (const { streams } of [hls, dash]) {
        const video = streams.find(({ codec_type }) => codec_type === 'video');
        const audio = streams.find(({ codec_type }) => codec_type === 'audio');
        expect(video).toMatchObject({ codec_name: 'h264', width: 640, height: 360 });
        expect(audio).toMatchObject({ codec_name: 'aac', sample_rate: '44100' });
        const [frames = 0, seconds = 1] = (video?.avg_frame_rate ?? '').split('/').map(Number);
        if (frames > 0) expect(Math.abs(frames / seconds - 24)).toBeLessThan(2);
      }

      const joined = await second.startManagedStream();
      expect(joined).toMatchObject({ streamId: stream.streamId, hlsUrl: stream.hlsUrl, dashUrl: stream.dashUrl });
      expect(await second.checkExistingStream()).toMatchObject({
        hasActiveStream: true,
        streamInfo: { type: 'managed', status: 'active', streamId: stream.streamId, activeViewers: 2 },
      });

      await first.stopManagedStream();
      await expect.poll(() => first.isManagedStreamActive()).toBe(false);
      expect(await second.isManagedStreamActive()).toBe(true);
      expect(agent.status().stream?.state).toBe('publishing');
      await second.stopManagedStream();
      await expect.poll(() => second.isManagedStreamActive()).toBe(false);
      await expect.poll(() => world.relay.leftovers(), { timeout: 20_000 }).toEqual([]);
      await expect.poll(() => encoders()).toEqual([]);
      expect(await first.checkExistingStream()).toMatchObject({ hasActiveStream: false });

      const again = await first.startManagedStream({ video: VIDEO });
      expect(again.streamId).not.toBe(stream.streamId);
      expect((await probe(world.children.spawn, again.hlsUrl)).streams).toHaveLength(2);
      await first.stopManagedStream();
      await expect.poll(() => world.relay.leftovers(), { timeout: 20_000 }).toEqual([]);
    } finally {
      await agent.close();
    }
  });

  it('gives two apps that ask in the same millisecond one live input, and both go live (defect 1)', async () => {
    const { agent, first, second } = await everybody(line, file);
    try {
      const [one, two] = await Promise.all([
        first.startManagedStream({ video: VIDEO }),
        second.startManagedStream({ video: VIDEO }),
      ]);
      expect(two.streamId).toBe(one.streamId);
      expect(await world.relay.providerCall('/live_inputs')).toHaveLength(1);
      await Promise.all([first.stopManagedStream(), second.stopManagedStream()]);
      await expect.poll(() => world.relay.leftovers(), { timeout: 20_000 }).toEqual([]);
    } finally {
      await agent.close();
    }
  });
});
