import { afterEach, beforeEach, expect, test } from 'vitest';
import { captureUnderLight, type Lamp } from '../../device/capture/lit-capture.ts';
import { parseScenario } from '../../device/simulator/scenario.ts';
import { openSimulation, type Simulation } from '../../device/simulator/simulation.ts';
import type { GlasscastError } from '../../shared/errors.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createTestClock, type TestClock } from '../support/test-clock.ts';

let clock: TestClock;
let simulation: Simulation | undefined;
let told: { msg: string; atS: number; kind: string; event: number; camera?: string }[];

beforeEach(() => {
  clock = createTestClock();
  told = [];
});
afterEach(async () => {
  await simulation?.close();
  expect(clock.pending()).toEqual([]);
});

async function open(...events: object[]): Promise<Simulation> {
  const write = (line: string) => void told.push(JSON.parse(line));
  simulation = await openSimulation({
    scenario: parseScenario(JSON.stringify({ about: 'a test', events }), 'test'),
    ...{ seed: 1, clock },
    log: createLog({ program: 'agent', level: 'info', redactor: createRedactor(), destination: { write } }),
  });
  return simulation;
}
function capture() {
  const ends: (string | undefined)[] = [];
  let settle = () => {};
  const ended = new Promise<void>((resolve) => {
    settle = resolve;
  });
  return {
    ends,
    ended,
    async close(because?: GlasscastError) {
      ends.push(because?.code);
      settle();
    },
  };
}

test('time begins with the first stream, and each thing that happens is told once', async () => {
  const { begin, telemetry } = await open(
    { atS: 0, temperatureC: { from: 40, to: 60, overS: 10 } },
    { fromS: 2, toS: 4, camera: 'gone' },
  );
  await clock.advance(60_000);
  expect(told).toEqual([]);
  expect(await telemetry.read()).toEqual({ temperatureC: 40 });
  begin();
  await clock.advance(3_000);
  begin();
  await clock.advance(2_000);
  expect(await telemetry.read()).toEqual({ temperatureC: 50 });
  await clock.advance(60_000);
  expect(told.map(({ msg, atS, kind, event }) => [msg, atS, kind, event])).toEqual([
    ['simulation-begins', undefined, undefined, undefined],
    ['simulated', 0, 'begin', 1],
    ['simulated', 2, 'begin', 2],
    ['simulated', 4, 'end', 2],
  ]);
  expect(told[2]).toMatchObject({ camera: 'gone' });
});

test('a battery in whole per cent, as the kernel has it; without a script there is no sensor', async () => {
  const { begin, telemetry } = await open({
    atS: 1,
    battery: { percent: { from: 50, to: 40, overS: 100 }, charging: true },
  });
  begin();
  expect(await telemetry.read()).toEqual({});
  await clock.advance(4_000);
  expect(await telemetry.read()).toEqual({ battery: { percent: 50, isCharging: true } });
  await clock.advance(10_000);
  expect(await telemetry.read()).toEqual({ battery: { percent: 49, isCharging: true } });
});

test('a camera that goes ends what captures from it, refuses, and comes back; the light is let go', async () => {
  const { begin, mishaps } = await open(
    { fromS: 2, toS: 4, camera: 'gone' },
    { atS: 6, camera: 'busy' },
    { fromS: 8, toS: 9, microphone: 'gone' },
  );
  const lit = new Set<object>();
  const light: Lamp = {
    async hold() {
      const one = {};
      lit.add(one);
      return async () => void lit.delete(one);
    },
  };
  const [camera, microphone] = [mishaps.lampOver('camera', light), mishaps.lampOver('microphone', undefined)];
  begin();
  const [picture, sound] = [capture(), capture()];
  await captureUnderLight(camera, async () => picture);
  await captureUnderLight(microphone, async () => sound);
  expect(lit.size).toBe(1);
  await clock.advance(2_000);
  expect(picture.ends).toEqual(['CAMERA_NOT_FOUND']);
  expect(lit.size).toBe(0);
  await expect(captureUnderLight(camera, async () => capture())).rejects.toMatchObject({ code: 'CAMERA_NOT_FOUND' });
  await clock.advance(2_000);
  const next = capture();
  await captureUnderLight(camera, async () => next);
  await clock.advance(2_000);
  expect(next.ends).toEqual(['CAMERA_BUSY']);
  await expect(captureUnderLight(camera, async () => capture())).rejects.toMatchObject({ code: 'CAMERA_BUSY' });
  expect(sound.ends).toEqual([]);
  await clock.advance(2_000);
  expect(sound.ends).toEqual(['MICROPHONE_NOT_FOUND']);
});

test('the relay is away from its moment on, and the line is cut', async () => {
  const { begin, relayOutage } = await open({ fromS: 1, toS: 3, relay: { down: true } });
  let cuts = 0;
  const letGo = relayOutage.onBegin(() => {
    cuts += 1;
  });
  begin();
  expect(relayOutage.isDown).toBe(false);
  await clock.advance(1_000);
  expect([relayOutage.isDown, cuts]).toEqual([true, 1]);
  letGo();
  await clock.advance(2_000);
  expect([relayOutage.isDown, cuts]).toEqual([false, 1]);
});
