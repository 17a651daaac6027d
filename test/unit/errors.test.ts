import { describe, expect, it } from 'vitest';
import { asGlasscastError, type ErrorCode, errorKinds, GlasscastError, isDefect } from '../../shared/errors.ts';

describe('errors', () => {
  it.each(Object.keys(errorKinds) as ErrorCode[])('%s has a sentence, a fault and a status', (code) => {
    const error = new GlasscastError(code, { reason: 'why' });
    expect(error.message).toMatch(/^\S.*\S: why$/);
    expect(error.http).toBeGreaterThanOrEqual(400);
    expect(['caller', 'device', 'provider', 'destination', 'us']).toContain(error.fault);
  });

  it('wraps anything thrown, keeping the cause', () => {
    const cause = new Error('disk on fire');
    expect(asGlasscastError(cause)).toMatchObject({ code: 'INTERNAL', cause });
    const own = new GlasscastError('STREAM_NOT_FOUND');
    expect(asGlasscastError(own)).toBe(own);
  });
});

describe('a defect', () => {
  it('is what is wrong with us, not an order to end nor a session that went to another node', () => {
    const isOne = (code: ErrorCode) => isDefect(new GlasscastError(code));
    expect([isOne('INTERNAL'), isOne('STORE_UNAVAILABLE'), isOne('NODE_UNREACHABLE')]).toEqual([true, true, true]);
    expect([isOne('SHUTTING_DOWN'), isOne('SESSION_MOVED'), isOne('STREAM_NOT_FOUND')]).toEqual([false, false, false]);
  });
});
