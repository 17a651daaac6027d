/**
 * REST of restream outputs for apps: `/api/streams/:streamId/outputs`, with their API key. Codes, statuses and bodies are
 * MentraOS', the same on every path; the rules about outputs lie with the outputs.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { hashMatches } from '../access/credentials.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import { createRateLimit } from '../access/rate-limits.ts';
import type { AppCatalog } from '../apps/app-catalog.ts';
import { urlFor } from '../provider/output-views.ts';
import { outputLimits, type RestreamOutput, type RestreamOutputs } from '../provider/restream-outputs.ts';
import type { StreamRegistry } from '../streams/stream-registry.ts';
import { acceptEmptyBodies, answerError, type Routes } from './http.ts';
import { servedBy } from './served-by.ts';

export interface OutputRoutesOptions {
  catalog: Pick<AppCatalog, 'get'>;
  streams: Pick<StreamRegistry, 'outputs' | 'snapshots'>;
  attempts: FailedAttempts;
  clock: Clock;
  log: Log;
}

type OfStream = { Params: { streamId: string } };
type OfOutput = { Params: { streamId: string; outputId: string } };

/** Of one app and stream: each change is a call to the provider, whose budget all share. */
export const OUTPUT_CHANGES = { perSecond: 0.5, burst: 2 * outputLimits.maxPerStream };
const MAX_NAME_CHARS = 200;

export function outputRoutes(options: OutputRoutesOptions): Routes {
  return (server) => {
    server.register(async (scope) => {
      acceptEmptyBodies(scope);
      scope.setErrorHandler((thrown, request, reply) => answerError(thrown, request, reply, options.log, bodyOf));
      addRoutes(scope, options);
    });
  };
}

function addRoutes(scope: FastifyInstance, options: OutputRoutesOptions): void {
  const { clock, streams } = options;
  const changes = createRateLimit({ clock, ...OUTPUT_CHANGES });
  const path = '/api/streams/:streamId/outputs';
  const byStream = servedBy({ by: 'stream', proof: (request) => callingApp(request, options) });

  /** Undefined while the stream is being made. @throws GlasscastError STREAM_NOT_FOUND, NOT_A_VIEWER of `watcher` */
  function outputsOf(streamId: string, watcher?: string): RestreamOutputs | undefined {
    const found = streams.outputs(streamId);
    const beingMade = streams.snapshots().find((one) => one.streamId === streamId && one.state === 'provisioning');
    const viewers = found?.viewers ?? beingMade?.viewers;
    if (!viewers) throw new GlasscastError('STREAM_NOT_FOUND');
    if (watcher !== undefined && !viewers.includes(watcher)) throw new GlasscastError('NOT_A_VIEWER');
    return found?.outputs;
  }
  function changing(outputs: RestreamOutputs | undefined, streamId: string, packageName: string): RestreamOutputs {
    if (!outputs) throw new GlasscastError('OUTPUTS_NOT_READY');
    if (!changes.take(`${streamId} ${packageName}`)) throw new GlasscastError('RATE_LIMITED');
    return outputs;
  }

  scope.post<OfStream>(path, byStream, async (request) => {
    const packageName = await callingApp(request, options);
    const destination = destinationOf(request.body);
    const { streamId } = request.params;
    const outputs = changing(outputsOf(streamId, packageName), streamId, packageName);
    const { outputId } = await outputs.add(packageName, destination);
    return { success: true, outputId, message: 'Output added successfully' };
  });
  scope.delete<OfOutput>(`${path}/:outputId`, byStream, async (request) => {
    const packageName = await callingApp(request, options);
    const { streamId, outputId } = request.params;
    // Its own output is an app's to remove after it has left the stream, too.
    await changing(outputsOf(streamId), streamId, packageName).remove(packageName, outputId);
    return { success: true, message: 'Output removed successfully' };
  });
  scope.get<OfStream>(path, byStream, async (request) => {
    const packageName = await callingApp(request, options);
    const { streamId } = request.params;
    const outputs = (outputsOf(streamId, packageName)?.list() ?? []).map((output) => shown(output, packageName));
    return { streamId, outputs, total: outputs.length, ...outputLimits };
  });
}

/** `status` is the provider's word here, unlike in the statuses that apps hear. */
function shown(output: RestreamOutput, packageName: string): object {
  const { outputId, name, addedBy, state, error } = output;
  return { outputId, url: urlFor(packageName, output), name, addedBy, status: state, error };
}

/**
 * The package name, proven by its key: `Authorization: Bearer` with `packageName` in the body or the query, or the two
 * headers that MentraOS documents and does not read. @throws GlasscastError whose `details.answer` is MentraOS' sentence.
 */
async function callingApp(request: FastifyRequest, { attempts, catalog }: OutputRoutesOptions): Promise<string> {
  const { body, headers, ip, query } = request;
  const apiKey = apiKeyOf(headers);
  const packageName = textOf(body, 'packageName') ?? textOf(query, 'packageName') ?? textOf(headers, 'x-package-name');
  if (!packageName) {
    const answer = 'Package name required for API key validation';
    throw new GlasscastError('MALFORMED_MESSAGE', { reason: answer, details: { answer } });
  }
  await attempts.guard(ip, async () => {
    const app = await catalog.get(packageName).catch((error: unknown) => {
      if (isGlasscastError(error) && error.code === 'PACKAGE_NOT_FOUND') return undefined;
      throw error;
    });
    if (!app) throw unauthorized('Invalid API Key or Package Name');
    if (!hashMatches(apiKey, app.hashedApiKey)) throw unauthorized('Invalid API Key');
  });
  return packageName;
}

function apiKeyOf(headers: FastifyRequest['headers']): string {
  const { authorization } = headers;
  const given = authorization === undefined ? headers['x-api-key'] : /^Bearer( .*)?$/i.exec(authorization);
  if (!given) throw unauthorized('Missing or invalid Authorization header');
  const apiKey = (typeof given === 'string' ? given : (given[1] ?? '')).trim();
  if (!apiKey) throw unauthorized('API Key required');
  return apiKey;
}

/** @throws GlasscastError INVALID_URL when there is none, MALFORMED_MESSAGE */
export function destinationOf(body: unknown): { url: string; name?: string } {
  const url = textOf(body, 'url');
  if (!url) throw new GlasscastError('INVALID_URL');
  const name = (body as Record<string, unknown>).name ?? undefined;
  if (name === undefined) return { url };
  if (typeof name === 'string' && name.length <= MAX_NAME_CHARS) return { url, name };
  throw new GlasscastError('MALFORMED_MESSAGE', {
    reason: `name: expected a text of up to ${MAX_NAME_CHARS} characters`,
  });
}

function textOf(fields: unknown, name: string): string | undefined {
  const value = typeof fields === 'object' && fields !== null ? (fields as Record<string, unknown>)[name] : undefined;
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function unauthorized(answer: string): GlasscastError {
  return new GlasscastError('INVALID_API_KEY', { details: { answer } });
}

/** Whoever the provider is: that is the name apps know. */
function wireCode({ code, fault }: GlasscastError): string {
  if (code === 'INTERNAL') return 'INTERNAL_ERROR';
  return fault === 'provider' ? 'CLOUDFLARE_ERROR' : code;
}

function bodyOf(error: GlasscastError): object {
  const { answer } = error.details;
  return typeof answer === 'string' ? { error: answer } : { error: wireCode(error), message: error.message };
}
