/** A benchmark as a program: what Ctrl-C does to it. */
import { afterEach, expect, it } from 'vitest';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { startProgram } from '../support/program.ts';

const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
afterEach(() => children.close());

it('tidies up once, also when npm passes the same Ctrl-C on', async () => {
  const { child, line, lines } = startProgram(children, { file: 'test/support/slow-bench.ts' });
  const interrupt = () => process.kill(child.pid ?? 0, 'SIGINT');
  await line(/^(measuring)$/);
  interrupt();
  await line(/^(tidying)$/);
  interrupt();
  expect((await child.exited).code).toBe(130);
  expect(lines).toEqual(['measuring', 'tidying', 'tidied']);
}, 20_000);
