/** What a signal means to a program of ours. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type Ending, untilSignal } from '../../shared/program.ts';
import { createTestClock } from '../support/test-clock.ts';

const listeners = new Map<string | symbol, () => void>();
beforeEach(() => {
  vi.spyOn(process, 'on').mockImplementation((name: string | symbol, listen: () => void) => {
    listeners.set(name, listen);
    return process;
  });
  vi.spyOn(process, 'exit').mockImplementation(() => undefined as never);
});
afterEach(() => {
  vi.restoreAllMocks();
  listeners.clear();
});

function world() {
  const clock = createTestClock();
  const closings: Ending[] = [];
  let closed = () => {};
  let failed = (_error: Error) => {};
  const program = untilSignal(clock, (ending) => {
    closings.push(ending);
    return new Promise((resolve, reject) => {
      closed = resolve;
      failed = reject;
    });
  });
  const close = { closed: () => closed(), failed: (error: Error) => failed(error) };
  return { ...program, ...close, clock, closings, signal: (name: string) => listeners.get(name)?.() };
}

it.each<[string, Ending]>([
  ['SIGINT', 'end'],
  ['SIGTERM', 'restart'],
])('%s closes once, for the %s', async (name, ending) => {
  const { closed, closings, ended, isEnding, signal } = world();
  expect(isEnding()).toBe(false);
  signal(name);
  expect(isEnding()).toBe(true);
  closed();
  expect([await ended, closings]).toEqual([ending, [ending]]);
});

it('is ended from within as by Ctrl-C', async () => {
  const { closed, end, ended } = world();
  end();
  closed();
  expect(await ended).toBe('end');
});

it('tells whoever waits for the end that it failed', async () => {
  const { ended, failed, signal } = world();
  signal('SIGTERM');
  failed(new Error('the disk is full'));
  await expect(ended).rejects.toThrow('the disk is full');
});

it('takes a second signal for an echo at first, for impatience later', async () => {
  const { clock, closings, signal } = world();
  signal('SIGTERM');
  await clock.advance(1_000);
  signal('SIGINT');
  expect(process.exit).not.toHaveBeenCalled();
  await clock.advance(1);
  signal('SIGTERM');
  expect(process.exit).toHaveBeenCalledExactlyOnceWith(1);
  expect(closings).toEqual(['restart']);
});
