/**
 * One app of one user across reconnects: its socket, what it asks for, and what it is told. The app is known by its
 * socket; names inside messages are not looked at. Failures are answered as statuses on the open socket, since the SDK
 * takes a close as final.
 */
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { FromApp, StreamStatusCheckResponse, Subscription, ToApp } from '../../shared/protocol/app-messages.ts';
import type { Dialect } from '../../shared/protocol/dialects.ts';
import type { GlassesAnswer } from '../../shared/protocol/glasses-messages.ts';
import type { DeviceState } from '../glasses/device-state.ts';
import type { GlassesEvent } from '../glasses/user-session.ts';
import { closeCodes, type Socket } from '../http/socket.ts';
import type { RegisteredApp } from '../store/records.ts';
import type { GlassesLink } from '../streams/stream-orders.ts';
import type { StreamRequest, UnmanagedRequest } from '../streams/stream-registry.ts';
import { type AppStatus, wordsOf } from '../streams/stream-words.ts';
import type { Importance, Viewer } from '../streams/viewers.ts';
import { maySeeCamera } from './app-catalog.ts';
import { type AppOrders, createAppOrders, type PhotoFailure } from './app-orders.ts';
import { capabilitiesOf } from './glasses-models.ts';
import { createStartWindow, type StartWindow } from './start-window.ts';
import { createSubscriptions, type Subscriptions } from './subscriptions.ts';

/** What an app can ask of the streams of its user. */
export interface AppStreams {
  request(userId: string, viewer: Viewer, request: StreamRequest, glasses: GlassesLink): void;
  leave(userId: string, viewer: Viewer, because?: GlasscastError): void;
  requestUnmanaged(userId: string, owner: Viewer, request: UnmanagedRequest, glasses: GlassesLink): void;
  stopUnmanaged(userId: string, owner: Viewer, streamId: string | undefined): void;
  repeat(userId: string, appId: string): boolean;
  check(userId: string, appId: string): Pick<StreamStatusCheckResponse, 'hasActiveStream' | 'streamInfo'>;
}

/** The glasses of the app's user. */
export interface AppGlasses extends GlassesLink {
  /** They have been here lately: a start is kept for them. */
  isKnown(): boolean;
  deviceState(): DeviceState;
  /** @param tier in MentraOS' words; undefined: the app needs no location. */
  followLocation(appId: string, tier: string | undefined): void;
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
  /** An event reaches it when it has subscribed, an answer when it has asked. */
  hear(news: GlassesEvent | GlassesAnswer): void;
  /** The operator has changed the app: it hears of new settings. Without CAMERA it streams and watches no longer. */
  update(app: RegisteredApp): void;
  close(code: number, reason: string): void;
}

export interface AppSessionOptions {
  sessionId: string;
  userId: string;
  app: RegisteredApp;
  streams: AppStreams;
  glasses: AppGlasses;
  /** All apps of the user: those that subscribe hear how the stream is that this one owns. */
  peers: () => Pick<AppSession, 'hear'>[];
  /** Tells the app's own server; the SDK waits for it there. */
  photoFailed: (publicUrl: string | undefined, failure: PhotoFailure) => void;
  clock: Clock;
  log: Log;
  /** The app ran in an earlier session: its SDK may have lived on, and believe in a stream that is over. */
  isContinued?: boolean;
}

type StreamKind = keyof typeof wordsOf;
const KINDS: readonly StreamKind[] = ['managed', 'unmanaged'];
/** What settles a start in the app. */
const ANSWERS: ReadonlySet<string> = new Set(['active', 'stopped', 'error']);

export function createAppSession(options: AppSessionOptions): AppSession {
  return new Session(options);
}

class Session implements AppSession {
  readonly sessionId: string;
  readonly userId: string;
  readonly packageName: string;
  readonly id: string;
  readonly #options: AppSessionOptions;
  readonly #subscriptions: Subscriptions;
  readonly #orders: AppOrders;
  readonly #startWindow: StartWindow;
  #app: RegisteredApp;
  #socket: Socket<ToApp> | undefined;
  /** Shown on an earlier socket, for one that has shown none yet. */
  #dialect: Dialect | undefined;
  #isReleased = false;
  /** For a return without a stream: the last state that found no socket, else that nothing runs any more. */
  readonly #lastWords = new Map<StreamKind, AppStatus>();
  /** Answers that found no socket; as few as `AppOrders` lets wait. */
  readonly #unheard: ToApp[] = [];
  /** What this socket has been told: whose capabilities, and which connection of the glasses. */
  #toldModel: string | undefined;
  #toldConnection = '';

  constructor(options: AppSessionOptions) {
    const { app, clock, glasses, isContinued, log } = options;
    this.#options = options;
    this.#app = app;
    this.sessionId = options.sessionId;
    this.userId = options.userId;
    this.packageName = app.packageName;
    this.id = app.packageName;
    this.#subscriptions = createSubscriptions(app.permissions);
    const onClosing = () => options.streams.leave(this.userId, this, new GlasscastError('START_UNHEARD'));
    this.#startWindow = createStartWindow({ clock, onClosing });
    this.#orders = createAppOrders({
      glasses,
      clock,
      log: log.child({ userId: options.userId }),
      app: () => this.#app,
      reply: (message) => this.#answer(message),
      photoFailed: (failure) => options.photoFailed(this.#app.publicUrl, failure),
    });
    for (const kind of isContinued ? KINDS : []) this.#lastWords.set(kind, wordsOf[kind].stopped(undefined));
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  get isConnected(): boolean {
    return this.#socket?.isOpen ?? false;
  }

  attach(socket: Socket<ToApp>, isReturn = false): void {
    const state = this.#options.glasses.deviceState();
    const old = this.#socket;
    this.#dialect = old?.dialect ?? this.#dialect;
    this.#socket = socket;
    this.#isReleased = false;
    this.#toldModel = state.modelName;
    this.#toldConnection = '';
    // The reason is what keeps the SDK from reconnecting the socket that was replaced.
    old?.close(closeCodes.done, 'App stopped: replaced by a newer connection');
    socket.send({
      type: isReturn ? 'reconnect_ack' : 'tpa_connection_ack',
      sessionId: this.sessionId,
      settings: this.#app.settings,
      mentraosSettings: {},
      augmentosSettings: {},
      capabilities: capabilitiesOf(state.modelName),
    });
    this.deviceState(state);
    this.#repeatStatus();
    for (const answer of this.#unheard.splice(0)) this.#send(answer);
  }

  detach(socket: Socket<ToApp>): boolean {
    if (this.#socket !== socket) return false;
    this.#dialect = socket.dialect ?? this.#dialect;
    this.#socket = undefined;
    return true;
  }

  deliver(status: AppStatus, importance: Importance): void {
    let isSent = false;
    if (status.type === 'managed_stream_status') {
      if (ANSWERS.has(status.status)) this.#startWindow.answered();
      isSent = this.#send(status, importance);
    } else {
      const data = { ...status, appId: this.packageName };
      isSent = this.#send({ ...data, sessionId: this.sessionId }, importance);
      const event: GlassesEvent = { type: 'event', streamType: status.type, data };
      for (const peer of this.#options.peers()) if (peer !== this) peer.hear(event);
    }
    if (importance !== 'state') return;
    const kind = status.type === 'managed_stream_status' ? 'managed' : 'unmanaged';
    // Sent is not received: the socket may have been dead already.
    this.#lastWords.set(kind, isSent ? wordsOf[kind].stopped(status.streamId) : status);
  }

  receive(message: FromApp): void {
    const { streams, log } = this.#options;
    switch (message.type) {
      case 'managed_stream_request': {
        const { type: _, ...request } = message;
        this.#startWindow.asked();
        this.#request('managed', (glasses) => streams.request(this.userId, this, request, glasses));
        return;
      }
      case 'managed_stream_stop':
        streams.leave(this.userId, this);
        return;
      case 'stream_request': {
        const { type: _, ...request } = message;
        this.#request('unmanaged', (glasses) => streams.requestUnmanaged(this.userId, this, request, glasses));
        return;
      }
      case 'stream_stop':
        streams.stopUnmanaged(this.userId, this, message.streamId);
        return;
      case 'stream_status_check': {
        const { requestId } = message;
        const answer = { type: 'stream_status_check_response', ...streams.check(this.userId, this.id) } as const;
        this.#send(requestId === undefined ? answer : { ...answer, requestId });
        return;
      }
      case 'subscription_update':
        this.#subscribe(message.subscriptions);
        return;
      case 'photo_request':
      case 'audio_play_request':
      case 'audio_stop_request':
      case 'rgb_led_control':
      case 'display_event':
      case 'location_poll_request':
      case 'request_wifi_setup':
        this.#orders.ask(message);
        return;
      case 'app_direct_message': {
        const { messageId, targetUserId } = message;
        const error = 'This relay carries no messages between users';
        this.#send({ type: 'app_direct_message_response', messageId, targetUserId, success: false, error });
        return;
      }
      case 'ownership_release':
        this.#isReleased = true;
        return;
      case 'ping':
        this.#send({ type: 'pong' });
        return;
      case 'tpa_connection_init':
      case 'reconnect':
      case 'pong':
        // A second init changes nothing.
        return;
      case 'unknown':
        log.debug({ userId: this.userId, appId: this.packageName, type: message.wireType }, 'message-type-not-handled');
        return;
      default:
        message satisfies never;
    }
  }

  deviceState(state: DeviceState): void {
    const { connected, modelName, wifiConnected, wifiSsid = null, wifiLocalIp = null } = state;
    if (modelName !== undefined && modelName !== this.#toldModel) {
      this.#toldModel = modelName;
      this.#send({ type: 'capabilities_update', capabilities: capabilitiesOf(modelName), modelName });
    }
    const hasWifi = wifiConnected !== undefined;
    // The SDK keeps what is left out; null tells it that there is no such network any more.
    const network = hasWifi ? { wifiSsid, wifiLocalIp } : {};
    this.#send({ type: 'device_state_update', state: { ...state, ...network }, fullSnapshot: true });
    const data = {
      type: 'glasses_connection_state',
      status: connected ? 'CONNECTED' : 'DISCONNECTED',
      ...(modelName === undefined ? {} : { modelName }),
      ...(hasWifi ? { wifi: { connected: wifiConnected, ssid: wifiSsid, localIp: wifiLocalIp } } : {}),
    };
    const connection = JSON.stringify(data);
    if (connection === this.#toldConnection) return;
    this.#toldConnection = connection;
    // Sent whether or not the app subscribed: it feeds `session.getWifiStatus()`.
    this.#sendData(data.type, data, 'state');
  }

  hear(news: GlassesEvent | GlassesAnswer): void {
    if (news.type !== 'event') {
      this.#orders.answered(news);
      return;
    }
    for (const name of this.#subscriptions.namesFor(news)) {
      const data = news.streamType === 'stream_status' ? { ...news.data, type: name } : news.data;
      // Left out for an app that does not read as fast as they come.
      this.#sendData(name, data, 'stats');
    }
  }

  update(app: RegisteredApp): void {
    const { streams } = this.#options;
    const before = this.#app;
    this.#app = app;
    this.#subscriptions.permit(app.permissions);
    this.#followLocation();
    if (JSON.stringify(before.settings) !== JSON.stringify(app.settings)) {
      this.#send({ type: 'settings_update', packageName: this.packageName, settings: app.settings });
    }
    if (!maySeeCamera(before) || maySeeCamera(app)) return;
    streams.leave(this.userId, this);
    streams.stopUnmanaged(this.userId, this, undefined);
  }

  close(code: number, reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#orders.close();
    this.#startWindow.close();
    this.#options.glasses.followLocation(this.id, undefined);
    if (reason === 'App stopped') socket?.send({ type: 'app_stopped' });
    socket?.close(code, reason);
  }

  #request(kind: StreamKind, ask: (glasses: GlassesLink) => void): void {
    const { glasses } = this.#options;
    try {
      if (!maySeeCamera(this.#app)) throw new GlasscastError('PERMISSION_DENIED');
      if (!glasses.isConnected() && !glasses.isKnown()) throw new GlasscastError('GLASSES_NOT_CONNECTED');
      ask(glasses);
    } catch (thrown) {
      this.deliver(wordsOf[kind].failed(asGlasscastError(thrown)), 'state');
    }
  }

  #answer(answer: ToApp): void {
    if (!this.#send(answer)) this.#unheard.push(answer);
  }

  #send(message: ToApp, importance?: Importance): boolean {
    return this.#socket?.send(message, importance, this.#socket.dialect ?? this.#dialect) ?? false;
  }

  /** The SDK keeps its idea of a stream over a reconnect; without this it would refuse to start another. */
  #repeatStatus(): void {
    const { streams } = this.#options;
    const isTold = streams.repeat(this.userId, this.id);
    const { streamInfo } = streams.check(this.userId, this.id);
    if (isTold && !streamInfo) return;
    for (const [kind, word] of [...this.#lastWords]) {
      if (!isTold || kind !== streamInfo?.type) this.deliver(word, 'state');
    }
  }

  #subscribe(wanted: readonly Subscription[]): void {
    const details = this.#subscriptions.replace(wanted);
    const message = 'The app lacks permissions for some of its subscriptions';
    if (details.length > 0) this.#send({ type: 'permission_error', message, details });
    this.#followLocation();
  }

  #followLocation(): void {
    this.#options.glasses.followLocation(this.id, this.#subscriptions.locationTier());
  }

  #sendData(streamType: string, data: Record<string, unknown>, importance: Importance): void {
    this.#send({ type: 'data_stream', sessionId: this.sessionId, streamType, data }, importance);
  }
}
