import { expect, test } from 'vitest';
import type { Publisher } from '../../device/publishing/publisher.ts';
import { createStreamOrders } from '../../device/publishing/stream-orders.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  let finish = () => {};
  const publisher: { -readonly [Key in 'streamId' | 'state' | 'start' | 'close']: Publisher[Key] } = {
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
  return { clock, orders, start, publisher, finish: () => finish() };
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

test('there is no time for an update from the order of a stream until all of it is down', async () => {
  const { clock, orders, start, finish, publisher } = world();
  expect(orders.isIdle).toBe(true);
  start();
  // Before anything of it has begun.
  expect(orders.isIdle).toBe(false);
  await settle();
  expect(orders.isIdle).toBe(false);
  orders.take({ type: 'stop_stream', streamId: 'm1' });
  await settle();
  publisher.state = 'stopped';
  await clock.advance(3_000);
  expect(orders.isIdle).toBe(false);
  finish();
  await settle();
  expect(orders.isIdle).toBe(true);
});
