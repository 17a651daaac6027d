/**
 * The file of a scripted world: what happens to network, heat, battery, camera, microphone and relay, and when.
 * Reads and judges it; what it comes to at a moment is `timeline.ts`'s.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as z from 'zod';
import { errorText, GlasscastError } from '../../shared/errors.ts';

const seconds = z.number().min(0).max(86_400);

/** From one value to another in so many seconds, and on there. */
const ramp = (value: z.ZodNumber) => z.strictObject({ from: value, to: value, overS: seconds });
const celsius = z.number().min(-40).max(150);
const percent = z.number().min(0).max(100);

const network = z.strictObject({
  /** What the uplink takes, in kbit/s; null: all that comes. */
  uplinkKbps: z.number().min(1).max(10_000_000).nullable().optional(),
  /** On the way to the ingest; what comes back is not delayed. */
  delayMs: z.number().min(0).max(10_000).optional(),
  /** Connections stay, nothing moves. */
  down: z.boolean().optional(),
  /** All connections are cut, once. */
  reset: z.literal(true).optional(),
  /** As from Wi-Fi to LTE, once: connections from the old address are dead, and nobody tells them. */
  addressChange: z.literal(true).optional(),
});

const scenarioEvent = z
  .strictObject({
    /** From here on, until a later event says otherwise. */
    atS: seconds.optional(),
    /** From here to there, then as before. */
    fromS: seconds.optional(),
    toS: seconds.optional(),
    /** Each moment is earlier or later by up to this, by the seed. */
    jitterS: seconds.optional(),
    network: network.optional(),
    temperatureC: z.union([celsius, ramp(celsius)]).optional(),
    battery: z
      .strictObject({ percent: z.union([percent, ramp(percent)]).optional(), charging: z.boolean().optional() })
      .optional(),
    camera: z.enum(['gone', 'back', 'busy']).optional(),
    microphone: z.enum(['gone', 'back']).optional(),
    relay: z.strictObject({ down: z.boolean() }).optional(),
  })
  .superRefine((event, context) => {
    const wrong = whenWrong(event);
    if (wrong) context.addIssue({ code: 'custom', path: [wrong.field], message: wrong.message });
    const { network: _n, temperatureC: _t, battery: _b, camera: _c, microphone: _m, relay: _r, ...when } = event;
    if (Object.keys(event).length === Object.keys(when).length) {
      context.addIssue({ code: 'custom', message: 'nothing happens: name network, temperatureC, battery or the like' });
    }
  });

function whenWrong({
  atS,
  fromS,
  toS,
}: {
  atS?: number | undefined;
  fromS?: number | undefined;
  toS?: number | undefined;
}) {
  if (atS !== undefined && (fromS ?? toS) !== undefined) return { field: 'atS', message: 'not beside fromS and toS' };
  if (atS !== undefined) return undefined;
  if (fromS === undefined && toS === undefined) return { field: 'atS', message: 'missing; or fromS and toS' };
  if (fromS === undefined || toS === undefined) {
    return { field: fromS === undefined ? 'fromS' : 'toS', message: 'missing: fromS and toS go together' };
  }
  return toS > fromS ? undefined : { field: 'toS', message: 'not after fromS' };
}

const scenarioFile = z
  .strictObject({
    /** What it shows, in a sentence. */
    about: z.string().min(1).max(500),
    /** From the beginning again after the last moment that is named. */
    repeat: z.boolean().optional(),
    events: z.array(scenarioEvent).min(1).max(1_000),
  })
  .refine(({ repeat, events }) => !repeat || events.some(({ atS, toS }) => (toS ?? atS ?? 0) >= 1), {
    path: ['repeat'],
    message: 'needs an event at 1 s or later, else it would repeat without end at once',
  });

export type Scenario = z.output<typeof scenarioFile>;
export type ScenarioEvent = z.output<typeof scenarioEvent>;

/** @throws GlasscastError INVALID_CONFIG that names each wrong event and field, events counted from 1 */
export function parseScenario(text: string, name: string): Scenario {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new GlasscastError('INVALID_CONFIG', { reason: `scenario ${name} is no JSON: ${errorText(error)}` });
  }
  const parsed = scenarioFile.safeParse(json);
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map(({ path, message }) => `${placeOf(path)}: ${message}`);
  throw new GlasscastError('INVALID_CONFIG', { reason: `scenario ${name}: ${wrong.slice(0, 5).join('; ')}` });
}

function placeOf([first, index, ...rest]: readonly PropertyKey[]): string {
  if (first !== 'events' || typeof index !== 'number') return String(first ?? 'file');
  return [`event ${index + 1}`, ...(rest.length > 0 ? [rest.map(String).join('.')] : [])].join(', ');
}

/**
 * One that comes with the agent by its name, with or without `.json`; any other by its path.
 * @throws GlasscastError INVALID_CONFIG
 */
export async function readScenario(name: string, folder: string): Promise<Scenario> {
  const shipped = name === basename(name) ? [join(folder, name.endsWith('.json') ? name : `${name}.json`)] : [];
  for (const file of [...shipped, name]) {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text !== undefined) return parseScenario(text, name);
  }
  const names = (await readdir(folder).catch(() => [])).map((file) => basename(file, '.json')).sort();
  const known = names.length > 0 ? `; by name there are ${names.join(', ')}` : '';
  throw new GlasscastError('INVALID_CONFIG', { reason: `scenario ${name}: no file that can be read${known}` });
}
