/**
 * REST of releases and roll-outs: operators publish, list, remove, and roll out; glasses fetch a release by ranges with their
 * core token. Translates only: what a release has to be and who gets it is decided in cloud/updates.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import type { Clock, Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { AGENT_RELEASES_PATH } from '../../shared/protocol/releases.ts';
import { MAX_RELEASE_BYTES, releaseVersion } from '../../shared/release.ts';
import type { CoreTokens } from '../access/core-tokens.ts';
import { type AdminToken, bearerToken } from '../access/credentials.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { KeptRelease, ReleaseFolder } from '../updates/release-folder.ts';
import type { Rollouts } from '../updates/rollouts.ts';
import type { BrowserGuard } from './browser-guard.ts';
import { wantedOf } from './byte-range.ts';
import { checkedBody, type Routes } from './http.ts';
import { servedBy } from './served-by.ts';

export interface ReleaseDownloadOptions {
  releases: Pick<ReleaseFolder, 'get' | 'read'>;
  tokens: Pick<CoreTokens, 'verify'>;
  adminToken: Pick<AdminToken, 'matches'>;
  attempts: FailedAttempts;
  browserGuard: Pick<BrowserGuard, 'checkHost'>;
  clock: Clock;
}

export interface UpdateRoutesOptions {
  releases: ReleaseFolder;
  rollouts: Rollouts;
}

type OfVersion = { Params: { version: string } };
type OfRollout = { Params: { rolloutId: string } };

const RELEASE_PATH = `${AGENT_RELEASES_PATH}/:version`;
/** A download that lasts longer is cut; what is left is asked for by its range. */
const MAX_DOWNLOAD_MS = 10 * 60_000;
/** Of one caller at once; one more cuts the oldest, whose network may have gone without a word. */
const MAX_DOWNLOADS = 2;

const email = z.string().trim().toLowerCase().min(1).max(320);
const stages = z
  .array(z.number().gt(0).max(100))
  .min(1)
  .max(20)
  .refine(
    (list) => list.every((percent, at) => at === 0 || percent > (list[at - 1] ?? 0)),
    'each has to be larger than the one before',
  );
const rolloutRequest = z
  .strictObject({
    version: releaseVersion,
    stages: stages.optional(),
    users: z.array(email).min(1).max(500).optional(),
    soakSeconds: z
      .number()
      .int()
      .min(0)
      .max(30 * 24 * 3600)
      .optional(),
    maxFailures: z.number().int().min(1).max(10_000).optional(),
  })
  .refine((asked) => !(asked.users && asked.stages), { path: ['stages'], message: 'not together with users' });
const resumption = z.strictObject({ retryFailed: z.boolean().optional() });

const byLeader = servedBy({ by: 'leader' });

/** Behind the admin token. */
export function updateRoutes(options: UpdateRoutesOptions): Routes {
  return (server) => {
    addReleases(server, options);
    addRollouts(server, options);
  };
}

function addReleases(server: FastifyInstance, { releases, rollouts }: UpdateRoutesOptions): void {
  server.get(AGENT_RELEASES_PATH, async () => ({ releases: (await releases.list()).map(printable) }));
  server.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    // Read as it comes: a parser would keep it.
    scope.addContentTypeParser('*', (_request, _body, parsed) => parsed(null));
    scope.put<OfVersion>(RELEASE_PATH, async ({ headers, params, raw }, reply) => {
      const length = headers['content-length'];
      const announced = length === undefined ? undefined : Number(length);
      if (announced !== undefined && announced > MAX_RELEASE_BYTES) {
        reply.header('connection', 'close');
        throw new GlasscastError('RELEASE_REFUSED', { reason: `${announced} bytes are too many` });
      }
      try {
        const body = raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
        const { release, isNew } = await releases.accept(params.version, body, announced);
        return reply.code(isNew ? 201 : 200).send(printable(release));
      } catch (error) {
        await readToTheEnd(raw, reply);
        throw error;
      }
    });
  });
  // Who leads knows whether a roll-out gives it.
  server.delete<OfVersion>(RELEASE_PATH, byLeader, async ({ params }, reply) => {
    const { version } = await releases.get(params.version);
    if (rollouts.usesRelease(version)) throw new GlasscastError('RELEASE_IN_USE', { reason: version });
    await releases.remove(version);
    return reply.code(204).send();
  });
}

/** An answer in the middle of a body may be lost with its connection. */
async function readToTheEnd(body: IncomingMessage, reply: FastifyReply): Promise<void> {
  let bytes = 0;
  try {
    for await (const piece of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > MAX_RELEASE_BYTES) break;
    }
  } catch {
    // It broke off: nobody waits for the answer.
  }
  if (!body.complete) reply.header('connection', 'close');
}

function addRollouts(server: FastifyInstance, { rollouts }: UpdateRoutesOptions): void {
  server.get('/api/rollouts', byLeader, async () => ({ rollouts: rollouts.list() }));
  server.post('/api/rollouts', byLeader, async ({ body }, reply) => {
    return reply.code(201).send(await rollouts.begin(checkedBody(rolloutRequest, body)));
  });
  server.post<OfRollout>('/api/rollouts/:rolloutId/pause', byLeader, ({ params }) => rollouts.pause(params.rolloutId));
  server.post<OfRollout>('/api/rollouts/:rolloutId/resume', byLeader, ({ body, params }) =>
    rollouts.resume(params.rolloutId, checkedBody(resumption, body ?? {})),
  );
  server.post<OfRollout>('/api/rollouts/:rolloutId/cancel', byLeader, ({ params }) =>
    rollouts.cancel(params.rolloutId),
  );
  server.post<{ Params: { userId: string } }>(
    '/api/users/:userId/agent-rollback',
    byLeader,
    async ({ params }, reply) => {
      const userId = checkedBody(email, params.userId);
      rollouts.rollback(userId);
      // Accepted, not done: the next hello tells.
      return reply.code(202).send({ status: 'ordered', userId });
    },
  );
}

/** For glasses with their core token, and for operators. */
export function releaseDownload(options: ReleaseDownloadOptions): Routes {
  const { clock, releases } = options;
  const running = new Map<string, Set<() => void>>();

  function admitDownload(caller: string, reply: FastifyReply): void {
    const downloads = running.get(caller) ?? new Set();
    running.set(caller, downloads);
    const [oldest] = downloads;
    if (downloads.size >= MAX_DOWNLOADS) oldest?.();
    const cut = () => reply.raw.destroy();
    const late: Timer = clock.after('release-download', MAX_DOWNLOAD_MS, cut);
    downloads.add(cut);
    reply.raw.once('close', () => {
      late.cancel();
      downloads.delete(cut);
      if (downloads.size === 0 && running.get(caller) === downloads) running.delete(caller);
    });
  }
  async function answer(request: FastifyRequest<OfVersion>, reply: FastifyReply): Promise<FastifyReply> {
    const caller = await callerOf(request, options);
    const release = await releases.get(request.params.version);
    const { bytes, sha256 } = release;
    const etag = `"${sha256}"`;
    reply.headers({ etag, 'accept-ranges': 'bytes', 'cache-control': 'private, no-cache' });
    reply.type('application/octet-stream');
    const isHead = request.method === 'HEAD';
    // Ranges are for GET alone.
    const { range: _, ...conditions } = request.headers;
    const wanted = wantedOf(isHead ? conditions : request.headers, etag, bytes);
    if (wanted.kind === 'unchanged') return reply.code(304).send();
    if (wanted.kind === 'beyond') return reply.code(416).header('content-range', `bytes */${bytes}`).send('');
    const { start, end } = wanted.kind === 'part' ? wanted : { start: 0, end: bytes - 1 };
    reply.header('content-length', end - start + 1);
    if (isHead) return reply.code(200).send();
    if (wanted.kind === 'part') reply.code(206).header('content-range', `bytes ${start}-${end}/${bytes}`);
    admitDownload(caller, reply);
    return reply.send(await releases.read(release, { start, end }));
  }
  return (server) => {
    server.get<OfVersion>(RELEASE_PATH, { exposeHeadRoute: false }, answer);
    server.head<OfVersion>(RELEASE_PATH, answer);
  };
}

/** @throws GlasscastError MISSING_TOKEN, INVALID_TOKEN, RATE_LIMITED; of the operator HOST_REFUSED */
function callerOf({ headers, ip }: FastifyRequest<OfVersion>, options: ReleaseDownloadOptions): Promise<string> {
  const token = bearerToken(headers.authorization);
  return options.attempts.guard(ip, async () => {
    if (token === undefined || !options.adminToken.matches(token)) return (await options.tokens.verify(token)).userId;
    options.browserGuard.checkHost(headers.host);
    // No user's name: those are e-mails or whatever a token holds, and never empty.
    return '';
  });
}

function printable({ publishedAtMs, ...release }: KeptRelease) {
  return { ...release, publishedAt: new Date(publishedAtMs).toISOString() };
}
