import { expect, it } from 'vitest';
import { createRequestBudget } from '../../cloud/provider/request-budget.ts';
import { createTestClock } from '../support/test-clock.ts';

it('is shared out among the processes that share an account, as they come and go', async () => {
  const clock = createTestClock();
  const state = { sharers: 1 };
  const { signal } = new AbortController();
  const budget = createRequestBudget({ clock, perSecond: 10, sharers: () => state.sharers, maxWaitMs: 60_000, signal });
  let gone = 0;
  for (let count = 0; count < 200; count += 1) void budget.take(false).then(() => (gone += 1));
  await clock.advance(1_000);
  const alone = gone;
  state.sharers = 2;
  await clock.advance(2_000);
  const shared = gone - alone;
  state.sharers = 1;
  await clock.advance(1_000);
  expect([alone, shared, gone - alone - shared]).toEqual([15, 10, 10]);
});
