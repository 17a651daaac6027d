import { defineConfig } from 'vitest/config';
import { closingLine } from './test/support/closing-line.ts';

/** unit: test clock, seconds in all. e2e: real parts, one file at a time, because two cores are not many. */
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
          include: ['test/e2e/**/*.test.ts', 'test/interop/**/*.test.ts', 'test/browser/**/*.test.ts'],
          globalSetup: ['test/support/global-setup.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
