/**
 * A scripted world around one agent: moves it along its timeline, and tells each thing that happens. Holds the network, the
 * sensors and the devices that the agent then takes for real; decides nothing about a stream.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { AgentSimulation } from '../agent.ts';
import type { Scenario } from './scenario.ts';
import { createSimulatedDevices } from './simulated-devices.ts';
import { createSimulatedTelemetry } from './simulated-telemetry.ts';
import { openSimulatedUplink } from './simulated-uplink.ts';
import { createTimeline, type DueEvent } from './timeline.ts';

export interface SimulationOptions {
  scenario: Scenario;
  /** The same one gives the same world. */
  seed: number;
  clock: Clock;
  log: Log;
}

export interface Simulation extends AgentSimulation {
  /** After the agent. */
  close(): Promise<void>;
}

export async function openSimulation({ scenario, seed, clock, log }: SimulationOptions): Promise<Simulation> {
  const timeline = createTimeline(scenario, seed);
  const uplink = await openSimulatedUplink({ clock });
  const devices = createSimulatedDevices(world);
  const relayCuts = new Set<() => void>();
  let startedMs: number | undefined;
  /** Up to here everything has happened; before 0 nothing has. */
  let doneMs = -1;
  let timer: Timer | undefined;

  /** Before the first stream the world stands at its beginning. */
  function worldMs(): number {
    return startedMs === undefined ? 0 : clock.monotonicMs() - startedMs;
  }
  function world() {
    return timeline.state(worldMs());
  }
  function moveOn(): void {
    const nowMs = worldMs();
    const due = timeline.due(doneMs, nowMs);
    doneMs = nowMs;
    for (const event of due) tell(event);
    const state = timeline.state(nowMs);
    uplink.set(state.network);
    for (const { kind, event } of due) {
      if (kind === 'end') continue;
      if (event.network?.reset) uplink.reset();
      if (event.network?.addressChange) uplink.changeAddress();
    }
    devices.changed();
    if (state.isRelayDown) for (const cut of [...relayCuts]) cut();
    const nextMs = timeline.next(nowMs);
    if (nextMs !== undefined) timer = clock.after('simulation', Math.ceil(nextMs - nowMs), moveOn);
  }
  function tell({ number, kind, atMs, event }: DueEvent): void {
    const { atS: _a, fromS: _f, toS: _t, jitterS: _j, ...what } = event;
    // Only there to make a round longer.
    if (Object.values(what).every((part) => typeof part === 'object' && Object.keys(part).length === 0)) return;
    log.info({ event: number, kind, atS: Math.round(atMs) / 1000, ...what }, 'simulated');
  }
  uplink.set(timeline.state(0).network);

  return {
    begin() {
      if (startedMs !== undefined) return;
      startedMs = clock.monotonicMs();
      log.info({ about: scenario.about, seed }, 'simulation-begins');
      moveOn();
    },
    telemetry: createSimulatedTelemetry(world),
    push: { dial: uplink.dial, sendQueue: uplink.sendQueue, networkInterfaces: uplink.networkInterfaces },
    mishaps: devices,
    relayOutage: {
      get isDown() {
        return world().isRelayDown;
      },
      onBegin(cut) {
        relayCuts.add(cut);
        return () => void relayCuts.delete(cut);
      },
    },
    async close() {
      timer?.cancel();
      await uplink.close();
    },
  };
}
