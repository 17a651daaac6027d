/**
 * What a scripted world comes to: its state at each moment, and the moments at which something happens. Pure: the same
 * scenario and seed give the same answers, in whatever order they are asked.
 */
import type { Scenario, ScenarioEvent } from './scenario.ts';

export interface WorldState {
  network: { uplinkKbps: number | null; delayMs: number; down: boolean };
  /** Undefined: there is no sensor. */
  temperatureC: number | undefined;
  battery: { percent: number; isCharging: boolean } | undefined;
  camera: 'there' | 'gone' | 'busy';
  microphone: 'there' | 'gone';
  isRelayDown: boolean;
}

export interface DueEvent {
  atMs: number;
  /** In the file, from 1. */
  number: number;
  /** `end`: of an event with fromS and toS. */
  kind: 'begin' | 'end';
  event: ScenarioEvent;
}

export interface Timeline {
  /** For every moment from 0 on; before it, as at 0. */
  state(atMs: number): WorldState;
  /** What happens after `afterMs` up to and with `untilMs`, in order. */
  due(afterMs: number, untilMs: number): DueEvent[];
  /** When the next thing happens after `afterMs`; undefined: never. */
  next(afterMs: number): number | undefined;
}

/** One event in one round, with its moments by the seed. */
interface Placed {
  number: number;
  event: ScenarioEvent;
  beginMs: number;
  /** Undefined: it holds until another says otherwise. */
  endMs: number | undefined;
}

interface Round {
  /** In the order of their begin, and of the file. */
  events: Placed[];
  due: DueEvent[];
}

export function createTimeline(scenario: Scenario, seed: number): Timeline {
  const lengthMs = lengthOf(scenario);
  /** The last one asked for: each is the same whenever it is made. */
  let held: { index: number; round: Round } | undefined;

  function round(index: number): Round {
    if (held?.index !== index) held = { index, round: placeRound(scenario, seed, index, lengthMs) };
    return held.round;
  }
  function indexAt(atMs: number): number {
    return scenario.repeat ? Math.floor(Math.max(0, atMs) / lengthMs) : 0;
  }

  return {
    state(atMs) {
      const index = indexAt(atMs);
      return stateAt(round(index).events, Math.max(0, atMs) - index * lengthMs);
    },
    due(afterMs, untilMs) {
      const found: DueEvent[] = [];
      for (let index = indexAt(afterMs); index <= indexAt(untilMs); index += 1) {
        const shiftMs = index * lengthMs;
        const placed = round(index).due.map((event) => ({ ...event, atMs: event.atMs + shiftMs }));
        found.push(...placed.filter(({ atMs }) => atMs > afterMs && atMs <= untilMs));
      }
      return found;
    },
    next(afterMs) {
      const index = indexAt(afterMs);
      for (const candidate of scenario.repeat ? [index, index + 1] : [0]) {
        const next = round(candidate).due.find(({ atMs }) => atMs + candidate * lengthMs > afterMs);
        if (next) return next.atMs + candidate * lengthMs;
      }
      return undefined;
    },
  };
}

/** The last moment that the file names. */
function lengthOf({ events }: Scenario): number {
  const ends = events.map(
    ({ atS = 0, toS, temperatureC, battery }) => toS ?? atS + Math.max(rampS(temperatureC), rampS(battery?.percent)),
  );
  return Math.max(...ends) * 1000;
}

type Level = number | { from: number; to: number; overS: number };

function rampS(level: Level | undefined): number {
  return typeof level === 'object' ? level.overS : 0;
}

function placeRound({ events, repeat }: Scenario, seed: number, index: number, lengthMs: number): Round {
  const random = createRandom(seed, index);
  const lastMs = repeat ? lengthMs : Number.POSITIVE_INFINITY;
  const placed = events.map((event, at): Placed => {
    const { atS, fromS = atS ?? 0, toS, jitterS = 0 } = event;
    // Drawn for each event, so that one without jitter does not change what the next one gets.
    const [early, late] = [random(), random()];
    const moved = (momentS: number, draw: number) => clamp((momentS + (2 * draw - 1) * jitterS) * 1000, 0, lastMs);
    const beginMs = moved(fromS, early);
    const endMs = toS === undefined ? undefined : Math.max(beginMs, moved(toS, late));
    return { number: at + 1, event, beginMs, endMs };
  });
  placed.sort((one, other) => one.beginMs - other.beginMs || one.number - other.number);
  const due = placed.flatMap(({ number, event, beginMs, endMs }): DueEvent[] => [
    { atMs: beginMs, number, kind: 'begin', event },
    ...(endMs === undefined ? [] : [{ atMs: endMs, number, kind: 'end' as const, event }]),
  ]);
  return { events: placed, due: due.sort((one, other) => one.atMs - other.atMs || one.number - other.number) };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function stateAt(events: Placed[], atMs: number): WorldState {
  const begun = events.filter(({ beginMs, endMs = Number.POSITIVE_INFINITY }) => beginMs <= atMs && atMs < endMs);
  // What lasts only for a while stands over what was before, whichever began later.
  const inForce = [
    ...begun.filter(({ endMs }) => endMs === undefined),
    ...begun.filter(({ endMs }) => endMs !== undefined),
  ];
  const last = <Value>(read: (event: ScenarioEvent, sinceMs: number) => Value | undefined): Value | undefined =>
    inForce.reduce<Value | undefined>((before, { event, beginMs }) => read(event, atMs - beginMs) ?? before, undefined);
  const uplinkKbps = last(({ network }) =>
    network?.uplinkKbps === undefined ? undefined : { kbps: network.uplinkKbps },
  );
  const percent = last(({ battery }, sinceMs) => levelAt(battery?.percent, sinceMs));
  const camera = last(({ camera }) => camera) ?? 'back';
  const microphone = last(({ microphone }) => microphone) ?? 'back';
  return {
    network: {
      uplinkKbps: uplinkKbps?.kbps ?? null,
      delayMs: last(({ network }) => network?.delayMs) ?? 0,
      down: last(({ network }) => network?.down) ?? false,
    },
    temperatureC: last(({ temperatureC }, sinceMs) => levelAt(temperatureC, sinceMs)),
    battery:
      percent === undefined ? undefined : { percent, isCharging: last(({ battery }) => battery?.charging) ?? false },
    camera: camera === 'back' ? 'there' : camera,
    microphone: microphone === 'back' ? 'there' : microphone,
    isRelayDown: last(({ relay }) => relay?.down) ?? false,
  };
}

function levelAt(level: Level | undefined, sinceMs: number): number | undefined {
  if (level === undefined || typeof level === 'number') return level;
  const share = level.overS === 0 ? 1 : Math.min(1, sinceMs / (level.overS * 1000));
  return level.from + (level.to - level.from) * share;
}

/** mulberry32: small, and the same on every machine. Gives 0 to 1, 1 excluded. */
export function createRandom(seed: number, index = 0): () => number {
  let state = (Math.trunc(seed) ^ Math.imul(index + 1, 0x9e37_79b1)) >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
