import { describe, expect, it } from 'vitest';
import { createInputs } from '../../cloud/local-stream/ingest/inputs.ts';
import { createTestClock } from '../support/test-clock.ts';

const world = () => {
  const clock = createTestClock();
  return { clock, inputs: createInputs({ clock, maxCacheBytes: 1_000 }) };
};

describe('what the ingest knows of an input', () => {
  it('is kept for two minutes after the last one has left', async () => {
    const { clock, inputs } = world();
    const input = inputs.of('a');
    inputs.keepOrRelease(input);
    await clock.advance(119_000);
    expect(inputs.of('a')).toBe(input);
    await clock.advance(1_000);
    expect(inputs.find('a')).toBeUndefined();
  });
  it('goes at once with an input that is deleted, and no timer stays', () => {
    const { clock, inputs } = world();
    const input = inputs.of('a');
    inputs.keepOrRelease(input);
    inputs.forget('a');
    expect(inputs.all()).toEqual([]);
    expect(clock.pending()).toEqual([]);
    // A player of it leaves only now.
    inputs.keepOrRelease(input);
    expect(clock.pending()).toEqual([]);
  });
});
