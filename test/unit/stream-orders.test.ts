import { expect, test } from 'vitest';
import type { Publisher } from '../../device/publishing/publisher.ts';
import { createStreamOrders } from '../../device/publishing/stream-orders.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  let finish = () => {};
  const publisher: Pick<Publisher, 'streamId' | 'state' | 'start' | 'close'> = {
    streamId: 'm1',
    state: 'publishing',
    start: () => {},
    close: () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      }),
  };
  const orders = createStreamOrders({
    ...{ clock, log: silentLog(), send: () => {} },
    openPublisher: () => publisher as Publisher,
  });
  const publishUrl = 'rtmp://127.0.0.1/live/key';
  const start = () =>
    orders.take({ type: 'start_stream', streamId: 'm1', publishUrl, video: {}, audio: {}, stream: {} });
  return { clock, orders, start, finish: () => finish() };
}

test('an order that does not come to its end shows for how long', async () => {
  const { clock, orders, start, finish } = world();
  start();
  await clock.advance(60_000);
  // A stream that runs is no order under way.
  expect(orders.busyMs).toBe(0);
  orders.take({ type: 'stop_stream', streamId: 'm1' });
  await clock.advance(20_000);
  // What waits behind it does not make it younger.
  orders.take({ type: 'stop_stream', streamId: 'm1' });
  await clock.advance(11_000);
  expect(orders.busyMs).toBe(31_000);
  finish();
  await settle();
  expect(orders.busyMs).toBe(0);
  await clock.advance(5_000);
  finish();
});
