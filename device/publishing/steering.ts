/**
 * Brings the governor and the world together: what the push has measured, how warm the glasses are and what their battery
 * holds go in; a change of quality, a notice or an end comes out. Decides nothing itself.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { StreamNotice } from '../../shared/protocol/glasses-messages.ts';
import type { RtmpPushStats } from '../../shared/rtmp/push.ts';
import type { PictureQuality } from '../../shared/stream.ts';
import type { Governor } from './governor.ts';
import type { TelemetryReading } from './telemetry.ts';

export interface SteeringEvents {
  readPush: () => RtmpPushStats;
  onQuality: (quality: PictureQuality, why: StreamNotice) => void;
  onNotice: (notice: StreamNotice) => void;
  onStop: (cause: GlasscastError) => void;
}

export interface SteeringOptions extends SteeringEvents {
  clock: Clock;
  governor: Governor;
  /** False: no change of quality, whatever the governor says; a stop all the same. Default true. */
  adapts?: boolean | undefined;
  /** Never rejects. */
  readTelemetry: () => Promise<TelemetryReading>;
  /** Default 2000. */
  telemetryEveryMs?: number;
}

export interface Steering {
  /** Whenever the push has measured its queue; without that it looks with each reading of heat and battery. */
  measured(): void;
  /** Degrees Celsius, as last read. */
  readonly temperatureC: number | undefined;
  readonly battery: TelemetryReading['battery'];
  close(): void;
}

export function createSteering(options: SteeringOptions): Steering {
  const {
    clock,
    governor,
    readTelemetry,
    telemetryEveryMs = 2_000,
    adapts = true,
    readPush,
    onQuality,
    onNotice,
    onStop,
  } = options;
  let telemetry: TelemetryReading = {};
  let timer: Timer | undefined;
  let closed = false;

  async function read(): Promise<void> {
    telemetry = await readTelemetry();
    if (closed) return;
    look(telemetry);
    // What was decided may have been the end.
    if (closed) return;
    timer = clock.after('telemetry', telemetryEveryMs, () => void read());
  }
  /** @param fresh what was just read: the governor outvotes a single wrong reading, so each counts once. */
  function look(fresh: TelemetryReading = {}): void {
    if (closed) return;
    const { state, queuedBytes, backlogMs, backlogBytes, deliveredBps, isCatchingUp, skips, narrowBps } = readPush();
    const uplink = { isPublishing: state === 'publishing', queuedBytes, backlogMs, backlogBytes };
    const decision = governor.sample({
      atMs: clock.monotonicMs(),
      uplink: { ...uplink, deliveredBps, isCatchingUp, skips, narrowBps },
      ...fresh,
    });
    if (!decision) return;
    if (decision.kind === 'change' && !adapts) return;
    if (decision.kind === 'change') onQuality(decision.quality, decision.notice);
    else if (decision.kind === 'notice') onNotice(decision.notice);
    else onStop(new GlasscastError(decision.code, { reason: decision.text }));
  }
  void read();

  return {
    measured: () => look(),
    get temperatureC() {
      return telemetry.temperatureC;
    },
    get battery() {
      return telemetry.battery;
    },
    close() {
      closed = true;
      timer?.cancel();
    },
  };
}
