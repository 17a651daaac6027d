/**
 * Who looks on while the relay works: metrics, traces, the log's knowledge of streams, health. Part of the composition
 * root: wraps the parts that are watched, so that none of them knows of it.
 */
import type { Clock } from '../shared/clock.ts';
import { GlasscastError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import type { Redactor, Secret } from '../shared/secrets.ts';
import type { AppWebhook } from './apps/app-webhook.ts';
import { createLoopWatch } from './health/loop-watch.ts';
import { createReadiness } from './health/readiness.ts';
import type { Routes } from './http/http.ts';
import { healthRoutes, metricsRoutes, requestMetrics } from './http/metrics-routes.ts';
import { observedApi, observedPlayback, observedStore, observedWebhook } from './metrics/observed-parts.ts';
import { createRelayMetrics, type RelayMetrics, type RelayReadings } from './metrics/relay-metrics.ts';
import { createStreamWatch } from './metrics/stream-watch.ts';
import type { Playback } from './provider/playback.ts';
import type { StreamApi } from './provider/stream-api.ts';
import type { Store } from './store/store.ts';
import type { StreamRegistry } from './streams/stream-registry.ts';
import type { StreamSnapshot } from './streams/stream-views.ts';
import { createStreamLog } from './tracing/stream-log.ts';
import { createTracing } from './tracing/tracing.ts';

export interface WatchingOptions {
  clock: Clock;
  log: Log;
  /** Not yet watched. */
  store: Store;
  readings: Omit<RelayReadings, 'streams' | 'isReady'>;
  /** The relay drains or closes. */
  isEnding: () => boolean;
  /** Undefined: all is well with the cluster; else what is not. */
  cluster?: (() => string | undefined) | undefined;
  /** Undefined: no traces. */
  otlpEndpoint: string | undefined;
  otlpHeaders: Secret | undefined;
  redactor: Redactor;
  /** Of this process, in its traces. */
  instanceId: string;
}

export interface Watching {
  /** Lines about a stream name its user and its trace. */
  log: Log;
  metrics: RelayMetrics;
  store: Store;
  /** For every snapshot of a stream that runs here. */
  saw(snapshot: StreamSnapshot): void;
  /** For the carrier: streams that go elsewhere are gone from here. */
  carried(streams: Pick<StreamRegistry, 'resume' | 'handOver'>): Pick<StreamRegistry, 'resume' | 'handOver'>;
  api(api: StreamApi): StreamApi;
  playback<P extends Playback>(playback: P): P;
  webhook(webhook: AppWebhook): AppWebhook;
  providerFetch(inner: typeof fetch): typeof fetch;
  webhookFetch(inner: typeof fetch): typeof fetch;
  /** Before all others. */
  hooks(forwarding: Parameters<typeof requestMetrics>[1]): Routes[];
  routes(guards: Omit<Parameters<typeof metricsRoutes>[0], 'metrics'>, facts: () => Record<string, unknown>): Routes[];
  close(): Promise<void>;
}

export async function composeWatching(options: WatchingOptions): Promise<Watching> {
  const { clock, isEnding, readings } = options;
  const loop = createLoopWatch({ clock });
  const tracing = createTracing(await tracerOf(options));
  const readiness = createReadiness({
    ...{ clock, isEnding, loop, store: options.store },
    provider: readings.provider,
    cluster: options.cluster,
  });
  const metrics = createRelayMetrics({
    ...{ clock, loop },
    readings: {
      ...readings,
      streams: () => streams.states(),
      isReady: async () => (await readiness.check()).isReady,
    },
  });
  const streams = createStreamWatch({ clock, witnesses: [metrics.streams, tracing.streams] });
  const identityOf = (streamId: string) => ({
    userId: streams.userOf(streamId),
    traceId: tracing.traceIdOf(streamId),
  });
  return {
    log: createStreamLog(options.log, identityOf),
    metrics,
    saw: streams.saw,
    carried: (registry) => ({
      resume: (...args) => registry.resume(...args),
      handOver(userId, why) {
        const saved = registry.handOver(userId, why);
        streams.moved(userId);
        return saved;
      },
    }),
    store: observedStore(options.store, clock, metrics.storeCall),
    api: (api) => observedApi(api, clock, metrics.providerCall),
    playback: (playback) => observedPlayback(playback, clock, metrics.playbackProof),
    webhook: (webhook) => observedWebhook(webhook, clock, metrics.webhookCall),
    providerFetch: tracing.providerFetch,
    webhookFetch: tracing.webhookFetch,
    hooks: (forwarding) => [requestMetrics(metrics, forwarding), tracing.requests],
    routes: (guards, facts) => [metricsRoutes({ metrics, ...guards }), healthRoutes({ readiness, facts })],
    async close() {
      loop.close();
      metrics.close();
      await tracing.close();
    },
  };
}

async function tracerOf({ clock, log, otlpEndpoint: endpoint, otlpHeaders, redactor, instanceId }: WatchingOptions) {
  if (endpoint === undefined) return undefined;
  const headers = otlpHeaders ? readHeaders(otlpHeaders.reveal()) : {};
  for (const value of Object.values(headers)) redactor.add(value);
  // Half a megabyte of somebody else's code, for those who want it.
  const { createOtlpTracer } = await import('./tracing/otlp-tracer.ts');
  return createOtlpTracer({ endpoint, headers, instanceId, clock, log });
}

/** @param text as in OTEL_EXPORTER_OTLP_HEADERS: `name=value`, parted by commas, percent-encoded where it needs to be. */
function readHeaders(text: string): Record<string, string> {
  const pairs = text.split(',').map((pair) => {
    const [, name, value] = /^\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(\S.*?)\s*$/.exec(pair) ?? [];
    if (name === undefined || value === undefined) {
      throw new GlasscastError('INVALID_CONFIG', {
        reason: 'GLASSCAST_OTLP_HEADERS: as in name=value,name=value',
      });
    }
    return [name.toLowerCase(), decoded(value)] as const;
  });
  return Object.fromEntries(pairs);
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
