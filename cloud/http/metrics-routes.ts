/**
 * What machines ask of the relay: `/metrics` for Prometheus, behind the admin token or a token of its own; `/healthz` and
 * `/readyz` for supervisors and load balancers, for anybody. Times every request that Fastify answers.
 */
import { GlasscastError } from '../../shared/errors.ts';
import type { Secret } from '../../shared/secrets.ts';
import { type AdminToken, bearerToken, hashMatches, hashSecret } from '../access/credentials.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { HttpForwarding } from '../cluster/http-forwarding.ts';
import type { Readiness } from '../health/readiness.ts';
import type { RelayMetrics } from '../metrics/relay-metrics.ts';
import type { Routes } from './http.ts';

/**
 * Before all other routes: a hook counts for those that are added after it. What another node has sent is counted there,
 * where the caller waits.
 */
export function requestMetrics(
  metrics: Pick<RelayMetrics, 'request'>,
  forwarding: Pick<HttpForwarding, 'isForwarded'>,
): Routes {
  return (server) => {
    server.addHook('onResponse', async ({ headers, method, routeOptions }, reply) => {
      if (forwarding.isForwarded(headers)) return;
      const route = routeOptions.url ?? 'none';
      metrics.request({ method, route, status: reply.statusCode, ms: reply.elapsedTime });
    });
  };
}

export function metricsRoutes(options: {
  metrics: Pick<RelayMetrics, 'text' | 'contentType'>;
  adminToken: Pick<AdminToken, 'matches'>;
  metricsToken: Secret | undefined;
  attempts: FailedAttempts;
}): Routes {
  const { adminToken, attempts, metrics, metricsToken } = options;
  const ownHash = metricsToken && hashSecret(metricsToken.reveal());
  return (server) => {
    server.get('/metrics', async ({ headers, ip }, reply) => {
      // By whatever name: a scraper has an inner one, and a page that lies about its name has no token.
      const token = bearerToken(headers.authorization);
      if (token === undefined) throw new GlasscastError('ADMIN_TOKEN_REQUIRED');
      await attempts.guard(ip, async () => {
        const isOwn = ownHash !== undefined && hashMatches(token, ownHash);
        if (!isOwn && !adminToken.matches(token)) throw new GlasscastError('ADMIN_TOKEN_REQUIRED');
      });
      return reply
        .header('content-type', metrics.contentType)
        .header('cache-control', 'no-store')
        .send(await metrics.text());
    });
  };
}

/**
 * `/readyz?without=store,provider` tells of those and does not count them: for a load balancer, which would otherwise send
 * nobody anywhere while what all relays share is away, not even who only comes back to a stream that runs.
 * @param facts what `/healthz` tells beside; none of it is checked.
 */
export function healthRoutes({
  readiness,
  facts,
}: {
  readiness: Readiness;
  facts: () => Record<string, unknown>;
}): Routes {
  return (server) => {
    server.get('/healthz', async (_request, reply) => {
      const isAlive = readiness.isAlive();
      return reply.code(isAlive ? 200 : 503).send({ status: isAlive ? 'ok' : 'stuck', ...facts() });
    });
    server.get<{ Querystring: { without?: string | string[] } }>('/readyz', async ({ query }, reply) => {
      const left = new Set(String(query.without ?? '').split(','));
      const { checks } = await readiness.check();
      const told = Object.fromEntries(checks.map(({ name, reason }) => [name, reason]));
      const failed = checks.filter(({ name, isOk }) => !isOk && !left.has(name)).map(({ name }) => name);
      const isReady = failed.length === 0;
      return reply
        .code(isReady ? 200 : 503)
        .header('cache-control', 'no-store')
        .send({ status: isReady ? 'ready' : 'not ready', ...(isReady ? {} : { failed }), checks: told });
    });
  };
}
