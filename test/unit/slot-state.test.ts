import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  confirmed,
  failed,
  flashedAlone,
  freeSlot,
  marked,
  nextStart,
  type Placed,
  readState,
  rollbackTarget,
  type SlotState,
  slotState,
} from '../../device/updates/slot-state.ts';

const version = fc.constantFrom('0.1.0', '0.2.0', '0.3.0', '1.0.0');
const placed = fc.record({ place: fc.constantFrom('flashed' as const, 'a' as const, 'b' as const), version });
const absent = { nil: undefined, freq: 2 };
const states: fc.Arbitrary<SlotState> = fc
  .record({
    current: placed,
    previous: fc.option(placed, absent),
    trial: fc.option(
      fc.record({ place: fc.constantFrom('a' as const, 'b' as const), version, isStarted: fc.boolean() }),
      absent,
    ),
  })
  .map((parts) => slotState.parse(JSON.parse(JSON.stringify({ format: 1, flashed: '0.1.0', ...parts }))));
/** Which of the two slots can be run. */
const fitness = fc.record({ a: fc.boolean(), b: fc.boolean() });
const unfitnessOf = (fit: { a: boolean; b: boolean }) => (wanted: Placed) =>
  wanted.place === 'flashed' || fit[wanted.place] ? undefined : 'damaged';

describe('what runs next', () => {
  it('is fit, whatever is on record, and a trial that was started is over', () => {
    fc.assert(
      fc.property(states, fitness, (state, fit) => {
        const unfitness = unfitnessOf(fit);
        const start = nextStart(state, unfitness);
        expect([unfitness(start.placed), unfitness(start.otherwise)]).toEqual([undefined, undefined]);
        expect(start.isTrial).toBe(
          state.trial !== undefined && !state.trial.isStarted && fit[state.trial.place as 'a'],
        );
        expect(start.next.trial?.isStarted ?? false).toBe(start.isTrial);
        expect(slotState.parse(start.next)).toEqual(start.next);
        if (start.isTrial)
          expect(nextStart(start.next, unfitness)).toMatchObject({ isTrial: false, placed: start.otherwise });
      }),
    );
  });

  it('is the same again when nothing has happened', () => {
    fc.assert(
      fc.property(states, fitness, (state, fit) => {
        const unfitness = unfitnessOf(fit);
        const settled = nextStart(nextStart(state, unfitness).next, unfitness);
        const again = nextStart(settled.next, unfitness);
        expect([again.placed, again.isTrial, again.next]).toEqual([settled.placed, false, settled.next]);
      }),
    );
  });
});

it('a slot for another version is never the running one, and spares the one before', () => {
  fc.assert(
    fc.property(states, placed, (state, running) => {
      const free = freeSlot(state, running.place);
      expect(free).not.toBe(running.place);
      const others = ['a', 'b'].filter((name) => name !== running.place && name !== state.previous?.place);
      if (others.length > 0) expect(others).toContain(free);
    }),
  );
});

it('a roll-back goes to something else that can be run, or nowhere from the flashed version alone', () => {
  fc.assert(
    fc.property(states, placed, fitness, (state, running, fit) => {
      const target = rollbackTarget(state, running, unfitnessOf(fit));
      if (!target) expect(running.place).toBe('flashed');
      else expect([target.place === running.place, unfitnessOf(fit)(target)]).toEqual([false, undefined]);
    }),
  );
});

it('a trial is confirmed by the version that is on it alone, once; what was before is kept only if it is older', () => {
  const running: Placed = { place: 'a', version: '0.2.0' };
  const target: Placed = { place: 'b', version: '0.3.0' };
  const before = marked(flashedAlone('0.1.0'), running, target);
  expect(confirmed(before, target)).toBeUndefined();
  const { next } = nextStart(before, () => undefined);
  expect(confirmed(next, running)).toBeUndefined();
  const after = confirmed(next, target);
  expect(after).toMatchObject({ current: target, previous: running, last: { version: '0.3.0', outcome: 'installed' } });
  if (!after) return;
  expect([confirmed(after, target), failed(after, 'late')]).toEqual([undefined, undefined]);
  const back = confirmed(nextStart(marked(after, target, running), () => undefined).next, running);
  expect(back).toMatchObject({ current: running });
  expect(back).not.toHaveProperty('previous');
});

it('a reason is bounded', () => {
  const started = nextStart(
    marked(flashedAlone('0.1.0'), { place: 'flashed', version: '0.1.0' }, { place: 'a', version: '0.2.0' }),
    () => undefined,
  ).next;
  const after = failed(started, 'x'.repeat(10_000));
  expect(after?.trial?.failure).toHaveLength(500);
  expect(slotState.safeParse(after).success).toBe(true);
});

it('any bytes are a record or the flashed version', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        expect(readState(bytes, '0.1.0')).toEqual(flashedAlone('0.1.0'));
      },
    ),
  );
});
