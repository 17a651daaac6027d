/** The API's envelope and its failures, with the codes of the real one. Pure. */
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';

export const failures = {
  badBody: { http: 400, code: 10005, message: 'Bad request body' },
  badRecordingDays: { http: 400, code: 10060, message: 'deleteRecordingAfterDays must be between 30 and 1096 days' },
  badOutput: { http: 400, code: 10004, message: 'Bad field of an output' },
  tooManyOutputs: { http: 400, code: 10004, message: 'A live input can have at most 50 outputs' },
  tooManyOfThem: { http: 400, code: 10005, message: 'This account has as many of them as it may' },
  unauthorized: { http: 401, code: 10000, message: 'Authentication error' },
  invalidToken: { http: 401, code: 1000, message: 'Invalid API Token' },
  noSubscription: { http: 403, code: 10002, message: 'This account has no subscription to Stream' },
  noRoute: {
    http: 404,
    code: 7003,
    message: 'Could not route to this path, perhaps your object identifier is invalid?',
  },
  notFound: { http: 404, code: 10003, message: 'Not Found' },
  stillLive: { http: 409, code: 10046, message: 'Not Implemented: Feature not supported' },
  keySpent: {
    http: 409,
    code: 10005,
    message: 'The Idempotency-Key was used for a live input that has been deleted since',
  },
  rateLimited: { http: 429, code: 10000, message: 'Please wait and consider throttling your request speed' },
  internal: { http: 500, code: 10001, message: 'Internal error' },
} as const;

export type Failure = (typeof failures)[keyof typeof failures];

export function succeed(result: unknown, more: Record<string, unknown> = {}): object {
  return { success: true, errors: [], messages: [], result, ...more };
}

/** @param detail what exactly, appended to the message; must hold no secret. */
export function fail(reply: FastifyReply, { http, code, message }: Failure, detail?: string): FastifyReply {
  return reply.code(http).send(failed(code, detail ? `${message}: ${detail}` : message));
}

export function failed(code: number, message: string): object {
  return { success: false, errors: [{ code, message }], messages: [], result: null };
}

/** Names the fields that are wrong, never their values. */
export function wrongFields(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`).join('; ');
}
