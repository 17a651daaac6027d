/**
 * REST of tokens and enrolments: the operator issues, lists and revokes; glasses turn a code into their token. The only
 * answers that carry a core token or a code.
 */
import * as z from 'zod';
import { ENROL_PATH, enrolmentRequest } from '../../shared/protocol/enrolment.ts';
import type { CoreTokens, NewToken } from '../access/core-tokens.ts';
import type { Enrolments } from '../access/enrolments.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import { checkedBody, type Routes } from './http.ts';

const YEAR_SECONDS = 365 * 24 * 3600;

const email = z.string().trim().toLowerCase().min(1).max(320);
const label = z.string().trim().min(1).max(200).optional();
const lifetimeSeconds = z
  .number()
  .int()
  .min(1)
  .max(100 * YEAR_SECONDS)
  .nullable()
  .optional();
const tokenRequest = z.strictObject({ email, label, lifetimeSeconds });
const newEnrolment = z.strictObject({
  email,
  label,
  expiresInSeconds: z
    .number()
    .int()
    .min(10)
    .max(7 * 24 * 3600)
    .optional(),
  tokenLifetimeSeconds: lifetimeSeconds,
});

/** Behind the admin token. */
export function accessRoutes({ tokens, enrolments }: { tokens: CoreTokens; enrolments: Enrolments }): Routes {
  return (server) => {
    server.get('/api/tokens', async () => ({
      tokens: (await tokens.list()).map(({ issuedAtMs, expiresAtMs, revokedAtMs, ...token }) => ({
        ...token,
        issuedAt: timeText(issuedAtMs),
        expiresAt: timeText(expiresAtMs),
        revokedAt: timeText(revokedAtMs),
      })),
    }));
    server.post('/api/tokens', async ({ body }) => {
      const token = await tokens.issue(checkedBody(tokenRequest, body));
      return { tokenId: token.tokenId, ...shownToken(token) };
    });
    server.delete<{ Params: { tokenId: string } }>('/api/tokens/:tokenId', async ({ params }, reply) => {
      await tokens.revoke(params.tokenId);
      return reply.code(204).send();
    });
    server.get('/api/enrolments', async () => ({
      enrolments: (await enrolments.list()).map(({ expiresAtMs, ...enrolment }) => ({
        ...enrolment,
        expiresAt: timeText(expiresAtMs),
      })),
    }));
    server.post('/api/enrolments', async ({ body }) => {
      const { code, expiresAtMs, ...enrolment } = await enrolments.create(checkedBody(newEnrolment, body));
      return { ...enrolment, code: code.reveal(), expiresAt: timeText(expiresAtMs) };
    });
    server.delete<{ Params: { enrolmentId: string } }>('/api/enrolments/:enrolmentId', async ({ params }, reply) => {
      await enrolments.cancel(params.enrolmentId);
      return reply.code(204).send();
    });
  };
}

/** For anybody who has a code. */
export function enrolRoute(parts: { enrolments: Pick<Enrolments, 'redeem'>; attempts: FailedAttempts }): Routes {
  return (server) => {
    server.post(ENROL_PATH, async ({ body, ip }) => {
      const { code } = checkedBody(enrolmentRequest, body);
      return shownToken(await parts.attempts.guard(ip, () => parts.enrolments.redeem(code)));
    });
  };
}

/** `expiresAt` is null when it does not expire. */
function shownToken({ userId, coreToken, expiresAtMs }: NewToken) {
  return { userId, coreToken: coreToken.reveal(), expiresAt: timeText(expiresAtMs) ?? null };
}

function timeText(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}
