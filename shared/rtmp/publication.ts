/**
 * Media on an accepted RTMP session: tags out, the send queue measured, a stall noticed, a farewell at the end.
 * Keeps no media and never reconnects.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { GlasscastError } from '../errors.ts';
import { createLocalAddress, type NetworkInterfaces } from '../local-address.ts';
import { messageTypes } from './chunk-stream.ts';
import type { Publication } from './client.ts';
import type { DeliveryGauge } from './delivery-gauge.ts';
import { type FlvTag, startsWithAmfString, tagTypes } from './flv.ts';
import type { PublishUrl } from './publish-url.ts';
import type { SendQueue, TcpEnds } from './send-queue.ts';
import type { RtmpSession } from './session.ts';
import type { QueueMeasured } from './uplink-gate.ts';

export interface PublicationOptions {
  socket: Socket;
  session: RtmpSession;
  gauge: DeliveryGauge;
  url: PublishUrl;
  clock: Clock;
  sendQueue: SendQueue;
  streamId: number;
  connectMs: number;
  redirects: number;
  roundTripMs: number;
  stallTimeoutMs: number;
  networkInterfaces: NetworkInterfaces;
  onProgress: () => void;
  onMeasured?: ((measured: PublicationMeasured) => number | undefined) | undefined;
}

/** One measurement of the send queue, and what the earlier ones tell with it. */
export interface PublicationMeasured extends QueueMeasured {
  /** Acknowledged by the peer's TCP over the last second or so; undefined with one measurement. */
  deliveredBps: number | undefined;
}

/** While something waits, and else: one reading scans the kernel's whole table, up to 6 ms on a machine with much memory. */
const BUSY_SAMPLE_MS = 250;
const CALM_SAMPLE_MS = 1_000;
/** How much may be sent at once after an outage goes by it. */
const FIRST_SAMPLE_MS = 40;
/** A second look at whether our address is gone. */
const ADDRESS_SAMPLE_MS = 100;
/** More than what is on its way in a healthy connection at a few Mbit/s. */
const BUSY_BYTES = 32_768;
const DELIVERED_WINDOW_MS = 1_000;
const RECENT_WINDOWS_MS = [100, 250] as const;
const FAREWELL_MS = 1_000;
/** Chunk streams of their own, so that a large picture could be cut by sound; the numbers are custom. */
const CHUNK_STREAM = { audio: 4, video: 6, script: 5, command: 3 } as const;
/** AMF0 string "@setDataFrame": RTMP's wrapping of onMetaData, which an FLV file does not have. */
const SET_DATA_FRAME = Buffer.concat([Buffer.from([2, 0, 13]), Buffer.from('@setDataFrame', 'latin1')]);

export function createPublication(options: PublicationOptions): Publication {
  const { socket, session, gauge, url, clock, sendQueue, streamId, stallTimeoutMs, onProgress, onMeasured } = options;
  const ends = tcpEnds(socket);
  const localAddress = createLocalAddress(socket.localAddress, options.networkInterfaces);
  let kernelQueuedBytes = 0;
  let isGone = false;
  let farewell: Promise<void> | undefined;

  async function sample(): Promise<void> {
    // Taken before the reading: what the kernel got in between then counts as not acknowledged, never the other way.
    const acceptedBytes = session.bytesSent - socket.writableLength;
    const measured = ends && (await sendQueue.queuedBytes(ends));
    if (isGone) return;
    kernelQueuedBytes = measured ?? 0;
    const unwrittenBytes = socket.writableLength;
    gauge.sample({ atMs: clock.monotonicMs(), acceptedBytes, kernelQueuedBytes, unwrittenBytes });
    const death = causeOfDeath();
    if (death) {
      session.end(death);
      return;
    }
    const usualMs = kernelQueuedBytes + unwrittenBytes > BUSY_BYTES ? BUSY_SAMPLE_MS : CALM_SAMPLE_MS;
    const wantedMs = onMeasured?.(measurement());
    sampleAfter(Math.min(usualMs, wantedMs ?? usualMs, localAddress.isMissing ? ADDRESS_SAMPLE_MS : usualMs));
    onProgress();
  }
  function causeOfDeath(): GlasscastError | undefined {
    if (gauge.stalledMs >= stallTimeoutMs) {
      const reason = `nothing taken for ${Math.round(gauge.stalledMs)} ms by ${url.printable}`;
      return new GlasscastError('INGEST_SILENT', { reason });
    }
    if (!localAddress.isGone(gauge.stalledMs > 0)) return undefined;
    const reason = `this machine has lost the address ${socket.localAddress} that it was connected from, ${url.printable}`;
    return new GlasscastError('INGEST_DROPPED', { reason, details: { errno: 'EADDRNOTAVAIL', url: url.printable } });
  }
  function measurement(): PublicationMeasured {
    return {
      atMs: clock.monotonicMs(),
      queuedBytes: kernelQueuedBytes + socket.writableLength,
      recentBps: recentBps(gauge),
      deliveredBps: gauge.deliveredBps(DELIVERED_WINDOW_MS),
      oldestMs: gauge.oldestMs,
      stalledMs: gauge.stalledMs,
      roundTripMs: options.roundTripMs,
    };
  }
  function sampleAfter(ms: number): void {
    sampling = clock.after('rtmp-queue-sample', ms, () => void sample());
  }
  let sampling: Timer | undefined;
  sampleAfter(FIRST_SAMPLE_MS);
  void session.ended.then(() => {
    isGone = true;
    sampling?.cancel();
  });
  socket.on('drain', onProgress);

  function sayGoodbye(): Promise<void> {
    session.tell('FCUnpublish', 0, null, url.streamKey.reveal());
    session.tell('deleteStream', 0, null, streamId);
    // Everything queued leaves before the FIN, and we wait for the ingest's own: closing with its last words unread
    // would reset the connection and take away what it has not read. One that does not answer is cut off.
    const timer = clock.after('rtmp-farewell', FAREWELL_MS, () => session.end(undefined));
    socket.end();
    return session.ended.then(() => timer.cancel());
  }

  return {
    send(tag) {
      if (farewell) return;
      session.send(CHUNK_STREAM[tag.kind], {
        type: tag.kind === 'script' ? messageTypes.data : tagTypes[tag.kind],
        streamId,
        timestampMs: tag.timestampMs % 0x1_0000_0000,
        payload: payloadOf(tag),
      });
      gauge.sent(clock.monotonicMs(), session.bytesSent);
    },
    queuedBytes: () => kernelQueuedBytes + socket.writableLength,
    unwrittenBytes: () => socket.writableLength,
    get bytesSent() {
      return session.bytesSent;
    },
    get acknowledgedBytes() {
      return gauge.acknowledgedBytes;
    },
    get certainBytes() {
      return gauge.certainBytes;
    },
    get deliveredBps() {
      return gauge.deliveredBps(DELIVERED_WINDOW_MS);
    },
    connectMs: options.connectMs,
    redirects: options.redirects,
    closed: session.ended.then((cause) => (farewell ? undefined : cause)),
    close() {
      farewell ??= sayGoodbye();
      return farewell;
    },
  };
}

/** The better of the last moment and a little more: an uplink that has just come back is as wide as it now shows. */
export function recentBps(gauge: DeliveryGauge): number | undefined {
  const rates = RECENT_WINDOWS_MS.flatMap((ms) => gauge.deliveredBps(ms) ?? []);
  return rates.length > 0 ? Math.max(...rates) : undefined;
}

function payloadOf(tag: FlvTag): Buffer {
  const isBare = tag.kind === 'script' && startsWithAmfString(tag.body, 'onMetaData');
  return isBare ? Buffer.concat([SET_DATA_FRAME, tag.body]) : tag.body;
}

function tcpEnds({ localAddress, localPort, remoteAddress, remotePort }: Socket): TcpEnds | undefined {
  if (!localAddress || !localPort || !remoteAddress || !remotePort) return undefined;
  return { localAddress, localPort, remoteAddress, remotePort };
}
