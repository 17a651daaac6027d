import { describe, expect, it } from 'vitest';
import { createMeters } from '../../cloud/metrics/meters.ts';
import { addSocketMetrics } from '../../cloud/metrics/socket-metrics.ts';
import { seriesOf, sumOf } from '../support/metrics-text.ts';
import { createTestClock } from '../support/test-clock.ts';

function world() {
  const clock = createTestClock();
  const meters = createMeters();
  const sockets = addSocketMetrics(meters, clock);
  const sum = async (name: string, labels?: Record<string, string>) =>
    sumOf(seriesOf(await meters.text()), name, labels);
  return { clock, sockets, sum };
}
const status = (fields: object = {}) => ({ type: 'managed_stream_status', ...fields });

describe('what goes over the sockets', () => {
  it('messages, frames and ends are counted by peer', async () => {
    const { sockets, sum } = world();
    sockets.glasses.opened();
    sockets.glasses.received({ type: 'pong' });
    sockets.glasses.sent({ type: 'ping' });
    sockets.app.sent({ type: 'pong' });
    sockets.app.refused('RATE_LIMITED');
    sockets.app.closed(1006);
    sockets.app.closed(4999);
    expect(await sum('glasscast_ws_messages_total', { peer: 'glasses' })).toBe(2);
    expect(await sum('glasscast_ws_messages_total', { peer: 'app', direction: 'out' })).toBe(1);
    expect(await sum('glasscast_ws_frames_refused_total', { peer: 'app', code: 'RATE_LIMITED' })).toBe(1);
    expect(await sum('glasscast_ws_closed_total', { close: '1006' })).toBe(1);
    expect(await sum('glasscast_ws_closed_total', { close: 'other' })).toBe(1);
  });

  it('keep-alives are sent, answered and missed', async () => {
    const { sockets, sum } = world();
    sockets.glasses.sent({ type: 'keep_stream_alive' });
    sockets.glasses.sent({ type: 'keep_stream_alive' });
    sockets.glasses.received({ type: 'keep_alive_ack' });
    sockets.keepAliveMissed();
    for (const [event, count] of Object.entries({ sent: 2, acked: 1, missed: 1 })) {
      expect(await sum('glasscast_keep_alives_total', { event }), event).toBe(count);
    }
  });

  it('only what a status of the glasses leads to counts as its fan-out', async () => {
    const { clock, sockets, sum } = world();
    sockets.app.sent(status({ streamId: 's' }));
    sockets.glasses.received({ type: 'stream_status' });
    await clock.advance(4);
    sockets.app.sent(status({ streamId: 's' }));
    sockets.app.sent({ type: 'device_state_update' });
    sockets.app.sent(status({ streamId: 's' }));
    sockets.glasses.handled();
    sockets.app.sent(status({ streamId: 's' }));
    expect(await sum('glasscast_status_fan_out_seconds_count')).toBe(2);
    expect(await sum('glasscast_status_fan_out_seconds_sum')).toBeCloseTo(0.008);
  });

  it('a refusal names no stream; a stream that fails was not refused', async () => {
    const { sockets, sum } = world();
    sockets.app.sent(status({ errorCode: 'PERMISSION_DENIED' }));
    sockets.app.sent(status({ errorCode: 'DEVICE_REPORTED', streamId: 's' }));
    sockets.app.sent({ type: 'stream_status', ...{ errorCode: 'of-an-app' } });
    expect(await sum('glasscast_starts_refused_total', { kind: 'managed' })).toBe(1);
    expect(await sum('glasscast_starts_refused_total', { kind: 'unmanaged', code: 'other' })).toBe(1);
  });
});
