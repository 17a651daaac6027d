import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  deviceStatusMeaning,
  deviceStatusWords,
  managedStatusOf,
  newAckId,
  newStreamId,
  publisherEvents,
  publisherStates,
  publisherTable,
  resolveSettings,
  streamEvents,
  streamStates,
  streamTable,
  type TransitionTable,
  transition,
  videoSettings,
} from '../../shared/stream.ts';

type AnyTable = TransitionTable<string, string>;

interface Listed {
  name: string;
  table: AnyTable;
  states: readonly string[];
  events: readonly string[];
}

const tables: Listed[] = [
  { name: 'stream', table: streamTable as AnyTable, states: streamStates, events: streamEvents },
  { name: 'publisher', table: publisherTable as AnyTable, states: publisherStates, events: publisherEvents },
];

describe.each(tables)('$name table', ({ table, states, events }) => {
  const all = states.flatMap((state) => events.map((event) => ({ state, event, next: table[state]?.[event] })));

  it.each(all)('$state × $event → $next', ({ state, event, next }) => {
    if (next === undefined) expect(() => transition(table, state, event)).toThrow(`${event} in ${state}`);
    else expect(transition(table, state, event)).toBe(next);
  });

  it('ends for good in stopped and failed', () => {
    expect(table.stopped).toEqual({});
    expect(table.failed).toEqual({});
  });

  it('can be stopped from every state that is not ending', () => {
    for (const [state, row] of Object.entries(table)) {
      if (!['stopping', 'stopped', 'failed'].includes(state)) expect(row.stop).toBe('stopping');
    }
  });
});

describe('words', () => {
  it('call only a proven stream active', () => {
    expect(streamStates.filter((state) => managedStatusOf[state] === 'active')).toEqual(['active']);
  });

  it('read only three of the device words as publishing (defect 5)', () => {
    expect(deviceStatusWords.filter((word) => deviceStatusMeaning[word] === 'publishing')).toEqual([
      'streaming',
      'active',
      'reconnected',
    ]);
  });
});

describe('ids', () => {
  it('are short, lower-case and told apart by their first letter', () => {
    for (let round = 0; round < 200; round += 1) {
      expect(newStreamId('managed')).toMatch(/^m[0-9a-z]{10}$/);
      expect(newStreamId('unmanaged')).toMatch(/^s[0-9a-z]{10}$/);
      expect(newAckId()).toMatch(/^a[0-9a-z]{7}$/);
    }
  });
});

describe('settings', () => {
  it('come out in range and even, whatever finite number goes in', () => {
    const number = fc.double({ noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(number, number, number, number, (width, height, bitrate, frameRate) => {
        const settings = resolveSettings(videoSettings.parse({ width, height, bitrate, frameRate }));
        expect(settings.widthPx % 2).toBe(0);
        expect(settings.widthPx).toBeGreaterThanOrEqual(160);
        expect(settings.heightPx).toBeLessThanOrEqual(1920);
        expect(settings.videoBitrateBps).toBeGreaterThanOrEqual(100_000);
        expect(settings.frameRate).toBeLessThanOrEqual(60);
      }),
    );
  });

  it.each([
    [44_000, 44_100],
    [1, 8_000],
    [96_000, 48_000],
    [22_050, 22_050],
  ])('bring a sample rate of %i Hz to %i', (asked, got) => {
    expect(resolveSettings({}, { sampleRate: asked }).sampleRateHz).toBe(got);
  });

  it('keep what was asked for', () => {
    const settings = resolveSettings({ width: 640, height: 360, bitrate: 800_000, frameRate: 15 }, { bitrate: 96_000 });
    expect(settings).toMatchObject({
      widthPx: 640,
      heightPx: 360,
      videoBitrateBps: 800_000,
      frameRate: 15,
      audioBitrateBps: 96_000,
    });
  });
});
