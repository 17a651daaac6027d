import { describe, expect, it } from 'vitest';
import { asGlasscastError, type ErrorCode, errorKinds, GlasscastError } from '../../shared/errors.ts';

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
