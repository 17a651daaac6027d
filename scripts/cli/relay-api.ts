/**
 * The relay's operator REST as the command line uses it. Every answer is checked; every failure is a GlasscastError in the
 * relay's own words. The admin token comes from the environment only and goes into one header only.
 */
import * as z from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, errorKinds, errorText, GlasscastError } from '../../shared/errors.ts';

export interface RelayApi {
  /** @throws GlasscastError RELAY_UNREACHABLE, ADMIN_TOKEN_REQUIRED, and whatever the relay answers */
  ask<T>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, answer: z.ZodType<T>, body?: object): Promise<T>;
  /** Puts a file there. @throws as `ask` */
  upload<T>(path: string, bytes: Uint8Array, answer: z.ZodType<T>): Promise<T>;
  /** What happens from now on, until the relay goes or `signal` aborts; the promise settles when it is being listened to. */
  events(signal: AbortSignal): Promise<AsyncIterable<unknown>>;
}

export interface RelayApiOptions {
  /** `http://HOST:PORT` */
  baseUrl: string;
  adminToken: string | undefined;
  clock: Clock;
}

/** Starting an app takes as long as its webhook. */
const ANSWER_TIMEOUT_MS = 60_000;

const refusal = z.object({ error: z.string(), message: z.string() });

export function createRelayApi({ baseUrl, adminToken, clock }: RelayApiOptions): RelayApi {
  async function send(
    method: string,
    path: string,
    signal: AbortSignal,
    body?: object | Uint8Array,
  ): Promise<Response> {
    if (!adminToken) throw new GlasscastError('ADMIN_TOKEN_REQUIRED', { reason: 'GLASSCAST_ADMIN_TOKEN is not set' });
    const headers = {
      authorization: `Bearer ${adminToken}`,
      ...(body ? { 'content-type': isFile(body) ? 'application/octet-stream' : 'application/json' } : {}),
    };
    let response: Response;
    try {
      response = await fetch(baseUrl + path, {
        method,
        headers,
        signal,
        ...(body ? { body: isFile(body) ? new Blob([body]) : JSON.stringify(body) } : {}),
      });
    } catch (cause) {
      throw new GlasscastError('RELAY_UNREACHABLE', { reason: `${baseUrl}: ${causeText(cause)}`, cause });
    }
    if (response.ok) return response;
    throw refused(response.status, await response.text().catch(() => ''));
  }

  async function asked<T>(method: string, path: string, answer: z.ZodType<T>, body?: object | Uint8Array): Promise<T> {
    const abort = new AbortController();
    const why = body && isFile(body) ? 'the file did not get there within a minute' : 'no answer in time';
    const late = clock.after('relay-answer', ANSWER_TIMEOUT_MS, () => abort.abort(new Error(why)));
    try {
      const response = await send(method, path, abort.signal, body);
      const text = await response.text();
      const parsed = answer.safeParse(text === '' ? {} : JSON.parse(text));
      if (parsed.success) return parsed.data;
      throw new GlasscastError('MALFORMED_MESSAGE', { reason: `the answer to ${method} ${path} is not a relay's` });
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new GlasscastError('MALFORMED_MESSAGE', { reason: `${baseUrl} does not answer as a relay does` });
    } finally {
      late.cancel();
    }
  }

  return {
    ask: asked,
    upload: (path, bytes, answer) => asked('PUT', path, answer, bytes),
    async events(signal) {
      const { body } = await send('GET', '/api/events', signal);
      if (!body) throw new GlasscastError('RELAY_UNREACHABLE', { reason: `${baseUrl}: no events` });
      return eventsOf(body, signal);
    },
  };
}

/** Server-sent events (WHATWG HTML) as our relay writes them: one `data:` line of JSON each. */
async function* eventsOf(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('data: ')) yield JSON.parse(line.slice('data: '.length));
    }
  } catch (cause) {
    if (!signal.aborted) throw new GlasscastError('RELAY_UNREACHABLE', { reason: causeText(cause), cause });
  }
}

function refused(status: number, text: string): GlasscastError {
  const parsed = refusal.safeParse(jsonOf(text));
  // In a proxy's words: nobody listens behind it.
  if (!parsed.success && [502, 503, 504].includes(status)) {
    return new GlasscastError('RELAY_UNREACHABLE', { reason: `a proxy answers ${status} for it` });
  }
  if (!parsed.success) return new GlasscastError('INTERNAL', { reason: `the relay answered ${status}` });
  const { error, message } = parsed.data;
  if (!isErrorCode(error)) return new GlasscastError('INTERNAL', { reason: message });
  const { sentence } = errorKinds[error];
  const reason = message.startsWith(sentence) ? message.slice(sentence.length).replace(/^: /, '') : message;
  return new GlasscastError(error, { reason });
}

const isFile = (body: object): body is Uint8Array<ArrayBuffer> => body instanceof Uint8Array;
const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(errorKinds, text);

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Node's fetch says `fetch failed` and hides why. */
function causeText(thrown: unknown): string {
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message;
  return errorText(thrown);
}
