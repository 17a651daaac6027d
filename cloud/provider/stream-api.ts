/**
 * One call to the provider's HTTP API: envelope, budget, bounded retries, typed errors. Knows no resource by name.
 * Rules of the API (limits, codes, Retry-After): Cloudflare Stream, measured. Never logs a body, a header or a query.
 */
import { setMaxListeners } from 'node:events';
import { z } from 'zod';
import { backoffMs, type Clock } from '../../shared/clock.ts';
import { type ErrorCode, errorText, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Secret } from '../../shared/secrets.ts';

export interface ApiCall {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below `/accounts/{account}/stream`, e.g. `/live_inputs`. */
  path: string;
  body?: unknown;
  /** Makes a POST safe to repeat; without it a POST is sent once. At most 255 bytes. */
  idempotencyKey?: string;
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
  /** A longer Retry-After is reported, not waited for. Default 10000. */
  maxRetryAfterMs?: number;
  /** Budget; Cloudflare blocks every call for 5 min past 4 a second. Default: none. */
  maxRequestsPerSecond?: number | undefined;
  random?: () => number;
}

/** Errors and messages may be missing on odd paths. */
const envelope = z.object({
  success: z.boolean(),
  errors: z.array(z.object({ code: z.number().optional(), message: z.string().optional() }).loose()).nullish(),
  result: z.unknown(),
});

const RETRY = { firstMs: 200, factor: 3, maxMs: 3_000, jitter: 0.3 };
/** Calls that may go at once before the budget's pace applies. */
const BURST = 5;

type Attempt = { done: true; result: unknown } | { done: false; error: GlasscastError; retryAfterMs?: number };

export function createStreamApi(options: StreamApiOptions): StreamApi {
  const { clock, log, maxRetries = 2, maxRetryAfterMs = 10_000, random = Math.random } = options;
  const closing = new AbortController();
  const { signal } = closing;
  // One for every call that waits, and they may be many.
  setMaxListeners(0, signal);
  const budget = createBudget(clock, options.maxRequestsPerSecond, signal);

  async function call(asked: ApiCall): Promise<unknown> {
    const repeatable = asked.method !== 'POST' || asked.idempotencyKey !== undefined;
    for (let attempt = 0; ; attempt += 1) {
      await budget.take();
      const outcome = await attemptCall(options, asked, signal);
      if (outcome.done) return outcome.result;
      const { error, retryAfterMs } = outcome;
      if (error.code === 'PROVIDER_RATE_LIMITED') budget.pause(retryAfterMs ?? 1_000);
      const waitMs = retryAfterMs ?? backoffMs(RETRY, attempt, random);
      // A conflict is an answer, not an accident: the caller comes back later by its own plan.
      const hopeless = !error.retryable || error.code === 'PROVIDER_CONFLICT' || waitMs > maxRetryAfterMs;
      if (hopeless || !repeatable || attempt >= maxRetries) throw error;
      log.debug({ method: asked.method, code: error.code, attempt: attempt + 1, waitMs }, 'provider-call-retried');
      await clock.sleep(waitMs, { name: 'provider-retry', signal });
    }
  }
  return { call, close: () => closing.abort(new GlasscastError('SHUTTING_DOWN')) };
}

async function attemptCall(options: StreamApiOptions, asked: ApiCall, closing: AbortSignal): Promise<Attempt> {
  const { clock, requestTimeoutMs = 10_000 } = options;
  const abort = new AbortController();
  const timer = clock.after('provider-call', requestTimeoutMs, () =>
    abort.abort(new Error(`no answer within ${requestTimeoutMs} ms`)),
  );
  try {
    const response = await (options.fetch ?? fetch)(
      `${options.apiBaseUrl.replace(/\/+$/, '')}/accounts/${options.accountId}/stream${asked.path}`,
      {
        method: asked.method,
        headers: headersOf(asked, options.apiToken),
        ...(asked.body === undefined ? {} : { body: JSON.stringify(asked.body) }),
        signal: AbortSignal.any([abort.signal, closing]),
        redirect: 'error',
      },
    );
    return readAnswer(asked, response, await response.text());
  } catch (cause) {
    if (closing.aborted) throw closing.reason;
    const reason = abort.signal.aborted ? errorText(abort.signal.reason) : networkReason(cause);
    return { done: false, error: new GlasscastError('PROVIDER_UNREACHABLE', { reason, cause }) };
  } finally {
    timer.cancel();
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

function readAnswer(asked: ApiCall, response: Response, text: string): Attempt {
  const body = parseEnvelope(text);
  if (response.ok && (asked.method === 'DELETE' || body?.success)) return { done: true, result: body?.result };
  const [problem] = body?.errors ?? [];
  const reason = problem?.message ?? (response.ok ? 'the answer is not the API’s envelope' : `HTTP ${response.status}`);
  const error = new GlasscastError(codeFor(response.status, problem?.code), {
    reason,
    details: { status: response.status, providerCode: problem?.code },
  });
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0
    ? { done: false, error, retryAfterMs: seconds * 1000 }
    : { done: false, error };
}

function parseEnvelope(text: string): z.output<typeof envelope> | undefined {
  try {
    return envelope.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** 10003: no such object. 10002: no subscription. 10046: not while it is live. 7003: no such route or account. */
function codeFor(status: number, providerCode: number | undefined): ErrorCode {
  if (status === 404) return providerCode === 7003 ? 'PROVIDER_REJECTED' : 'LIVE_INPUT_NOT_FOUND';
  if (status === 401 || (status === 403 && providerCode !== 10_002)) return 'PROVIDER_UNAUTHORIZED';
  if (status === 409) return 'PROVIDER_CONFLICT';
  if (status === 429) return 'PROVIDER_RATE_LIMITED';
  if (status === 408 || status >= 500 || status < 300) return 'PROVIDER_FAILED';
  return 'PROVIDER_REJECTED';
}

/** fetch says only "fetch failed"; its cause says why. */
function networkReason(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message;
  return isGlasscastError(error) ? error.message : errorText(error);
}

interface Budget {
  take(): Promise<void>;
  pause(ms: number): void;
}

/** A token bucket as one number: the time at which the next call is due. */
function createBudget(clock: Clock, perSecond: number | undefined, signal: AbortSignal): Budget {
  let dueMs = 0;
  return {
    async take() {
      if (perSecond === undefined) return;
      const gapMs = 1000 / perSecond;
      const nowMs = clock.monotonicMs();
      dueMs = Math.max(dueMs, nowMs - BURST * gapMs) + gapMs;
      const waitMs = dueMs - nowMs;
      if (waitMs > 0) await clock.sleep(waitMs, { name: 'provider-budget', signal });
    },
    pause(ms) {
      dueMs = Math.max(dueMs, clock.monotonicMs() + ms);
    },
  };
}
