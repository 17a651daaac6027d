import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wantedOf } from '../../cloud/http/byte-range.ts';

const TAG = '"abc"';

describe('a range', () => {
  it.each([
    ['bytes=0-0', { kind: 'part', start: 0, end: 0 }],
    ['bytes=2-5', { kind: 'part', start: 2, end: 5 }],
    ['bytes=7-', { kind: 'part', start: 7, end: 9 }],
    ['bytes=7-100', { kind: 'part', start: 7, end: 9 }],
    ['bytes=-3', { kind: 'part', start: 7, end: 9 }],
    ['bytes=-30', { kind: 'part', start: 0, end: 9 }],
    ['bytes=10-', { kind: 'beyond' }],
    ['bytes=-0', { kind: 'beyond' }],
    ['bytes=5-2', { kind: 'whole' }],
    ['bytes=0-1,3-4', { kind: 'whole' }],
    ['lines=0-1', { kind: 'whole' }],
    ['bytes=-', { kind: 'whole' }],
    ['bytes=99999999999999999999-', { kind: 'whole' }],
  ])('%s of ten bytes', (range, wanted) => {
    expect(wantedOf({ range }, TAG, 10)).toEqual(wanted);
  });

  it('holds only for the file that it was begun with', () => {
    const range = 'bytes=2-';
    expect(wantedOf({ range, 'if-range': TAG }, TAG, 10)).toMatchObject({ kind: 'part' });
    for (const other of ['"other"', `W/${TAG}`, 'Sat, 28 Nov 2026 00:00:00 GMT']) {
      expect(wantedOf({ range, 'if-range': other }, TAG, 10)).toEqual({ kind: 'whole' });
    }
    expect(wantedOf({ 'if-none-match': `"x", W/${TAG}` }, TAG, 10)).toEqual({ kind: 'unchanged' });
    expect(wantedOf({ 'if-none-match': '"x"' }, TAG, 10)).toEqual({ kind: 'whole' });
  });

  it('is never outside of the file, whatever is asked for', () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^bytes=\d{0,18}-\d{0,18}$/));
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 1_000 }), (range, bytes) => {
        const wanted = wantedOf({ range }, TAG, bytes);
        if (wanted.kind !== 'part') return;
        expect(wanted.start).toBeGreaterThanOrEqual(0);
        expect(wanted.start).toBeLessThanOrEqual(wanted.end);
        expect(wanted.end).toBeLessThan(bytes);
      }),
    );
  });
});
