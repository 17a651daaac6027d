/**
 * Start and stop of apps by REST, under both of MentraOS' addresses: phones with the core token of their user, the
 * operator with the admin token and the user's name in the body. A start that failed is an error, never a success.
 */
import type { FastifyRequest } from 'fastify';
import * as z from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import type { AppStateChange } from '../../shared/protocol/glasses-messages.ts';
import type { CoreTokens } from '../access/core-tokens.ts';
import type { AdminToken } from '../access/credentials.ts';
import { bearerToken } from '../access/credentials.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { BrowserGuard } from './browser-guard.ts';
import { checkedBody, type Routes } from './http.ts';
import { servedBy } from './served-by.ts';

export interface PhoneRoutesOptions {
  tokens: Pick<CoreTokens, 'verify'>;
  adminToken: Pick<AdminToken, 'matches'>;
  attempts: FailedAttempts;
  browserGuard: Pick<BrowserGuard, 'checkHost'>;
  apps: {
    start(userId: string, packageName: string): Promise<void>;
    stop(userId: string, packageName: string): void;
    state(userId: string): AppStateChange;
  };
  /** The user's glasses, or the phone that speaks for them. */
  areConnected: (userId: string) => boolean;
}

type Named = { Params: { packageName: string } };
interface Caller {
  userId: string;
  isOperator: boolean;
}

/** An app's webhook may take 90 s, and its socket 10 more. */
const START_TIMEOUT_MS = 110_000;

const userRequest = z.strictObject({ userId: z.string().trim().toLowerCase().min(1).max(320) });

export function phoneRoutes(options: PhoneRoutesOptions): Routes {
  const { apps, areConnected } = options;
  const answer = ({ userId, isOperator }: Caller, status: 'started' | 'stopped', packageName: string) =>
    isOperator
      ? { status, userId, packageName }
      : { success: true, data: { status, packageName, appState: apps.state(userId) } };

  const userOf = async (request: FastifyRequest) => (await callerOf(request, options)).userId;
  const byOwner = servedBy({ by: 'owner', userOf, timeoutMs: START_TIMEOUT_MS });

  return (server) => {
    for (const base of ['/apps', '/api/apps']) {
      server.post<Named>(`${base}/:packageName/start`, byOwner, async (request) => {
        const { packageName } = request.params;
        const caller = await callerOf(request, options);
        // An operator may start what waits for the glasses.
        if (!caller.isOperator && !areConnected(caller.userId)) throw new GlasscastError('GLASSES_NOT_CONNECTED');
        await apps.start(caller.userId, packageName);
        return answer(caller, 'started', packageName);
      });
      server.post<Named>(`${base}/:packageName/stop`, byOwner, async (request) => {
        const { packageName } = request.params;
        const caller = await callerOf(request, options);
        apps.stop(caller.userId, packageName);
        return answer(caller, 'stopped', packageName);
      });
    }
  };
}

/** @throws GlasscastError MISSING_TOKEN, INVALID_TOKEN, RATE_LIMITED; of the operator MALFORMED_MESSAGE, HOST_REFUSED. */
function callerOf({ body, headers, ip }: FastifyRequest, options: PhoneRoutesOptions): Promise<Caller> {
  const { adminToken, attempts, browserGuard, tokens } = options;
  const token = bearerToken(headers.authorization);
  return attempts.guard(ip, async () => {
    if (token === undefined || !adminToken.matches(token)) {
      const { userId } = await tokens.verify(token);
      return { userId, isOperator: false };
    }
    browserGuard.checkHost(headers.host);
    return { userId: checkedBody(userRequest, body).userId, isOperator: true };
  });
}
