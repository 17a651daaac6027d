/**
 * Camera and microphone of a scripted world: while one is away nothing can be captured from it, and what captured from it
 * ends of that cause. Stands where the privacy light stands, over any source.
 */
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { CapturedDevice, CaptureMishaps, Lamp } from '../capture/lit-capture.ts';
import type { WorldState } from './timeline.ts';

export interface SimulatedDevices extends CaptureMishaps {
  /** The world has moved on: ends what captures from a device that is no longer there. */
  changed(): void;
}

const CAUSES: Readonly<Record<string, ErrorCode>> = {
  'camera gone': 'CAMERA_NOT_FOUND',
  'camera busy': 'CAMERA_BUSY',
  'microphone gone': 'MICROPHONE_NOT_FOUND',
};

export function createSimulatedDevices(world: () => Pick<WorldState, CapturedDevice>): SimulatedDevices {
  const held: Record<CapturedDevice, Set<(cause: GlasscastError) => void>> = {
    camera: new Set(),
    microphone: new Set(),
  };
  function mishap(device: CapturedDevice): GlasscastError | undefined {
    const code = CAUSES[`${device} ${world()[device]}`];
    return code && new GlasscastError(code, { reason: 'so says the scenario' });
  }

  return {
    lampOver(device, lamp): Lamp {
      return {
        async hold(onOut) {
          const refused = mishap(device);
          if (refused) throw refused;
          const release = await lamp?.hold(onOut);
          held[device].add(onOut);
          return async () => {
            held[device].delete(onOut);
            await release?.();
          };
        },
      };
    },
    changed() {
      for (const device of ['camera', 'microphone'] as const) {
        const cause = mishap(device);
        if (!cause) continue;
        for (const end of [...held[device]]) end(cause);
      }
    },
  };
}
