/**
 * Spans to a collector by OTLP over HTTP, in batches and in the background. A collector that is away or hangs costs the
 * spans, never a request. The only place that knows OpenTelemetry; loaded when traces are configured, and not otherwise.
 */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { SpanBeginning, SpanContext, Tracer } from './tracer.ts';

export interface OtlpOptions {
  /** e.g. `http://127.0.0.1:4318`: `/v1/traces` is added. */
  endpoint: string;
  /** May hold a key. */
  headers: Readonly<Record<string, string>>;
  /** Of `service.instance.id`. */
  instanceId: string;
  clock: Clock;
  log: Log;
  /** For one batch. Default 5000. */
  exportTimeoutMs?: number;
  /** For what is left at the end. Default 2000. */
  closeTimeoutMs?: number;
}

const BATCH_MS = 1_000;
const MAX_WAITING_SPANS = 2_048;
/** Losses are told at most so often. */
const QUIET_MS = 60_000;

const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const;

export function createOtlpTracer(options: OtlpOptions): Tracer {
  const { clock, endpoint, exportTimeoutMs = 5_000, closeTimeoutMs = 2_000, headers, instanceId } = options;
  const exporter = new OTLPTraceExporter({
    url: `${endpoint.replace(/\/+$/, '')}/v1/traces`,
    headers: { ...headers },
    timeoutMillis: exportTimeoutMs,
    // A connection kept for the next batch would hold the program at its end.
    httpAgentOptions: { keepAlive: false },
  });
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'glasscast-relay', 'service.instance.id': instanceId }),
    spanProcessors: [
      new BatchSpanProcessor(tellingLosses(exporter, options), {
        scheduledDelayMillis: BATCH_MS,
        maxQueueSize: MAX_WAITING_SPANS,
        exportTimeoutMillis: exportTimeoutMs,
      }),
    ],
  });
  const tracer = provider.getTracer('glasscast');
  let closing: Promise<void> | undefined;

  function begin(name: string, { kind = 'internal', parent, link, attributes = {}, atMs }: SpanBeginning = {}) {
    const span = tracer.startSpan(
      name,
      {
        kind: kinds[kind],
        attributes,
        ...(atMs === undefined ? {} : { startTime: atMs }),
        ...(link ? { links: [{ context: contextOf(link) }] } : {}),
      },
      parent ? trace.setSpanContext(ROOT_CONTEXT, contextOf(parent)) : ROOT_CONTEXT,
    );
    let isOver = false;
    const { traceId, spanId } = span.spanContext();
    return {
      context: { traceId, spanId },
      event: (event: string, of: SpanBeginning['attributes'] = {}) => void span.addEvent(event, of),
      set: (more: NonNullable<SpanBeginning['attributes']>) => void span.setAttributes(more),
      rename: (to: string) => void span.updateName(to),
      end({ atMs: endMs, errorCode }: { atMs?: number; errorCode?: string | undefined } = {}) {
        if (isOver) return;
        isOver = true;
        if (errorCode !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: errorCode });
        span.end(endMs);
      },
    };
  }
  async function close(): Promise<void> {
    const late = () => new Error('the collector does not answer');
    await withTimeout(clock, 'tracing-close', closeTimeoutMs, provider.shutdown(), late).catch(() => {});
  }
  return {
    begin,
    close() {
      closing ??= close();
      return closing;
    },
  };
}

/** What went wrong may quote an address: it is counted, not repeated. */
function tellingLosses(exporter: SpanExporter, { clock, log }: Pick<OtlpOptions, 'clock' | 'log'>): SpanExporter {
  let lost = 0;
  let toldAtMs = Number.NEGATIVE_INFINITY;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        if (result.code !== 0) {
          lost += spans.length;
          if (clock.monotonicMs() - toldAtMs >= QUIET_MS) {
            toldAtMs = clock.monotonicMs();
            log.warn({ lost }, 'spans-lost');
            lost = 0;
          }
        }
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}

function contextOf({ traceId, spanId }: SpanContext) {
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
}
