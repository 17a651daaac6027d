import { describe, expect, it } from 'vitest';
import type { StreamRecord } from '../../cloud/store/records.ts';
import { createStreamSaves } from '../../cloud/streams/stream-saves.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { createTestClock } from '../support/test-clock.ts';

const record = { streamId: 'm1', userId: 'ada@example.com' } as StreamRecord;

function world(code: ErrorCode) {
  const clock = createTestClock();
  const said: string[] = [];
  const say = (level: string) => (_fields: object, message: string) => void said.push(`${level} ${message}`);
  const log = { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug') } as unknown as Log;
  const state = { fails: true, puts: 0 };
  const streams = {
    async put() {
      state.puts += 1;
      if (state.fails) throw new GlasscastError(code);
    },
    delete: async () => true,
  };
  const saves = createStreamSaves({ streams: streams as never, clock, log });
  return { clock, said, state, saves };
}

describe('what is saved of a stream', () => {
  it('is tried again until it is written, and said to be missing', async () => {
    const { clock, said, state, saves } = world('STORE_UNAVAILABLE');
    await expect(saves.save('m1', record)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect([said, clock.pending()]).toEqual([['error stream-not-saved'], ['stream-save']]);
    state.fails = false;
    await clock.advance(10_000);
    expect([state.puts, clock.pending()]).toEqual([2, []]);
    await saves.close();
  });

  it('is no longer ours when another node has taken over: nobody tries again, and nothing is wrong', async () => {
    const { clock, said, state, saves } = world('SESSION_MOVED');
    await expect(saves.save('m1', record)).rejects.toMatchObject({ code: 'SESSION_MOVED' });
    expect([said, clock.pending()]).toEqual([['debug stream-not-saved'], []]);
    saves.retry();
    await clock.advance(10_000);
    expect(state.puts).toBe(1);
    await saves.close();
  });
});
