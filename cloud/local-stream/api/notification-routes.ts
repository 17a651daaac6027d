/**
 * The API's two kinds of webhooks: the one of finished recordings, and live events by the account's notifications, with
 * their destinations and policies. Every rule lies with the webhooks and the alerts.
 */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import type { RecordingWebhook } from '../catalogue.ts';
import { fail, failures, succeed, wrongFields } from './envelope.ts';
import { destinationBody, type LiveAlerts, policyBody, policyChange, policyJson } from './live-alerts.ts';
import { isoTime } from './live-input.ts';
import type { Webhooks } from './webhooks.ts';

export interface NotificationRoutesOptions {
  webhooks: Pick<Webhooks, 'setRecordingTarget' | 'recordingTarget' | 'removeRecordingTarget' | 'greet'>;
  alerts: LiveAlerts;
}

type IdRoute = { Params: { id: string } };

const url = z.url({ protocol: /^https?$/ });
/** In either spelling, as there. */
const webhookBody = z.union([
  z.object({ notificationUrl: url }),
  z.object({ notification_url: url }).transform((body) => ({ notificationUrl: body.notification_url })),
]);

/** To be registered under `/stream`. */
export function webhookRoutes(app: FastifyInstance, { webhooks }: NotificationRoutesOptions): void {
  const shown = ({ notificationUrl, modifiedMs, secret }: RecordingWebhook) =>
    succeed({ notificationUrl, modified: isoTime(modifiedMs), secret });
  app.put('/webhook', (request, reply) => {
    const body = webhookBody.safeParse(request.body);
    if (!body.success) return fail(reply, failures.badBody, 'notificationUrl: must be an http or https address');
    return reply.send(shown(webhooks.setRecordingTarget(body.data.notificationUrl)));
  });
  app.get('/webhook', (_, reply) => {
    const target = webhooks.recordingTarget();
    return target ? reply.send(shown(target)) : fail(reply, failures.notFound);
  });
  app.delete('/webhook', (_, reply) => {
    webhooks.removeRecordingTarget();
    return reply.send(succeed('ok'));
  });
}

/** To be registered under `/alerting/v3`. */
export function alertRoutes(app: FastifyInstance, { alerts, webhooks }: NotificationRoutesOptions): void {
  const place = '/destinations/webhooks';
  app.get(place, (_, reply) => reply.send(succeed(alerts.destinations().map(alerts.destinationJson))));
  app.post(place, (request, reply) => {
    const body = destinationBody.safeParse(request.body);
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    const added = alerts.addDestination(body.data);
    if (added === 'too-many') return fail(reply, failures.tooManyOfThem);
    webhooks.greet(added);
    return reply.send(succeed({ id: added.id }));
  });
  app.get<IdRoute>(`${place}/:id`, ({ params }, reply) => {
    const found = alerts.destination(params.id);
    return found ? reply.send(succeed(alerts.destinationJson(found))) : fail(reply, failures.notFound);
  });
  app.put<IdRoute>(`${place}/:id`, ({ params, body }, reply) => {
    const wanted = destinationBody.safeParse(body);
    if (!wanted.success) return fail(reply, failures.badBody, wrongFields(wanted.error));
    const changed = alerts.changeDestination(params.id, wanted.data);
    if (!changed) return fail(reply, failures.notFound);
    webhooks.greet(changed);
    return reply.send(succeed({ id: changed.id }));
  });
  app.delete<IdRoute>(`${place}/:id`, ({ params }, reply) =>
    alerts.removeDestination(params.id) ? reply.send(succeed(null)) : fail(reply, failures.notFound),
  );
  policyRoutes(app, alerts);
}

const UNKNOWN_DESTINATION = 'mechanisms.webhooks: names a destination that is unknown';

function policyRoutes(app: FastifyInstance, alerts: LiveAlerts): void {
  app.get('/policies', (_, reply) => reply.send(succeed(alerts.policies().map(policyJson))));
  app.post('/policies', (request, reply) => {
    const body = policyBody.safeParse(request.body);
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    const added = alerts.addPolicy(body.data);
    if (added === 'too-many') return fail(reply, failures.tooManyOfThem);
    if (added === 'unknown-destination') return fail(reply, failures.badBody, UNKNOWN_DESTINATION);
    return reply.send(succeed({ id: added.id }));
  });
  app.get<IdRoute>('/policies/:id', ({ params }, reply) => {
    const found = alerts.policy(params.id);
    return found ? reply.send(succeed(policyJson(found))) : fail(reply, failures.notFound);
  });
  app.put<IdRoute>('/policies/:id', ({ params, body }, reply) => {
    const wanted = policyChange.safeParse(body);
    if (!wanted.success) return fail(reply, failures.badBody, wrongFields(wanted.error));
    const changed = alerts.changePolicy(params.id, wanted.data);
    if (!changed) return fail(reply, failures.notFound);
    if (changed === 'unknown-destination') return fail(reply, failures.badBody, UNKNOWN_DESTINATION);
    return reply.send(succeed({ id: changed.id }));
  });
  app.delete<IdRoute>('/policies/:id', ({ params }, reply) =>
    alerts.removePolicy(params.id) ? reply.send(succeed(null)) : fail(reply, failures.notFound),
  );
}
