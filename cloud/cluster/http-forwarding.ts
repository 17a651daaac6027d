/**
 * Requests that another node serves: sent there over the mesh, run there as if they had come there, and the answer sent
 * back. Who serves a route stands in its config (served-by); proofs of callers are checked there as well as here.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import * as z from 'zod';
import { type ErrorCode, errorText, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { hashMatches, hashSecret, newSecret } from '../access/credentials.ts';
import { type ServedBy, textIn } from '../http/served-by.ts';
import type { Leadership, Mesh, Ownership, Place } from './cluster.ts';

export interface HttpForwardingOptions {
  mesh: Mesh;
  ownership: Pick<Ownership, 'place' | 'whereIs' | 'isHere'>;
  leadership: Pick<Leadership, 'isLeader' | 'leaderId'>;
  streams: {
    /** It runs here. */
    isHere(streamId: string): boolean;
    /** It ran here, and is remembered. */
    isRemembered(streamId: string): boolean;
    /** Of one that runs anywhere, as the store has it. */
    userOf(streamId: string): Promise<string | undefined>;
  };
  log: Log;
}

export interface HttpForwarding {
  /** Before any route is added. */
  install(server: FastifyInstance): void;
  /** Another node has sent it, whose door it has passed. */
  isForwarded(headers: IncomingHttpHeaders): boolean;
}

const SUBJECT = 'http';
/** Holds what no other process knows: who comes by it has been sent by ourselves. */
const MARK = 'x-glasscast-forwarded';
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** Larger bodies are packed: lists of ten thousand streams fit into a frame between nodes then. */
const PACK_BYTES = 64 * 1024;
/** Of what waits for the provider. */
const TIMEOUT_MS = 35_000;
const LIST_TIMEOUT_MS = 3_000;
/** Of one connection, not of a request; and what the two nodes say for themselves. */
const NOT_PASSED_ON =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|content-length|date|forwarded|x-forwarded-.*|x-real-ip|x-glasscast-forwarded)$/;

const bytes = z.object({
  text: z.string().optional(),
  base64: z.string().optional(),
  isPacked: z.boolean().optional(),
});
const headers = z.record(z.string(), z.union([z.string(), z.array(z.string()), z.number()]));
const passedRequest = z.object({
  ...{ method: z.string().max(10), url: z.string().max(16_384), headers, body: bytes.optional() },
  remoteAddress: z.string().max(100),
  /** It is served only where this user's session is. */
  userId: z.string().max(400).optional(),
});
const passedAnswer = z.object({ status: z.number().int().min(200).max(599), headers, body: bytes });
type PassedRequest = z.output<typeof passedRequest>;
type PassedAnswer = z.output<typeof passedAnswer>;
type PassedBytes = z.output<typeof bytes>;
type Choice<By extends ServedBy['by']> = Extract<ServedBy, { by: By }>;

export function createHttpForwarding(options: HttpForwardingOptions): HttpForwarding {
  const mark = newSecret();
  const markHash = hashSecret(mark.reveal());
  const isForwarded = (given: IncomingHttpHeaders) => {
    const shown = given[MARK];
    return typeof shown === 'string' && hashMatches(shown, markHash);
  };
  return {
    isForwarded,
    install(server) {
      const run = (request: PassedRequest) => runHere(server, request, mark.reveal());
      options.mesh.answer(SUBJECT, async (body) => {
        const parsed = passedRequest.safeParse(body);
        if (!parsed.success) throw new GlasscastError('MALFORMED_MESSAGE', { reason: 'not a request' });
        const { userId } = parsed.data;
        if (userId !== undefined) await checkHere(options.ownership, userId);
        return run(parsed.data);
      });
      const router = createRouter(options, run);
      server.addHook('preHandler', async (request, reply) => {
        if (isForwarded(request.headers)) return;
        const answer = await router.answerOf(request, request.routeOptions.config.servedBy);
        if (answer) return send(reply, answer);
      });
      server.addHook('onResponse', async (request, { statusCode }) => {
        if (request.routeOptions.config.servedBy?.by !== 'each' || statusCode >= 300) return;
        if (!isForwarded(request.headers)) await router.tellOthers(request);
      });
    },
  };
}

/** A session may be on its way here at this moment. Errors: SESSION_MOVED. */
async function checkHere(ownership: HttpForwardingOptions['ownership'], userId: string): Promise<void> {
  if (ownership.isHere(userId) || (await ownership.place(userId)) === 'here') return;
  throw new GlasscastError('SESSION_MOVED');
}

/** Undefined of each: it is served here. Errors: STORE_UNAVAILABLE, NODE_UNREACHABLE, and those of proofs. */
function createRouter(options: HttpForwardingOptions, run: (request: PassedRequest) => Promise<PassedAnswer>) {
  const { mesh, ownership, leadership, streams, log } = options;

  async function ask(nodeId: string, request: PassedRequest, timeoutMs: number): Promise<PassedAnswer> {
    const parsed = passedAnswer.safeParse(await mesh.call(nodeId, SUBJECT, request, { timeoutMs }));
    if (parsed.success) return parsed.data;
    throw new GlasscastError('NODE_UNREACHABLE', { reason: 'its answer is none' });
  }
  /** A session that moves at this very moment is looked for once more: nothing has been done for the request yet. */
  async function askOwner(userId: string, find: () => Promise<Place | undefined>, ...[request, timeoutMs]: Asked) {
    for (let isSecond = false; ; isSecond = true) {
      const place = await find();
      if (place === undefined || place === 'here') return undefined;
      try {
        return await ask(place.nodeId, { ...(await passed(request)), userId }, timeoutMs);
      } catch (error) {
        if (isSecond || !isCode(error, 'SESSION_MOVED')) throw error;
      }
    }
  }
  async function byOwner(request: FastifyRequest, { userOf, isLasting, timeoutMs }: Choice<'owner'>) {
    const userId = await userOf(request);
    if (userId === undefined) return undefined;
    const find = () => (isLasting ? ownership.whereIs(userId) : ownership.place(userId));
    const asked = askOwner(userId, find, request, timeoutMs ?? TIMEOUT_MS);
    return asked.catch((error: unknown) => {
      // Nothing of it is bound to that node, and twice is as good as once.
      if (isLasting && isCode(error, 'NODE_UNREACHABLE')) return undefined;
      throw error;
    });
  }
  async function byStream(request: FastifyRequest, { proof, timeoutMs = TIMEOUT_MS }: Choice<'stream'>) {
    const streamId = textIn(request.params, 'streamId') ?? '';
    if (streams.isHere(streamId)) return undefined;
    await proof?.(request);
    // Without the store it can still be found, by asking all.
    const userId = await streams.userOf(streamId).catch(() => undefined);
    if (userId !== undefined) return askOwner(userId, () => ownership.place(userId), request, timeoutMs);
    if (streams.isRemembered(streamId)) return undefined;
    const patienceMs = request.method === 'GET' ? LIST_TIMEOUT_MS : timeoutMs;
    const passedOn = await passed(request);
    const asked = mesh.others().map((nodeId) => ask(nodeId, passedOn, patienceMs));
    const answers = (await Promise.allSettled(asked)).flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    return answers.find(({ status }) => status !== 404);
  }
  async function byAll(request: FastifyRequest, { list, key, newestFirst }: Choice<'all'>) {
    const nodeIds = mesh.others();
    // Nobody reads the list of a HEAD.
    if (nodeIds.length === 0 || request.method === 'HEAD') return undefined;
    const passedOn = await passed(request);
    const asked = nodeIds.map((nodeId) => ask(nodeId, passedOn, LIST_TIMEOUT_MS));
    const [own, ...others] = await Promise.allSettled([run(passedOn), ...asked]);
    if (own?.status !== 'fulfilled' || own.value.status !== 200) return undefined;
    const entries = new Map<unknown, unknown>();
    const missingNodes: string[] = [];
    for (const [at, one] of [own, ...others].entries()) {
      const found = one.status === 'fulfilled' ? await listIn(one.value, list) : undefined;
      if (!found) missingNodes.push(nodeIds[at - 1] ?? mesh.nodeId);
      for (const entry of found ?? []) {
        const name = textIn(entry, key);
        if (!entries.has(name)) entries.set(name, entry);
      }
    }
    const whole = [...entries.values()];
    if (newestFirst) whole.sort((a, b) => ((textIn(a, newestFirst) ?? '') < (textIn(b, newestFirst) ?? '') ? 1 : -1));
    const text = JSON.stringify({ [list]: whole, ...(missingNodes.length > 0 ? { missingNodes } : {}) });
    return { status: 200, headers: { 'content-type': 'application/json; charset=utf-8' }, body: { text } };
  }
  async function byLeader(request: FastifyRequest) {
    if (leadership.isLeader()) return undefined;
    const leaderId = leadership.leaderId();
    if (leaderId === undefined) throw new GlasscastError('NODE_UNREACHABLE', { reason: 'no node leads right now' });
    return ask(leaderId, await passed(request), TIMEOUT_MS);
  }

  return {
    async answerOf(request: FastifyRequest, served: ServedBy | undefined): Promise<PassedAnswer | undefined> {
      switch (served?.by) {
        case 'owner':
          return byOwner(request, served);
        case 'stream':
          return byStream(request, served);
        case 'all':
          return byAll(request, served);
        case 'leader':
          return byLeader(request);
        default:
          return undefined;
      }
    },
    async tellOthers(request: FastifyRequest): Promise<void> {
      const passedOn = await passed(request);
      for (const nodeId of mesh.others()) {
        ask(nodeId, passedOn, TIMEOUT_MS).catch((error: unknown) =>
          log.info({ nodeId, reason: errorText(error) }, 'request-not-shared'),
        );
      }
    },
  };
}

type Asked = [request: FastifyRequest, timeoutMs: number];

/** As a server of ours takes it that it has come by a connection: limits, hooks, errors and all. */
async function runHere(server: FastifyInstance, request: PassedRequest, mark: string): Promise<PassedAnswer> {
  const { method, url, headers: given, body, remoteAddress } = request;
  const payload = body === undefined ? undefined : await bufferOf(body);
  const sent = { ...kept(given), [MARK]: mark };
  const answer = await server.inject({
    ...{ method: method as HTTPMethods, url, headers: sent, remoteAddress },
    ...(payload ? { payload } : {}),
  });
  const { statusCode: status, rawPayload } = answer;
  if (rawPayload.length > MAX_ANSWER_BYTES) throw new GlasscastError('INTERNAL', { reason: 'the answer is too large' });
  return { status, headers: kept(answer.headers), body: await bodyOf(rawPayload) };
}

/** Errors: MALFORMED_MESSAGE when it is larger than any that a route takes. */
async function passed(request: FastifyRequest): Promise<PassedRequest> {
  const { method, body: parsed, ip: remoteAddress, originalUrl: url } = request;
  const given = kept(request.headers);
  if (parsed === undefined || parsed === null) {
    delete given['content-type'];
    return { method, url, headers: given, remoteAddress };
  }
  // What a route has let be read as text, it reads as text there, to the byte.
  const content = Buffer.isBuffer(parsed) ? parsed : Buffer.from(asText(parsed));
  if (content.length > MAX_BODY_BYTES)
    throw new GlasscastError('MALFORMED_MESSAGE', { reason: 'the body is too large' });
  return { method, url, headers: given, body: await bodyOf(content), remoteAddress };
}

const isCode = (error: unknown, code: ErrorCode) => isGlasscastError(error) && error.code === code;

const packed = promisify<Buffer, Buffer>(gzip);
const unpacked = promisify<Buffer, { maxOutputLength: number }, Buffer>(gunzip);

const asText = (body: unknown) => (typeof body === 'string' ? body : JSON.stringify(body));

async function send(reply: FastifyReply, { status, headers: given, body }: PassedAnswer): Promise<FastifyReply> {
  const content = await bufferOf(body);
  return reply.code(status).headers(kept(given)).send(content);
}

function kept(given: IncomingHttpHeaders | OutgoingHttpHeaders): PassedAnswer['headers'] {
  const all = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
  return Object.fromEntries(all.filter(([name]) => !NOT_PASSED_ON.test(name.toLowerCase())));
}

async function bodyOf(content: Buffer): Promise<PassedBytes> {
  if (content.length > PACK_BYTES) return { base64: (await packed(content)).toString('base64'), isPacked: true };
  return isUtf8(content) ? { text: content.toString() } : { base64: content.toString('base64') };
}

async function bufferOf({ text, base64, isPacked = false }: PassedBytes): Promise<Buffer> {
  if (base64 === undefined) return Buffer.from(text ?? '');
  const content = Buffer.from(base64, 'base64');
  return isPacked ? unpacked(content, { maxOutputLength: MAX_ANSWER_BYTES }) : content;
}

async function listIn({ status, body }: PassedAnswer, list: string): Promise<unknown[] | undefined> {
  if (status !== 200) return undefined;
  try {
    const found = (JSON.parse((await bufferOf(body)).toString()) as Record<string, unknown>)[list];
    return Array.isArray(found) ? found : undefined;
  } catch {
    return undefined;
  }
}
