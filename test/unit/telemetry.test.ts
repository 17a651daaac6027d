import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTelemetry } from '../../device/publishing/telemetry.ts';
import { createTestClock } from '../support/test-clock.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sysfs-'));
});
afterEach(() => rm(root, { recursive: true }));

/** Files under class/, each with the line end that sysfs gives. */
async function write(files: Record<string, string | number>) {
  for (const [name, content] of Object.entries(files)) {
    const path = join(root, 'class', name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `${content}\n`);
  }
}
const zone = (index: number, type: string, temp: string | number) => ({
  [`thermal/thermal_zone${index}/type`]: type,
  [`thermal/thermal_zone${index}/temp`]: temp,
});
const supply = (name: string, fields: Record<string, string | number>) =>
  Object.fromEntries(Object.entries(fields).map(([field, value]) => [`power_supply/${name}/${field}`, value]));
const telemetry = () => createTelemetry({ clock: createTestClock(), root });

describe('telemetry', () => {
  it('tells nothing where there is nothing', async () => {
    expect(await telemetry().read()).toEqual({});
    expect(await createTelemetry({ clock: createTestClock(), root: '/nowhere' }).read()).toEqual({});
  });

  it('tells the hottest of processor and skin, not of battery or radio', async () => {
    await write({
      ...zone(0, 'cpu-thermal', 51_250),
      ...zone(1, 'skin-therm', 38_000),
      ...zone(2, 'battery', 61_000),
      ...zone(10, 'soc_thermal', 57_875),
      'thermal/cooling_device0/type': 'cpu-fan',
      'thermal/cooling_device0/temp': 99_000,
    });
    expect(await telemetry().read()).toEqual({ temperatureC: 57.875 });
  });

  it('tells the hottest core of a Rockchip RK3588, not its graphics', async () => {
    await write({
      ...zone(0, 'package-thermal', 61_000),
      ...zone(1, 'bigcore0-thermal', 66_500),
      ...zone(2, 'littlecore-thermal', 60_000),
      ...zone(3, 'gpu-thermal', 71_000),
    });
    expect(await telemetry().read()).toEqual({ temperatureC: 66.5 });
  });

  it('takes what zones there are when none has a telling name', async () => {
    await write({ ...zone(0, 'acpitz', 45_000), ...zone(1, 'bms', 60_000) });
    expect(await telemetry().read()).toEqual({ temperatureC: 45 });
  });

  it.each([0, 42, -274_000, 2_147_483_647, 200_000, '', 'nan', '45.5'])(
    'leaves out a temperature of %s',
    async (temp) => {
      await write({ ...zone(0, 'cpu0', temp) });
      expect(await telemetry().read()).toEqual({});
      await write(zone(1, 'cpu1', 44_000));
      expect(await telemetry().read()).toEqual({ temperatureC: 44 });
    },
  );

  it.each([
    ['Discharging', false],
    ['Charging', true],
    ['Full', true],
    ['Not charging', false],
    ['Unknown', false],
  ])('tells the battery, %s', async (status, isCharging) => {
    await write({
      ...supply('AC', { type: 'Mains', capacity: 99 }),
      ...supply('hid-mouse', { type: 'Battery', scope: 'Device', capacity: 98, status: 'Charging' }),
      ...supply('bq27441-0', { type: 'Battery', scope: 'System', capacity: 63, status }),
    });
    expect(await telemetry().read()).toEqual({ battery: { percent: 63, isCharging } });
  });

  it('goes by the fullest of several batteries', async () => {
    await write({
      ...supply('BAT0', { type: 'Battery', capacity: 3, status: 'Discharging' }),
      ...supply('BAT1', { type: 'Battery', capacity: 80, status: 'Unknown' }),
    });
    expect(await telemetry().read()).toEqual({ battery: { percent: 80, isCharging: false } });
  });

  it.each([-1, 101, 'full', ''])('leaves out a battery of %s %%', async (capacity) => {
    await write(supply('BAT0', { type: 'Battery', capacity, status: 'Discharging' }));
    expect(await telemetry().read()).toEqual({});
  });

  it('looks for sensors once a minute, and survives one that goes', async () => {
    const clock = createTestClock();
    const sensors = createTelemetry({ clock, root });
    await write(zone(0, 'cpu', 40_000));
    expect(await sensors.read()).toEqual({ temperatureC: 40 });
    await write({ ...zone(0, 'cpu', 41_000), ...zone(1, 'soc', 70_000) });
    await clock.advance(59_000);
    expect(await sensors.read()).toEqual({ temperatureC: 41 });
    await clock.advance(1_000);
    expect(await sensors.read()).toEqual({ temperatureC: 70 });
    await rm(join(root, 'class/thermal/thermal_zone1'), { recursive: true });
    expect(await sensors.read()).toEqual({ temperatureC: 41 });
  });

  it('reads names once and values each time', async () => {
    await write({ ...zone(0, 'cpu', 40_000), ...supply('BAT0', { type: 'Battery', capacity: 50 }) });
    const read: string[] = [];
    const readFile = async (path: string) => {
      read.push(path.slice(root.length));
      return '50000';
    };
    const sensors = createTelemetry({ clock: createTestClock(), root, readFile });
    expect(await sensors.read()).toEqual({ temperatureC: 50 });
    read.length = 0;
    await sensors.read();
    expect(read).toEqual(['/class/thermal/thermal_zone0/temp']);
  });

  it('never throws and never tells what cannot be, whatever the files say', async () => {
    await write({ ...zone(0, 'x', 1), ...zone(1, 'x', 1), ...supply('BAT0', { type: 'Battery' }) });
    const nonsense = fc.oneof(
      fc.string(),
      fc.integer().map(String),
      fc.constantFrom('Battery', 'Device', 'cpu', '1e5', '0x10', ' 50 ', 'Charging', undefined),
    );
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(nonsense), async (contents) => {
        const readFile = async () => {
          const { value } = contents.next();
          if (value === undefined) throw new Error('ENODEV');
          return String(value);
        };
        const { temperatureC = 20, battery } = await createTelemetry({
          clock: createTestClock(),
          root,
          readFile,
        }).read();
        expect(temperatureC).toBeGreaterThanOrEqual(-40);
        expect(temperatureC).toBeLessThanOrEqual(150);
        if (!battery) return;
        expect(Number.isInteger(battery.percent) && battery.percent >= 0 && battery.percent <= 100).toBe(true);
        expect(battery.isCharging).toBeTypeOf('boolean');
      }),
    );
  });
});
