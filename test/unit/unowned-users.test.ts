import { expect, it } from 'vitest';
import type { Place } from '../../cloud/cluster/cluster.ts';
import { createUnownedUsers } from '../../cloud/cluster/unowned-users.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  const state = { isLeader: true, users: async () => ['ada', 'bob', 'eve'] };
  const owners = new Map<string, Place>([
    ['ada', 'here'],
    ['bob', { nodeId: 'b' }],
  ]);
  const placed: string[] = [];
  const unowned = createUnownedUsers({
    ...{ clock, log: silentLog(), users: () => state.users() },
    leadership: { isLeader: () => state.isLeader },
    ownership: {
      whereIs: async (userId) => owners.get(userId),
      async place(userId) {
        placed.push(userId);
        owners.set(userId, 'here');
        return 'here';
      },
    },
  });
  return { clock, state, placed, unowned };
}

it('the leader takes up whom nobody owns, long after those who come by themselves, and once', async () => {
  const { clock, placed, unowned } = world();
  unowned.lookSoon();
  unowned.lookSoon();
  await clock.advance(14_000);
  expect(placed).toEqual([]);
  await clock.advance(2_000);
  expect([placed, clock.pending()]).toEqual([['eve'], []]);
});

it('nobody but the leader does', async () => {
  const { clock, placed, state, unowned } = world();
  state.isLeader = false;
  unowned.lookSoon();
  await clock.advance(60_000);
  expect([placed, clock.pending()]).toEqual([[], []]);
});

it('a store that does not answer is asked again, until the end', async () => {
  const { clock, placed, state, unowned } = world();
  const { users } = state;
  state.users = () => Promise.reject(new GlasscastError('STORE_UNAVAILABLE'));
  unowned.lookSoon();
  await clock.advance(20_000);
  state.users = users;
  await clock.advance(20_000);
  expect(placed).toEqual(['eve']);
  unowned.lookSoon();
  unowned.close();
  unowned.lookSoon();
  expect(clock.pending()).toEqual([]);
});
