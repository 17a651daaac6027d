/**
 * A relay as the console sees one, with scripted answers: any number of glasses, any text in any field, and no media.
 * Serves the real page.
 */

import type { ServerResponse } from 'node:http';
import fastify from 'fastify';
import type {
  EndedStream,
  RecordingList,
  RelayEvent,
  SessionView,
  StreamView,
  TimelineEntry,
} from '../../cloud/console/relay-shapes.ts';
import { registerConsolePage } from '../../cloud/http/console-page.ts';

const spans = {
  stalls: { count: 2, totalMs: 4_200, longestMs: 3_000 },
  reconnects: { count: 0, totalMs: 0, longestMs: 0 },
};

export const CONSOLE_TOKEN = 'a-token-for-the-console';

export async function startConsoleRelay() {
  const server = fastify({ forceCloseConnections: true });
  const readers = new Set<ServerResponse>();
  const asked: { method: string; path: string; body: unknown }[] = [];
  const world = {
    sessions: [] as SessionView[],
    streams: [] as StreamView[],
    ended: [] as EndedStream[],
    timelines: {} as Record<string, TimelineEntry[]>,
    verdicts: {} as Record<string, string>,
    recordings: { recordings: [], keepsRecordings: true } as RecordingList | Error,
    /** A timeline is read, and its answer takes as long as this. */
    timelineDelay: Promise.resolve() as Promise<void>,
    /** Nothing is answered but 503. */
    isDown: false,
    /** Answers to changes, by `METHOD path`; anything else is 202. */
    refusals: {} as Record<string, { status: number; message: string }>,
  };
  registerConsolePage(server);
  server.addHook('onRequest', async ({ headers, url }, reply) => {
    if (world.isDown) return reply.code(503).send({});
    if (url.startsWith('/api/') && headers.authorization !== `Bearer ${CONSOLE_TOKEN}`) {
      return reply.code(401).send({ error: 'ADMIN_TOKEN_REQUIRED', message: 'not this one' });
    }
  });
  server.get('/api/sessions', async () => ({ sessions: world.sessions }));
  server.get('/api/streams', async () => ({ streams: world.streams }));
  server.get('/api/streams/history', async () => ({ streams: world.ended }));
  server.get('/api/recordings', async (_request, reply) => {
    const { recordings } = world;
    if (!(recordings instanceof Error)) return recordings;
    return reply.code(502).send({ error: 'PROVIDER_UNREACHABLE', message: recordings.message });
  });
  server.get<{ Params: { id: string } }>('/api/streams/:id/explain', async ({ params }) => ({
    ...{ verdict: world.verdicts[params.id] ?? 'all well', entries: world.timelines[params.id] ?? [] },
    record: { ...spans, ...{ timeToFirstFrameMs: 900, liveMs: 12_000, framesLost: 3, stepsDown: 1, stepsUp: 0 } },
  }));
  server.get<{ Params: { id: string } }>('/api/streams/:id/timeline', async ({ params }) => {
    const entries = [...(world.timelines[params.id] ?? [])];
    await world.timelineDelay;
    return { entries };
  });
  server.get('/api/events', (_request, reply) => {
    reply.hijack();
    readers.add(reply.raw);
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write(': listening\n\n');
    reply.raw.on('close', () => readers.delete(reply.raw));
  });
  server.route({
    method: ['POST', 'DELETE'],
    url: '/api/*',
    handler: async ({ body, method, url }, reply) => {
      asked.push({ method, path: url, body });
      const refusal = world.refusals[`${method} ${url}`];
      if (refusal) return reply.code(refusal.status).send({ error: 'REFUSED', message: refusal.message });
      return reply.code(202).send({});
    },
  });
  const origin = await server.listen({ port: 0, host: '127.0.0.1' });
  return {
    ...{ world, asked, origin, url: `${origin}/#token=${CONSOLE_TOKEN}` },
    tell(event: RelayEvent): void {
      for (const reader of readers) reader.write(`data: ${JSON.stringify(event)}\n\n`);
    },
    /** As a relay that restarts: every line ends. */
    cut(): void {
      for (const reader of readers) reader.destroy();
    },
    close: () => server.close(),
  };
}
