/** The glasses' side of one stream; what it does within a whole stream is in live-stream.test.ts. */
import { expect, it } from 'vitest';
import { createGlassesPush } from '../../cloud/streams/glasses-push.ts';
import { createSerialInbox } from '../../cloud/streams/serial-inbox.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  const sent: ToGlasses['type'][] = [];
  /** How much later than they are due timers fire from now on. */
  const state = { heardMs: -1, lateMs: 0 };
  const monotonicMs = () => clock.monotonicMs() + state.lateMs;
  const push = createGlassesPush({
    clock: { monotonicMs },
    glasses: {
      send: ({ type }) => sent.push(type) > 0,
      isConnected: () => true,
      knowsDialect: () => true,
    },
    inbox: createSerialInbox({
      clock,
      onDefect(error) {
        throw error;
      },
    }),
    timings: { reconcileMs: 3_000, stopTimeoutMs: 5_000 },
    ask: () => void sent.push('keep_stream_alive'),
    heardSince: (sinceMs) => state.heardMs >= sinceMs,
    onStartSent() {},
  });
  const start = { streamId: 'm1', publishUrl: 'rtmp://h/live/k', video: {}, audio: {}, stream: {} };
  push.want({ type: 'start_stream', ...start }, true);
  return { clock, push, sent, state, monotonicMs };
}

it('glasses that came back and say nothing are told START again', async () => {
  const { clock, push, sent } = world();
  push.back();
  await clock.advance(3_000);
  expect(sent).toEqual(['keep_stream_alive', 'start_stream']);
});

it('a relay that is behind does not take what it has not read for silence', async () => {
  const { clock, push, sent, state, monotonicMs } = world();
  push.back();
  await clock.advance(2_000);
  state.lateMs = 1_500;
  await clock.advance(1_000);
  expect(sent).toEqual(['keep_stream_alive']);
  state.heardMs = monotonicMs();
  await clock.advance(10_000);
  expect(sent).toEqual(['keep_stream_alive']);
  expect(clock.pending()).toEqual([]);
});

it('and tells them once it is behind no more', async () => {
  const { clock, push, sent, state } = world();
  push.back();
  await clock.advance(2_000);
  state.lateMs = 1_500;
  await clock.advance(4_000);
  expect(sent).toEqual(['keep_stream_alive', 'start_stream']);
});
