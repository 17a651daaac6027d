/** A stream from its start over an interruption to its end: every line of the log that concerns it names it and its user. */
import { expect, it } from 'vitest';
import { createAgent } from '../../device/agent.ts';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { parseScenario } from '../../device/simulator/scenario.ts';
import { openSimulation } from '../../device/simulator/simulation.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createRelayWorld, type Frame } from '../support/relay-world.ts';

const USER = 'ada@example.com';
const status = (word: string) => (frame: Frame) => frame.type === 'managed_stream_status' && frame.status === word;

/** Events that are always about one stream, by what writes them. */
const ABOUT_A_STREAM = [
  ...['stream-requested', 'stream-start-sent', 'stream-live', 'stream-interrupted', 'stream-failed', 'stream-ended'],
  ...['stream-start-late', 'stream-resumed', 'stray-stream-stopped', 'stream-not-saved', 'stream-defect'],
  ...['stream-not-erased', 'playback-look-failed'],
  ...['output-added', 'output-removed', 'output-refused', 'outputs-poll-failed', 'output-surplus-deleted'],
  ...['cleanup-done', 'cleanup-postponed', 'ledger-write-failed'],
  // The glasses.
  ...['stream-start', 'stream-stop', 'publisher-state', 'publisher-notice', 'publisher-failed'],
  ...['picture-lost', 'sound-lost', 'picture-change-failed', 'encoder-stalled', 'encoder-says', 'capture-stalled'],
];
/** Of these the run has to have some. */
const SEEN = [
  ...['stream-requested', 'stream-start-sent', 'stream-live', 'stream-interrupted', 'stream-ended', 'cleanup-done'],
  ...['stream-start', 'stream-stop', 'publisher-state'],
];

it('every line about a stream carries streamId and userId, at the relay and on the glasses', async () => {
  const world = await createRelayWorld();
  const { coreToken } = await world.rest<{ coreToken: string }>('POST', '/api/tokens', { email: USER });
  const { clock } = world;
  const redactor = createRedactor();
  const write = (line: string) => void world.logLines.push(line);
  const log = createLog({ program: 'agent', level: 'debug', redactor, destination: { write } });
  const away = { about: 'an outage', events: [{ fromS: 6, toS: 9, network: { down: true } }] };
  const simulation = await openSimulation({
    ...{ clock, log, seed: 1, scenario: parseScenario(JSON.stringify(away), 'an outage') },
  });
  const agent = createAgent({
    ...{ clock, log, redactor, simulation },
    relayUrl: `${world.wsUrl}/glasses-ws`,
    coreToken: new Secret(coreToken),
    source: parseCaptureSource('test-pattern'),
    encoders: [libx264],
  });
  try {
    await agent.start();
    const app = await world.app('com.example.cam');
    await world.rest('POST', '/api/apps/com.example.cam/start', { userId: USER });
    app.send({ type: 'managed_stream_request', video: { width: 320, height: 240, frameRate: 15 } });
    await app.inbox.take('active', status('active'));
    const [stream] = (await world.rest<{ streams: { streamId: string }[] }>('GET', '/api/streams')).streams;
    const streamId = stream?.streamId ?? '';
    await app.inbox.take('preparing', status('preparing'), 40_000);
    await app.inbox.take('active again', status('active'), 40_000);
    app.send({ type: 'managed_stream_stop' });
    await app.inbox.take('stopped', status('stopped'));
    while ((await world.leftovers()).length > 0) await world.clock.sleep(50);

    const lines = world.logLines.map((line) => JSON.parse(line) as Record<string, unknown>);
    const about = lines.filter(({ msg }) => ABOUT_A_STREAM.includes(String(msg)));
    const seen = new Set(about.map(({ msg }) => msg));
    expect(SEEN.filter((event) => !seen.has(event))).toEqual([]);
    expect(about.filter((line) => line.streamId !== streamId || line.userId !== USER)).toEqual([]);
    // And whatever names a stream names a user.
    expect(lines.filter((line) => line.streamId !== undefined && line.userId === undefined)).toEqual([]);
  } finally {
    await agent.close();
    await simulation.close();
    expect(await world.close()).toEqual([]);
  }
});
