/**
 * Heat and battery of the machine, as Linux tells them in sysfs. Reads only, judges nothing, and never throws:
 * what cannot be read, or cannot be true, is left out.
 */
import { readdir, readFile as readFileOf } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../shared/clock.ts';

export interface Telemetry {
  /** Reads the sensors, which takes a few milliseconds. Never rejects. */
  read(): Promise<TelemetryReading>;
}

export interface TelemetryReading {
  /** Of the hottest sensor near processor or skin. */
  temperatureC?: number;
  /** Of the machine itself, not of a mouse. With several, the fullest: a machine empties them one after the other. */
  battery?: { percent: number; isCharging: boolean };
}

export interface TelemetryOptions {
  clock: Pick<Clock, 'monotonicMs'>;
  /** Default `/sys`. */
  root?: string;
  /** Default: as UTF-8 from the disk. */
  readFile?: (path: string) => Promise<string>;
}

/** Which sensors there are changes with drivers, rarely; reading their names each time costs more than their values. */
const LIST_EVERY_MS = 60_000;
/** Kernel names as boards have them: cpu-thermal, soc_thermal, bigcore0-thermal, package-thermal, x86_pkg_temp, skin-therm. */
const TELLING_ZONE = /cpu|core|soc|skin|package|pkg/i;
/** Says nothing of the processor, and is judged by its own limits elsewhere. */
const BATTERY_ZONE = /batt|bms|charg/i;

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { clock, root = '/sys', readFile = (path) => readFileOf(path, 'utf8') } = options;
  let sensors: Promise<Sensors> | undefined;
  let listedMs = 0;

  async function text(path: string): Promise<string | undefined> {
    try {
      return (await readFile(path)).trim();
    } catch {
      return undefined;
    }
  }
  async function folders(name: string): Promise<string[]> {
    const parent = join(root, 'class', name);
    return (await readdir(parent).catch(() => [])).sort().map((entry) => join(parent, entry));
  }
  async function list(): Promise<Sensors> {
    const [zones, supplies] = await Promise.all([folders('thermal'), folders('power_supply')]);
    const named = await Promise.all(zones.map(async (path) => ({ path, type: await text(join(path, 'type')) })));
    const batteries = await Promise.all(supplies.map(async (path) => ((await isOwnBattery(path)) ? [path] : [])));
    return { zones: tellingZones(named), batteries: batteries.flat() };
  }
  async function isOwnBattery(path: string): Promise<boolean> {
    const [type, scope] = await Promise.all([text(join(path, 'type')), text(join(path, 'scope'))]);
    return type === 'Battery' && scope !== 'Device';
  }
  async function batteryOf(path: string): Promise<{ percent: number; isCharging: boolean }[]> {
    const [capacity, status] = await Promise.all([text(join(path, 'capacity')), text(join(path, 'status'))]);
    const percent = integer(capacity);
    if (percent === undefined || percent < 0 || percent > 100) return [];
    return [{ percent, isCharging: status === 'Charging' || status === 'Full' }];
  }

  return {
    async read() {
      const nowMs = clock.monotonicMs();
      if (!sensors || nowMs - listedMs >= LIST_EVERY_MS) {
        sensors = list();
        listedMs = nowMs;
      }
      const { zones, batteries } = await sensors;
      const degrees = await Promise.all(zones.map(async (path) => celsius(await text(join(path, 'temp')))));
      const charges = (await Promise.all(batteries.map(batteryOf))).flat();
      const hottest = Math.max(...degrees.flatMap((degree) => degree ?? []));
      const fullest = charges.toSorted((one, other) => other.percent - one.percent)[0];
      return {
        ...(Number.isFinite(hottest) ? { temperatureC: hottest } : {}),
        ...(fullest ? { battery: { ...fullest, isCharging: charges.some(({ isCharging }) => isCharging) } } : {}),
      };
    },
  };
}

/** Folders in sysfs. */
interface Sensors {
  zones: string[];
  batteries: string[];
}

/** Those of processor and skin; where the board names none so, all but the battery's. */
function tellingZones(found: { path: string; type: string | undefined }[]): string[] {
  const zones = found.filter(({ path, type }) => /thermal_zone\d+$/.test(path) && type !== undefined);
  const telling = zones.filter(({ type = '' }) => TELLING_ZONE.test(type));
  const chosen = telling.length > 0 ? telling : zones.filter(({ type = '' }) => !BATTERY_ZONE.test(type));
  return chosen.map(({ path }) => path);
}

/** From milli-degrees. Sensors that are off say 0 or an extreme; some drivers count in degrees, which looks like 0. */
function celsius(text: string | undefined): number | undefined {
  const milli = integer(text);
  if (milli === undefined || Math.abs(milli) < 1_000 || milli < -40_000 || milli > 150_000) return undefined;
  return milli / 1000;
}

function integer(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d{1,9}$/.test(text) ? Number(text) : undefined;
}
