import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readTraceparent, traceparentOf } from '../../cloud/tracing/tracer.ts';

const hex = (digits: number) =>
  fc
    .array(fc.constantFrom(...'0123456789abcdef'), { minLength: digits, maxLength: digits })
    .map((all) => all.join(''))
    .filter((text) => !/^0+$/.test(text));

describe('a traceparent', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(hex(32), hex(16), (traceId, spanId) => {
        expect(readTraceparent(traceparentOf({ traceId, spanId }))).toEqual({ traceId, spanId });
      }),
    );
  });

  it('is read when it is one, and never throws', () => {
    const [traceId, spanId] = ['a'.repeat(32), 'b'.repeat(16)];
    expect(readTraceparent(`01-${traceId}-${spanId}-00-more`)).toEqual({ traceId, spanId });
    for (const bad of [
      ...[`00-${traceId}-${spanId}-01-more`, `ff-${traceId}-${spanId}-01`, `00-${'0'.repeat(32)}-${spanId}-01`],
      ...[`00-${traceId}-${'0'.repeat(16)}-01`, `00-${traceId.toUpperCase()}-${spanId}-01`, '', '00', undefined],
    ]) {
      expect(readTraceparent(bad)).toBeUndefined();
    }
    expect(readTraceparent(['a', 'b'])).toBeUndefined();
    fc.assert(fc.property(fc.string(), (text) => void readTraceparent(text)));
  });
});
