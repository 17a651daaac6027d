import { describe, expect, it } from 'vitest';
import type { Release } from '../../cloud/cluster/cluster-records.ts';
import { createOwnerReleases } from '../../cloud/cluster/owner-releases.ts';
import { settle } from '../support/test-clock.ts';

function setUp() {
  const batches: string[][] = [];
  const state = { isAway: false };
  const releases = createOwnerReleases({
    async release(batch) {
      if (state.isAway) throw new Error('away');
      batches.push(batch.map(({ userId, proof, isFree }) => `${userId} ${proof} ${isFree}`));
    },
  });
  return { batches, state, releases };
}
const one = (userId: string, proof = 'a 1', isFree = false): Release => ({ userId, proof, isFree });

describe('releases', () => {
  it('of one moment go together, and no more than a script may take', async () => {
    const { batches, releases } = setUp();
    for (let user = 0; user < 1_200; user += 1) releases.add(one(`u${user}`));
    await releases.settled();
    expect(batches.map(({ length }) => length)).toEqual([500, 500, 200]);
    await releases.settled();
    expect(batches.length).toBe(3);
  });

  it('are told again until they were heard; of one proof the first word counts, and a newer proof replaces an older one', async () => {
    const { batches, state, releases } = setUp();
    state.isAway = true;
    releases.add(one('ada'));
    releases.add(one('ada', 'a 1', true));
    releases.add(one('bob'));
    releases.add(one('bob', 'a 2', true));
    await releases.settled();
    releases.retry();
    await settle();
    expect(batches).toEqual([]);
    state.isAway = false;
    releases.retry();
    await releases.settled();
    expect(batches).toEqual([['ada a 1 false', 'bob a 2 true']]);
  });
});
