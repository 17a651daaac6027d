/**
 * What one app asks of the glasses beside streams: photos, sounds, lights, texts, a place. Handed on to the glasses in
 * MentraOS' words; whoever waits for an answer gets one, a negative one when the glasses are away or say nothing.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { FromApp, ToApp } from '../../shared/protocol/app-messages.ts';
import type { AppOrder, GlassesAnswer } from '../../shared/protocol/glasses-messages.ts';
import type { RegisteredApp } from '../store/records.ts';
import type { GlassesLink } from '../streams/stream-orders.ts';
import { missingPermission } from './subscriptions.ts';

export type AppWish = Extract<
  FromApp,
  {
    type:
      | 'photo_request'
      | 'audio_play_request'
      | 'audio_stop_request'
      | 'rgb_led_control'
      | 'display_event'
      | 'location_poll_request'
      | 'request_wifi_setup';
  }
>;
type AnsweredWish = Extract<AppWish, { requestId: string }>;

/** Why a photo did not come, in the form the app's own server takes. */
export interface PhotoFailure {
  requestId: string;
  /** A code of MentraOS' list. */
  errorCode: string;
  errorMessage: string;
}

export interface AppOrders {
  ask(wish: AppWish): void;
  /** Ignored unless this app waits for it. */
  answered(answer: GlassesAnswer): void;
  /** Nobody waits any more. */
  close(): void;
}

export interface AppOrdersOptions {
  app: () => RegisteredApp;
  glasses: Pick<GlassesLink, 'send'>;
  reply: (message: ToApp) => void;
  /** The SDK's promise of a photo hears of a failure at the app's own `/photo-upload`, not on the socket. */
  photoFailed: (failure: PhotoFailure) => void;
  clock: Clock;
  log: Log;
}

/** Below the SDK's own patience: 30 s for a photo, 60 s for a sound, which is answered when it has been played. */
const PATIENCE_MS = { photo_request: 25_000, audio_play_request: 55_000, rgb_led_control: 10_000 } as const;
const MAX_WAITING = 50;

interface Failure {
  /** Of MentraOS' photo errors. */
  code: string;
  message: string;
}
const NOT_THERE: Failure = { code: 'PHONE_GLASSES_NOT_CONNECTED', message: 'Glasses are not connected' };
const NO_ANSWER: Failure = { code: 'PHONE_TIMEOUT', message: 'The glasses did not answer in time' };
const TOO_MANY: Failure = { code: 'CAMERA_BUSY', message: 'Too many requests wait for the glasses' };

export function createAppOrders(options: AppOrdersOptions): AppOrders {
  const { app, glasses, reply, clock, log } = options;
  const waiting = new Map<string, { wish: AnsweredWish; patience: Timer }>();

  function ask(wish: AppWish): void {
    const { packageName, permissions } = app();
    const stream = wish.type === 'photo_request' ? 'photo_response' : 'location_update';
    const needsPermission = wish.type === 'photo_request' || wish.type === 'location_poll_request';
    const missing = needsPermission ? missingPermission(stream, permissions) : undefined;
    if (missing !== undefined) {
      const message = `${wish.type} needs the permission ${missing}`;
      const details = [{ stream: wish.type, requiredPermission: missing, message }];
      reply({ type: 'permission_error', message, details });
      refuse(wish, { code: 'PERMISSION_DENIED', message });
    } else if (isAnswered(wish) && waiting.size >= MAX_WAITING) {
      refuse(wish, TOO_MANY);
    } else if (!glasses.send(orderOf(wish, app()))) {
      log.debug({ appId: packageName, type: wish.type }, 'order-without-glasses');
      refuse(wish, NOT_THERE);
    } else if (isAnswered(wish)) {
      expect(wish);
    }
  }

  function expect(wish: AnsweredWish): void {
    const key = `${wish.type} ${wish.requestId}`;
    waiting.get(key)?.patience.cancel();
    const patience = clock.after('app-order', PATIENCE_MS[wish.type], () => {
      waiting.delete(key);
      refuse(wish, NO_ANSWER);
    });
    waiting.set(key, { wish, patience });
  }

  function refuse(wish: AppWish, { code, message }: Failure): void {
    if (!isAnswered(wish)) return;
    const { requestId } = wish;
    const error = wish.type === 'photo_request' ? { code, message } : message;
    reply({ type: ANSWER_TO[wish.type], requestId, success: false, error });
    tellUpload(wish, { requestId, errorCode: code, errorMessage: message });
  }

  /** An upload address of the app's own choice is for the glasses; the SDK does not wait for it. */
  function tellUpload(wish: AnsweredWish, failure: PhotoFailure): void {
    if (wish.type === 'photo_request' && wish.customWebhookUrl === undefined) options.photoFailed(failure);
  }

  return {
    ask,
    answered(answer) {
      const { requestId } = answer;
      const key = `${WISH_OF[answer.type]} ${requestId}`;
      const found = waiting.get(key);
      if (!found) return;
      waiting.delete(key);
      found.patience.cancel();
      reply(answer);
      if (answer.success !== false) return;
      const { code, message } = textsOf(answer.error);
      tellUpload(found.wish, { requestId, errorCode: code, errorMessage: message });
    },
    close() {
      for (const { patience } of waiting.values()) patience.cancel();
      waiting.clear();
    },
  };
}

const ANSWER_TO = {
  photo_request: 'photo_response',
  audio_play_request: 'audio_play_response',
  rgb_led_control: 'rgb_led_control_response',
} as const;
const WISH_OF = {
  photo_response: 'photo_request',
  audio_play_response: 'audio_play_request',
  rgb_led_control_response: 'rgb_led_control',
} as const;

function isAnswered(wish: AppWish): wish is AnsweredWish {
  return 'requestId' in wish;
}

function orderOf(wish: AppWish, { packageName, publicUrl }: RegisteredApp): AppOrder {
  switch (wish.type) {
    case 'photo_request': {
      const { customWebhookUrl, ...rest } = wish;
      const webhookUrl = customWebhookUrl ?? (publicUrl && `${publicUrl}/photo-upload`);
      return { ...rest, appId: packageName, ...(webhookUrl === undefined ? {} : { webhookUrl }) };
    }
    case 'location_poll_request': {
      const { correlationId, accuracy = 'standard' } = wish;
      return { type: 'request_single_location', correlationId, accuracy };
    }
    case 'request_wifi_setup': {
      const { reason } = wish;
      return { type: 'show_wifi_setup', appPackageName: packageName, ...(reason === undefined ? {} : { reason }) };
    }
    case 'display_event':
      return { ...wish, packageName };
    case 'audio_play_request':
    case 'audio_stop_request':
    case 'rgb_led_control':
      return { ...wish, appId: packageName };
    default:
      return wish satisfies never;
  }
}

function textsOf(error: unknown): Failure {
  const { code, message } = typeof error === 'object' && error !== null ? (error as Partial<Failure>) : {};
  const text = typeof error === 'string' ? error : message;
  return { code: String(code ?? 'UNKNOWN_ERROR'), message: String(text ?? 'The glasses could not take the photo') };
}
