/** Heat and battery by the virtual hardware: the kernel's own ACPI drivers tell the agent what the bench has set. */
import type { Bench } from '../bench/program.ts';
import { type BoardWorld, OVER, type StreamWish } from './board-world.ts';
import { expectThat, inSeconds, liveStream, stopped } from './fault-steps.ts';

export const COOL_C = 35;
const WARM_C = 82;
const HOT_C = 96;

/** Promised: half the effort from 80 °C on, back when it has cooled, the end above 92 °C for 10 s. */
export async function boardIsHot(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { board } = world;
  const streamId = await liveStream(world, wish);
  const told: string[] = [];
  const line = async (code: string, sinceMs: number) => {
    const found = await world.awaitLine(streamId, code, sinceMs);
    told.push(`${code} after ${inSeconds(found.atMs - sinceMs)} (${found.text})`);
  };
  await board.setTemperature(WARM_C);
  await line('HEAT', bench.clock.now());
  const { resolvedConfig, temperatureC } = (await world.stream(streamId)) ?? {};
  expectThat(temperatureC === WARM_C, `the relay knows the temperature; it has ${temperatureC}`);
  await board.setTemperature(COOL_C);
  await line('HEAT_RECOVERED', bench.clock.now());
  await board.setTemperature(HOT_C);
  const sinceMs = bench.clock.now();
  const { state, errorCode, message } = await world.awaitState(streamId, OVER);
  told.push(`${state} ${errorCode} after ${inSeconds(bench.clock.now() - sinceMs)} (${message})`);
  await board.setTemperature(COOL_C);
  expectThat(errorCode === 'OVERHEATED', `it ends because of the heat; it ended with ${errorCode}`);
  return `${told.join('; ')}; while warm ${JSON.stringify(resolvedConfig)}`;
}

/** Promised: smaller below 20 %, back with the charger, the end below 5 % without one. */
export async function batteryRunsLow(bench: Bench, world: BoardWorld, wish: StreamWish): Promise<string> {
  const { board } = world;
  const streamId = await liveStream(world, wish);
  await board.setBattery(15, false);
  const low = await world.awaitLine(streamId, 'BATTERY_LOW', bench.clock.now());
  await board.setBattery(80, true);
  const well = await world.awaitLine(streamId, 'BATTERY_RECOVERED', bench.clock.now());
  await board.setBattery(3, true);
  await bench.clock.sleep(CHARGING_MS, { signal: bench.signal });
  const charging = await world.stream(streamId);
  expectThat(charging?.state === 'active', `3 % on the charger is no end; it is ${charging?.state}`);
  await board.setBattery(3, false);
  const { errorCode, message } = await world.awaitState(streamId, OVER);
  await board.setBattery(100, false);
  expectThat(errorCode === 'BATTERY_LOW', `it ends because of the battery; it ended with ${errorCode}`);
  const again = await liveStream(world, wish);
  await stopped(world, again);
  return `15 %: ${low.text}; 80 % charging: ${well.text}; 3 % charging: goes on; 3 %: ${message}`;
}

/** Three readings and some more. */
const CHARGING_MS = 12_000;
