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

export interface StreamFactsOptions {
  clock: Clock;
  /** Wall clock: the first request may have come to an earlier process. */
  createdAtMs: number;
  liveMs: number | undefined;
}

export function createStreamFacts(options: StreamFactsOptions): StreamFacts {
  return new Facts(options);
}

/** A class, as the other parts of a stream with accessors: an object literal with these costs each stream 2 kB. */
class Facts implements StreamFacts {
  message: string | undefined = 'Waiting for stream to start...';
  error: GlasscastError | undefined;
  readonly times: StreamFacts['times'];
  readonly #clock: Clock;
  /** Monotonic: from here on the other clock may be set. */
  readonly #requestedMs: number;
  #stats: StreamStats | undefined;
  #temperatureC: number | undefined;
  #resolvedConfig: ResolvedConfig | undefined;

  constructor({ clock, createdAtMs, liveMs }: StreamFactsOptions) {
    this.#clock = clock;
    this.#requestedMs = clock.monotonicMs() - Math.max(0, clock.now() - createdAtMs);
    this.times = { startSentMs: undefined, publishingMs: undefined, liveMs };
  }

  get stats(): StreamStats | undefined {
    return this.#stats;
  }

  get temperatureC(): number | undefined {
    return this.#temperatureC;
  }

  get resolvedConfig(): ResolvedConfig | undefined {
    return this.#resolvedConfig;
  }

  sinceRequestMs(): number {
    return Math.round(this.#clock.monotonicMs() - this.#requestedMs);
  }

  liveForMs(): number {
    return this.sinceRequestMs() - (this.times.liveMs ?? 0);
  }

  reached(moment: keyof StreamFacts['times']): void {
    this.times[moment] ??= this.sinceRequestMs();
  }

  learn(status: DeviceStreamStatus): void {
    this.#stats = status.stats ?? this.#stats;
    this.#temperatureC = status.temperatureC ?? this.#temperatureC;
    this.#resolvedConfig = status.resolvedConfig ?? this.#resolvedConfig;
  }
}
