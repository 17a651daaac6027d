/**
 * REST that MentraOS' SDK calls beside the socket: an app's storage, with its key, and its settings, with the id of its
 * session. What of MentraOS is not offered here says so, so that an app's author need not guess.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import { bearerToken } from '../access/credentials.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { AppStorage, StorageOwner } from '../apps/app-storage.ts';
import type { SessionIds } from '../apps/session-ids.ts';
import { acceptEmptyBodies, checkedBody, type Routes } from './http.ts';
import { servedBy, textIn, userNamedIn } from './served-by.ts';

export interface SdkRoutesOptions {
  catalog: Pick<AppCatalog, 'get' | 'verify'>;
  storage: AppStorage;
  apps: {
    sessionById(sessionId: string): { packageName: string } | undefined;
  };
  sessionIds: Pick<SessionIds, 'userOf'>;
  attempts: FailedAttempts;
}

type OfUser = { Params: { userId: string } };
type OfKey = { Params: { userId: string; key: string } };

/** The SDK writes what has gathered for seconds in one piece: as much as may be kept, as JSON. */
const WRITE_LIMIT_BYTES = 2 * 1024 * 1024;

const userName = z.string().trim().toLowerCase().min(1).max(320);
const key = z.string().min(1).max(200);
const entries = z.object({ data: z.record(key, z.string()) });
const entry = z.object({ value: z.string() });

export function sdkRoutes(options: SdkRoutesOptions): Routes {
  return (server) => {
    server.register(async (scope) => {
      acceptEmptyBodies(scope);
      addStorage(scope, options);
    });
    addSettings(server, options);
    for (const path of ['/api/auth/exchange-user-token', '/api/app-communication/discover-users', '/api/tts']) {
      server.all(path, async () => {
        throw new GlasscastError('NOT_OFFERED', { reason: path });
      });
    }
  };
}

function addStorage(server: FastifyInstance, options: SdkRoutesOptions): void {
  const { attempts, catalog, storage } = options;
  const path = '/api/sdk/simple-storage/:userId';
  // Changes of one user's storage wait for one another, and its app may run.
  const owned = servedBy({ by: 'owner', userOf: ({ params }) => userNamedIn(params), isLasting: true });
  const big = { ...owned, bodyLimit: WRITE_LIMIT_BYTES };

  // Before the body comes, which may be big: of strangers nothing is read.
  server.addHook('onRequest', ({ headers, ip }) =>
    attempts.guard(ip, async () => {
      const { packageName, apiKey } = keyIn(headers);
      if (packageName === '') throw new GlasscastError('INVALID_API_KEY');
      await catalog.verify(packageName, apiKey);
    }),
  );

  server.get<OfUser>(path, owned, async (request) => {
    const owner = ownerOf(request);
    return { success: true, data: await storage.read(owner) };
  });
  server.put<OfUser>(path, big, async (request) => {
    const owner = ownerOf(request);
    await storage.write(owner, checkedBody(entries, request.body).data);
    return { success: true };
  });
  server.delete<OfUser>(path, owned, async (request) => {
    await storage.clear(ownerOf(request));
    return { success: true };
  });
  server.get<OfKey>(`${path}/:key`, owned, async (request) => {
    const data = await storage.read(ownerOf(request));
    const name = request.params.key;
    return { success: true, ...(Object.hasOwn(data, name) ? { data: data[name] } : {}) };
  });
  server.put<OfKey>(`${path}/:key`, big, async (request) => {
    const owner = ownerOf(request);
    const { value } = checkedBody(entry, request.body);
    await storage.write(owner, { [checkedBody(key, request.params.key)]: value });
    return { success: true };
  });
  server.delete<OfKey>(`${path}/:key`, owned, async (request) => {
    await storage.remove(ownerOf(request), request.params.key);
    return { success: true };
  });
}

/**
 * The SDK shows the id of its session, where MentraOS expects a user's: that would tell everybody who knows an e-mail
 * whether an app runs for it.
 */
function addSettings(server: FastifyInstance, { apps, attempts, catalog, sessionIds }: SdkRoutesOptions): void {
  const owned = servedBy({
    by: 'owner',
    // Nobody makes up an id that names a user.
    userOf: ({ headers, params }) =>
      sessionIds.userOf(bearerToken(headers.authorization) ?? '', textIn(params, 'packageName') ?? ''),
  });
  server.get<{ Params: { packageName: string } }>('/appsettings/user/:packageName', owned, async (request) => {
    const { packageName } = request.params;
    const who = bearerToken(request.headers.authorization) ?? '';
    await attempts.guard(request.ip, async () => {
      if (apps.sessionById(who)?.packageName !== packageName) throw new GlasscastError('INVALID_SESSION');
    });
    const { settings } = await catalog.get(packageName);
    return { success: true, settings };
  });
}

/** `Bearer <packageName>:<apiKey>`; a package name has no colon. */
function keyIn({ authorization }: IncomingHttpHeaders): { packageName: string; apiKey: string } {
  const [, packageName = '', apiKey = ''] = /^([^:]+):(.+)$/.exec(bearerToken(authorization) ?? '') ?? [];
  return { packageName, apiKey };
}

function ownerOf({ headers, params }: FastifyRequest<OfUser>): StorageOwner {
  return { packageName: keyIn(headers).packageName, userId: checkedBody(userName, params.userId) };
}
