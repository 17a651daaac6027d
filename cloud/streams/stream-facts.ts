/**
 * What is known of one stream beside its state: when things happened, what the glasses measured, what went wrong, and
 * what is said about it. Keeps; never decides.
 */
import type { Clock } from '../../shared/clock.ts';
import type { GlasscastError } from '../../shared/errors.ts';
import type { DeviceStreamStatus, ResolvedConfig, StreamStats } from '../../shared/protocol/glasses-messages.ts';

export interface StreamFacts {
  /** What people are told of the present state. */
  message: string | undefined;
  error: GlasscastError | undefined;
  readonly stats: StreamStats | undefined;
  readonly temperatureC: number | undefined;
  readonly resolvedConfig: ResolvedConfig | undefined;
  /** Times in ms from the first request; each is the first of its kind. */
  readonly times: { startSentMs: number | undefined; publishingMs: number | undefined; liveMs: number | undefined };
  sinceRequestMs(): number;
  /** Since the first picture. */
  liveForMs(): number;
  reached(moment: 'startSentMs' | 'publishingMs' | 'liveMs'): void;
  learn(status: DeviceStreamStatus): void;
}

/** @param createdAtMs wall clock: the first request may have come to an earlier process. */
export function createStreamFacts({
  clock,
  createdAtMs,
  liveMs,
}: {
  clock: Clock;
  createdAtMs: number;
  liveMs: number | undefined;
}): StreamFacts {
  // From here on the monotonic clock counts: the other one may be set.
  const requestedMs = clock.monotonicMs() - Math.max(0, clock.now() - createdAtMs);
  const times: StreamFacts['times'] = { startSentMs: undefined, publishingMs: undefined, liveMs };
  let stats: StreamStats | undefined;
  let temperatureC: number | undefined;
  let resolvedConfig: ResolvedConfig | undefined;
  const sinceRequestMs = () => Math.round(clock.monotonicMs() - requestedMs);
  return {
    message: 'Waiting for stream to start...',
    error: undefined,
    get stats() {
      return stats;
    },
    get temperatureC() {
      return temperatureC;
    },
    get resolvedConfig() {
      return resolvedConfig;
    },
    times,
    sinceRequestMs,
    liveForMs: () => sinceRequestMs() - (times.liveMs ?? 0),
    reached(moment) {
      times[moment] ??= sinceRequestMs();
    },
    learn(status) {
      stats = status.stats ?? stats;
      temperatureC = status.temperatureC ?? temperatureC;
      resolvedConfig = status.resolvedConfig ?? resolvedConfig;
    },
  };
}
