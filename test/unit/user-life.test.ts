import { expect, it } from 'vitest';
import { createUserLife } from '../../cloud/cluster/user-life.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  const state = { needed: new Set<string>(), here: new Set(['ada', 'bob', 'eve']), isStoreUp: true, mayGo: true };
  const left: string[] = [];
  const life = createUserLife({
    clock,
    ownership: { isHere: (userId) => state.here.has(userId), letGo: (userId) => left.push(userId) > 0 && state.mayGo },
    isNeeded: (userId) => state.needed.has(userId),
    isStoreUp: () => state.isStoreUp,
  });
  return { clock, state, left, life };
}

it('a user of whom nothing is left is let go, once, and not before what comes next may have come', async () => {
  const { clock, state, left, life } = world();
  for (const userId of ['ada', 'ada', 'bob', 'zoe']) life.look(userId);
  state.needed.add('bob');
  expect(left).toEqual([]);
  await clock.advance(1_000);
  expect([left, clock.pending()]).toEqual([['ada'], []]);
});

it('nobody is let go while the store is away: what has to be written is known here alone', async () => {
  const { clock, state, left, life } = world();
  state.isStoreUp = false;
  life.look('ada');
  await clock.advance(10_000);
  expect(left).toEqual([]);
  state.isStoreUp = true;
  await clock.advance(1_000);
  expect(left).toEqual(['ada']);
  life.look('eve');
  life.close();
  life.look('bob');
  expect(clock.pending()).toEqual([]);
});

it('who could not be let go at that moment is looked at again', async () => {
  const { clock, state, left, life } = world();
  state.mayGo = false;
  life.look('ada');
  await clock.advance(1_000);
  expect(left).toEqual(['ada']);
  state.mayGo = true;
  await clock.advance(5_000);
  expect([left, clock.pending()]).toEqual([['ada', 'ada'], []]);
});
