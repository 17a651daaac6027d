/**
 * The operator's REST: sessions, streams, apps, events. Behind the admin token; translates only, and holds no
 * rule about streams or sessions.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { audioSettings, videoSettings } from '../../shared/stream.ts';
import { createRateLimit } from '../access/rate-limits.ts';
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { OperatorOutput } from '../provider/output-views.ts';
import { type Destination, outputLimits } from '../provider/restream-outputs.ts';
import type { RegisteredApp } from '../store/records.ts';
import type { Explanation, StreamHistory } from '../streams/stream-history.ts';
import type { StreamRequest } from '../streams/stream-registry.ts';
import type { StreamSnapshot } from '../streams/stream-views.ts';
import type { EventFeed, SessionView } from './event-feed.ts';
import { checkedBody, type Routes } from './http.ts';
import { destinationOf, OUTPUT_CHANGES } from './output-routes.ts';
import { byOwnerOfNamed, servedBy } from './served-by.ts';

export interface OperatorRoutesOptions {
  catalog: AppCatalog;
  /** The operator's own stream, as the built-in app. */
  operatorStream: {
    /** The stream that was begun or joined; while an earlier one is ending, once that has ended. */
    start(userId: string, request: StreamRequest): Promise<StreamSnapshot>;
    stop(userId: string): void;
    /** Whoever it is; the stream ends with its last one. Errors: STREAM_NOT_FOUND, VIEWER_NOT_FOUND. */
    removeViewer(streamId: string, packageName: string): void;
    /** On whatever managed stream the user has. Errors: of `RestreamOutputs.add`, STREAM_NOT_FOUND, OUTPUTS_NOT_READY. */
    addOutput(userId: string, destination: Destination): Promise<OperatorOutput>;
    /** Whoever has added it. Errors: of `RestreamOutputs.remove`, STREAM_NOT_FOUND, OUTPUTS_NOT_READY. */
    removeOutput(userId: string, outputId: string): Promise<void>;
  };
  sessions: () => SessionView[];
  streams: () => StreamSnapshot[];
  history: Pick<StreamHistory, 'explain' | 'ended'>;
  /** For everybody who watches it. False when there is no such stream. */
  endStream: (streamId: string) => boolean;
  events: EventFeed;
  clock: Clock;
}

const email = z.string().trim().toLowerCase().min(1).max(320);
/** What `url` has to be is said by the outputs. */
const destination = z.strictObject({ url: z.string().min(1).max(2000), name: z.string().min(1).max(200).optional() });
const streamRequest = z
  .strictObject({
    video: videoSettings.optional(),
    audio: audioSettings.optional(),
    outputs: z.array(destination).max(outputLimits.maxPerStream).optional(),
  })
  .default({});

const byStream = servedBy({ by: 'stream' });

/** A reader of events that falls this far behind is cut; it comes back and asks for the whole. */
const MAX_EVENT_BACKLOG_BYTES = 1024 * 1024;

/** Behind the admin token: see `HttpOptions.operatorRoutes`. */
export function operatorRoutes(options: OperatorRoutesOptions): Routes {
  return (server) => {
    addAppRoutes(server, options);
    addStreamRoutes(server, options);
    addHistoryRoutes(server, options);
    addOutputRoutes(server, options);
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
  const sessionList = servedBy({ by: 'all', list: 'sessions', key: 'userId' });
  const streamList = servedBy({ by: 'all', list: 'streams', key: 'streamId' });
  server.get('/api/sessions', sessionList, async () => ({ sessions: sessions() }));
  server.get('/api/streams', streamList, async () => ({ streams: streams() }));
  server.get<{ Params: { streamId: string } }>('/api/streams/:streamId', byStream, async ({ params }) => {
    const found = streams().find(({ streamId }) => streamId === params.streamId);
    if (!found) throw new GlasscastError('STREAM_NOT_FOUND');
    return found;
  });
  server.delete<{ Params: { streamId: string } }>('/api/streams/:streamId', byStream, async ({ params }, reply) => {
    if (!endStream(params.streamId)) throw new GlasscastError('STREAM_NOT_FOUND');
    return reply.code(202).send({ status: 'stopping' });
  });
  type OfViewer = { Params: { streamId: string; packageName: string } };
  server.delete<OfViewer>('/api/streams/:streamId/viewers/:packageName', byStream, async ({ params }, reply) => {
    operatorStream.removeViewer(params.streamId, params.packageName);
    return reply.code(204).send();
  });
  server.post<OfUser>('/api/users/:userId/managed-stream', byOwnerOfNamed, async ({ params, body }, reply) => {
    const { outputs, ...settings } = checkedBody(streamRequest, body ?? {});
    const request = outputs ? { ...settings, restreamDestinations: outputs } : settings;
    // Accepted, not done: how it goes is told by the events and by GET /api/streams/:streamId.
    return reply.code(202).send(await operatorStream.start(checkedBody(email, params.userId), request));
  });
  server.delete<OfUser>('/api/users/:userId/managed-stream', byOwnerOfNamed, async ({ params }, reply) => {
    operatorStream.stop(checkedBody(email, params.userId));
    return reply.code(202).send({ status: 'stopped' });
  });
}

function addHistoryRoutes(server: FastifyInstance, { history }: OperatorRoutesOptions): void {
  const ended = servedBy({ by: 'all', list: 'streams', key: 'streamId', newestFirst: 'endedAt' });
  server.get('/api/streams/history', ended, async () => ({ streams: history.ended() }));
  type OfStream = { Params: { streamId: string } };
  async function explained({ streamId }: OfStream['Params']): Promise<Explanation> {
    const explanation = await history.explain(streamId);
    if (!explanation) throw new GlasscastError('STREAM_NOT_FOUND');
    return explanation;
  }
  server.get<OfStream>('/api/streams/:streamId/explain', byStream, async ({ params }) => explained(params));
  server.get<OfStream>('/api/streams/:streamId/timeline', byStream, async ({ params }) => {
    const { entries } = await explained(params);
    return { entries };
  });
}

function addOutputRoutes(server: FastifyInstance, { clock, operatorStream }: OperatorRoutesOptions): void {
  const changes = createRateLimit({ clock, ...OUTPUT_CHANGES });
  const path = '/api/users/:userId/managed-stream/outputs';
  function userOf({ userId }: { userId: string }): string {
    const user = checkedBody(email, userId);
    if (!changes.take(user)) throw new GlasscastError('RATE_LIMITED');
    return user;
  }
  server.post<{ Params: { userId: string } }>(path, byOwnerOfNamed, async ({ params, body }, reply) => {
    return reply.code(201).send(await operatorStream.addOutput(userOf(params), destinationOf(body)));
  });
  server.delete<{ Params: { userId: string; outputId: string } }>(
    `${path}/:outputId`,
    byOwnerOfNamed,
    async ({ params }, reply) => {
      await operatorStream.removeOutput(userOf(params), params.outputId);
      return reply.code(204).send();
    },
  );
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
    // Whoever reads comes back, and asks for the whole then.
    const missed = () => void raw.end();
    const unlisten = events.listen((event) => write(`data: ${JSON.stringify(event)}\n\n`), missed);
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
