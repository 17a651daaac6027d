/** Faults injected into real streams, and the one sentence that the relay says about each: its cause, and no other. */
import { describe, expect, test } from 'vitest';
import type { Explanation } from '../../cloud/streams/stream-history.ts';
import { Secret } from '../../shared/secrets.ts';
import { type Blame, blamed } from '../support/blame-words.ts';
import { createExplainWorld, EXPLAIN_USER } from '../support/explain-world.ts';

const TIME = String.raw`\d\d:\d\d:\d\d`;

/** The verdict blames this and nothing else, and an entry shows it. */
function expectBlame(told: Explanation, cause: Blame | undefined, ...parts: RegExp[]): void {
  const { verdict } = told;
  expect([verdict, blamed(verdict)]).toEqual([verdict, cause === undefined ? [] : [cause]]);
  for (const part of parts) expect(verdict).toMatch(part);
  expect(verdict).not.toMatch(/\n|:\/\//);
}
const isLive = ({ state }: Explanation) => state === 'active';
const isOver = ({ state }: Explanation) => state === 'stopped' || state === 'failed';
const has =
  (code: string) =>
  ({ entries }: Explanation) =>
    entries.some((entry) => entry.code === code);
const isBack = (told: Explanation) => isLive(told) && told.record.stalls.count > 0;

describe.concurrent('explain', () => {
  test('a healthy stream, and who ended it', async () => {
    await using world = await createExplainWorld();
    await world.request();
    const live = await world.until((told) => isLive(told) && told.record.liveMs > 1_000);
    expectBlame(live, undefined, /^all well: first picture .* no frame lost; viewers never lost the picture$/);
    await world.end();
    const ended = await world.until(isOver);
    expectBlame(ended, undefined, new RegExp(`^all well: .*, and the operator ended it at ${TIME}$`));
    // Also when the relay that saw it is gone.
    await world.world.restart();
    expect((await world.explain()).verdict).toBe(ended.verdict);
  });

  test('1: an uplink too narrow', async () => {
    await using world = await createExplainWorld([{ atS: 0.5, network: { uplinkKbps: 300 } }]);
    await world.goLive({ width: 640, height: 360, bitrate: 1_000_000, frameRate: 15 });
    const told = await world.until(({ record }) => record.stepsDown > 0);
    expectBlame(
      told,
      'uplink',
      new RegExp(`^uplink 0\\.\\d+ Mbit/s under the asked 1\\.1 Mbit/s from ${TIME}; stepped down`),
    );
    expect(told.record.uplink?.lowestBps).toBeLessThan(900_000);
  });

  test('2: the uplink cut, and back', async () => {
    await using world = await createExplainWorld([
      { atS: 0.5, network: { reset: true } },
      { fromS: 0.5, toS: 3.5, network: { down: true } },
    ]);
    await world.goLive();
    const told = await world.until(isBack);
    expectBlame(told, 'cut', new RegExp(`at ${TIME} for \\d\\.\\d s; no frame was lost; viewers lost the picture for`));
    expect(told.record).toMatchObject({ reconnects: { count: 1 }, framesLost: 0 });
    expect(told.record.reconnects.totalMs).toBeGreaterThan(2_000);
  });

  test('2: the whole network of the glasses gone, and back', async () => {
    await using world = await createExplainWorld([
      { fromS: 0.5, toS: 9.5, network: { down: true }, relay: { down: true } },
    ]);
    await world.goLive();
    const told = await world.until((now) => isBack(now) && has('CONTROL_BACK')(now));
    expectBlame(told, 'line', new RegExp(`from ${TIME} for .* s, and the picture with it; viewers lost the picture`));
    const lost = told.entries.find(({ code }) => code === 'CONTROL_LOST');
    expect(told.entries.find(({ state }) => state === 'interrupted')?.because).toBe(lost?.id);
  });

  test('3: the line to the relay lost, while media flows', async () => {
    await using world = await createExplainWorld([{ fromS: 0.5, toS: 2.5, relay: { down: true } }]);
    await world.goLive();
    const told = await world.until(
      (now) => has('CONTROL_BACK')(now) && now.record.controlLosses.count > 0 && has('CONTROL_LOST')(now),
    );
    expectBlame(told, 'line', new RegExp(`from ${TIME} for \\d.* s; media flowed on; viewers never lost the picture$`));
  });

  test('4: an encoder that crashes', async () => {
    await using world = await createExplainWorld();
    await world.goLive();
    process.kill(world.agent.status().stream?.encoderPid ?? 0, 'SIGKILL');
    const told = await world.until(isBack);
    expectBlame(told, 'encoder', new RegExp(`^the encoder crashed at ${TIME} and was restarted after`));
  });

  test('5: a camera that is unplugged, and plugged in again', async () => {
    await using world = await createExplainWorld([{ fromS: 0.5, toS: 2.5, camera: 'gone' }]);
    await world.goLive();
    const told = await world.until(isBack);
    expectBlame(
      told,
      'camera',
      new RegExp(`^the camera was gone from ${TIME} for \\d\\.\\d s; viewers lost the picture`),
    );
  });

  test('6: a microphone that fails', async () => {
    await using world = await createExplainWorld([{ atS: 0.5, microphone: 'gone' }]);
    await world.goLive();
    const told = await world.until((now) => isLive(now) && has('MICROPHONE_LOST')(now));
    expectBlame(
      told,
      'microphone',
      new RegExp(`^the microphone failed from ${TIME}; .*; viewers never lost the picture`),
    );
  });

  test.each([
    ['answers 500 twice', 'failing' as const, { times: 2 }, 500],
    ['limits requests', 'rate-limited' as const, { times: 1, retryAfterSeconds: 1 }, 429],
  ])('7: the provider %s at the start', async (_, name, settings, status) => {
    await using world = await createExplainWorld();
    await world.fault(name, settings);
    await world.request();
    const told = await world.until(isLive);
    expectBlame(
      told,
      'provider',
      new RegExp(`\\(answered ${status}\\) at ${TIME}; asked again .* cost .* to the first picture`),
    );
    expect(told.record.providerRetries).toBe(settings.times);
  });

  test('7: the provider fails for good', async () => {
    await using world = await createExplainWorld();
    await world.fault('failing');
    await world.request();
    expectBlame(
      await world.until(isOver),
      'provider',
      /^the provider failed .*viewers never saw a picture; see to the provider/,
    );
  });

  test('8: the provider refuses the API token', async () => {
    const wrong = { apiToken: new Secret('not-the-token') };
    const relay = async (provider: object) => ({ provider: { kind: 'local', ...provider, ...wrong } as never });
    await using world = await createExplainWorld([], { relay });
    await world.request();
    expectBlame(await world.until(isOver), 'provider', /refused the API token at .*; give the relay a valid API token/);
  });

  test('8: the ingest refuses the key', async () => {
    await using world = await createExplainWorld();
    await world.goLive();
    await world.disableInput();
    expectBlame(
      await world.until(isOver),
      'key',
      new RegExp(`^the ingest refused the stream key at ${TIME}; viewers had the picture for`),
    );
  });

  test('9: the relay restarted in the middle', async () => {
    await using world = await createExplainWorld();
    await world.goLive();
    await world.world.restart({ keepStreams: true }, 1_000);
    const told = await world.until((now) => isLive(now) && has('TAKEN_OVER')(now));
    expectBlame(
      told,
      'restart',
      new RegExp(`taken over at ${TIME} after \\d\\.\\d s without one; viewers never lost the picture`),
    );
  });

  test('10: glasses that are warm, and then too hot', async () => {
    await using world = await createExplainWorld([
      { atS: 0, temperatureC: 82 },
      { atS: 2, temperatureC: 95 },
    ]);
    await world.goLive();
    const warm = await world.until((now) => isLive(now) && now.record.stepsDown > 0);
    expectBlame(
      warm,
      'heat',
      new RegExp(`^glasses too hot at up to 82 °C from ${TIME}; stepped down once; viewers never`),
    );
    const told = await world.until(isOver);
    expectBlame(
      told,
      'heat',
      /^glasses too hot at up to 95 °C .*stopped the stream by themselves; .*let the glasses cool down/,
    );
  });

  test('11: glasses that vanish', async () => {
    const relay = { timings: { glassesAwayMs: 4_000 } };
    await using world = await createExplainWorld([{ atS: 0.5, network: { down: true }, relay: { down: true } }], {
      relay,
    });
    await world.goLive();
    expectBlame(
      await world.until(isOver),
      'vanished',
      new RegExp(`vanished at ${TIME} and did not come back within 4\\.\\d s`),
    );
  });

  test('12: a start that comes too late, because the provider shows nothing', async () => {
    const relay = { timings: { startDeadlineMs: 5_000 } };
    await using world = await createExplainWorld([], { relay });
    await world.fault('dark');
    await world.request();
    expectBlame(
      await world.until(isOver),
      'late',
      /^no picture within 5\.\d s .* pushed and the provider never showed it; viewers never/,
    );
  });

  test('12: a start that comes too late, because the glasses never push', async () => {
    const relay = { timings: { startDeadlineMs: 3_000 } };
    await using world = await createExplainWorld([], { relay });
    await world.agent.close();
    const glasses = await world.world.glasses(EXPLAIN_USER);
    glasses.state.onStart = 'nothing';
    await world.request();
    expectBlame(
      await world.until(isOver),
      'late',
      /^no picture within 3\.\d s .* asked to start and never pushed; viewers never/,
    );
    await glasses.close();
  });

  test('13: an app that leaves', async () => {
    await using world = await createExplainWorld();
    await world.goLive();
    const app = await world.world.app('com.example.watching');
    await world.world.rest('POST', '/api/apps/com.example.watching/start', { userId: EXPLAIN_USER });
    app.send({ type: 'managed_stream_request' });
    await world.until(({ entries }) => entries.some(({ text }) => text === 'com.example.watching watches'));
    await world.leave();
    app.send({ type: 'managed_stream_stop' });
    expectBlame(
      await world.until(isOver),
      undefined,
      new RegExp(`^all well: .*, and its last viewer left at ${TIME}$`),
    );
  });

  test('14: a battery that runs low, and out', async () => {
    await using world = await createExplainWorld([
      { atS: 0, battery: { percent: 15, charging: false } },
      { atS: 2, battery: { percent: 2 } },
    ]);
    await world.goLive();
    const low = await world.until((now) => isLive(now) && has('BATTERY_LOW')(now));
    expectBlame(low, 'battery', new RegExp(`^battery low at 15 % from ${TIME}; .*charge the glasses$`));
    expectBlame(await world.until(isOver), 'battery', /battery low at 2 % .*stopped the stream by themselves/);
  });
});
