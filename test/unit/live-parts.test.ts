/** Which places of a live playlist a player may wait for, and what is there already. */
import { describe, expect, it } from 'vitest';
import { createLiveParts, placeIn } from '../../cloud/local-stream/packaging/live-parts.ts';
import type { Part, Segment } from '../../cloud/local-stream/packaging/packager.ts';

const part = (segment: number, index: number, durationMs = 200): Part => ({
  ...{ track: 'video', segment, index, period: 0, startTicks: segment * 1000 + index * 200, durationTicks: durationMs },
  ...{ timescale: 1000, isIndependent: index === 0, bytes: 10 },
});
const whole = (number: number, durationMs = 1000): Segment => ({
  ...{ track: 'video', number, period: 0, startTicks: number * 1000, durationTicks: durationMs, timescale: 1000 },
  bytes: 50,
});

function live({ segments = 6, openParts = 2 } = {}) {
  const parts = createLiveParts('video');
  for (let number = 0; number < segments; number += 1) {
    for (let index = 0; index < 5; index += 1) parts.part(part(number, index));
    parts.segment(whole(number));
  }
  for (let index = 0; index < openParts; index += 1) parts.part(part(segments, index));
  return parts;
}

describe('what is listed', () => {
  it('three target durations of whole segments, and the open one', () => {
    const { parts, next, longestMs } = live().listed(1000);
    expect(parts.map(({ segment, index }) => `${segment}.${index}`)).toEqual(
      [3, 4, 5].flatMap((number) => [0, 1, 2, 3, 4].map((index) => `${number}.${index}`)).concat('6.0', '6.1'),
    );
    expect({ next, longestMs }).toEqual({ next: { segment: 6, index: 2 }, longestMs: 200 });
  });
  it('the longest of those alone', () => {
    const parts = live({ segments: 1, openParts: 0 });
    parts.part(part(1, 0, 900));
    expect(parts.listed(1000).longestMs).toBe(900);
    parts.segment(whole(1, 900));
    for (let number = 2; number < 5; number += 1) {
      parts.part(part(number, 0));
      parts.segment(whole(number));
    }
    expect(parts.listed(1000).longestMs).toBe(200);
  });
  it('a segment that is dropped takes its parts along', () => {
    const parts = live();
    expect(parts.drop(5)).toEqual([0, 1, 2, 3, 4].map((index) => `video-5.${index}.m4s`));
    expect(parts.of(5)).toEqual([]);
    expect(parts.drop(5)).toEqual([]);
  });
  it('nothing yet: the very first part comes next', () => {
    expect(createLiveParts('audio').listed(1000)).toEqual({ parts: [], next: { segment: 0, index: 0 }, longestMs: 0 });
  });
});

describe('a place to wait for', () => {
  const at = (segment: number, part?: number, parts = live()) =>
    placeIn(parts.listed(1000), { segment, part }, parts.of(segment).length, 210);
  it.each([
    [5, undefined, 'there'],
    [6, undefined, 'ahead'],
    [7, undefined, 'ahead'],
    [8, undefined, 'too far'],
    [999_999_999, undefined, 'too far'],
    [0, 0, 'there'],
    [6, 0, 'there'],
    [6, 1, 'there'],
    [6, 2, 'ahead'],
    [6, 16, 'ahead'],
    [6, 17, 'too far'],
    [7, 0, 'ahead'],
    [7, 15, 'too far'],
    [8, 0, 'too far'],
  ] as const)('segment %i part %s is %s', (segment, part, answer) => {
    expect(at(segment, part)).toBe(answer);
  });
  it('past the end of a whole segment is the first part of the next', () => {
    const between = live({ openParts: 0 });
    expect(at(5, 4, between)).toBe('there');
    expect(at(5, 5, between)).toBe('ahead');
    expect(at(5, 5)).toBe('there');
    expect(at(4, 99, between)).toBe('there');
  });
  it('parts of a second and more: three ahead', () => {
    const parts = live();
    const far = (part: number) => placeIn(parts.listed(1000), { segment: 6, part }, 2, 1000);
    expect([far(4), far(5)]).toEqual(['ahead', 'too far']);
  });
});
