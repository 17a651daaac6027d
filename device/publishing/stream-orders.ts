/**
 * What the relay orders becomes one publisher at a time: starts, stops and keep-alives, in whatever order they come.
 * Knows neither the line they come on nor how a publisher is made.
 */
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { FromGlasses, StartStream, StopStream, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { type PublishUrl, parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import type { Publisher, PublisherStatus } from './publisher.ts';

export interface StreamOrdersOptions {
  clock: Pick<Clock, 'monotonicMs'>;
  log: Log;
  send: (message: FromGlasses) => void;
  /** Not started. @throws GlasscastError when nothing can be published here at all */
  openPublisher: (start: StartStream, url: PublishUrl, onStatus: (status: PublisherStatus) => void) => Publisher;
}

export interface StreamOrders {
  take(message: ToGlasses): void;
  /** What the relay is told on each new connection. */
  present(): FromGlasses[];
  /** The running stream, or the last one until another begins. */
  readonly publisher: Publisher | undefined;
  /** No stream runs, and no order waits or is under way. */
  readonly isIdle: boolean;
  /** How long the order under way has been at it; 0: none is. */
  readonly busyMs: number;
  /** Stops the stream; later orders are ignored. */
  close(): Promise<void>;
}

export function createStreamOrders({ clock, log, send, openPublisher }: StreamOrdersOptions): StreamOrders {
  let publisher: Publisher | undefined;
  let closing: Promise<void> | undefined;
  let busySinceMs: number | undefined;
  let waiting = 0;
  // Starts and stops are carried out one after the other; a start waits until the stream before it is down.
  let orders: Promise<void> = Promise.resolve();

  function enqueue(order: () => Promise<void>): void {
    waiting += 1;
    orders = orders
      .then(() => {
        busySinceMs = clock.monotonicMs();
        return order();
      })
      .catch((error: unknown) => {
        const { code, message } = asGlasscastError(error);
        log.error({ code, reason: message }, 'order-failed');
      })
      .finally(() => {
        busySinceMs = undefined;
        waiting -= 1;
      });
  }
  /** The lease is renewed and the ack given at once, whatever orders wait. */
  function keepAlive(streamId: string, ackId: string): void {
    if (!publisher || publisher.streamId !== streamId || !isRunning(publisher)) return;
    publisher.renewLease();
    send({ type: 'keep_alive_ack', streamId, ackId });
  }
  async function start(order: StartStream): Promise<void> {
    if (closing) return;
    const { streamId, sessionId: userId, publishUrl } = order;
    if (publisher?.streamId === streamId && isRunning(publisher)) {
      publisher.renewLease();
      say(publisher.status());
      return;
    }
    let url: PublishUrl;
    try {
      url = parsePublishUrl(publishUrl);
    } catch (error) {
      // Of a missing address the firmware's own words are known.
      refuse(streamId, error, publishUrl === '' ? 'missing_rtmp_url' : undefined);
      return;
    }
    await publisher?.close();
    if (closing) return;
    try {
      publisher = openPublisher(order, url, say);
    } catch (error) {
      refuse(streamId, error);
      return;
    }
    log.info({ streamId, userId, ingest: url.printable }, 'stream-start');
    publisher.start();
  }
  async function stop({ streamId, sessionId: userId }: StopStream): Promise<void> {
    const meant = publisher && (streamId === '' || streamId === publisher.streamId) ? publisher : undefined;
    const wasRunning = meant && isRunning(meant);
    if (meant && wasRunning) log.info({ streamId: meant.streamId, userId }, 'stream-stop');
    // Of a stream that failed this waits until all of it is down.
    await meant?.close();
    if (wasRunning) return;
    // A late stop for another stream stops nothing here, and is answered all the same: that stream does not run.
    say({ status: 'stopped', kind: 'lifecycle', ...(streamId ? { streamId } : {}) });
  }
  function say(status: PublisherStatus): void {
    send(statusMessage(status));
  }
  function refuse(streamId: string, error: unknown, words?: string): void {
    const { code, message } = asGlasscastError(error);
    const id = streamId ? { streamId } : {};
    say({ status: 'error', kind: 'lifecycle', ...id, errorCode: code, errorDetails: words ?? message });
  }
  async function shutDown(): Promise<void> {
    // An order under way sees `closing` and ends; one that stops a stream finishes.
    await orders;
    await publisher?.close();
  }

  return {
    take(message) {
      switch (message.type) {
        case 'start_stream':
          enqueue(() => start(message));
          return;
        case 'stop_stream':
          enqueue(() => stop(message));
          return;
        case 'keep_stream_alive':
          keepAlive(message.streamId, message.ackId);
          return;
        case 'get_stream_status':
          say(publisher?.status() ?? { status: 'stopped', kind: 'snapshot' });
          return;
        default:
      }
    },
    present: () => (publisher && isRunning(publisher) ? [statusMessage(publisher.status())] : []),
    get publisher() {
      return publisher;
    },
    get isIdle() {
      return waiting === 0 && !(publisher && isRunning(publisher));
    },
    get busyMs() {
      return busySinceMs === undefined ? 0 : clock.monotonicMs() - busySinceMs;
    },
    close() {
      closing ??= shutDown();
      return closing;
    },
  };
}

function isRunning({ state }: Publisher): boolean {
  return state !== 'stopped' && state !== 'failed';
}

function statusMessage(status: PublisherStatus): FromGlasses {
  return { type: 'stream_status', ...status };
}
