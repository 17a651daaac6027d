/**
 * The relay's calls to an app's own server: start, stop, a photo that will not come. Says how a call ended; never
 * decides what that means, and never follows a redirect.
 */

import { type Clock, withTimeout } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import { abortWith } from '../../shared/linked-abort.ts';
import type { PhotoFailure } from './app-orders.ts';

/** `refused`: nobody listens there, so nothing can have happened. `unclear`: it may have been received. */
export type WebhookOutcome =
  | { kind: 'accepted' }
  | { kind: 'refused'; reason: string }
  | { kind: 'rejected'; status: number }
  | { kind: 'unclear'; reason: string };

export interface SessionRequest {
  sessionId: string;
  userId: string;
  /** Absolute, ending in `/app-ws`. */
  appSocketUrl: string;
}

export interface AppWebhook {
  /** @param publicUrl the app's base address. */
  start(publicUrl: string, request: SessionRequest, signal: AbortSignal): Promise<WebhookOutcome>;
  stop(
    publicUrl: string,
    request: Omit<SessionRequest, 'appSocketUrl'> & { reason: string },
    signal: AbortSignal,
  ): Promise<WebhookOutcome>;
  /** To the address where the glasses would have put the photo. */
  photoFailed(publicUrl: string | undefined, failure: PhotoFailure, signal: AbortSignal): Promise<WebhookOutcome>;
}

export interface AppWebhookOptions {
  clock: Clock;
  fetch?: typeof fetch;
  /** The SDK answers after the app's `onSession`, which may await a whole stream start. Default 90000. */
  startTimeoutMs?: number;
  /** Default 10000. */
  stopTimeoutMs?: number;
}

const REFUSALS = ['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN'];

export function createAppWebhook(options: AppWebhookOptions): AppWebhook {
  const { clock, startTimeoutMs = 90_000, stopTimeoutMs = 10_000 } = options;

  const stamped = (body: object) => JSON.stringify({ ...body, timestamp: new Date(clock.now()).toISOString() });

  async function post(
    url: string,
    body: string | FormData,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<WebhookOutcome> {
    const timeout = new AbortController();
    const release = abortWith(timeout, signal);
    try {
      const call = (options.fetch ?? fetch)(url, {
        method: 'POST',
        // Of a form fetch knows the type itself, with its boundary.
        ...(typeof body === 'string' ? { headers: { 'content-type': 'application/json' } } : {}),
        body,
        redirect: 'error',
        signal: timeout.signal,
      });
      const response = await withTimeout(clock, 'app-webhook', timeoutMs, call, () => {
        return new Error(`no answer within ${timeoutMs} ms`);
      });
      await response.body?.cancel();
      return response.ok ? { kind: 'accepted' } : { kind: 'rejected', status: response.status };
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
      const reason = code ?? errorText(error);
      return { kind: REFUSALS.includes(reason) ? 'refused' : 'unclear', reason };
    } finally {
      release();
      timeout.abort();
    }
  }

  return {
    start(publicUrl, { sessionId, userId, appSocketUrl }, signal) {
      // Three names for one address: each SDK reads another one.
      const urls = {
        websocketUrl: appSocketUrl,
        mentraOSWebsocketUrl: appSocketUrl,
        augmentOSWebsocketUrl: appSocketUrl,
      };
      const body = stamped({ type: 'session_request', sessionId, userId, ...urls });
      return post(`${publicUrl}/webhook`, body, startTimeoutMs, signal);
    },
    stop: (publicUrl, request, signal) =>
      post(`${publicUrl}/webhook`, stamped({ type: 'stop_request', ...request }), stopTimeoutMs, signal),
    async photoFailed(publicUrl, failure, signal) {
      if (publicUrl === undefined) return { kind: 'refused', reason: 'it has no address' };
      const form = new FormData();
      for (const [name, value] of Object.entries({ ...failure, type: 'photo_error', success: 'false' })) {
        form.set(name, value);
      }
      return post(`${publicUrl}/photo-upload`, form, stopTimeoutMs, signal);
    },
  };
}
