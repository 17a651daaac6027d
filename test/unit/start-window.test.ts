import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createStartWindow } from '../../cloud/apps/start-window.ts';
import { createTestClock } from '../support/test-clock.ts';

function setUp() {
  const clock = createTestClock();
  const answers: number[] = [];
  const window = createStartWindow({
    clock,
    onClosing() {
      answers.push(clock.monotonicMs());
      window.answered();
    },
  });
  return { clock, answers, window };
}

describe('the window of a start', () => {
  it('is open for a start with no other before it, for as long as the relay likes', async () => {
    const { clock, answers, window } = setUp();
    window.asked();
    await clock.advance(60_000);
    expect(answers).toEqual([]);
  });

  it('closes 250 ms before the timer of an earlier start fires (defect 58)', async () => {
    const { clock, answers, window } = setUp();
    const firstMs = clock.monotonicMs();
    window.asked();
    window.answered();
    await clock.advance(20_000);
    window.asked();
    await clock.advance(9_749);
    expect(answers).toEqual([]);
    await clock.advance(1);
    expect(answers).toEqual([firstMs + 29_750]);
    // Asked again at once, it is still too late for that timer; once it has fired there is time again.
    window.asked();
    await clock.advance(0);
    expect(answers).toHaveLength(2);
    await clock.advance(250);
    window.asked();
    await clock.advance(19_000);
    expect(answers).toHaveLength(2);
    window.close();
    expect(clock.pending()).toEqual([]);
  });

  it('leaves no start to be forgotten by the timer of another, whatever the app asks and when', async () => {
    const pauseMs = fc.integer({ min: 0, max: 40_000 });
    const answeredAfterMs = fc.option(fc.integer({ min: 0, max: 30_000 }));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(pauseMs, answeredAfterMs), { maxLength: 20 }), async (starts) => {
        const clock = createTestClock();
        const forgotten: number[] = [];
        /** The SDK's one slot. */
        let pending: number | undefined;
        const window = createStartWindow({ clock, onClosing: () => answer(pending) });
        function answer(start: number | undefined): void {
          if (pending !== start) return;
          pending = undefined;
          window.answered();
        }
        for (const [start, [waitMs, answerMs]] of starts.entries()) {
          await clock.advance(waitMs);
          if (pending !== undefined) continue;
          pending = start;
          clock.after('sdk', 30_000, () => {
            if (pending !== undefined && pending !== start) forgotten.push(pending);
            pending = undefined;
          });
          window.asked();
          if (answerMs !== null) clock.after('relay', answerMs, () => answer(start));
        }
        await clock.advance(60_000);
        expect(forgotten).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});
