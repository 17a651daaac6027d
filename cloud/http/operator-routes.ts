/**
 * The operator's REST: sessions, streams, apps, events. Behind the admin token; translates only, and holds no
 * rule about streams or sessions.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { audioSettings, videoSettings } from '../../shared/stream.ts';
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { RegisteredApp } from '../store/records.ts';
import type { StreamRequest } from '../streams/stream-registry.ts';
import type { StreamSnapshot } from '../streams/stream-views.ts';
import type { EventFeed, SessionView } from './event-feed.ts';
import { checkedBody, type Routes } from './http.ts';

export interface OperatorRoutesOptions {
  catalog: AppCatalog;
  /** The operator's own stream, as the built-in app. */
  operatorStream: {
    start(userId: string, request: StreamRequest): StreamSnapshot;
    stop(userId: string): void;
  };
  sessions: () => SessionView[];
  streams: () => StreamSnapshot[];
  /** For everybody who watches it. False when there is no such stream. */
  endStream: (streamId: string) => boolean;
  events: EventFeed;
  clock: Clock;
}

const email = z.string().trim().toLowerCase().min(1).max(320);
const streamRequest = z.strictObject({ video: videoSettings.optional(), audio: audioSettings.optional() }).default({});

/** A reader of events that falls this far behind is cut; it comes back and asks for the whole. */
const MAX_EVENT_BACKLOG_BYTES = 1024 * 1024;

/** Behind the admin token: see `HttpOptions.operatorRoutes`. */
export function operatorRoutes(options: OperatorRoutesOptions): Routes {
  return (server) => {
    addAppRoutes(server, options);
    addStreamRoutes(server, options);
    addEventRoute(server, options);
  };
}

function addAppRoutes(server: FastifyInstance, { catalog }: OperatorRoutesOptions): void {
  type Named = { Params: { packageName: string } };
  server.get('/api/apps', async () => ({ apps: (await catalog.list()).map(printable) }));
  server.get<Named>('/api/apps/:packageName', async ({ params }) => printable(await catalog.get(params.packageName)));
  server.put<Named>('/api/apps/:packageName', async ({ params, body }) =>
    printable(await catalog.put(params.packageName, body)),
  );
  server.delete<Named>('/api/apps/:packageName', async ({ params }, reply) => {
    await catalog.delete(params.packageName);
    return reply.code(204).send();
  });
}

function addStreamRoutes(server: FastifyInstance, options: OperatorRoutesOptions): void {
  const { operatorStream, sessions, streams, endStream } = options;
  type OfUser = { Params: { userId: string } };
  server.get('/api/sessions', async () => ({ sessions: sessions() }));
  server.get('/api/streams', async () => ({ streams: streams() }));
  server.get<{ Params: { streamId: string } }>('/api/streams/:streamId', async ({ params }) => {
    const found = streams().find(({ streamId }) => streamId === params.streamId);
    if (!found) throw new GlasscastError('STREAM_NOT_FOUND');
    return found;
  });
  server.delete<{ Params: { streamId: string } }>('/api/streams/:streamId', async ({ params }, reply) => {
    if (!endStream(params.streamId)) throw new GlasscastError('STREAM_NOT_FOUND');
    return reply.code(202).send({ status: 'stopping' });
  });
  server.post<OfUser>('/api/users/:userId/managed-stream', async ({ params, body }, reply) => {
    const request = checkedBody(streamRequest, body ?? {});
    // Accepted, not done: how it goes is told by the events and by GET /api/streams/:streamId.
    return reply.code(202).send(operatorStream.start(checkedBody(email, params.userId), request));
  });
  server.delete<OfUser>('/api/users/:userId/managed-stream', async ({ params }, reply) => {
    operatorStream.stop(checkedBody(email, params.userId));
    return reply.code(202).send({ status: 'stopped' });
  });
}

/** Server-sent events (WHATWG HTML): `data:` lines of JSON, a comment each 15 s so that proxies keep the line. */
function addEventRoute(server: FastifyInstance, { clock, events }: OperatorRoutesOptions): void {
  const readers = new Set<ServerResponse>();
  // They never end by themselves, and would hold a server that waits for its last requests.
  server.addHook('preClose', async () => {
    for (const raw of readers) raw.end();
  });
  server.get('/api/events', (_request, reply) => {
    reply.hijack();
    const { raw } = reply;
    readers.add(raw);
    raw.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    const write = (text: string) => {
      if (raw.writableLength > MAX_EVENT_BACKLOG_BYTES) raw.destroy();
      else raw.write(text);
    };
    const unlisten = events.listen((event) => write(`data: ${JSON.stringify(event)}\n\n`));
    const comments = clock.every('event-comment', 15_000, () => write(': still here\n\n'));
    raw.on('error', () => {});
    raw.on('close', () => {
      readers.delete(raw);
      unlisten();
      comments.cancel();
    });
    write(': listening\n\n');
  });
}

function printable({ hashedApiKey: _, ...app }: RegisteredApp): Omit<RegisteredApp, 'hashedApiKey'> {
  return app;
}
