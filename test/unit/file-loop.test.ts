import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fileLoop } from '../../device/capture/file-loop.ts';

const listOf = (options: Parameters<typeof fileLoop>[0]) =>
  Buffer.from(fileLoop(options).url.replace('data:text/plain;base64,', ''), 'base64').toString().split('\n');

test('begins in the middle, then whole rounds of a known length', () => {
  expect(listOf({ path: '/a.mp4', durationMs: 10_010, startAtMs: 2500 }).slice(0, 6)).toEqual([
    'ffconcat version 1.0',
    ...["file 'file:/a.mp4'", 'inpoint 2.500', 'duration 7.510'],
    ...["file 'file:/a.mp4'", 'duration 10.010'],
  ]);
});

test('from the start there is nothing to skip', () => {
  expect(listOf({ path: '/a.mp4', startAtMs: 0 }).slice(1, 3)).toEqual(["file 'file:/a.mp4'", "file 'file:/a.mp4'"]);
});

test('a quote in a name ends nothing', () => {
  expect(listOf({ path: "/it's.mp4", startAtMs: 0 })[1]).toBe("file 'file:/it'\\''s.mp4'");
});

test('lasts a day, or as long as one argument can hold', () => {
  const rounds = (durationMs: number) =>
    listOf({ path: '/a.mp4', durationMs, startAtMs: 0 }).filter((line) => line.startsWith('file ')).length;
  expect(rounds(3_600_000)).toBe(25);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 ** 9 }), fc.nat(10 ** 6), fc.string(), (durationMs, startAtMs, name) => {
      const { url } = fileLoop({ path: `/${name}`, durationMs, startAtMs });
      expect(Buffer.byteLength(url)).toBeLessThan(131_072);
    }),
  );
});
