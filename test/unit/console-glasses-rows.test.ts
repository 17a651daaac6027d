import { describe, expect, it } from 'vitest';
import { emptyState, reduce } from '../../cloud/console/console-state.ts';
import { glassesRows, rowAt } from '../../cloud/console/glasses-rows.ts';
import type { SessionView, StreamView } from '../../cloud/console/relay-shapes.ts';

const sessions: SessionView[] = [
  { userId: 'zoe@x', connected: true, modelName: 'Mentra Live' },
  { userId: 'bob@x', connected: false },
  { userId: 'ann@x', connected: true, wifiSsid: 'Lab' },
];
const streams: StreamView[] = [
  { streamId: 'm1', userId: 'zoe@x', state: 'active', viewers: ['com.example.captions'] },
  { streamId: 'm2', userId: 'gone@x', state: 'interrupted' },
];
const state = reduce(emptyState(0), { kind: 'snapshot', sessions, streams }, 1);
const users = (search: string) => glassesRows(state, search).map(({ userId }) => userId);

describe('the list of glasses', () => {
  it('has who is live first, who is away last, and streams whose session is gone', () => {
    expect(users('')).toEqual(['gone@x', 'zoe@x', 'ann@x', 'bob@x']);
  });
  it.each([
    ['mentra', ['zoe@x']],
    ['LIVE', ['zoe@x']],
    ['captions', ['zoe@x']],
    ['away', ['gone@x', 'bob@x']],
    ['lab connected', ['ann@x']],
    ['  ', ['gone@x', 'zoe@x', 'ann@x', 'bob@x']],
    ['nobody', []],
  ])('is searched for %j', (search, found) => {
    expect(users(search)).toEqual(found);
  });
  it('is stepped through around its ends', () => {
    const rows = glassesRows(state, '');
    expect(rows.find(({ isSelected }) => isSelected)?.userId).toBe('zoe@x');
    expect([rowAt(rows, 1), rowAt(rows, -1), rowAt(rows, -2)]).toEqual(['ann@x', 'gone@x', 'bob@x']);
    expect(rowAt([], 1)).toBeUndefined();
    // The selected ones are filtered away: the first and the last are next.
    const others = glassesRows(state, 'ann');
    expect([rowAt(others, 1), rowAt(others, -1)]).toEqual(['ann@x', 'ann@x']);
  });
  it('holds 200 glasses in order', () => {
    const many = Array.from({ length: 200 }, (_, at) => ({ userId: `u${at}@x`, connected: at % 2 === 0 }));
    const rows = glassesRows(reduce(emptyState(0), { kind: 'snapshot', sessions: many, streams: [] }, 1), '');
    expect(rows).toHaveLength(200);
    expect(rows.findIndex(({ session }) => session?.connected === false)).toBe(100);
  });
});
