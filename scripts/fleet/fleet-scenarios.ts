/**
 * What happens to the fleet and when: the scenarios by name, those of files, and the plan that a seed makes of one.
 * Pure: the same seed, scenario and numbers give the same plan.
 */
import * as z from 'zod';
import { createRandom } from '../../device/simulator/timeline.ts';
import { GlasscastError } from '../../shared/errors.ts';

const perMinute = z.number().min(0).max(1_000_000).default(0);
const seconds = z.number().min(0).max(86_400);

export const fleetScenario = z.strictObject({
  about: z.string().max(500),
  /** New connections each second while the fleet comes. */
  connectPerSecond: z.number().min(1).max(100_000).default(500),
  /** New streams each second. */
  startPerSecond: z.number().min(1).max(10_000).default(20),
  /** Each pair of glasses tells its battery this often; 0: never. */
  batteryEveryS: seconds.default(60),
  /** Statuses of streaming glasses each second, over all of them. */
  statusesPerSecond: z.number().min(0).max(100_000).default(0),
  /** Glasses that are switched off, and on again after `glassesAwayS`. */
  glassesLeavePerMinute: perMinute,
  glassesAwayS: seconds.default(5),
  /** Apps whose connection is lost. */
  appCutsPerMinute: perMinute,
  /** Glasses whose connection is lost. */
  glassesCutsPerMinute: perMinute,
  /** Seconds from the moment that all streams run: every connection of glasses is lost at once. */
  cutAllAtS: z.array(seconds).max(1000).default([]),
});
export type FleetScenario = z.output<typeof fleetScenario>;

const given: Record<string, z.input<typeof fleetScenario>> = {
  steady: { about: 'Glasses connect and stream; nothing else happens.' },
  churn: {
    about: 'Glasses are switched off and on, apps lose their connection.',
    glassesLeavePerMinute: 120,
    appCutsPerMinute: 60,
  },
  'reconnect-storm': { about: 'Every connection of glasses is lost at once, twice.', cutAllAtS: [5, 40] },
  flaky: { about: 'Connections of glasses are lost, now here, now there.', glassesCutsPerMinute: 600 },
  'status-flood': { about: 'Streaming glasses tell 1,000 statuses a second.', statusesPerSecond: 1_000 },
};

export const scenarioNames: readonly string[] = Object.keys(given);

/** Undefined: no such name. */
export function namedScenario(name: string): FleetScenario | undefined {
  return Object.hasOwn(given, name) ? fleetScenario.parse(given[name]) : undefined;
}

/** @throws GlasscastError INVALID_CONFIG naming the field */
export function parseScenario(text: string, file: string): FleetScenario {
  const refused = (reason: string, cause?: unknown) =>
    new GlasscastError('INVALID_CONFIG', { reason: `--scenario ${file}: ${reason}`, cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refused('not JSON', cause);
  }
  const parsed = fleetScenario.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refused(`${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'not valid'}`);
}

export type FleetEvent =
  | { atMs: number; kind: 'cut-all' }
  /** `user` counts from 0; of `cut-app` it is one of those that stream. */
  | { atMs: number; kind: 'leave' | 'return' | 'cut-glasses' | 'cut-app'; user: number };

export interface FleetSize {
  glasses: number;
  streams: number;
  seconds: number;
  seed: number;
}

/** Who streams: a part of the fleet drawn by the seed. */
export function drawStreaming({ glasses, streams, seed }: FleetSize): number[] {
  const random = createRandom(seed, 1);
  const users = Array.from({ length: glasses }, (_, index) => index);
  const wanted = Math.min(streams, glasses);
  // Fisher and Yates, as far as it is needed.
  for (let at = 0; at < wanted; at += 1) {
    const other = at + Math.floor(random() * (glasses - at));
    [users[at], users[other]] = [users[other] ?? 0, users[at] ?? 0];
  }
  return users.slice(0, wanted);
}

/** In the order of time, from the moment that the streams run. */
export function planOf(scenario: FleetScenario, size: FleetSize): FleetEvent[] {
  const { seed } = size;
  const lengthMs = size.seconds * 1000;
  const streaming = drawStreaming(size);
  const events: FleetEvent[] = scenario.cutAllAtS.map((atS) => ({ atMs: atS * 1000, kind: 'cut-all' }));
  const spread = (eachMinute: number, lane: number, add: (atMs: number, draw: number) => void) => {
    const random = createRandom(seed, lane);
    const count = Math.round((eachMinute * size.seconds) / 60);
    for (let index = 0; index < count; index += 1) add(random() * lengthMs, random());
  };
  const anybody = (draw: number) => Math.floor(draw * size.glasses);
  spread(scenario.glassesLeavePerMinute, 2, (atMs, draw) => {
    const user = anybody(draw);
    const backMs = atMs + scenario.glassesAwayS * 1000;
    events.push({ atMs, kind: 'leave', user }, { atMs: backMs, kind: 'return', user });
  });
  spread(scenario.glassesCutsPerMinute, 3, (atMs, draw) => {
    events.push({ atMs, kind: 'cut-glasses', user: anybody(draw) });
  });
  spread(scenario.appCutsPerMinute, 4, (atMs, draw) => {
    const user = streaming[Math.floor(draw * streaming.length)];
    if (user !== undefined) events.push({ atMs, kind: 'cut-app', user });
  });
  return events.filter(({ atMs, kind }) => atMs < lengthMs || kind === 'return').sort((a, b) => a.atMs - b.atMs);
}
