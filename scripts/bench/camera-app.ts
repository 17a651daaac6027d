/**
 * The app of the benchmarks: a webhook, one socket on /app-ws, and the requests of `@mentra/sdk` as they go over the wire.
 * Tells each status with its time of arrival; decides nothing.
 */
import type { Clock } from '../../shared/clock.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createAppSocket, createWebhook } from './app-socket.ts';

export interface ManagedStatus {
  status: string;
  hlsUrl?: string;
  errorCode?: string;
  message?: string;
  streamId?: string;
  /** `Clock.monotonicMs` when it arrived. */
  atMs: number;
}

export interface CameraApp {
  readonly packageName: string;
  readonly apiKey: string;
  /** Base address for the registration; the webhook is below it. */
  listen(): Promise<string>;
  /** Settles when the relay has called the webhook and accepted the socket. */
  readonly connected: Promise<void>;
  /** Asks for a managed stream and gives the moment of asking. */
  request(settings: object): number;
  /** Waits until no earlier start's timer in the SDK ends within `needMs`: the relay would answer a start that spans it. */
  clearOfTimers(needMs: number): Promise<void>;
  stop(): void;
  /** When the relay first let it in after this moment. */
  acknowledgedSince(sinceMs: number): number | undefined;
  /** The next status with one of these words that comes after `sinceMs`; an error status rejects unless asked for. */
  status(words: readonly string[], sinceMs: number, timeoutMs?: number): Promise<ManagedStatus>;
  close(): Promise<void>;
}

const STATUS_TIMEOUT_MS = 30_000;
/** The SDK gives each start this long and never clears the timer. */
const SDK_START_TIMEOUT_MS = 30_000;
/** The relay counts from its own receipt. */
const RECEIPT_MARGIN_MS = 200;

export interface CameraAppOptions {
  clock: Clock;
  /** Default `com.glasscast.bench`. */
  packageName?: string;
  /** The wait before attempt n (from 1) to come back after a loss; undefined: no further attempt. Default: none. */
  retryMs?: (attempt: number) => number | undefined;
}

export function createCameraApp(options: CameraAppOptions): CameraApp {
  const { clock, packageName = 'com.glasscast.bench', retryMs = () => undefined } = options;
  const apiKey = crypto.randomUUID();
  const acknowledgedMs: number[] = [];
  const asked: number[] = [];
  const seen: ManagedStatus[] = [];
  const waiting = new Set<() => void>();
  let onConnected: () => void = () => {};
  const connected = new Promise<void>((resolve) => {
    onConnected = resolve;
  });

  function take(message: { type?: string; status?: string }): void {
    if (message.type === 'tpa_connection_ack') {
      acknowledgedMs.push(clock.monotonicMs());
      onConnected();
    }
    if (message.type !== 'managed_stream_status' || !message.status) return;
    seen.push({ ...message, status: message.status, atMs: clock.monotonicMs() });
    for (const look of [...waiting]) look();
  }
  const socket = createAppSocket({ clock, packageName, apiKey, retryMs, onMessage: take });
  const webhook = createWebhook(socket.invite);

  return {
    packageName,
    apiKey,
    connected,
    listen: webhook.listen,
    request(settings) {
      const askedMs = clock.monotonicMs();
      asked.push(askedMs);
      socket.send({ type: 'managed_stream_request', packageName, ...settings });
      return askedMs;
    },
    async clearOfTimers(needMs) {
      for (;;) {
        const nowMs = clock.monotonicMs();
        const endsMs = asked.map((atMs) => atMs + SDK_START_TIMEOUT_MS + RECEIPT_MARGIN_MS);
        const nextMs = endsMs.find((atMs) => atMs > nowMs && atMs < nowMs + needMs);
        if (nextMs === undefined) return;
        await clock.sleep(nextMs - nowMs + 1, { name: 'sdk-timer' });
      }
    },
    acknowledgedSince: (sinceMs) => acknowledgedMs.find((atMs) => atMs >= sinceMs),
    stop: () => socket.send({ type: 'managed_stream_stop', packageName }),
    status(words, sinceMs, timeoutMs = STATUS_TIMEOUT_MS) {
      let look = () => {};
      const found = new Promise<ManagedStatus>((resolve, reject) => {
        look = () => {
          const match = seen.find(({ status, atMs }) => atMs >= sinceMs && words.includes(status));
          const failed = seen.find(({ status, atMs }) => atMs >= sinceMs && status === 'error');
          if (match) resolve(match);
          else if (failed) reject(new GlasscastError('INTERNAL', { reason: failed.message ?? 'the stream failed' }));
        };
        waiting.add(look);
        look();
      });
      const late = () => new GlasscastError('START_TIMEOUT', { reason: `no status ${words.join(' or ')}` });
      return withTimeout(clock, 'app-status', timeoutMs, found, late).finally(() => waiting.delete(look));
    },
    async close() {
      socket.close();
      await webhook.close();
    },
  };
}
