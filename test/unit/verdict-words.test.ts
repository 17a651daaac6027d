import { expect, it } from 'vitest';
import { clockTime, mbit, spanText, times } from '../../cloud/streams/verdict-words.ts';

it('says times, lengths, rates and counts as people do', () => {
  expect([clockTime(Date.UTC(2026, 10, 28, 14, 3, 10)), clockTime(Number.NaN)]).toEqual(['14:03:10', '--:--:--']);
  const lengthsMs = [-5, 840, 9_960, 34_000, 600_000, 9_000_000];
  expect(lengthsMs.map(spanText)).toEqual(['0.0 s', '0.8 s', '10.0 s', '34 s', '10 min', '2.5 h']);
  expect([2_500_000, 800_000, 64_000].map(mbit)).toEqual(['2.5', '0.8', '0.06']);
  expect([0, 1, 2, 7].map(times)).toEqual(['never', 'once', 'twice', '7 times']);
});
