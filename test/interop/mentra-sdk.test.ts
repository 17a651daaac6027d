/** The unmodified MentraOS SDK as the app, real glasses (the agent with a test pattern), the real relay and local Stream. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAgent } from '../../device/agent.ts';
import { parseCaptureSource } from '../../device/capture-source.ts';
import { type ChildSpawner, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { ffmpegs, probe } from '../support/ffprobe.ts';
import { descendantsOf, processesWith } from '../support/processes.ts';
import { createRelayWorld, type RelayWorld } from '../support/relay-world.ts';
import { createSdkApp, type SdkApp } from '../support/sdk-app-process.ts';

const USER = 'ada-lovelace@example.com';
const VIDEO = { width: 640, height: 360, frameRate: 24, bitrate: 800_000 };

/** Of this test's glasses, which live in this process. */
const encoders = () => descendantsOf(process.pid).filter((pid) => processesWith('-f flv pipe:1').includes(pid));

let world: RelayWorld;
let children: ChildSpawner;
let first: SdkApp;
let second: SdkApp;

beforeAll(async () => {
  children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  [first, second] = (await Promise.all(
    ['com.example.first', 'com.example.second'].map((name) => createSdkApp(children.spawn, name)),
  )) as [SdkApp, SdkApp];
});
afterAll(() => children.close());

beforeEach(async () => {
  world = await createRelayWorld();
});
afterEach(async () => {
  expect(await world.close()).toEqual([]);
  expect(encoders()).toEqual([]);
});

/** Real glasses, and both apps started for their user. */
async function everybody(ffmpegPath?: string) {
  const { coreToken } = await world.rest<{ coreToken: string }>('POST', '/api/tokens', { email: USER });
  const agent = createAgent({
    clock: createSystemClock(),
    log: silentLog(),
    redactor: createRedactor(),
    relayUrl: `${world.wsUrl}/glasses-ws`,
    coreToken: new Secret(coreToken),
    source: parseCaptureSource('test-pattern'),
    ffmpegPath,
  });
  await agent.start();
  for (const app of [first, second]) {
    const { packageName, publicUrl, apiKey } = app;
    await world.rest('PUT', `/api/apps/${packageName}`, { publicUrl, apiKey, appType: 'background' });
    await world.rest('POST', `/api/apps/${packageName}/start`, { userId: USER });
    await app.session();
  }
  await expect
    .poll(
      async () =>
        (await world.rest<{ sessions: { connected: boolean }[] }>('GET', '/api/sessions')).sessions[0]?.connected,
    )
    .toBe(true);
  return agent;
}

describe.each(ffmpegs())('@mentra/sdk 2.1.29, glasses with the $name', ({ file }) => {
  it('starts, plays, is joined, checked and stopped, and starts again', async () => {
    const agent = await everybody(file);
    try {
      const stream = await first.startManagedStream({ video: VIDEO, audio: { bitrate: 96_000, sampleRate: 44_100 } });
      const [hls, dash] = await Promise.all([
        probe(children.spawn, stream.hlsUrl),
        probe(children.spawn, stream.dashUrl),
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
      await expect.poll(() => world.leftovers(), { timeout: 20_000 }).toEqual([]);
      await expect.poll(() => encoders()).toEqual([]);
      expect(await first.checkExistingStream()).toMatchObject({ hasActiveStream: false });

      const again = await first.startManagedStream({ video: VIDEO });
      expect(again.streamId).not.toBe(stream.streamId);
      expect((await probe(children.spawn, again.hlsUrl)).streams).toHaveLength(2);
      await first.stopManagedStream();
      await expect.poll(() => world.leftovers(), { timeout: 20_000 }).toEqual([]);
    } finally {
      await agent.close();
    }
  });

  it('gives two apps that ask in the same millisecond one live input, and both go live (defect 1)', async () => {
    const agent = await everybody(file);
    try {
      const [one, two] = await Promise.all([
        first.startManagedStream({ video: VIDEO }),
        second.startManagedStream({ video: VIDEO }),
      ]);
      expect(two.streamId).toBe(one.streamId);
      expect(await world.providerCall('/live_inputs')).toHaveLength(1);
      await Promise.all([first.stopManagedStream(), second.stopManagedStream()]);
      await expect.poll(() => world.leftovers(), { timeout: 20_000 }).toEqual([]);
    } finally {
      await agent.close();
    }
  });
});
