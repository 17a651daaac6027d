/**
 * What the account tells by itself: live events to an address with a plain secret, finished recordings to another one
 * with a signature, as Cloudflare's two kinds of webhooks do. Sent once, in no promised order, and never retried.
 */

import { createHmac, randomBytes } from 'node:crypto';
import type { Clock } from '../../../shared/clock.ts';
import { errorText } from '../../../shared/errors.ts';
import { abortWith } from '../../../shared/linked-abort.ts';
import type { Log } from '../../../shared/log.ts';
import { type Redactor, Secret } from '../../../shared/secrets.ts';
import type { AlertDestination, Catalogue, RecordingWebhook } from '../catalogue.ts';
import { ALERT_TYPE, type LiveAlerts, type LiveAlertTarget } from './live-alerts.ts';

export interface LiveWebhook {
  url: string;
  /** Sent as it is in `cf-webhook-auth`. */
  secret: Secret;
}

/** `errored`: the publisher was not let in, or what it sends cannot be played. */
export type LiveEvent =
  | { type: 'connected' | 'disconnected'; inputUid: string }
  | {
      type: 'errored';
      inputUid: string;
      code: string;
      message: string;
      /** `h264`, `aac` and the like, where something has come of it. */
      videoCodec?: string;
      audioCodec?: string;
    };

export interface Webhooks {
  live(event: LiveEvent): void;
  /** @param videoJson what the API shows of it. */
  recording(videoJson: object): void;
  /** One per account, kept over restarts; each call makes a new secret. */
  setRecordingTarget(notificationUrl: string): RecordingWebhook;
  recordingTarget(): RecordingWebhook | undefined;
  removeRecordingTarget(): void;
  setLiveTarget(target: LiveWebhook | undefined): void;
  /** Tells a destination that it was set up. */
  greet(destination: AlertDestination): void;
  /** What is on its way is given up. */
  close(): Promise<void>;
}

export interface WebhooksOptions {
  catalogue: Pick<Catalogue, 'recordingWebhook' | 'saveRecordingWebhook'>;
  accountId: string;
  /** Told of every live event, besides whom `alerts` names. */
  liveTarget?: LiveWebhook | undefined;
  alerts?: Pick<LiveAlerts, 'targetsOf' | 'sent'>;
  clock: Clock;
  log: Log;
  redactor: Redactor;
  /** When to send a message, in ms from now; empty: not at all. Default: once, now. */
  sendings?: () => readonly number[];
}

interface Message {
  url: string;
  headers: Record<string, string>;
  body: string;
  /** @param isTaken answered with success. */
  onSent?: (isTaken: boolean) => void;
}

const TIMEOUT_MS = 5_000;
/** A publisher that comes and goes without end, and a receiver that hangs, fill no memory. */
const MAX_UNDER_WAY = 500;

function authOf(secret: Secret | undefined): Record<string, string> {
  return secret ? { 'cf-webhook-auth': secret.reveal() } : {};
}

export function createWebhooks(options: WebhooksOptions): Webhooks {
  const { alerts, catalogue, clock, log, redactor, sendings = () => [0] } = options;
  const closing = new AbortController();
  const underWay = new Set<Promise<void>>();
  let { liveTarget } = options;
  if (liveTarget) redactor.add(liveTarget.secret);
  const known = catalogue.recordingWebhook();
  if (known) redactor.add(known.secret);
  function registerRecordings(target: RecordingWebhook | undefined): void {
    const former = catalogue.recordingWebhook();
    if (target) redactor.add(target.secret);
    catalogue.saveRecordingWebhook(target);
    if (former) redactor.forget(former.secret);
  }

  async function post({ url, headers, body, onSent }: Message, afterMs: number): Promise<void> {
    const timeout = new AbortController();
    const release = abortWith(timeout, closing.signal);
    try {
      if (afterMs > 0) await clock.sleep(afterMs, { name: 'webhook-late', signal: closing.signal });
      const timer = clock.after('webhook', TIMEOUT_MS, () => timeout.abort());
      const { status, body: answer } = await fetch(url, {
        ...{ method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } },
        // Elsewhere the secret is nobody's business.
        redirect: 'error',
        signal: timeout.signal,
      }).finally(() => timer.cancel());
      // Unread, it would hold its connection.
      await answer?.cancel();
      log.debug({ status }, 'webhook-sent');
      onSent?.(status >= 200 && status < 300);
    } catch (error) {
      onSent?.(false);
      if (!closing.signal.aborted) log.warn({ reason: errorText(error) }, 'webhook-failed');
    } finally {
      release();
    }
  }
  function send(message: Message): void {
    for (const afterMs of sendings()) {
      if (underWay.size >= MAX_UNDER_WAY) {
        log.warn({ max: MAX_UNDER_WAY }, 'webhook-dropped');
        message.onSent?.(false);
        return;
      }
      const work = post(message, afterMs).finally(() => underWay.delete(work));
      underWay.add(work);
    }
  }

  return {
    live(event) {
      if (closing.signal.aborted) return;
      const json = (policy: LiveAlertTarget['policy'] | undefined) => JSON.stringify(liveJson(event, options, policy));
      if (liveTarget) send({ url: liveTarget.url, headers: authOf(liveTarget.secret), body: json(undefined) });
      for (const { url, secret, policy, destinationId } of alerts?.targetsOf(event) ?? []) {
        const onSent = (isTaken: boolean) => alerts?.sent(destinationId, isTaken);
        send({ url, headers: authOf(secret), body: json(policy), onSent });
      }
    },
    recording(videoJson) {
      const target = catalogue.recordingWebhook();
      if (!target || closing.signal.aborted) return;
      const body = JSON.stringify(videoJson);
      const time = Math.floor(clock.now() / 1000);
      const sig1 = createHmac('sha256', target.secret).update(`${time}.${body}`).digest('hex');
      const headers = { 'webhook-signature': `time=${time},sig1=${sig1}` };
      send({ url: target.notificationUrl, headers, body });
    },
    setRecordingTarget(notificationUrl) {
      const target = { notificationUrl, modifiedMs: clock.now(), secret: randomBytes(20).toString('hex') };
      registerRecordings(target);
      return target;
    },
    recordingTarget: catalogue.recordingWebhook,
    removeRecordingTarget: () => registerRecordings(undefined),
    setLiveTarget(target) {
      if (liveTarget) redactor.forget(liveTarget.secret);
      if (target) redactor.add(target.secret);
      liveTarget = target;
    },
    greet({ id, url, secret }) {
      const text = 'Hello World! This is a test message: the local Stream sends live events here.';
      const headers = authOf(secret ? new Secret(secret) : undefined);
      send({ url, headers, body: JSON.stringify({ text }), onSent: (isTaken) => alerts?.sent(id, isTaken) });
    },
    async close() {
      closing.abort();
      await Promise.all(underWay);
    },
  };
}

/** The envelope of notifications as it is since 2026. */
function liveJson(
  event: LiveEvent,
  { accountId, clock }: Pick<WebhooksOptions, 'accountId' | 'clock'>,
  policy: LiveAlertTarget['policy'] | undefined,
): object {
  const nowMs = clock.now();
  const type = `live_input.${event.type}`;
  const updatedAt = new Date(nowMs).toISOString().replace('Z', '000000Z');
  const errored = event.type === 'errored' ? { live_input_errored: erroredJson(event) } : {};
  return {
    name: policy?.name ?? 'Local Stream',
    text: `Notification type: Stream Live Input\nInput ID: ${event.inputUid}\nEvent type: ${type}\nUpdated at: ${updatedAt}`,
    data: {
      notification_name: 'Stream Live Input',
      input_id: event.inputUid,
      event_type: type,
      updated_at: updatedAt,
      ...errored,
    },
    ts: Math.floor(nowMs / 1000),
    ...{ account_id: accountId, policy_id: policy?.id ?? '', policy_name: policy?.name ?? '', alert_type: ALERT_TYPE },
    ...{ alert_correlation_id: '', alert_event: '' },
  };
}

function erroredJson({ code, message, videoCodec = '', audioCodec = '' }: LiveEvent & { type: 'errored' }): object {
  return { error: { code, message }, video_codec: videoCodec, audio_codec: audioCodec };
}
