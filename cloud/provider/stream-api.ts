/**
 * One call to the provider's HTTP API: envelope, bounded retries, typed errors. Knows no resource by name.
 * Rules of the API (limits, codes, Retry-After): Cloudflare Stream, measured. Never logs a body, a header or a query.
 */

import { setMaxListeners } from 'node:events';
import * as z from 'zod';
import { backoffMs, type Clock } from '../../shared/clock.ts';
import { type ErrorCode, errorText, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import { abortWith } from '../../shared/linked-abort.ts';
import type { Log } from '../../shared/log.ts';
import type { Secret } from '../../shared/secrets.ts';
import { createRequestBudget } from './request-budget.ts';

export interface ApiCall {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below `/accounts/{account}/stream`, e.g. `/live_inputs`. */
  path: string;
  body?: unknown;
  /** Makes a POST safe to repeat; without it a POST is sent once. At most 255 bytes. */
  idempotencyKey?: string;
  /** A start or a stop of somebody who waits: goes before clean-up and polling when the budget is short. */
  isUrgent?: boolean;
  /** An attempt has failed, and another one will be made. @param waitMs until then, give or take the budget. */
  onRetry?: ((error: GlasscastError, waitMs: number) => void) | undefined;
}

export interface StreamApi {
  /** The envelope's `result`; undefined for an empty success. */
  call(call: ApiCall): Promise<unknown>;
  /** Ends what is under way, waiting included, with SHUTTING_DOWN; so does every later call. */
  close(): void;
}

export interface StreamApiOptions {
  /** e.g. `https://api.cloudflare.com/client/v4`. */
  apiBaseUrl: string;
  accountId: string;
  apiToken: Secret;
  clock: Clock;
  log: Log;
  fetch?: typeof fetch;
  /** Per attempt. Default 10000. */
  requestTimeoutMs?: number;
  /** Attempts after the first one. Default 2. */
  maxRetries?: number;
  /** A longer Retry-After is reported (`details.retryAfterMs`), not waited for. Default 10000. */
  maxRetryAfterMs?: number;
  /** Budget; Cloudflare blocks every call for 5 min past 4 a second. Default: none. */
  maxRequestsPerSecond?: number | undefined;
  /** How many processes share that. Default 1. */
  sharers?: (() => number) | undefined;
  random?: () => number;
}

/** Errors and messages may be missing on odd paths; a deletion's `{}` has nothing at all. */
const envelope = z.object({
  success: z.boolean().optional(),
  errors: z.array(z.object({ code: z.number().optional(), message: z.string().optional() }).loose()).nullish(),
  result: z.unknown().optional(),
});

type Envelope = z.output<typeof envelope>;

const RETRY = { firstMs: 200, factor: 3, maxMs: 3_000, jitter: 0.3 };
/** A token made a moment ago may be refused with 403 for a while: waited for once, when the program is young. */
const FRESH_TOKEN = { firstMs: 1_000, factor: 2, maxMs: 4_000, jitter: 0 };
const FRESH_TOKEN_MS = 10_000;

/** Between attempts after a 429 that does not say how long. */
const UNSAID = { firstMs: 1_000, factor: 3, maxMs: 9_000, jitter: 0 };

/** Of somebody else's words in our errors, which are sent on to apps. */
const MAX_REASON_CHARS = 300;

type Failure = { done: false; error: GlasscastError; retryAfterMs?: number };
type Attempt = { done: true; result: unknown } | Failure;

export function createStreamApi(options: StreamApiOptions): StreamApi {
  const { clock, log, maxRetries = 2, maxRetryAfterMs = 10_000, random = Math.random } = options;
  const closing = new AbortController();
  const { signal } = closing;
  // One for every call that waits, and they may be many.
  setMaxListeners(0, signal);
  const budget = createRequestBudget({
    clock,
    perSecond: options.maxRequestsPerSecond,
    sharers: options.sharers,
    maxWaitMs: maxRetryAfterMs,
    signal,
  });
  const bornMs = clock.monotonicMs();
  let isTokenProven = false;

  /** How long to wait before the next attempt; undefined: the error is the answer. */
  function pauseMs(asked: ApiCall, { error, retryAfterMs = 0 }: Failure, attempt: number): number | undefined {
    const { code, details, retryable } = error;
    const ageMs = clock.monotonicMs() - bornMs;
    if (code === 'PROVIDER_UNAUTHORIZED' && details.status === 403 && !isTokenProven && ageMs < FRESH_TOKEN_MS) {
      return backoffMs(FRESH_TOKEN, attempt, random);
    }
    // A conflict is an answer, not an accident: the caller comes back later by its own plan.
    if (!retryable || code === 'PROVIDER_CONFLICT' || attempt >= maxRetries) return undefined;
    // What the limit turned away had no effect and may be sent again, as soon as the budget lets it go.
    if (code === 'PROVIDER_RATE_LIMITED') return 0;
    const isRepeatable = asked.method !== 'POST' || asked.idempotencyKey !== undefined;
    if (!isRepeatable || retryAfterMs > maxRetryAfterMs) return undefined;
    return Math.max(retryAfterMs, backoffMs(RETRY, attempt, random));
  }

  async function call(asked: ApiCall): Promise<unknown> {
    /** Of a creation: it may have been done. No later refusal takes that back. */
    let unclear: GlasscastError | undefined;
    for (let attempt = 0; ; attempt += 1) {
      await budget.take(asked.isUrgent ?? false).catch((error: unknown) => {
        throw signal.aborted ? error : (unclear ?? error);
      });
      const outcome = await attemptCall(options, asked, signal);
      if (outcome.done) {
        isTokenProven = true;
        return outcome.result;
      }
      const { error } = outcome;
      if (asked.method === 'POST' && isUnclear(error)) unclear = error;
      if (error.code === 'PROVIDER_RATE_LIMITED') budget.block(outcome.retryAfterMs ?? backoffMs(UNSAID, attempt));
      const waitMs = pauseMs(asked, outcome, attempt);
      if (waitMs === undefined) throw unclear ?? error;
      log.debug({ method: asked.method, code: error.code, attempt: attempt + 1, waitMs }, 'provider-call-retried');
      asked.onRetry?.(error, Math.max(waitMs, outcome.retryAfterMs ?? 0));
      if (waitMs > 0) await clock.sleep(waitMs, { name: 'provider-retry', signal });
    }
  }
  return { call, close: () => closing.abort(new GlasscastError('SHUTTING_DOWN')) };
}

function isUnclear({ code }: GlasscastError): boolean {
  return code === 'PROVIDER_FAILED' || code === 'PROVIDER_UNREACHABLE';
}

async function attemptCall(options: StreamApiOptions, asked: ApiCall, closing: AbortSignal): Promise<Attempt> {
  const { clock, requestTimeoutMs = 10_000 } = options;
  const abort = new AbortController();
  const timer = clock.after('provider-call', requestTimeoutMs, () =>
    abort.abort(new Error(`no answer within ${requestTimeoutMs} ms`)),
  );
  const release = abortWith(abort, closing);
  try {
    const response = await (options.fetch ?? fetch)(
      `${options.apiBaseUrl.replace(/\/+$/, '')}/accounts/${options.accountId}/stream${asked.path}`,
      {
        method: asked.method,
        headers: headersOf(asked, options.apiToken),
        ...(asked.body === undefined ? {} : { body: JSON.stringify(asked.body) }),
        signal: abort.signal,
        redirect: 'error',
      },
    );
    return readAnswer(asked, response, await response.text(), clock.now());
  } catch (cause) {
    if (closing.aborted) throw closing.reason;
    const reason = abort.signal.aborted ? errorText(abort.signal.reason) : networkReason(cause);
    return { done: false, error: new GlasscastError('PROVIDER_UNREACHABLE', { reason, cause }) };
  } finally {
    timer.cancel();
    release();
  }
}

function headersOf(asked: ApiCall, apiToken: Secret): Record<string, string> {
  return {
    authorization: `Bearer ${apiToken.reveal()}`,
    accept: 'application/json',
    ...(asked.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(asked.idempotencyKey ? { 'idempotency-key': asked.idempotencyKey } : {}),
  };
}

function readAnswer(asked: ApiCall, response: Response, text: string, nowMs: number): Attempt {
  const body = parseEnvelope(text);
  if (response.ok && isSuccess(asked, body, text)) return { done: true, result: body?.result };
  const [problem] = body?.errors ?? [];
  const said = problem?.message?.slice(0, MAX_REASON_CHARS);
  const reason = said ?? (response.ok ? 'the answer is not the API’s envelope' : `HTTP ${response.status}`);
  const retryAfterMs = response.ok ? undefined : readRetryAfter(response.headers, nowMs);
  const known = retryAfterMs === undefined ? {} : { retryAfterMs };
  const code = codeFor(response.status, problem?.code, body !== undefined || text === '');
  const details = { status: response.status, providerCode: problem?.code, ...known };
  return { done: false, error: new GlasscastError(code, { reason, details }), ...known };
}

/** A deletion is answered with an envelope, with `{}` or with nothing at all; a web page is nobody's success. */
function isSuccess({ method }: ApiCall, body: Envelope | undefined, text: string): boolean {
  if (body?.success !== undefined) return body.success;
  return method === 'DELETE' && (text.trim() === '' || body !== undefined);
}

/** In seconds or as a date; the spellings of the window's end are not certain, so none is relied on. */
function readRetryAfter(headers: Headers, nowMs: number): number | undefined {
  const said = headers.get('retry-after');
  const window = headers.get('x-ratelimit-reset') ?? /\bt=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1];
  for (const text of [said, window]) {
    if (text === null || text === undefined) continue;
    const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
    if (Number.isFinite(ms)) return Math.max(0, ms);
  }
  return undefined;
}

function parseEnvelope(text: string): Envelope | undefined {
  try {
    return envelope.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** 10003: no such object. 10002: no subscription. 10046: not while it is live. 7003: no such route or account. */
const providerCodes: Readonly<Record<number, ErrorCode>> = {
  7003: 'PROVIDER_REJECTED',
  10002: 'PROVIDER_SUBSCRIPTION_MISSING',
  10003: 'LIVE_INPUT_NOT_FOUND',
  10046: 'PROVIDER_CONFLICT',
};

/** @param isApi false: a proxy's page or a captive portal's; what it says of objects and tokens is nobody's word. */
function codeFor(status: number, providerCode: number | undefined, isApi: boolean): ErrorCode {
  if (status === 429) return 'PROVIDER_RATE_LIMITED';
  if (status === 408 || status >= 500) return 'PROVIDER_FAILED';
  const known = providerCodes[providerCode ?? 0];
  if (status < 400) return known ?? 'PROVIDER_FAILED';
  if (!isApi && status !== 401 && status !== 409) return status === 404 ? 'PROVIDER_FAILED' : 'PROVIDER_REJECTED';
  if (status === 404) return known ?? 'LIVE_INPUT_NOT_FOUND';
  if (status === 401 || (status === 403 && known === undefined)) return 'PROVIDER_UNAUTHORIZED';
  if (status === 409) return 'PROVIDER_CONFLICT';
  return known ?? 'PROVIDER_REJECTED';
}

/** fetch says only "fetch failed"; its cause says why. */
function networkReason(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message;
  return isGlasscastError(error) ? error.message : errorText(error);
}
