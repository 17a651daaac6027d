/**
 * The traces of one relay: streams, requests, calls to others. Without a tracer none of it does anything. Knows which
 * request is being served, so that what it leads to belongs to its trace.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Routes } from '../http/http.ts';
import type { StreamWitness } from '../metrics/stream-watch.ts';
import { createStreamSpans } from './stream-spans.ts';
import { readTraceparent, type Span, type SpanContext, type Tracer, traceparentOf } from './tracer.ts';

export interface Tracing {
  readonly streams: StreamWitness;
  /** Undefined: it has none. */
  traceIdOf(streamId: string): string | undefined;
  /** For calls to the provider: those that make a stream's live input belong to its trace, the others to the request's. */
  providerFetch(inner: typeof fetch): typeof fetch;
  /** For calls to the servers of apps: a span each. */
  webhookFetch(inner: typeof fetch): typeof fetch;
  /** A span for each request; before all other routes. */
  requests: Routes;
  close(): Promise<void>;
}

/** Asked by machines, every second and for ever. */
const UNTRACED: ReadonlySet<string> = new Set(['/metrics', '/healthz', '/readyz', '/api/events']);

/** The key that a live input is made by, of `ingest-source`. */
const KEY_OF_STREAM = /^glasscast-(.+)$/;

export function createTracing(tracer: Tracer | undefined): Tracing {
  if (!tracer) return untraced;
  const serving = new AsyncLocalStorage<SpanContext>();
  const spans = createStreamSpans(tracer, () => serving.getStore());
  return {
    streams: spans.witness,
    traceIdOf: (streamId) => spans.contextOf(streamId)?.traceId,
    providerFetch: (inner) =>
      tracedFetch(inner, tracer, 'provider', (headers) => {
        const [, streamId] = KEY_OF_STREAM.exec(headers.get('idempotency-key') ?? '') ?? [];
        const parent = (streamId && spans.contextOf(streamId)) || serving.getStore();
        // Polls and clean-up belong to nobody's waiting.
        return parent ? { parent } : undefined;
      }),
    webhookFetch: (inner) => tracedFetch(inner, tracer, 'webhook', () => ({ parent: serving.getStore() })),
    requests: requestSpans(tracer, serving),
    async close() {
      spans.close();
      await tracer.close();
    },
  };
}

const untraced: Tracing = {
  streams: {},
  traceIdOf: () => undefined,
  providerFetch: (inner) => inner,
  webhookFetch: (inner) => inner,
  requests: () => {},
  close: async () => {},
};

function requestSpans(tracer: Tracer, serving: AsyncLocalStorage<SpanContext>): Routes {
  return (server) => {
    const open = new WeakMap<object, Span>();
    server.addHook('onRequest', async (request) => {
      const { headers, method, routeOptions } = request;
      const route = routeOptions.url;
      if (route === undefined || UNTRACED.has(route)) return;
      const attributes = { 'http.request.method': method, 'http.route': route };
      const parent = readTraceparent(headers.traceparent);
      open.set(request, tracer.begin(`${method} ${route}`, { kind: 'server', parent, attributes }));
    });
    // After the body has come, which is read in no request's name.
    server.addHook('preHandler', (request, _reply, done) => {
      const span = open.get(request);
      if (span) serving.run(span.context, done);
      else done();
    });
    server.addHook('onResponse', async (request, { statusCode }) => {
      const span = open.get(request);
      span?.set({ 'http.response.status_code': statusCode });
      span?.end({ errorCode: statusCode >= 500 ? String(statusCode) : undefined });
    });
  };
}

/** @param place undefined: this call is not traced. */
function tracedFetch(
  inner: typeof fetch,
  tracer: Tracer,
  what: string,
  place: (headers: Headers) => { parent: SpanContext | undefined } | undefined,
): typeof fetch {
  return async (input, init) => {
    const headers = new Headers(init?.headers);
    const placed = place(headers);
    if (!placed) return inner(input, init);
    const method = init?.method ?? 'GET';
    const address = new URL(String(input));
    const attributes = { 'http.request.method': method, 'server.address': address.host };
    const span = tracer.begin(`${what} ${method}`, { kind: 'client', parent: placed.parent, attributes });
    headers.set('traceparent', traceparentOf(span.context));
    try {
      const response = await inner(input, { ...init, headers });
      span.set({ 'http.response.status_code': response.status });
      span.end({ errorCode: response.status >= 400 ? String(response.status) : undefined });
      return response;
    } catch (error) {
      span.end({ errorCode: 'UNREACHABLE' });
      throw error;
    }
  };
}
