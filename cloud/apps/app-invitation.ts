/**
 * Brings an app to connect: asks by webhook, again only while nobody listens there, and waits for its socket. The socket
 * decides; a webhook's answer after it is information.
 */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { AppWebhook, SessionRequest, WebhookOutcome } from './app-webhook.ts';

export interface Invitation {
  /** The app's base address; absent for built-in apps. */
  publicUrl: string | undefined;
  request: SessionRequest;
  /** Looked at again and again: whether the app's socket is in, and why not. */
  progress: { readonly isIn: boolean; readonly refusal: string | undefined };
  /** Nobody waits for the outcome: time for a new version of the app to come up. */
  isPatient: boolean;
  /** Aborted when nobody wants the app any more. */
  signal: AbortSignal;
}

export interface InvitationOptions {
  webhook: Pick<AppWebhook, 'start'>;
  clock: Clock;
  log: Log;
  /** From the webhook's good answer to the socket. Default 10000. */
  connectTimeoutMs?: number;
}

/** Only while nobody listens at the app's address: a second request would tear down a healthy session. */
const ABSENT_RETRY_MS = [1_000, 2_000, 4_000];
/** Two minutes in all. */
const PATIENT_RETRY_MS = [...ABSENT_RETRY_MS, 8_000, 15_000, 30_000, 30_000, 30_000];

/**
 * Settles when the webhook has been answered and the socket is in, which may be long after the socket came: an app
 * answers when its `onSession` returns.
 * @throws GlasscastError APP_UNREACHABLE, APP_NOT_STARTED when it was stopped meanwhile. Never once the socket is in.
 */
export async function inviteApp(
  { publicUrl, request, progress, isPatient, signal }: Invitation,
  { webhook, clock, log, connectTimeoutMs = 10_000 }: InvitationOptions,
): Promise<void> {
  const pause = (ms: number, name: string) => clock.sleep(ms, { name, signal }).catch(() => {});
  if (!publicUrl) throw new GlasscastError('APP_UNREACHABLE', { reason: 'it has no address' });
  for (let attempt = 0; !progress.isIn; attempt += 1) {
    if (signal.aborted) throw new GlasscastError('APP_NOT_STARTED', { reason: 'it was stopped meanwhile' });
    const outcome = await webhook.start(publicUrl, request, signal);
    const { userId } = request;
    log.info({ userId, outcome: outcome.kind, isIn: progress.isIn }, 'app-webhook-answered');
    if (progress.isIn || signal.aborted) continue;
    if (outcome.kind === 'accepted') {
      await pause(connectTimeoutMs, 'app-connect');
      if (progress.isIn || signal.aborted) continue;
      throw new GlasscastError('APP_UNREACHABLE', {
        reason: progress.refusal ?? 'it accepted the session and did not connect',
      });
    }
    const waitMs = isAbsent(outcome) ? (isPatient ? PATIENT_RETRY_MS : ABSENT_RETRY_MS)[attempt] : undefined;
    if (waitMs === undefined)
      throw new GlasscastError('APP_UNREACHABLE', { reason: progress.refusal ?? whyNot(outcome) });
    await pause(waitMs, 'app-webhook-retry');
  }
}

/** 502 and 503 are a gateway's: nothing stands behind it at the moment. */
function isAbsent(outcome: WebhookOutcome): boolean {
  return outcome.kind === 'refused' || (outcome.kind === 'rejected' && [502, 503].includes(outcome.status));
}

function whyNot(outcome: Exclude<WebhookOutcome, { kind: 'accepted' }>): string {
  return outcome.kind === 'rejected' ? `webhook answered HTTP ${outcome.status}` : outcome.reason;
}
