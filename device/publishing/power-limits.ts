/**
 * How much effort heat and battery leave, and when neither leaves any. Pure: fed with readings, no clock, no sensor.
 * Sensors are noisy: each judgement is about the median of the last three readings, and limits have a way back.
 */

export interface HeatLimits {
  /** Told, nothing more. */
  warnC: number;
  halfC: number;
  quarterC: number;
  /** So hot for `criticalMs`: the end. */
  criticalC: number;
  criticalMs: number;
  /** A limit is left this far below it. */
  recoverByC: number;
}

/** Of a phone's processor: throttled by its own kernel from about 85 °C on, shut down at 95 to 105 °C. */
export const defaultHeatLimits: HeatLimits = {
  warnC: 75,
  halfC: 80,
  quarterC: 85,
  criticalC: 92,
  criticalMs: 10_000,
  recoverByC: 5,
};

export interface BatteryLimits {
  /** Below so many per cent, whether charging or not: a charger may give less than a stream takes. */
  halfPercent: number;
  quarterPercent: number;
  /** Below this and not charging: the end. */
  stopPercent: number;
  recoverByPercent: number;
}

export const defaultBatteryLimits: BatteryLimits = {
  halfPercent: 20,
  quarterPercent: 10,
  stopPercent: 5,
  recoverByPercent: 3,
};

export interface BatteryReading {
  percent: number;
  isCharging: boolean;
}

/** One of the two has moved to another level. */
export interface PowerStep {
  code: 'HEAT' | 'HEAT_RECOVERED' | 'BATTERY_LOW' | 'BATTERY_RECOVERED';
  /** Median °C, or median per cent. */
  value: number;
}

export interface PowerStop {
  code: 'OVERHEATED' | 'BATTERY_LOW';
  value: number;
}

export interface PowerGauge {
  /** Once per reading. What is undefined or cannot be true changes nothing. */
  sample(reading: PowerReading): { steps: PowerStep[]; stop: PowerStop | undefined };
  /** Of what was asked; at most 1. */
  readonly effortShare: number;
}

export interface PowerReading {
  atMs: number;
  temperatureC?: number | undefined;
  battery?: BatteryReading | undefined;
}

/** By level, 0 = well. */
const HEAT_SHARES = [1, 1, 0.5, 0.25];
const BATTERY_SHARES = [1, 0.5, 0.25];

export function createPowerGauge(heat: HeatLimits, battery: BatteryLimits): PowerGauge {
  const temperatures = createMedian();
  const percents = createMedian();
  let heatLevel = 0;
  let batteryLevel = 0;
  let criticalSinceMs: number | undefined;
  /** Readings in a row that told of no charger: one may be wrong. */
  let unpowered = 0;

  const heatSteps = [heat.warnC, heat.halfC, heat.quarterC];
  const batterySteps = [battery.halfPercent, battery.quarterPercent];

  function sampleHeat(atMs: number, celsius: number): { step?: PowerStep; stop?: PowerStop } {
    const value = temperatures.add(celsius);
    if (value === undefined) return {};
    const reached = heatSteps.filter((limit) => value >= limit).length;
    const held = heatSteps.filter((limit) => value > limit - heat.recoverByC).length;
    const level = Math.min(Math.max(heatLevel, reached), held);
    const code = level > heatLevel ? 'HEAT' : 'HEAT_RECOVERED';
    const step: PowerStep | undefined = level === heatLevel ? undefined : { code, value };
    heatLevel = level;
    criticalSinceMs = value >= heat.criticalC ? (criticalSinceMs ?? atMs) : undefined;
    const isOver = criticalSinceMs !== undefined && atMs - criticalSinceMs >= heat.criticalMs;
    return { ...(step ? { step } : {}), ...(isOver ? { stop: { code: 'OVERHEATED', value } } : {}) };
  }
  function sampleBattery({ percent, isCharging }: BatteryReading): { step?: PowerStep; stop?: PowerStop } {
    unpowered = isCharging ? 0 : unpowered + 1;
    const value = percents.add(percent);
    if (value === undefined) return {};
    const reached = batterySteps.filter((limit) => value < limit).length;
    const held = batterySteps.filter((limit) => value < limit + battery.recoverByPercent).length;
    const level = Math.min(Math.max(batteryLevel, reached), held);
    const code = level > batteryLevel ? 'BATTERY_LOW' : 'BATTERY_RECOVERED';
    const step: PowerStep | undefined = level === batteryLevel ? undefined : { code, value };
    batteryLevel = level;
    const isOver = value < battery.stopPercent && unpowered >= MEDIAN_OF;
    return { ...(step ? { step } : {}), ...(isOver ? { stop: { code: 'BATTERY_LOW', value } } : {}) };
  }

  return {
    sample({ atMs, temperatureC, battery: charge }) {
      const ofHeat = isBetween(temperatureC, -40, 150) ? sampleHeat(atMs, temperatureC) : {};
      const ofBattery = charge && isBetween(charge.percent, 0, 100) ? sampleBattery(charge) : {};
      return {
        steps: [ofHeat.step, ofBattery.step].flatMap((step) => step ?? []),
        stop: ofHeat.stop ?? ofBattery.stop,
      };
    },
    get effortShare() {
      return Math.min(HEAT_SHARES[heatLevel] ?? 1, BATTERY_SHARES[batteryLevel] ?? 1);
    },
  };
}

function isBetween(value: number | undefined, min: number, max: number): value is number {
  return value !== undefined && value >= min && value <= max;
}

const MEDIAN_OF = 3;

/** One outlier among three changes nothing; before the third nothing is known. */
function createMedian(): { add(value: number): number | undefined } {
  const last: number[] = [];
  return {
    add(value) {
      last.push(value);
      if (last.length > MEDIAN_OF) last.shift();
      return last.length < MEDIAN_OF ? undefined : last.toSorted((one, other) => one - other)[1];
    },
  };
}
