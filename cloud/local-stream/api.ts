/**
 * Cloudflare's Stream Live REST API over our live inputs and videos: paths, envelope, codes and traps as measured on the real one.
 * Translates only; every rule lies in the registry and the library.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import { z } from 'zod';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Secret } from '../../shared/secrets.ts';
import type { RecordingWebhook } from './catalogue.ts';
import { fail, failures, succeed, wrongFields } from './envelope.ts';
import {
  isoTime,
  liveInputBody,
  liveInputJson,
  liveInputListJson,
  type Output,
  outputBody,
  outputChange,
  outputJson,
  type PublicAddresses,
  recordingDays,
} from './live-input.ts';
import type { LiveInputRegistry } from './live-input-registry.ts';
import type { Outputs } from './outputs.ts';
import { type Video, videoJson } from './video.ts';
import type { VideoLibrary } from './video-library.ts';
import type { Webhooks } from './webhooks.ts';

export interface ApiOptions {
  registry: LiveInputRegistry;
  library: Pick<VideoLibrary, 'list' | 'get' | 'remove'>;
  outputs: Pick<Outputs, 'states'>;
  apiToken: Secret;
  accountId: string;
  log: Log;
  /** Known once both ports listen. */
  addresses: () => PublicAddresses;
  storageUsage: () => StorageUsage;
  webhooks: Pick<Webhooks, 'setRecordingTarget' | 'recordingTarget' | 'removeRecordingTarget'>;
}

export interface StorageUsage {
  totalStorageMinutes: number;
  totalStorageMinutesLimit: number;
  videoCount: number;
}

export const apiPrefix = '/client/v4';
const MAX_IDEMPOTENCY_KEY_BYTES = 255;

/** To be registered under `apiPrefix`. */
export function createApi(options: ApiOptions): FastifyPluginCallback {
  const expected = digest(`Bearer ${options.apiToken.reveal()}`);
  return (app, _, done) => {
    // An empty body is a body here: clients send DELETE and PUT with a JSON content type and nothing else.
    app.removeContentTypeParser(['application/json', 'text/plain']);
    app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, parsed) => {
      try {
        parsed(null, body === '' ? undefined : JSON.parse(String(body)));
      } catch {
        parsed(Object.assign(new Error('not JSON'), { statusCode: 400 }));
      }
    });
    app.addHook('onRequest', async (request, reply) => {
      // Digests have one length, so the comparison takes one time.
      const isKnown = timingSafeEqual(digest(request.headers.authorization ?? ''), expected);
      if (!isKnown) return fail(reply, failures.unauthorized);
      const { account } = request.params as { account?: string };
      if (account !== undefined && account !== options.accountId) return fail(reply, failures.noRoute);
      return undefined;
    });
    app.setNotFoundHandler((_request, reply) => fail(reply, failures.noRoute));
    app.setErrorHandler((error, request, reply) => {
      const status = (error as { statusCode?: number }).statusCode ?? 500;
      if (status < 500) return fail(reply, failures.badBody);
      options.log.error({ method: request.method, cause: errorText(error) }, 'api-failed');
      return fail(reply, failures.internal);
    });
    app.register(
      (account, _none, ready) => {
        liveInputRoutes(account, options);
        outputRoutes(account, options);
        webhookRoutes(account, options);
        videoRoutes(account, options);
        ready();
      },
      { prefix: '/accounts/:account/stream' },
    );
    done();
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

type InputRoute = { Params: { uid: string } };
type OutputRoute = { Params: { uid: string; output: string } };

function liveInputRoutes(app: FastifyInstance, { registry, library, addresses }: ApiOptions): void {
  app.post('/live_inputs', (request, reply) => {
    const body = liveInputBody.safeParse(request.body ?? {});
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    if (!areDaysAllowed(body.data.deleteRecordingAfterDays)) return fail(reply, failures.badRecordingDays);
    const key = request.headers['idempotency-key'];
    if (Array.isArray(key) || Buffer.byteLength(key ?? '') > MAX_IDEMPOTENCY_KEY_BYTES) {
      return fail(reply, failures.badBody, 'Idempotency-Key must be one value of at most 255 bytes');
    }
    const input = registry.create(body.data, key);
    if (input === 'key-spent') return fail(reply, failures.keySpent);
    return reply.send(succeed(liveInputJson(input, addresses())));
  });
  // A bare list: the documented wrapper is not what the real API answers.
  app.get('/live_inputs', (_, reply) => reply.send(succeed(registry.list().map(liveInputListJson))));
  app.get<InputRoute>('/live_inputs/:uid', ({ params }, reply) => {
    const input = registry.get(params.uid);
    if (!input) return fail(reply, failures.notFound);
    return reply.send(succeed(liveInputJson(input, addresses())));
  });
  app.put<InputRoute>('/live_inputs/:uid', (request, reply) => {
    const body = liveInputBody.safeParse(request.body ?? {});
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    if (!areDaysAllowed(body.data.deleteRecordingAfterDays)) return fail(reply, failures.badRecordingDays);
    const input = registry.update(request.params.uid, body.data);
    if (!input) return fail(reply, failures.notFound);
    return reply.send(succeed(liveInputJson(input, addresses())));
  });
  app.delete<InputRoute>('/live_inputs/:uid', ({ params }, reply) => {
    if (!registry.remove(params.uid)) return fail(reply, failures.notFound);
    return reply.send(succeed({}));
  });
  app.post<InputRoute>('/live_inputs/:uid/rotate_keys', ({ params }, reply) => {
    const input = registry.rotateKeys(params.uid);
    if (!input) return fail(reply, failures.notFound);
    return reply.send(succeed(liveInputJson(input, addresses())));
  });
  app.get<InputRoute>('/live_inputs/:uid/videos', ({ params }, reply) => {
    if (!registry.get(params.uid)) return fail(reply, failures.notFound);
    const videos = library.list().filter(({ liveInputUid }) => liveInputUid === params.uid);
    return reply.send(succeed(videos.map((video) => videoJson(video, addresses().httpOrigin))));
  });
}

function areDaysAllowed(days: number | null | undefined): boolean {
  return days === undefined || days === null || (days >= recordingDays.min && days <= recordingDays.max);
}

function outputRoutes(app: FastifyInstance, { registry, outputs }: ApiOptions): void {
  const json = (inputUid: string, output: Output) => outputJson(output, outputs.states(inputUid).get(output.uid));
  app.get<InputRoute>('/live_inputs/:uid/outputs', ({ params }, reply) => {
    const input = registry.get(params.uid);
    if (!input) return fail(reply, failures.notFound);
    return reply.send(succeed(input.outputs.map((output) => json(input.uid, output))));
  });
  app.post<InputRoute>('/live_inputs/:uid/outputs', (request, reply) => {
    const body = outputBody.safeParse(request.body);
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    const output = registry.addOutput(request.params.uid, body.data);
    if (output === undefined) return fail(reply, failures.notFound);
    if (output === 'too-many') return fail(reply, failures.tooManyOutputs);
    return reply.send(succeed(json(request.params.uid, output)));
  });
  app.put<OutputRoute>('/live_inputs/:uid/outputs/:output', (request, reply) => {
    const body = outputChange.safeParse(request.body);
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    const output = registry.changeOutput(request.params.uid, request.params.output, body.data.enabled);
    if (!output) return fail(reply, failures.notFound);
    return reply.send(succeed(json(request.params.uid, output)));
  });
  app.delete<OutputRoute>('/live_inputs/:uid/outputs/:output', ({ params }, reply) => {
    if (!registry.removeOutput(params.uid, params.output)) return fail(reply, failures.notFound);
    return reply.send(succeed({}));
  });
}

const webhookBody = z.object({ notificationUrl: z.url({ protocol: /^https?$/ }) });

function webhookRoutes(app: FastifyInstance, { webhooks }: ApiOptions): void {
  const shown = ({ notificationUrl, modifiedMs, secret }: RecordingWebhook) =>
    succeed({ notificationUrl, modified: isoTime(modifiedMs), secret });
  app.put('/webhook', (request, reply) => {
    const body = webhookBody.safeParse(request.body);
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    return reply.send(shown(webhooks.setRecordingTarget(body.data.notificationUrl)));
  });
  app.get('/webhook', (_, reply) => {
    const target = webhooks.recordingTarget();
    return target ? reply.send(shown(target)) : fail(reply, failures.notFound);
  });
  app.delete('/webhook', (_, reply) => {
    webhooks.removeRecordingTarget();
    return reply.send(succeed({}));
  });
}

/** Times bound `created`, the newest first unless `asc`. */
const videoQuery = z.object({
  live_input_id: z.string().optional(),
  status: z.string().optional(),
  creator: z.string().optional(),
  search: z.string().optional(),
  start: z.iso.datetime({ offset: true }).optional(),
  after: z.iso.datetime({ offset: true }).optional(),
  end: z.iso.datetime({ offset: true }).optional(),
  before: z.iso.datetime({ offset: true }).optional(),
  asc: z.enum(['true', 'false']).optional(),
  include_counts: z.enum(['true', 'false']).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(1000),
});

function isWanted(video: Video, query: z.output<typeof videoQuery>): boolean {
  const from = query.after ?? query.start;
  const to = query.before ?? query.end;
  return (
    (query.live_input_id === undefined || video.liveInputUid === query.live_input_id) &&
    (query.status === undefined || video.state === query.status) &&
    (query.creator === undefined || video.creator === query.creator) &&
    (query.search === undefined || String(video.meta.name ?? '').includes(query.search)) &&
    (from === undefined || video.createdMs >= Date.parse(from)) &&
    (to === undefined || video.createdMs < Date.parse(to))
  );
}

function videoRoutes(app: FastifyInstance, { library, addresses, storageUsage }: ApiOptions): void {
  app.get('/', (request, reply) => {
    const query = videoQuery.safeParse(request.query);
    if (!query.success) return fail(reply, failures.badBody, wrongFields(query.error));
    const wanted = library.list().filter((video) => isWanted(video, query.data));
    if (query.data.asc === 'true') wanted.reverse();
    const listed = wanted.slice(0, query.data.limit);
    const counts = query.data.include_counts === 'true' ? { range: listed.length, total: wanted.length } : {};
    const { httpOrigin } = addresses();
    return reply.send(
      succeed(
        listed.map((video) => videoJson(video, httpOrigin)),
        counts,
      ),
    );
  });
  app.get('/storage-usage', (_, reply) => reply.send(succeed(storageUsage())));
  app.get<InputRoute>('/:uid', ({ params }, reply) => {
    const video = library.get(params.uid);
    if (!video) return fail(reply, failures.notFound);
    return reply.send(succeed(videoJson(video, addresses().httpOrigin)));
  });
  app.delete<InputRoute>('/:uid', async ({ params }, reply) => {
    const removed = await library.remove(params.uid);
    if (removed === undefined) return fail(reply, failures.notFound);
    if (!removed) return fail(reply, failures.stillLive);
    return reply.send(succeed({}));
  });
}
