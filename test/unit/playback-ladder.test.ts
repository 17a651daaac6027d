/** Which way a page plays a live stream: with ways, pictures and time made up. */
import { describe, expect, it } from 'vitest';
import {
  createPlaybackLadder,
  type PlaybackLadder,
  type PlaybackSources,
  type PlaybackWay,
  type PlayerState,
  type WayEvents,
} from '../../cloud/player/playback-ladder.ts';

const sources: Required<PlaybackSources> = { webrtcUrl: 'w', flvUrl: 'f', llHlsUrl: 'l', hlsUrl: 'h' };

interface Run {
  way: PlaybackWay;
  url: string;
  isRehearsal: boolean;
  isOpen: boolean;
  isWaiting: boolean;
  events: WayEvents;
}

interface World {
  runs: Run[];
  states: PlayerState[];
  /** Ways that fail as soon as they are started. */
  broken: Map<PlaybackWay, string>;
  pictures: number | undefined;
  isMoving: boolean;
  isHidden: boolean;
  open(): Run[];
  shown(): Run | undefined;
  plays(): void;
  passes(ms: number): void;
  ladder: PlaybackLadder;
}

function createWorld(): World {
  const runs: Run[] = [];
  const states: PlayerState[] = [];
  let nowMs = 0;
  let fire = () => {};
  const broken = new Map<PlaybackWay, string>();
  const world: World = {
    ...{ runs, states, broken },
    pictures: 0,
    isMoving: true,
    isHidden: false,
    open: () => runs.filter(({ isOpen }) => isOpen),
    shown: () => runs.findLast(({ isOpen, isRehearsal }) => isOpen && !isRehearsal),
    plays() {
      world.shown()?.events.playing();
    },
    passes(ms: number) {
      for (let passedMs = 0; passedMs < ms; passedMs += 250) {
        nowMs += 250;
        if (world.isMoving && world.pictures !== undefined) world.pictures += 1;
        fire();
      }
    },
    ladder: createPlaybackLadder({
      start: (way, url, events) => begin(way, url, events, false),
      rehearse: (way, url, events) => begin(way, url, events, true),
      pictures: () => world.pictures,
      isHidden: () => world.isHidden,
      clock: {
        nowMs: () => nowMs,
        every(_ms, called) {
          fire = called;
          return () => {
            fire = () => {};
          };
        },
      },
      onChange: (state) => void states.push(state),
    }),
  };
  function begin(way: PlaybackWay, url: string, events: WayEvents, isRehearsal: boolean) {
    const run: Run = { way, url, isRehearsal, isOpen: true, isWaiting: false, events };
    runs.push(run);
    const reason = broken.get(way);
    if (reason !== undefined) events.failed(reason);
    return {
      latencyMs: () => 123.4,
      isWaiting: () => run.isWaiting,
      close() {
        run.isOpen = false;
      },
    };
  }
  return world;
}

const ways = (runs: readonly Run[]) => runs.map(({ way }) => way);

describe('the first way that works', () => {
  it('is the best one, and is told with its latency', () => {
    const { ladder, plays, open, states, passes } = createWorld();
    ladder.show(sources);
    plays();
    passes(1000);
    expect(ways(open())).toEqual(['whep']);
    expect(states.at(-1)).toEqual({ way: 'whep', isPlaying: true, latencyMs: 123 });
  });

  it('comes after those that fail at once, in time, and those that say nothing for seconds', () => {
    const { ladder, runs, broken, open, plays, passes } = createWorld();
    broken.set('whep', 'no');
    ladder.show(sources);
    expect(ways(runs)).toEqual(['whep', 'ws-flv']);
    passes(4000);
    expect(ways(open())).toEqual(['ll-hls']);
    passes(8000);
    expect(ways(open())).toEqual(['hls']);
    plays();
    passes(30_000);
    expect(ways(open())).toEqual(['hls']);
  });

  it('is the wished one first, and the others after it', () => {
    const { ladder, broken, open, plays, passes } = createWorld();
    ladder.show(sources);
    plays();
    ladder.prefer('hls');
    expect(ways(open())).toEqual(['hls']);
    broken.set('hls', 'no');
    passes(10_000);
    expect(ways(open())).toEqual(['whep']);
    plays();
    broken.clear();
    ladder.prefer('whep');
    expect(ways(open())).toEqual(['whep']);
  });

  it('is not touched by the same sources, and not by others that do not concern it', () => {
    const { ladder, runs, broken, plays } = createWorld();
    broken.set('whep', 'no');
    ladder.show(sources);
    plays();
    ladder.show({ ...sources });
    ladder.show({ ...sources, hlsUrl: 'h2' });
    expect(ways(runs)).toEqual(['whep', 'ws-flv']);
    ladder.show({ ...sources, flvUrl: 'f2' });
    expect(ways(runs)).toEqual(['whep', 'ws-flv', 'whep', 'ws-flv']);
    expect(runs.at(-1)?.url).toBe('f2');
  });

  it('that shows nothing yet gives way to a better one that is known only now', () => {
    const { ladder, open, plays, passes } = createWorld();
    ladder.show({ hlsUrl: 'h' });
    ladder.show(sources);
    expect(ways(open())).toEqual(['whep']);
    ladder.prefer('hls');
    ladder.prefer(undefined);
    plays();
    passes(1000);
    expect(ways(open())).toEqual(['whep']);
  });
});

describe('with no way', () => {
  it('the reason is told, and all are tried again until the broadcast is there', () => {
    const { ladder, runs, broken, passes, plays, states } = createWorld();
    for (const way of ['whep', 'll-hls', 'hls'] as const) broken.set(way, 'something');
    broken.set('ws-flv', 'Live broadcast not started yet');
    ladder.show(sources);
    expect(states.at(-1)).toEqual({ isPlaying: false, message: 'Live broadcast not started yet' });
    const before = states.length;
    passes(10_000);
    expect(runs.length).toBeGreaterThan(16);
    expect(runs.length).toBeLessThan(40);
    // The message stands, it does not flicker.
    expect(states).toHaveLength(before);
    broken.clear();
    passes(2000);
    plays();
    expect(states.at(-1)).toMatchObject({ isPlaying: true });
  });

  it('nothing is shown when there is nothing to show', () => {
    const { ladder, open, passes, plays, states } = createWorld();
    ladder.show(sources);
    plays();
    ladder.show(undefined);
    passes(5000);
    expect(open()).toEqual([]);
    expect(states.at(-1)).toEqual({ isPlaying: false });
  });
});

describe('a picture that stands still', () => {
  it('is asked for again the same way, then the next', () => {
    const world = createWorld();
    const { ladder, runs, passes, plays, open } = world;
    ladder.show(sources);
    plays();
    passes(6000);
    world.isMoving = false;
    passes(3250);
    expect(ways(runs)).toEqual(['whep', 'whep']);
    passes(4000);
    expect(ways(open())).toEqual(['ws-flv']);
  });

  it('is left alone while the connection says that the publisher is away', () => {
    const world = createWorld();
    const { ladder, broken, runs, passes, plays, states, shown } = world;
    broken.set('whep', 'no');
    ladder.show(sources);
    plays();
    passes(1000);
    const run = shown();
    world.isMoving = false;
    if (run) run.isWaiting = true;
    passes(30_000);
    expect(ways(runs)).toEqual(['whep', 'ws-flv']);
    expect(states.at(-1)).toEqual({ way: 'ws-flv', isPlaying: false, message: 'The broadcast is interrupted' });
    world.isMoving = true;
    passes(250);
    expect(states.at(-1)).toMatchObject({ isPlaying: true });
  });

  it('means nothing while it is paused or nobody looks', () => {
    const world = createWorld();
    const { ladder, runs, passes, plays } = world;
    ladder.show(sources);
    world.isHidden = true;
    passes(60_000);
    world.isHidden = false;
    plays();
    world.pictures = undefined;
    passes(60_000);
    expect(ways(runs)).toEqual(['whep']);
  });
});

describe('a way that played and fails', () => {
  it('is taken again once, at once; then the next, and it is rehearsed soon', () => {
    const { ladder, runs, passes, plays, open, shown } = createWorld();
    ladder.show(sources);
    for (const way of ['whep', 'whep'] as const) {
      expect(ways(open())).toEqual([way]);
      plays();
      passes(1000);
      shown()?.events.failed('the tracks have changed');
    }
    expect(ways(open())).toEqual(['ws-flv']);
    plays();
    passes(5250);
    expect(runs.at(-1)).toMatchObject({ way: 'whep', isRehearsal: true });
  });

  it('is taken again each time when the server says so', () => {
    const { ladder, runs, passes, plays, shown } = createWorld();
    ladder.show(sources);
    for (let i = 0; i < 5; i += 1) {
      plays();
      passes(1000);
      shown()?.events.failed('the tracks have changed', true);
    }
    expect(new Set(ways(runs))).toEqual(new Set(['whep']));
  });

  it('is taken again each time when it had played for long', () => {
    const { ladder, runs, passes, plays, shown } = createWorld();
    ladder.show(sources);
    for (let i = 0; i < 5; i += 1) {
      plays();
      passes(6000);
      shown()?.events.failed('cut');
    }
    expect(new Set(ways(runs))).toEqual(new Set(['whep']));
  });
});

describe('a better way', () => {
  it('is rehearsed out of sight after a minute, then more rarely, and taken when it works', () => {
    const { ladder, runs, broken, passes, plays, open } = createWorld();
    broken.set('whep', 'no');
    ladder.show(sources);
    plays();
    passes(600_000);
    const rehearsals = runs.filter(({ isRehearsal }) => isRehearsal);
    expect(ways(rehearsals)).toEqual(['whep', 'whep', 'whep', 'whep']);
    expect(ways(open())).toEqual(['ws-flv']);
    broken.clear();
    passes(361_000);
    const rehearsal = open().find(({ isRehearsal }) => isRehearsal);
    rehearsal?.events.playing();
    passes(250);
    expect(open()).toMatchObject([{ way: 'whep', isRehearsal: false }]);
  });

  it('that says nothing is given up', () => {
    const { ladder, broken, passes, plays, open } = createWorld();
    broken.set('whep', 'no');
    broken.set('ws-flv', 'no');
    ladder.show(sources);
    plays();
    broken.clear();
    passes(60_000);
    expect(ways(open())).toEqual(['ll-hls', 'whep']);
    passes(4000);
    expect(ways(open())).toEqual(['ll-hls', 'ws-flv']);
    passes(4000);
    expect(ways(open())).toEqual(['ll-hls']);
  });
});

it('closes everything, whatever fails later', () => {
  const { ladder, runs, passes, plays, open } = createWorld();
  ladder.show(sources);
  plays();
  ladder.close();
  for (const { events } of runs) events.failed('late');
  passes(10_000);
  expect(open()).toEqual([]);
});
