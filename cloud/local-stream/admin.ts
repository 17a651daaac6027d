/**
 * Switches faults and names the target of live webhooks, for tests, and tells Prometheus what is carried: by REST on a port of
 * its own, on loopback only.
 */
import Fastify, { type FastifyInstance } from 'fastify';
import * as z from 'zod';
import { Secret } from '../../shared/secrets.ts';
import { bearerOf } from './api/api.ts';
import { fail, failures, succeed, wrongFields } from './api/envelope.ts';
import type { Webhooks } from './api/webhooks.ts';
import type { BroadcastMetrics } from './broadcast-metrics.ts';
import { type Faults, isFaultName } from './faults.ts';

const liveWebhookBody = z.object({ url: z.url({ protocol: /^https?$/ }), secret: z.string().min(1) });
type FaultRoute = { Params: { name: string } };

/** @param apiToken opens it as a Bearer token. */
export function createAdmin(options: {
  faults: Faults;
  webhooks: Pick<Webhooks, 'setLiveTarget'>;
  apiToken: Secret;
  metrics: BroadcastMetrics;
}): FastifyInstance {
  const { faults, webhooks, apiToken, metrics } = options;
  const isKnownBy = bearerOf(apiToken);
  const server = Fastify({ forceCloseConnections: true, bodyLimit: 16 * 1024 });

  server.addHook('onRequest', async (request, reply) =>
    isKnownBy(request) ? undefined : fail(reply, failures.unauthorized),
  );
  server.setNotFoundHandler((_request, reply) => fail(reply, failures.noRoute));
  server.get('/metrics', (_request, reply) => reply.header('content-type', metrics.contentType).send(metrics.text()));
  server.get('/faults', () => succeed(faults.list()));
  server.put<FaultRoute>('/faults/:name', ({ params: { name }, body }, reply) => {
    if (!isFaultName(name)) return fail(reply, failures.notFound);
    const wrong = faults.switchOn(name, body);
    return wrong === undefined ? reply.send(succeed(faults.list())) : fail(reply, failures.badBody, wrong);
  });
  server.delete('/faults', () => {
    faults.switchOff();
    return succeed({});
  });
  server.delete<FaultRoute>('/faults/:name', ({ params: { name } }, reply) => {
    if (!isFaultName(name)) return fail(reply, failures.notFound);
    faults.switchOff(name);
    return reply.send(succeed({}));
  });
  server.put('/live-webhook', ({ body }, reply) => {
    const wanted = liveWebhookBody.safeParse(body);
    if (!wanted.success) return fail(reply, failures.badBody, wrongFields(wanted.error));
    webhooks.setLiveTarget({ url: wanted.data.url, secret: new Secret(wanted.data.secret) });
    return reply.send(succeed({}));
  });
  server.delete('/live-webhook', () => {
    webhooks.setLiveTarget(undefined);
    return succeed({});
  });
  return server;
}
