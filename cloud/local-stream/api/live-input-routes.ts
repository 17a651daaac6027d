/** The API's live inputs and their outputs: paths, codes and traps as measured on the real one. Every rule lies in the registry. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import type { Outputs } from '../outputs.ts';
import { videoJson } from '../recordings/video.ts';
import type { VideoLibrary } from '../recordings/video-library.ts';
import { fail, failures, succeed, wrongFields } from './envelope.ts';
import {
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

export interface LiveInputRoutesOptions {
  registry: LiveInputRegistry;
  library: Pick<VideoLibrary, 'list'>;
  outputs: Pick<Outputs, 'states'>;
  addresses: () => PublicAddresses;
}

type InputRoute = { Params: { uid: string } };
type OutputRoute = { Params: { uid: string; output: string } };

const MAX_IDEMPOTENCY_KEY_BYTES = 255;
const listQuery = z.object({ include_counts: z.enum(['true', 'false']).optional() });

export function liveInputRoutes(app: FastifyInstance, { registry, library, addresses }: LiveInputRoutesOptions): void {
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
  // A bare list unless counts are asked for: the documented wrapper is not what the real API answers without.
  app.get('/live_inputs', (request, reply) => {
    const query = listQuery.safeParse(request.query);
    if (!query.success) return fail(reply, failures.badBody, wrongFields(query.error));
    const liveInputs = registry.list().map(liveInputListJson);
    const counts = { range: liveInputs.length, total: liveInputs.length };
    return reply.send(succeed(query.data.include_counts === 'true' ? { liveInputs, ...counts } : liveInputs));
  });
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

export function outputRoutes(app: FastifyInstance, { registry, outputs }: LiveInputRoutesOptions): void {
  const json = (inputUid: string, output: Output) => outputJson(output, outputs.states(inputUid).get(output.uid));
  app.get<InputRoute>('/live_inputs/:uid/outputs', ({ params }, reply) => {
    const input = registry.get(params.uid);
    if (!input) return fail(reply, failures.notFound);
    return reply.send(succeed(input.outputs.map((output) => json(input.uid, output))));
  });
  app.post<InputRoute>('/live_inputs/:uid/outputs', (request, reply) => {
    const body = outputBody.safeParse(request.body);
    if (!body.success) return fail(reply, failures.badBody, wrongFields(body.error));
    // Said now: a push that can never be made would look like one that was not made yet.
    if (!/^rtmps?:/i.test(body.data.url)) return fail(reply, failures.badOutput, 'url: only rtmp:// and rtmps:// here');
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
