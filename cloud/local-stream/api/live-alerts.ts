/**
 * Where live events go by the account's own settings: destinations, and policies that say which events go to which of them, as
 * Cloudflare's Notifications have it. Decides who is told; sends nothing.
 */
import * as z from 'zod';
import type { Clock } from '../../../shared/clock.ts';
import { type Redactor, Secret } from '../../../shared/secrets.ts';
import type { AlertDestination, AlertPolicy, Catalogue } from '../catalogue.ts';
import { isoTime, newUid } from './live-input.ts';

export const ALERT_TYPE = 'stream_live_notifications';
const eventType = z.enum(['live_input.connected', 'live_input.disconnected', 'live_input.errored']);

export const destinationBody = z.object({
  name: z.string().min(1).max(200),
  url: z.url({ protocol: /^https?$/ }),
  secret: z.string().max(1000).optional(),
});
/** What is not offered here is refused rather than dropped: nobody should wait for a mail that is never sent. */
export const policyBody = z.object({
  name: z.string().min(1).max(200),
  description: z.string().max(1000).optional(),
  alert_type: z.literal(ALERT_TYPE),
  enabled: z.boolean(),
  mechanisms: z.strictObject({
    webhooks: z
      .array(z.object({ id: z.string() }))
      .min(1)
      .max(20),
  }),
  filters: z
    .strictObject({
      /** Each may hold several with commas between. */
      input_id: z.array(z.string()).max(1000).optional(),
      event_type: z.array(eventType).optional(),
    })
    .nullish(),
});
export const policyChange = policyBody.partial();

type DestinationBody = z.output<typeof destinationBody>;
type PolicyBody = z.output<typeof policyBody>;
type PolicyChange = z.output<typeof policyChange>;

export interface LiveAlertTarget {
  destinationId: string;
  url: string;
  secret: Secret | undefined;
  policy: { id: string; name: string };
}

export interface LiveAlerts {
  destinations(): AlertDestination[];
  destination(id: string): AlertDestination | undefined;
  addDestination(body: DestinationBody): AlertDestination | 'too-many';
  /** Without a secret in the body the old one stays. */
  changeDestination(id: string, body: DestinationBody): AlertDestination | undefined;
  removeDestination(id: string): boolean;
  /** As the API shows it: without the secret. */
  destinationJson(destination: AlertDestination): object;
  policies(): AlertPolicy[];
  policy(id: string): AlertPolicy | undefined;
  addPolicy(body: PolicyBody): AlertPolicy | 'too-many' | 'unknown-destination';
  changePolicy(id: string, body: PolicyChange): AlertPolicy | 'unknown-destination' | undefined;
  removePolicy(id: string): boolean;
  /** @param type e.g. `connected`. One for each policy and destination. */
  targetsOf(event: { type: string; inputUid: string }): LiveAlertTarget[];
  /** For `last_success` and `last_failure`, kept in memory only. */
  sent(destinationId: string, isTaken: boolean): void;
}

export interface LiveAlertsOptions {
  catalogue: Pick<
    Catalogue,
    | 'alertDestinations'
    | 'saveAlertDestination'
    | 'removeAlertDestination'
    | 'alertPolicies'
    | 'saveAlertPolicy'
    | 'removeAlertPolicy'
  >;
  clock: Clock;
  redactor: Redactor;
}

const MAX_DESTINATIONS = 50;
const MAX_POLICIES = 50;

export function createLiveAlerts({ catalogue, clock, redactor }: LiveAlertsOptions): LiveAlerts {
  const destinations = new Map(catalogue.alertDestinations().map((one) => [one.id, one]));
  const policies = new Map(catalogue.alertPolicies().map((one) => [one.id, one]));
  const outcomes = new Map<string, { successMs?: number; failureMs?: number }>();
  for (const { secret } of destinations.values()) redactor.add(secret);

  function keepDestination(destination: AlertDestination): AlertDestination {
    const former = destinations.get(destination.id);
    redactor.add(destination.secret);
    catalogue.saveAlertDestination(destination);
    destinations.set(destination.id, destination);
    if (former) redactor.forget(former.secret);
    return destination;
  }
  function keepPolicy(policy: AlertPolicy): AlertPolicy | 'unknown-destination' {
    if (!policy.destinationIds.every((id) => destinations.has(id))) return 'unknown-destination';
    catalogue.saveAlertPolicy(policy);
    policies.set(policy.id, policy);
    return policy;
  }

  return {
    destinations: () => [...destinations.values()],
    destination: (id) => destinations.get(id),
    addDestination({ name, url, secret = '' }) {
      if (destinations.size >= MAX_DESTINATIONS) return 'too-many';
      return keepDestination({ id: newUid(), name, url, secret, createdMs: clock.now() });
    },
    changeDestination(id, body) {
      const former = destinations.get(id);
      return former && keepDestination({ ...former, ...body, secret: body.secret ?? former.secret });
    },
    removeDestination(id) {
      const former = destinations.get(id);
      if (!former) return false;
      catalogue.removeAlertDestination(id);
      redactor.forget(former.secret);
      outcomes.delete(id);
      return destinations.delete(id);
    },
    destinationJson({ id, name, url, createdMs }) {
      const { successMs, failureMs } = outcomes.get(id) ?? {};
      return {
        ...{ id, name, type: 'generic', url, created_at: isoTime(createdMs) },
        last_success: successMs === undefined ? null : isoTime(successMs),
        last_failure: failureMs === undefined ? null : isoTime(failureMs),
      };
    },
    policies: () => [...policies.values()],
    policy: (id) => policies.get(id),
    addPolicy(body) {
      if (policies.size >= MAX_POLICIES) return 'too-many';
      const nowMs = clock.now();
      const blank = { destinationIds: [], inputUids: [], eventTypes: [], name: '', description: '', enabled: false };
      return keepPolicy(changedPolicy({ ...blank, id: newUid(), createdMs: nowMs, modifiedMs: nowMs }, body, nowMs));
    },
    changePolicy(id, body) {
      const former = policies.get(id);
      return former && keepPolicy(changedPolicy(former, body, clock.now()));
    },
    removePolicy(id) {
      if (!policies.has(id)) return false;
      catalogue.removeAlertPolicy(id);
      return policies.delete(id);
    },
    targetsOf(event) {
      return [...policies.values()]
        .filter((policy) => isFor(policy, event))
        .flatMap(({ id, name, destinationIds }) =>
          destinationIds.flatMap((destinationId) => {
            const found = destinations.get(destinationId);
            if (!found) return [];
            const secret = found.secret ? new Secret(found.secret) : undefined;
            return [{ destinationId, url: found.url, secret, policy: { id, name } }];
          }),
        );
    },
    sent(destinationId, isTaken) {
      if (!destinations.has(destinationId)) return;
      const key = isTaken ? 'successMs' : 'failureMs';
      outcomes.set(destinationId, { ...outcomes.get(destinationId), [key]: clock.now() });
    },
  };
}

function isFor({ enabled, inputUids, eventTypes }: AlertPolicy, event: { type: string; inputUid: string }): boolean {
  const isInput = inputUids.length === 0 || inputUids.includes(event.inputUid);
  return enabled && isInput && (eventTypes.length === 0 || eventTypes.includes(`live_input.${event.type}`));
}

function changedPolicy(policy: AlertPolicy, body: PolicyChange, nowMs: number): AlertPolicy {
  const { mechanisms, filters } = body;
  const ids = (filters?.input_id ?? []).flatMap((text) => text.split(',')).map((id) => id.trim());
  return {
    ...policy,
    name: body.name ?? policy.name,
    description: body.description ?? policy.description,
    enabled: body.enabled ?? policy.enabled,
    destinationIds: mechanisms ? [...new Set(mechanisms.webhooks.map(({ id }) => id))] : policy.destinationIds,
    inputUids: filters === undefined ? policy.inputUids : ids.filter((id) => id !== ''),
    eventTypes: filters === undefined ? policy.eventTypes : (filters?.event_type ?? []),
    modifiedMs: nowMs,
  };
}

export function policyJson(policy: AlertPolicy): object {
  const { id, name, description, enabled, destinationIds, inputUids, eventTypes } = policy;
  return {
    ...{ id, name, description, enabled, alert_type: ALERT_TYPE },
    mechanisms: { webhooks: destinationIds.map((destination) => ({ id: destination })) },
    filters: {
      ...(inputUids.length > 0 ? { input_id: inputUids } : {}),
      ...(eventTypes.length > 0 ? { event_type: eventTypes } : {}),
    },
    created: isoTime(policy.createdMs),
    modified: isoTime(policy.modifiedMs),
  };
}
