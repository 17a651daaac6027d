import { defineConfig } from 'vitest/config';
import { closingLine } from './test/support/closing-line.ts';

/** Systems that boot, packages that are built and installed. */
const wholeBoards = { testTimeout: 600_000, hookTimeout: 600_000 };
const realParts = { testTimeout: 60_000, hookTimeout: 60_000 };

/** They measure milliseconds, or take a core for themselves. */
const alone = [
  'test/e2e/{agent,explain,fleet,ingest,malformed,outage,outputs,rtmp,soak}*.test.ts',
  'test/e2e/cluster-media.test.ts',
  'test/browser/**/*.test.ts',
];

/** unit: test clock, seconds in all. e2e: real parts, which mostly wait, two files at a time. alone: one at a time. hardware: whole systems. */
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
          include: ['test/e2e/**/*.test.ts', 'test/interop/**/*.test.ts'],
          exclude: alone,
          globalSetup: ['test/support/client-setup.ts', 'test/support/cluster-setup.ts'],
          ...realParts,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'alone',
          include: alone,
          globalSetup: ['test/support/global-setup.ts', 'test/support/cluster-setup.ts'],
          ...realParts,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'hardware',
          include: ['test/hardware/**/*.test.ts'],
          globalSetup: ['test/support/hardware-setup.ts'],
          ...wholeBoards,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
