/** A collector of traces: an HTTP server that takes OTLP as JSON, and can be told to hang. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string | undefined;
  startMs: number;
  endMs: number;
  attributes: Record<string, unknown>;
  events: { name: string; attributes: Record<string, unknown> }[];
  /** Trace ids. */
  links: string[];
  error: string | undefined;
}

interface Raw {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: { key: string; value: Record<string, unknown> }[];
  events?: { name: string; attributes?: Raw['attributes'] }[];
  links?: { traceId: string }[];
  status?: { code?: number; message?: string };
}

const plain = (attributes: Raw['attributes'] = []) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
const ms = (nanoseconds: string) => Number(BigInt(nanoseconds) / 1_000_000n);

export async function createOtlpReceiver({ hangs = false }: { hangs?: boolean } = {}) {
  const spans: ReceivedSpan[] = [];
  const requests: { url: string; headers: Record<string, unknown>; body: string }[] = [];
  const resources: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      requests.push({ url: request.url ?? '', headers: request.headers, body });
      if (hangs) return;
      const { resourceSpans } = JSON.parse(body) as {
        resourceSpans: { resource: { attributes: Raw['attributes'] }; scopeSpans: { spans: Raw[] }[] }[];
      };
      for (const { resource, scopeSpans } of resourceSpans) {
        resources.push(plain(resource.attributes));
        for (const raw of scopeSpans.flatMap((scope) => scope.spans)) {
          spans.push({
            ...{ name: raw.name, traceId: raw.traceId, spanId: raw.spanId, parentSpanId: raw.parentSpanId },
            ...{ startMs: ms(raw.startTimeUnixNano), endMs: ms(raw.endTimeUnixNano) },
            attributes: plain(raw.attributes),
            events: (raw.events ?? []).map(({ name, attributes }) => ({ name, attributes: plain(attributes) })),
            links: (raw.links ?? []).map(({ traceId }) => traceId),
            error: raw.status?.code === 2 ? (raw.status.message ?? '') : undefined,
          });
        }
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    ...{ spans, requests, resources },
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
