import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createStreamWatch, type StreamWitness } from '../../cloud/metrics/stream-watch.ts';
import type { StreamSnapshot } from '../../cloud/streams/stream-views.ts';
import { STALLED } from '../../cloud/streams/stream-words.ts';
import { isStreamOver, streamStates } from '../../shared/stream.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  const told: unknown[][] = [];
  const witness: StreamWitness = {
    began: ({ streamId }, isTakenUp) => void told.push(['began', streamId, isTakenUp]),
    reached: (_stream, step, { fromMs, untilMs }) => void told.push([step, fromMs, untilMs]),
    interrupted: (_stream, cause) => void told.push(['interrupted', cause]),
    restored: (_stream, afterMs) => void told.push(['restored', afterMs]),
    moved: ({ streamId }) => void told.push(['moved', streamId]),
    ended: (_stream, outcome, code) => void told.push(['ended', outcome, code]),
  };
  const watch = createStreamWatch({ clock, witnesses: [witness] });
  let snapshot: StreamSnapshot = {
    ...{ streamId: 's1', userId: 'ada@example.com', kind: 'managed', state: 'provisioning' },
    createdAt: new Date(clock.now()).toISOString(),
    ...{ viewers: [], urls: undefined, playback: undefined, outputs: [], stats: undefined, temperatureC: undefined },
    ...{ startSentMs: undefined, publishingMs: undefined, liveMs: undefined, resolvedConfig: undefined },
    ...{ errorCode: undefined, message: undefined },
  };
  const becomes = (change: Partial<StreamSnapshot>) => {
    snapshot = { ...snapshot, ...change };
    watch.saw(snapshot);
  };
  return { clock, told, watch, becomes };
}

describe('a watch of streams', () => {
  it('tells each step of a start once, from the one before', async () => {
    const { clock, told, becomes } = world();
    becomes({});
    await clock.advance(200);
    becomes({ state: 'starting' });
    becomes({ startSentMs: 210 });
    becomes({ publishingMs: 900 });
    becomes({ publishingMs: 900, stats: undefined });
    becomes({ state: 'active', liveMs: 1_400 });
    becomes({ state: 'stopping' });
    becomes({ state: 'stopped' });
    expect(told).toEqual([
      ['began', 's1', false],
      ['live_input', 0, 200],
      ['start_sent', 200, 210],
      ['publishing', 210, 900],
      ['first_picture', 900, 1_400],
      ['ended', 'served', undefined],
    ]);
  });

  it('a picture that is lost has a cause, and comes back after some time', async () => {
    const { clock, told, becomes } = world();
    becomes({});
    becomes({ state: 'starting' });
    becomes({ state: 'active', liveMs: 10 });
    told.length = 0;
    becomes({ state: 'interrupted', message: STALLED });
    await clock.advance(3_000);
    becomes({ state: 'active', message: 'Stream is now live' });
    becomes({ state: 'interrupted', message: 'The glasses are reconnecting' });
    becomes({ state: 'failed', errorCode: 'STREAM_INTERRUPTED' });
    becomes({ state: 'failed', errorCode: 'STREAM_INTERRUPTED' });
    expect(told).toEqual([
      ['interrupted', 'stall'],
      ['restored', 3_000],
      ['interrupted', 'reconnect'],
      ['ended', 'failed_after_live', 'STREAM_INTERRUPTED'],
    ]);
  });

  it('a stream of an earlier process has no steps of a start', () => {
    const { told, becomes } = world();
    becomes({ state: 'interrupted', liveMs: 900 });
    becomes({ state: 'active', publishingMs: 2_000 });
    becomes({ state: 'stopping' });
    becomes({ state: 'stopped' });
    expect(told).toEqual([
      ['began', 's1', true],
      ['ended', 'served', undefined],
    ]);
  });

  it('one that another relay goes on with is gone from here, and may come back', () => {
    const { told, watch, becomes } = world();
    becomes({});
    becomes({ state: 'starting' });
    becomes({ state: 'active', liveMs: 10 });
    told.length = 0;
    watch.moved('bob@example.com');
    watch.moved('ada@example.com');
    watch.moved('ada@example.com');
    expect(watch.states()).toEqual([]);
    expect(watch.userOf('s1')).toBe('ada@example.com');
    becomes({ state: 'interrupted' });
    becomes({ state: 'stopping' });
    becomes({ state: 'stopped' });
    expect(told).toEqual([
      ['moved', 's1'],
      ['began', 's1', true],
      ['ended', 'served', undefined],
    ]);
  });

  it('one that never was live says so, and why', () => {
    const { told, watch, becomes } = world();
    becomes({});
    becomes({ state: 'stopping', errorCode: 'START_TIMEOUT' });
    expect(watch.states()).toEqual([{ kind: 'managed', state: 'stopping' }]);
    becomes({ state: 'stopped' });
    expect(told.at(-1)).toEqual(['ended', 'failed_before_live', 'START_TIMEOUT']);
    expect(watch.states()).toEqual([]);
    expect(watch.userOf('s1')).toBe('ada@example.com');
  });

  it('whatever snapshots come, each stream begins and ends once, and no time goes back', () => {
    const change = fc.record({
      streamId: fc.constantFrom('s1', 's2'),
      state: fc.constantFrom(...streamStates),
      startSentMs: fc.option(fc.nat(5_000), { nil: undefined }),
      publishingMs: fc.option(fc.nat(5_000), { nil: undefined }),
      liveMs: fc.option(fc.nat(5_000), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const { told, watch, becomes } = world();
        for (const one of changes) {
          becomes(one);
          if (one.state === 'stopped' || one.state === 'failed') {
            expect(isStreamOver(one.state)).toBe(true);
          }
        }
        const count = (what: string) => told.filter(([kind]) => kind === what).length;
        expect(count('began') - count('ended')).toBe(watch.states().length);
        for (const [step, fromMs, untilMs] of told) {
          if (['live_input', 'start_sent', 'publishing', 'first_picture'].includes(String(step))) {
            expect(Number(untilMs)).toBeGreaterThanOrEqual(Number(fromMs));
          }
        }
      }),
    );
  });
});
