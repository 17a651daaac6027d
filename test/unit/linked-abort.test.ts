import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { abortWith } from '../../shared/linked-abort.ts';

describe('a call that ends with something that outlives it', () => {
  it('is aborted with the same reason', () => {
    const outer = new AbortController();
    const call = new AbortController();
    abortWith(call, outer.signal);
    expect(call.signal.aborted).toBe(false);
    const reason = new Error('closing');
    outer.abort(reason);
    expect(call.signal.reason).toBe(reason);
  });
  it('is aborted at once when that is over already', () => {
    const call = new AbortController();
    abortWith(call, AbortSignal.abort('over'))();
    expect(call.signal.reason).toBe('over');
  });
  it('leaves nothing on it once it is released', () => {
    const outer = new AbortController();
    const calls = Array.from({ length: 50 }, () => new AbortController());
    const releases = calls.map((call) => abortWith(call, outer.signal));
    expect(getEventListeners(outer.signal, 'abort')).toHaveLength(50);
    for (const release of releases) release();
    expect(getEventListeners(outer.signal, 'abort')).toHaveLength(0);
    outer.abort();
    expect(calls.some(({ signal }) => signal.aborted)).toBe(false);
  });
  it('needs nothing that outlives it', () => {
    const call = new AbortController();
    abortWith(call, undefined)();
    expect(call.signal.aborted).toBe(false);
  });
});
