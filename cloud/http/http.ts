/**
 * HTTP: the operator's REST, health, and what apps may ask without a key. One place turns errors into answers:
 * `{error: CODE, message}`. Holds no rule about streams or sessions.
 */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { audioSettings, videoSettings } from '../../shared/stream.ts';
import { bearerToken, type Credentials } from '../access/credentials.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { RegisteredApp } from '../store/store.ts';
import type { StreamSnapshot } from '../streams/managed-status.ts';
import type { StreamRequest } from '../streams/stream-registry.ts';
import type { EventFeed, SessionView } from './event-feed.ts';

export interface HttpOptions {
  host: string;
  /** 0: a free one. */
  port: number;
  credentials: Credentials;
  attempts: FailedAttempts;
  catalog: AppCatalog;
  apps: { start(userId: string, packageName: string): Promise<void>; stop(userId: string, packageName: string): void };
  /** The operator's own stream, as the built-in app. */
  operatorStream: {
    start(userId: string, request: StreamRequest): StreamSnapshot;
    stop(userId: string): void;
  };
  sessions: () => SessionView[];
  streams: () => StreamSnapshot[];
  health: () => Record<string, unknown>;
  events: EventFeed;
  clock: Clock;
  log: Log;
  /** Adds the console's pages. */
  pages?: ((server: FastifyInstance) => void) | undefined;
  onUpgrade: (...args: Parameters<Parameters<Server['on']>[1]>) => void;
}

export interface Http {
  /** PORT_IN_USE names the port. */
  start(): Promise<{ port: number }>;
  close(): Promise<void>;
}

const email = z.string().trim().toLowerCase().min(1).max(320);
const tokenRequest = z.strictObject({
  email,
  lifetimeSeconds: z.number().int().positive().optional(),
});
const userRequest = z.strictObject({ userId: email });
const streamRequest = z.strictObject({ video: videoSettings.optional(), audio: audioSettings.optional() }).default({});

/** A reader of events that falls this far behind is cut; it comes back and asks for the whole. */
const MAX_EVENT_BACKLOG_BYTES = 1024 * 1024;

export function createHttp(options: HttpOptions): Http {
  const server = fastify({
    logger: false,
    bodyLimit: 256 * 1024,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 400 },
  });
  server.setErrorHandler((thrown, request, reply) => answerError(thrown, request, reply, options.log));
  server.setNotFoundHandler((request, reply) =>
    answerError(new GlasscastError('ROUTE_NOT_FOUND'), request, reply, options.log),
  );
  server.server.on('upgrade', options.onUpgrade);
  addPublicRoutes(server, options);
  server.register(async (scope) => {
    scope.addHook('onRequest', async ({ headers, ip }) => {
      const token = bearerToken(headers.authorization);
      if (token === undefined) throw new GlasscastError('ADMIN_TOKEN_REQUIRED');
      await options.attempts.guard(ip, async () => {
        if (!options.credentials.isAdmin(token)) throw new GlasscastError('ADMIN_TOKEN_REQUIRED');
      });
    });
    addAppRoutes(scope, options);
    addStreamRoutes(scope, options);
    addEventRoute(scope, options);
  });
  options.pages?.(server);

  return {
    async start() {
      const { host, port } = options;
      try {
        await server.listen({ host, port });
      } catch (cause) {
        const isTaken = cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE';
        if (!isTaken) throw cause;
        throw new GlasscastError('PORT_IN_USE', { reason: `${host}:${port}`, details: { host, port }, cause });
      }
      return { port: (server.server.address() as AddressInfo).port };
    },
    close: () => server.close(),
  };
}

function addPublicRoutes(server: FastifyInstance, { catalog, health }: HttpOptions): void {
  server.get('/healthz', async () => ({ status: 'ok', ...health() }));
  server.get<{ Params: { packageName: string } }>('/api/public/permissions/:packageName', async ({ params }) => {
    const { packageName, permissions } = await catalog.get(params.packageName);
    return { success: true, packageName, permissions };
  });
}

function addAppRoutes(server: FastifyInstance, { apps, catalog, credentials }: HttpOptions): void {
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
  server.post<Named>('/api/apps/:packageName/start', async ({ params, body }) => {
    const { userId } = checked(userRequest, body);
    await apps.start(userId, params.packageName);
    return { status: 'started', userId, packageName: params.packageName };
  });
  server.post<Named>('/api/apps/:packageName/stop', async ({ params, body }) => {
    const { userId } = checked(userRequest, body);
    apps.stop(userId, params.packageName);
    return { status: 'stopped', userId, packageName: params.packageName };
  });
  server.post('/api/tokens', async ({ body }) => {
    const { email: user, lifetimeSeconds } = checked(tokenRequest, body);
    const coreToken = await credentials.mintCoreToken(user, lifetimeSeconds);
    return { userId: user, coreToken: coreToken.reveal() };
  });
}

function addStreamRoutes(server: FastifyInstance, { operatorStream, sessions, streams }: HttpOptions): void {
  type OfUser = { Params: { userId: string } };
  server.get('/api/sessions', async () => ({ sessions: sessions() }));
  server.get('/api/streams', async () => ({ streams: streams() }));
  server.get<{ Params: { streamId: string } }>('/api/streams/:streamId', async ({ params }) => {
    const found = streams().find(({ streamId }) => streamId === params.streamId);
    if (!found) throw new GlasscastError('STREAM_NOT_FOUND');
    return found;
  });
  server.post<OfUser>('/api/users/:userId/managed-stream', async ({ params, body }, reply) => {
    const request = checked(streamRequest, body ?? {});
    // Accepted, not done: how it goes is told by the events and by GET /api/streams/:streamId.
    return reply.code(202).send(operatorStream.start(checked(email, params.userId), request));
  });
  server.delete<OfUser>('/api/users/:userId/managed-stream', async ({ params }, reply) => {
    operatorStream.stop(checked(email, params.userId));
    return reply.code(202).send({ status: 'stopped' });
  });
}

/** Server-sent events (WHATWG HTML): `data:` lines of JSON, a comment each 15 s so that proxies keep the line. */
function addEventRoute(server: FastifyInstance, { clock, events }: HttpOptions): void {
  server.get('/api/events', (_request, reply) => {
    reply.hijack();
    const { raw } = reply;
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
      unlisten();
      comments.cancel();
    });
    write(': listening\n\n');
  });
}

function checked<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') || 'body';
  throw new GlasscastError('MALFORMED_MESSAGE', { reason: `${where}: ${issue?.message ?? 'not valid'}` });
}

function printable({ hashedApiKey: _, ...app }: RegisteredApp): Omit<RegisteredApp, 'hashedApiKey'> {
  return app;
}

function answerError(thrown: unknown, request: FastifyRequest, reply: FastifyReply, log: Log): FastifyReply {
  const error = asAnswer(thrown);
  // The pattern of the route, not the address: addresses hold e-mails and could hold more.
  const route = request.routeOptions.url ?? 'none';
  if (error.fault === 'us') log.error({ code: error.code, route, reason: errorText(error.cause) }, 'request-failed');
  else log.debug({ code: error.code, route }, 'request-refused');
  return reply.code(error.http).send({ error: error.code, message: error.message });
}

/** Fastify's own refusals of a body are the caller's; whatever else is unknown is ours and says nothing of our insides. */
function asAnswer(thrown: unknown): GlasscastError {
  if (isGlasscastError(thrown)) return thrown;
  const status = thrown instanceof Error && 'statusCode' in thrown ? Number(thrown.statusCode) : 500;
  if (status >= 400 && status < 500) return new GlasscastError('MALFORMED_MESSAGE', { reason: errorText(thrown) });
  return new GlasscastError('INTERNAL', { cause: thrown });
}
