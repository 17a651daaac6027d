import { defineConfig } from 'vitest/config';
import { closingLine } from './test/support/closing-line.ts';

const realParts = { testTimeout: 60_000, hookTimeout: 60_000 };

/**
 * unit: test clock, seconds in all. e2e: real parts, one file at a time, because two cores are not many. interop: two at a
 * time, because the SDK mostly waits.
 */
export default defineConfig({
  test: {
    reporters: [process.stdout.isTTY ? 'default' : 'dot', closingLine()],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          testTimeout: 20_000,
          sequence: { shuffle: true, groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/browser/**/*.test.ts'],
          globalSetup: ['test/support/global-setup.ts'],
          ...realParts,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          ...realParts,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
