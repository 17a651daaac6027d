import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { parseScenario, readScenario } from '../../device/simulator/scenario.ts';

const shipped = resolve(import.meta.dirname, '../../scripts/scenarios');
const file = (...events: unknown[]) => JSON.stringify({ about: 'x', events });

test.each([
  ['{', 'scenario x.json is no JSON'],
  ['[]', 'file: '],
  [JSON.stringify({ events: [{ atS: 1, camera: 'gone' }] }), 'about: '],
  [JSON.stringify({ about: 'x', events: [] }), 'events: '],
  [JSON.stringify({ about: 'x', repeat: true, events: [{ atS: 0, camera: 'gone' }] }), 'repeat: needs an event at 1 s'],
  [file({ camera: 'gone' }), 'event 1, atS: missing; or fromS and toS'],
  [file({ atS: 1, fromS: 1, toS: 2, camera: 'gone' }), 'event 1, atS: not beside fromS and toS'],
  [file({ atS: 1, camera: 'gone' }, { fromS: 3, camera: 'gone' }), 'event 2, toS: missing'],
  [file({ fromS: 3, toS: 3, camera: 'gone' }), 'event 1, toS: not after fromS'],
  [file({ atS: 1, jitterS: 2 }), 'event 1: nothing happens'],
  [file({ atS: 1, camera: 'lost' }), 'event 1, camera: '],
  [file({ atS: 1, network: { uplinkKbps: 'slow' } }), 'event 1, network.uplinkKbps: '],
  [file({ atS: 1, network: { speed: 1 } }), 'event 1, network: '],
  [file({ atS: 1, temperatureC: { from: 1, to: 200, overS: 1 } }), 'event 1, temperatureC'],
  [file({ atS: 1, weather: 'rain' }), 'event 1: '],
])('%s is refused: %s', (text, reason) => {
  expect(() => parseScenario(text, 'x.json')).toThrow(
    expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringContaining(reason) }),
  );
});

test('each that comes with the agent is found by its name and says what it shows', async () => {
  const names = readdirSync(shipped);
  expect(names).toHaveLength(6);
  for (const name of names) {
    expect((await readScenario(name, shipped)).about.length).toBeGreaterThan(20);
    expect(await readScenario(name.replace('.json', ''), shipped)).toEqual(await readScenario(name, shipped));
  }
});

test('any other is found by its path; one that is nowhere is an error with its name', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-scenario-'));
  try {
    const path = join(folder, 'mine.json');
    writeFileSync(path, file({ atS: 1, camera: 'gone' }));
    expect((await readScenario(path, shipped)).events).toHaveLength(1);
    await expect(readScenario('no-such', shipped)).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/scenario no-such: .*hot-day, loose-camera/),
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
