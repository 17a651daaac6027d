import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createEntryList } from '../../cloud/streams/entry-list.ts';
import { entryKinds, type TimelineEntry } from '../../cloud/streams/stream-story.ts';

const START_MS = 1_000_000;
type NewEntry = Omit<TimelineEntry, 'id'>;
const notice = (code: string, more: Partial<NewEntry> = {}): NewEntry => ({
  ...{ atMs: START_MS, source: 'device', kind: 'notice', code, text: code },
  ...more,
});

it('counts ids up from the time of the request', () => {
  const list = createEntryList({ createdAtMs: START_MS });
  const ids = [0, 0, 500, 400].map((ms, index) => list.add(notice(`C${index}`, { atMs: START_MS + ms })).id);
  expect(ids).toEqual([0, 1, 500, 501]);
  expect(list.find(500)?.code).toBe('C2');
  expect(list.find(undefined)).toBeUndefined();
});

it('folds what repeats itself, with the newest numbers, and keeps steps apart', () => {
  const list = createEntryList({ createdAtMs: START_MS });
  list.add(notice('FRAMES_DROPPED', { numbers: { skips: 1 } }));
  list.add(notice('HEAT', { numbers: { videoBitrateBps: 2 } }));
  list.add(notice('FRAMES_DROPPED', { numbers: { skips: 4 }, atMs: START_MS + 9 }));
  list.add(notice('HEAT', { numbers: { videoBitrateBps: 1 } }));
  expect(list.all.map(({ code, times }) => [code, times])).toEqual([
    ['FRAMES_DROPPED', 2],
    ['HEAT', undefined],
    ['HEAT', undefined],
  ]);
  expect(list.all[0]).toMatchObject({ numbers: { skips: 4 }, atMs: START_MS, lastAtMs: START_MS + 9 });
});

it('the first ones, the first of each code and the newest stay; the rest is counted', () => {
  const list = createEntryList({ createdAtMs: START_MS, maxEntries: 6, maxFirst: 2 });
  const state = (text: string, code?: string): NewEntry => ({
    ...{ atMs: START_MS, source: 'relay', kind: 'state', text },
    ...(code ? { code } : {}),
  });
  for (const text of ['a', 'b', 'c']) list.add(state(text));
  list.add(state('the cause', 'CAMERA_SILENT'));
  for (const text of ['d', 'e', 'f', 'g']) list.add(state(text));
  expect(list.all.map(({ text }) => text)).toEqual(['a', 'b', 'the cause', 'e', 'f', 'g']);
  expect(list.leftOut).toBe(2);
});

it('is bounded whatever comes, and counts what it leaves out', () => {
  const entry = fc.record({
    atMs: fc.integer({ min: 0, max: 1e12 }),
    source: fc.constantFrom('app' as const, 'device' as const),
    kind: fc.constantFrom(...entryKinds),
    code: fc.string({ maxLength: 3 }),
    text: fc.string({ maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 80 }), fc.integer({ min: 1, max: 12 }), (entries, maxEntries) => {
      const list = createEntryList({ createdAtMs: 0, maxEntries, maxFirst: 4 });
      const newest = entries.map((one) => list.add(one)).at(-1);
      expect(list.all.length).toBeLessThanOrEqual(maxEntries);
      if (newest) expect(list.all).toContain(newest);
      const folded = list.all.reduce((sum, { times = 1 }) => sum + times, 0);
      expect(folded + list.leftOut).toBeLessThanOrEqual(entries.length);
      const ids = list.all.map(({ id }) => id);
      expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
    }),
  );
});
