/**
 * What goes wrong at the real provider, to be switched on by tests: hooks around the API and the delivery host, and
 * two questions that the ingest and the webhooks ask. Nothing of it is there unless the admin port is.
 */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { fail, failed, failures } from './api/envelope.ts';

const delayMs = z.number().int().min(0).max(600_000);
/** Each by its name, with its settings. */
const faultSettings = {
  /** Every call is answered 429. */
  'rate-limited': z.object({
    retryAfterSeconds: z.number().int().min(0).default(1),
    asDate: z.boolean().default(false),
  }),
  /** A creation takes effect and is answered 500. */
  'lost-creation': z.object({}),
  /** Every call is answered 500 and has no effect. */
  failing: z.object({}),
  /** Every call is answered 403 and has no effect: an account without Stream. */
  'no-subscription': z.object({}),
  'slow-replies': z.object({ delayMs }),
  /** A deletion is answered 200 with JSON's content type and nothing else. */
  'empty-deletion': z.object({}),
  /** `status` of an input as one word, as documented. */
  'status-word': z.object({}),
  /** The list of inputs in an object, as documented. */
  'wrapped-list': z.object({}),
  'webhooks-missing': z.object({}),
  'webhooks-twice': z.object({}),
  'webhooks-late': z.object({ delayMs }),
  /** Connected, and the manifest stays 204. */
  dark: z.object({}),
  /** Inputs are made, publishers refused. */
  'storage-exhausted': z.object({}),
  /** Outputs say that they cannot reach their target. */
  'output-error': z.object({}),
  /** WebRTC plays nothing that came by RTMP: 409, as there. */
  'webrtc-island': z.object({}),
  /** The delivery host answers 403 with 1010: to everybody, or to whoever is no browser. */
  'delivery-forbidden': z.object({ onlyStrangers: z.boolean().default(false) }),
} as const;

export type FaultName = keyof typeof faultSettings;
type Settings<Name extends FaultName> = z.output<(typeof faultSettings)[Name]>;

export interface Faults {
  /** Around the API's routes; to be called on their scope before they are added. */
  aroundApi(scope: FastifyInstance): void;
  aroundDelivery(scope: FastifyInstance): void;
  /** When to send a webhook, in ms from now. */
  sendings(): readonly number[];
  isStorageExhausted(): boolean;
  isWebRtcIsland(): boolean;
  /** For what never reaches the hooks around the delivery host: upgrades to a WebSocket. */
  isDeliveryForbidden(userAgent: string | undefined): boolean;
  /** Hits so far of each fault that is on. */
  list(): Record<string, { hits: number }>;
  /** @param settings with `times`: off again after so many hits. Returns what is wrong with them. */
  switchOn(name: FaultName, settings: unknown): string | undefined;
  switchOff(name?: FaultName): void;
}

export function isFaultName(name: string): name is FaultName {
  return Object.hasOwn(faultSettings, name);
}

export function createFaults({ clock }: { clock: Clock }): Faults {
  const closing = new AbortController();
  const active = new Map<FaultName, { settings: unknown; hits: number; times: number }>();

  /** The settings of a fault that is on; counts as a hit. */
  function hit<Name extends FaultName>(name: Name): Settings<Name> | undefined {
    const fault = active.get(name);
    if (!fault || fault.hits >= fault.times) return undefined;
    fault.hits += 1;
    return fault.settings as Settings<Name>;
  }

  function isDeliveryForbidden(userAgent = ''): boolean {
    const forbidden = active.get('delivery-forbidden')?.settings as Settings<'delivery-forbidden'> | undefined;
    if (!forbidden || (forbidden.onlyStrangers && /mozilla/i.test(userAgent))) return false;
    return hit('delivery-forbidden') !== undefined;
  }

  async function beforeCall(_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
    const slow = hit('slow-replies');
    // Cut short only by the server's end, when nobody hears the answer any more.
    if (slow) await clock.sleep(slow.delayMs, { name: 'fault-slow', signal: closing.signal }).catch(() => undefined);
    const limited = hit('rate-limited');
    if (limited) {
      const { retryAfterSeconds: seconds, asDate } = limited;
      void reply.header('retry-after', asDate ? new Date(clock.now() + seconds * 1000).toUTCString() : seconds);
      return fail(reply, failures.rateLimited);
    }
    if (hit('no-subscription')) return fail(reply, failures.noSubscription);
    return hit('failing') ? fail(reply, failures.internal) : undefined;
  }

  return {
    aroundApi(scope) {
      scope.addHook('onRequest', beforeCall);
      scope.addHook('preClose', async () => closing.abort());
      scope.addHook('preSerialization', async (request, _reply, payload) => {
        const { result } = payload as { result?: unknown };
        return { ...(payload as object), result: distorted(hit, routeOf(request), result) };
      });
      scope.addHook('onSend', async (request, reply, payload) => {
        const isCreation = request.method === 'POST' && routeOf(request) === '/live_inputs' && reply.statusCode === 200;
        if (isCreation && hit('lost-creation')) {
          const { http, code, message } = failures.internal;
          void reply.code(http);
          return JSON.stringify(failed(code, message));
        }
        const isDeletion = request.method === 'DELETE' && reply.statusCode === 200;
        if (!isDeletion || !hit('empty-deletion')) return payload;
        // Without a length: that is what clients were seen to stumble over.
        void reply.header('transfer-encoding', 'chunked');
        return Readable.from([]);
      });
    },
    aroundDelivery(scope) {
      scope.addHook('onRequest', async (request, reply) => {
        if (isDeliveryForbidden(request.headers['user-agent'])) {
          return reply.code(403).type('text/plain').send('error code: 1010');
        }
        return request.url.includes('/manifest/') && hit('dark') ? reply.code(204).send() : undefined;
      });
    },
    sendings() {
      if (hit('webhooks-missing')) return [];
      if (hit('webhooks-twice')) return [0, 0];
      return [hit('webhooks-late')?.delayMs ?? 0];
    },
    isDeliveryForbidden,
    isStorageExhausted: () => hit('storage-exhausted') !== undefined,
    isWebRtcIsland: () => hit('webrtc-island') !== undefined,
    list: () => Object.fromEntries([...active].map(([name, { hits }]) => [name, { hits }])),
    switchOn(name, given) {
      const times = z.object({ times: z.number().int().min(1).optional() }).safeParse(given ?? {});
      const settings = faultSettings[name].safeParse(given ?? {});
      if (!times.success || !settings.success) return (times.error ?? settings.error)?.issues[0]?.message ?? 'wrong';
      active.set(name, { settings: settings.data, hits: 0, times: times.data.times ?? Number.POSITIVE_INFINITY });
      return undefined;
    },
    switchOff(name) {
      if (name === undefined) active.clear();
      else active.delete(name);
    },
  };
}

/** Below the account, e.g. `/live_inputs/:uid`. */
function routeOf(request: FastifyRequest): string {
  return (request.routeOptions.url ?? '').replace(/^.*\/stream/, '');
}

function distorted(hit: (name: FaultName) => object | undefined, route: string, result: unknown): unknown {
  if (route === '/live_inputs' && Array.isArray(result) && hit('wrapped-list')) {
    return { liveInputs: result, range: result.length, total: result.length };
  }
  if (route.startsWith('/live_inputs/:uid/outputs') && result !== null && hit('output-error')) {
    const failed = (output: object) => ({ ...output, status: { current: { state: 'error' } } });
    return Array.isArray(result) ? result.map(failed) : failed(result as object);
  }
  const status = (result as { status?: { current?: { state?: string } } } | null)?.status;
  if (!route.startsWith('/live_inputs') || !status?.current || !hit('status-word')) return result;
  return { ...(result as object), status: status.current.state };
}
