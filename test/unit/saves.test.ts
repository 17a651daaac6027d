import { describe, expect, it } from 'vitest';
import type { StreamRecord } from '../../cloud/store/records.ts';
import { createSaves } from '../../cloud/store/saves.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { createTestClock } from '../support/test-clock.ts';

const ADA = 'ada@example.com';
const of = { key: 'm1', userId: ADA };
const record = { streamId: 'm1', userId: ADA } as StreamRecord;

function world(code: ErrorCode) {
  const clock = createTestClock();
  const said: string[] = [];
  const say = (level: string) => (_fields: object, message: string) => void said.push(`${level} ${message}`);
  const log = { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug') } as unknown as Log;
  const state = { fails: true, puts: 0 };
  const collection = {
    async put() {
      state.puts += 1;
      if (state.fails) throw new GlasscastError(code);
    },
    delete: async () => true,
  };
  const saves = createSaves({
    collection,
    name: 'stream',
    clock,
    log,
    onSaved: (userId) => void said.push(`saved ${userId}`),
  });
  return { clock, said, state, saves };
}

describe('what is saved', () => {
  it('is tried again until it is written, and said to be missing; until then the user is not done with', async () => {
    const { clock, said, state, saves } = world('STORE_UNAVAILABLE');
    await expect(saves.save(of, record)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect([said, clock.pending(), saves.has(ADA)]).toEqual([['error stream-not-saved'], ['stream-save'], true]);
    state.fails = false;
    await clock.advance(10_000);
    expect([state.puts, clock.pending(), saves.has(ADA)]).toEqual([2, [], false]);
    expect(said.at(-1)).toBe(`saved ${ADA}`);
    await saves.close();
  });

  it('is nothing wrong where the session has moved, and nobody tries again once the user is handed over', async () => {
    const { clock, said, state, saves } = world('SESSION_MOVED');
    await expect(saves.save(of, record)).rejects.toMatchObject({ code: 'SESSION_MOVED' });
    expect(said).toEqual(['debug stream-not-saved']);
    await saves.release('eve@example.com', { isLost: true });
    expect(clock.pending()).toEqual(['stream-save']);
    await saves.release(ADA, { isLost: true });
    expect([clock.pending(), saves.has(ADA)]).toEqual([[], false]);
    saves.retry();
    expect(state.puts).toBe(1);
    await saves.close();
  });

  it('is tried once more before another process goes on, or this one ends', async () => {
    for (const end of ['release', 'close'] as const) {
      const { clock, state, saves } = world('STORE_UNAVAILABLE');
      await saves.save(of, record).catch(() => {});
      state.fails = end === 'close';
      await (end === 'close' ? saves.close() : saves.release(ADA, { isLost: false }));
      expect([state.puts, clock.pending()]).toEqual([2, []]);
    }
  });
});
