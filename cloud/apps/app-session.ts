/**
 * One app of one user across reconnects: its socket, and what it asks for. The app is known by its socket; names inside
 * messages are not looked at. Failures are answered as statuses on the open socket, since the SDK takes a close as final.
 */
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type {
  FromApp,
  ManagedStreamStatus,
  StreamStatusCheckResponse,
  ToApp,
} from '../../shared/protocol/app-messages.ts';
import type { DeviceState } from '../glasses/user-session.ts';
import { closeCodes, type Socket } from '../http/socket.ts';
import type { RegisteredApp } from '../store/records.ts';
import { errorStatus, stoppedStatus } from '../streams/managed-status.ts';
import type { GlassesLink } from '../streams/stream-orders.ts';
import type { StreamRequest } from '../streams/stream-registry.ts';
import type { Importance, Viewer } from '../streams/viewers.ts';
import { maySeeCamera } from './app-catalog.ts';
import { mentraLiveCapabilities } from './mentra-live.ts';

/** What an app can ask of the streams of its user. */
export interface AppStreams {
  request(userId: string, viewer: Viewer, request: StreamRequest, glasses: GlassesLink): void;
  leave(userId: string, viewer: Viewer): void;
  repeat(userId: string, viewerId: string): boolean;
  check(userId: string): Pick<StreamStatusCheckResponse, 'hasActiveStream' | 'streamInfo'>;
}

/** The glasses of the app's user. */
export interface AppGlasses extends GlassesLink {
  /** They have been here lately: a start is kept for them. */
  isKnown(): boolean;
  deviceState(): DeviceState;
}

export interface AppSession extends Viewer {
  readonly sessionId: string;
  readonly userId: string;
  readonly packageName: string;
  /** The app said that it leaves on purpose. */
  readonly isReleased: boolean;
  readonly isConnected: boolean;
  /** Acknowledges, replaces an older socket, and tells what was missed. @param isReturn the app said `reconnect`. */
  attach(socket: Socket<ToApp>, isReturn?: boolean): void;
  /** False when it was not the present socket. */
  detach(socket: Socket<ToApp>): boolean;
  receive(message: FromApp): void;
  deviceState(state: DeviceState): void;
  /** The operator has changed the app. Without CAMERA it watches no longer. */
  update(app: RegisteredApp): void;
  close(code: number, reason: string): void;
}

export interface AppSessionOptions {
  sessionId: string;
  userId: string;
  app: RegisteredApp;
  streams: AppStreams;
  glasses: AppGlasses;
  log: Log;
  /** It ran before the relay restarted: its SDK may still believe in a stream that is over. */
  isResumed?: boolean;
}

export function createAppSession(options: AppSessionOptions): AppSession {
  return new Session(options);
}

class Session implements AppSession {
  readonly sessionId: string;
  readonly userId: string;
  readonly packageName: string;
  readonly id: string;
  readonly #options: AppSessionOptions;
  #app: RegisteredApp;
  #socket: Socket<ToApp> | undefined;
  #isReleased = false;
  /** For a return without a stream: the last state that found no socket, else that nothing runs any more. */
  #lastWord: ManagedStreamStatus | undefined;

  constructor(options: AppSessionOptions) {
    this.#options = options;
    this.#app = options.app;
    if (options.isResumed) this.#lastWord = stoppedStatus(undefined);
    this.sessionId = options.sessionId;
    this.userId = options.userId;
    this.packageName = options.app.packageName;
    this.id = options.app.packageName;
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  get isConnected(): boolean {
    return this.#socket?.isOpen ?? false;
  }

  attach(socket: Socket<ToApp>, isReturn = false): void {
    const { glasses, streams } = this.#options;
    const old = this.#socket;
    this.#socket = socket;
    this.#isReleased = false;
    // The reason is what keeps the SDK from reconnecting the socket that was replaced.
    old?.close(closeCodes.done, 'App stopped: replaced by a newer connection');
    socket.send({
      type: isReturn ? 'reconnect_ack' : 'tpa_connection_ack',
      sessionId: this.sessionId,
      settings: this.#app.settings,
      mentraosSettings: {},
      augmentosSettings: {},
      capabilities: mentraLiveCapabilities,
    });
    this.deviceState(glasses.deviceState());
    // The SDK keeps its idea of a stream over a reconnect; without this it would refuse to start another.
    if (!streams.repeat(this.userId, this.id) && this.#lastWord) this.deliver(this.#lastWord, 'state');
  }

  detach(socket: Socket<ToApp>): boolean {
    if (this.#socket !== socket) return false;
    this.#socket = undefined;
    return true;
  }

  deliver(status: ManagedStreamStatus, importance: Importance): void {
    const isSent = this.#socket?.send(status, importance) ?? false;
    // Sent is not received: the socket may have been dead already.
    if (importance === 'state') this.#lastWord = isSent ? stoppedStatus(status.streamId) : status;
  }

  receive(message: FromApp): void {
    const { streams, log } = this.#options;
    switch (message.type) {
      case 'managed_stream_request':
        this.#requestStream(message);
        return;
      case 'managed_stream_stop':
        streams.leave(this.userId, this);
        return;
      case 'stream_status_check': {
        const { requestId } = message;
        const answer = { type: 'stream_status_check_response', ...streams.check(this.userId) } as const;
        this.#socket?.send(requestId === undefined ? answer : { ...answer, requestId });
        return;
      }
      case 'stream_request':
      case 'stream_stop':
        this.#socket?.send({
          type: 'stream_status',
          status: message.type === 'stream_stop' ? 'stopped' : 'error',
          appId: this.packageName,
          ...(message.type === 'stream_stop'
            ? {}
            : { errorDetails: 'Unmanaged streams are not supported by this relay' }),
        });
        return;
      case 'ownership_release':
        this.#isReleased = true;
        return;
      case 'ping':
        this.#socket?.send({ type: 'pong' });
        return;
      case 'tpa_connection_init':
      case 'reconnect':
      case 'subscription_update':
      case 'pong':
        // Nothing that we send needs a subscription yet; a second init changes nothing.
        return;
      case 'unknown':
        log.debug({ appId: this.packageName, type: message.wireType }, 'message-type-not-handled');
        return;
      default:
        message satisfies never;
    }
  }

  deviceState(state: DeviceState): void {
    const { connected, modelName, wifiConnected, wifiSsid, wifiLocalIp } = state;
    this.#socket?.send({ type: 'device_state_update', state: { ...state }, fullSnapshot: true });
    // Sent whether or not the app subscribed: it feeds `session.getWifiStatus()`.
    this.#socket?.send({
      type: 'data_stream',
      streamType: 'glasses_connection_state',
      data: {
        type: 'glasses_connection_state',
        status: connected ? 'CONNECTED' : 'DISCONNECTED',
        ...(modelName ? { modelName } : {}),
        ...(wifiConnected === undefined
          ? {}
          : { wifi: { connected: wifiConnected, ssid: wifiSsid ?? null, localIp: wifiLocalIp ?? null } }),
      },
    });
  }

  update(app: RegisteredApp): void {
    const mayNoLonger = maySeeCamera(this.#app) && !maySeeCamera(app);
    this.#app = app;
    if (mayNoLonger) this.#options.streams.leave(this.userId, this);
  }

  close(code: number, reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (reason === 'App stopped') socket?.send({ type: 'app_stopped' });
    socket?.close(code, reason);
  }

  #requestStream({ type: _, ...request }: Extract<FromApp, { type: 'managed_stream_request' }>): void {
    const { glasses, streams } = this.#options;
    try {
      if (!maySeeCamera(this.#app)) throw new GlasscastError('PERMISSION_DENIED');
      if (!glasses.isConnected() && !glasses.isKnown()) throw new GlasscastError('GLASSES_NOT_CONNECTED');
      streams.request(this.userId, this, request, glasses);
    } catch (thrown) {
      this.deliver(errorStatus(asGlasscastError(thrown)), 'state');
    }
  }
}
