/**
 * The HTTP server: who may call which routes, and the one place that turns errors into answers: `{error: CODE, message}`.
 * The routes themselves stand with their subjects.
 */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError, isDefect, isGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Callers } from '../access/callers.ts';
import { type AdminToken, bearerToken } from '../access/credentials.ts';
import type { Door } from '../access/door.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { HttpForwarding } from '../cluster/http-forwarding.ts';
import type { BrowserGuard } from './browser-guard.ts';

/** Adds routes to a server or to a part of it. */
export type Routes = (server: FastifyInstance) => void;

/** So that a request sent a byte at a time holds nothing for long. */
const HEAD_TIMEOUT_MS = 15_000;
/** For it to arrive whole: a release of 250 kB has to come by a line of 35 kbit/s. */
const REQUEST_TIMEOUT_MS = 60_000;

/** Connections that wait to be taken when thousands come back at once; the kernel may allow fewer (net.core.somaxconn). */
const BACKLOG = 4_096;

/** For running requests to be answered before the server goes. */
const DRAIN_MS = 5_000;

export interface HttpOptions {
  host: string;
  /** 0: a free one. */
  port: number;
  adminToken: Pick<AdminToken, 'matches'>;
  attempts: FailedAttempts;
  callers: Pick<Callers, 'isTrusted'>;
  door: Pick<Door, 'maxConnections' | 'connected' | 'asked' | 'request'>;
  browserGuard: BrowserGuard;
  /** Default: this node serves everything. */
  forwarding?: Pick<HttpForwarding, 'install' | 'isForwarded'>;
  /** For anybody, or behind keys that they check themselves. */
  publicRoutes: readonly Routes[];
  /** Behind the admin token. */
  operatorRoutes: readonly Routes[];
  log: Log;
  onUpgrade: (...args: Parameters<Parameters<Server['on']>[1]>) => void;
  clock: Clock;
}

export interface Http {
  /** PORT_IN_USE names the port. */
  start(): Promise<{ port: number }>;
  /** Takes no more; who has asked already is answered, for 5 s at most. */
  close(): Promise<void>;
}

export function createHttp(options: HttpOptions): Http {
  const { attempts, browserGuard, callers, door, forwarding, log } = options;
  const server = fastify({
    logger: false,
    bodyLimit: 256 * 1024,
    forceCloseConnections: 'idle',
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEAD_TIMEOUT_MS, connectionsCheckingInterval: HEAD_TIMEOUT_MS / 5 },
    trustProxy: (address) => callers.isTrusted(address),
    routerOptions: { maxParamLength: 400 },
  });
  server.setErrorHandler((thrown, request, reply) => answerError(thrown, request, reply, log));
  server.setNotFoundHandler((request, reply) =>
    answerError(new GlasscastError('ROUTE_NOT_FOUND'), request, reply, log),
  );
  watchConnections(server.server, door, log);
  server.server.on('upgrade', options.onUpgrade);
  forwarding?.install(server);
  server.addHook('onRequest', async ({ headers, host, ip }, reply) => {
    // On the raw answer, so that one that Fastify does not write has them too (events).
    for (const [name, value] of Object.entries(browserGuard.headers)) reply.raw.setHeader(name, value);
    if (!forwarding?.isForwarded(headers)) door.request(ip);
    browserGuard.checkOrigin(headers.origin, host);
  });
  let isClosing = false;
  server.addHook('onSend', async (_request, reply) => {
    // A connection kept for the next request would hold the server.
    if (isClosing) reply.header('connection', 'close');
  });
  for (const add of options.publicRoutes) add(server);
  server.register(async (scope) => {
    scope.addHook('onRequest', async ({ headers, ip }) => {
      browserGuard.checkHost(headers.host);
      const token = bearerToken(headers.authorization);
      if (token === undefined) throw new GlasscastError('ADMIN_TOKEN_REQUIRED');
      await attempts.guard(ip, async () => {
        if (!options.adminToken.matches(token)) throw new GlasscastError('ADMIN_TOKEN_REQUIRED');
      });
    });
    for (const add of options.operatorRoutes) add(scope);
  });

  return {
    async start() {
      const { host, port } = options;
      try {
        await server.listen({ host, port, backlog: BACKLOG });
      } catch (cause) {
        const isTaken = cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE';
        if (!isTaken) throw cause;
        throw new GlasscastError('PORT_IN_USE', { reason: `${host}:${port}`, details: { host, port }, cause });
      }
      return { port: (server.server.address() as AddressInfo).port };
    },
    async close() {
      isClosing = true;
      const cut = options.clock.after('http-drain', DRAIN_MS, () => server.server.closeAllConnections());
      await server.close();
      cut.cancel();
    },
  };
}

/** One too many is cut without a word: an answer would cost what the limit is to save. */
function watchConnections(server: Server, door: HttpOptions['door'], log: Log): void {
  server.maxConnections = door.maxConnections;
  server.on('drop', () => log.debug({ maxConnections: door.maxConnections }, 'connection-dropped'));
  server.on('connection', (socket) => {
    if (!door.connected(socket)) socket.destroy();
  });
  server.on('request', ({ socket }) => door.asked(socket));
}

/** Clients send DELETE with a JSON content type and nothing behind it. */
export function acceptEmptyBodies(scope: FastifyInstance): void {
  scope.removeContentTypeParser('application/json');
  scope.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, parsed) => {
    try {
      parsed(null, body === '' ? undefined : JSON.parse(String(body)));
    } catch {
      parsed(new GlasscastError('MALFORMED_MESSAGE', { reason: 'the body is not JSON' }));
    }
  });
}

/** @throws GlasscastError MALFORMED_MESSAGE naming the field. */
export function checkedBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') || 'body';
  throw new GlasscastError('MALFORMED_MESSAGE', { reason: `${where}: ${issue?.message ?? 'not valid'}` });
}

/** @param bodyOf for routes whose bodies are somebody else's. */
export function answerError(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Log,
  bodyOf: (error: GlasscastError) => object = ({ code, message }) => ({ error: code, message }),
): FastifyReply {
  const error = asAnswer(thrown);
  // The pattern of the route, not the address: addresses hold e-mails and could hold more.
  const route = request.routeOptions.url ?? 'none';
  if (isDefect(error)) log.error({ code: error.code, route, reason: errorText(error.cause) }, 'request-failed');
  else log.debug({ code: error.code, route }, 'request-refused');
  if (error.code === 'RATE_LIMITED') reply.header('retry-after', '1');
  return reply.code(error.http).send(bodyOf(error));
}

/** Fastify's own refusals of a body are the caller's; whatever else is unknown is ours and says nothing of our insides. */
function asAnswer(thrown: unknown): GlasscastError {
  if (isGlasscastError(thrown)) return thrown;
  const status = thrown instanceof Error && 'statusCode' in thrown ? Number(thrown.statusCode) : 500;
  if (status >= 400 && status < 500) return new GlasscastError('MALFORMED_MESSAGE', { reason: errorText(thrown) });
  return new GlasscastError('INTERNAL', { cause: thrown });
}
