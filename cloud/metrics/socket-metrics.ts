/**
 * What goes over the WebSockets: messages, refused frames, keep-alives, and how long a word of the glasses takes to the
 * sockets of the apps. Called for every frame, so it adds and compares and does nothing else.
 */
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, errorKinds } from '../../shared/errors.ts';
import type { SocketMeter } from '../http/socket.ts';
import type { Meters, Tally } from './meters.ts';

const socketPeers = ['glasses', 'app'] as const;
type Peer = (typeof socketPeers)[number];

export interface SocketMeters extends Readonly<Record<Peer, SocketMeter>> {
  keepAliveMissed(): void;
}

const STATUS_TYPES: ReadonlySet<string> = new Set(['managed_stream_status', 'stream_status']);

export function addSocketMetrics(meters: Meters, clock: Pick<Clock, 'monotonicMs'>): SocketMeters {
  const codes = Object.keys(errorKinds);
  const messages = meters.counter('glasscast_ws_messages_total', 'WebSocket messages that were understood or sent', {
    peer: socketPeers,
    direction: ['in', 'out'],
  });
  const refused = meters.counter(
    'glasscast_ws_frames_refused_total',
    'Frames that could not be used, or came too fast',
    {
      ...{ peer: socketPeers, code: codes },
    },
  );
  const connections = meters.counter('glasscast_ws_connections_total', 'WebSockets that were opened', {
    ...{ peer: socketPeers },
  });
  const closed = meters.counter('glasscast_ws_closed_total', 'WebSockets that have ended, by close code', {
    ...{ peer: socketPeers, close: ['1000', '1001', '1005', '1006', '1008', '1009', '1012', '1013', '4001'] },
  });
  const keepAlives = meters.counter(
    'glasscast_keep_alives_total',
    'Keep-alives of streams: sent, answered, unanswered in time',
    {
      event: ['sent', 'acked', 'missed'],
    },
  );
  const fanOut = meters.histogram(
    'glasscast_status_fan_out_seconds',
    "From the arrival of the glasses' status to the write on an app's socket",
    {},
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
  )({});
  const refusedStarts = meters.counter('glasscast_starts_refused_total', 'Requests of apps that led to no stream', {
    ...{ kind: ['managed', 'unmanaged'], code: codes },
  });
  const [sent, acked, missed] = ['sent', 'acked', 'missed'].map((event) => keepAlives({ event }));
  /** A word of the glasses is being passed on; everything it leads to happens before the next one. */
  let statusSinceMs: number | undefined;

  /** @param reads and what more a message means. */
  function meterOf(peer: Peer, reads: Pick<SocketMeter, 'received' | 'sent'>): SocketMeter {
    const [into, out] = ['in', 'out'].map((direction): Tally => messages({ peer, direction }));
    return {
      opened: () => connections({ peer }).add(),
      received(message) {
        into?.add();
        reads.received(message);
      },
      handled() {
        statusSinceMs = undefined;
      },
      sent(message) {
        out?.add();
        reads.sent(message);
      },
      refused: (code: ErrorCode) => refused({ peer, code }).add(),
      closed: (code) => closed({ peer, close: String(code) }).add(),
    };
  }
  return {
    glasses: meterOf('glasses', {
      received({ type }) {
        if (type === 'keep_alive_ack') acked?.add();
        else if (type === 'stream_status') statusSinceMs = clock.monotonicMs();
      },
      sent({ type }) {
        if (type === 'keep_stream_alive') sent?.add();
      },
    }),
    app: meterOf('app', {
      received() {},
      sent(message) {
        if (!STATUS_TYPES.has(message.type)) return;
        if (statusSinceMs !== undefined) fanOut.observe((clock.monotonicMs() - statusSinceMs) / 1000);
        const { errorCode, streamId } = message as { errorCode?: string; streamId?: string };
        const kind = message.type === 'stream_status' ? 'unmanaged' : 'managed';
        if (errorCode !== undefined && streamId === undefined) refusedStarts({ kind, code: errorCode }).add();
      },
    }),
    keepAliveMissed: () => missed?.add(),
  };
}
