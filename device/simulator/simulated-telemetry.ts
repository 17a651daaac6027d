/** Heat and battery of a scripted world, read as the machine's own would be. */
import type { Telemetry } from '../publishing/telemetry.ts';
import type { WorldState } from './timeline.ts';

/** What the script does not name has no sensor: the machine's own would make two runs differ. */
export function createSimulatedTelemetry(world: () => WorldState): Telemetry {
  return {
    async read() {
      const { temperatureC, battery } = world();
      return {
        ...(temperatureC === undefined ? {} : { temperatureC: Math.round(temperatureC * 10) / 10 }),
        ...(battery === undefined ? {} : { battery: { ...battery, percent: Math.round(battery.percent) } }),
      };
    },
  };
}
