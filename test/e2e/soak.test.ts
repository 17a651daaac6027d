/** The soak's short form: the whole product as programs, people who come and go, each fault once, and what must hold after it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, inject, it } from 'vitest';
import { faultNames } from '../../scripts/soak/plan.ts';
import { type ChildSpawner, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { startProgram } from '../support/program.ts';

let children: ChildSpawner;
let folder: string;

beforeEach(async () => {
  children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  folder = await mkdtemp(join(tmpdir(), 'glasscast-soak-'));
});
afterEach(async () => {
  await children.close();
  await rm(folder, { recursive: true, force: true });
});

interface Report {
  cycles: number;
  checks: number;
  faults: Record<string, number>;
  found: { invariant: string; words: string }[];
  streamsInCalm: { n: number };
}

const singular = faultNames.filter((name) => name !== 'redis-killed');

it
  .runIf(process.platform === 'linux')
  .each([{ nodes: 1, expected: singular }, ...(inject('hasRedis') ? [{ nodes: 2, expected: faultNames }] : [])])(
  'each fault once under people who come and go, on $nodes nodes: nothing that must hold is broken',
  { timeout: 240_000 },
  async ({ nodes, expected }) => {
    const args = ['--short', '--seed', '1', '--users', '2', '--nodes', String(nodes)];
    const soak = startProgram(children, { file: 'scripts/soak.ts', args });
    const { code, lastLines } = await soak.child.exited;
    const { found, cycles, faults, checks, streamsInCalm } = JSON.parse(soak.lines.join('\n') || '{}') as Report;
    // What was broken, by seed and moment, stands in the lines.
    expect(found, lastLines.join('\n')).toEqual([]);
    expect(code).toBe(0);
    expect(cycles).toBe(1);
    expect(Object.keys(faults).sort()).toEqual([...expected].sort());
    expect(streamsInCalm.n).toBe(2);
    expect(checks).toBeGreaterThan(30);
  },
);
