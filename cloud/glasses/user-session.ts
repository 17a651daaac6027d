/**
 * One user's glasses across reconnects: the socket they have now, what is known of them, and the grace after a loss.
 * Hands their words to the streams; never decides what a stream does.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { DeviceStreamStatus, FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { closeCodes, type Socket } from '../http/socket.ts';
import type { GlassesLink } from '../streams/stream-orders.ts';

/** What the streams want to hear of the glasses. */
export interface GlassesListener {
  deviceStatus(userId: string, status: DeviceStreamStatus, glasses: GlassesLink): void;
  keepAliveAck(userId: string, ack: { streamId: string; ackId: string }): void;
  glassesGone(userId: string): void;
  glassesBack(userId: string): void;
  endUser(userId: string, error: GlasscastError): void;
}

/** For apps (`device_state_update`) and operators. */
export interface DeviceState {
  connected: boolean;
  modelName?: string;
  wifiConnected?: boolean;
  wifiSsid?: string;
  wifiLocalIp?: string;
  batteryLevel?: number;
  charging?: boolean;
}

export interface UserSession extends GlassesLink {
  readonly userId: string;
  /** Glasses have been here since the session began: they may come back. */
  isKnown(): boolean;
  /** A new socket replaces the old one, which is closed. */
  attach(socket: Socket<ToGlasses>): void;
  /** Ignored unless it is the present socket. */
  detach(socket: Socket<ToGlasses>): void;
  receive(message: FromGlasses): void;
  deviceState(): DeviceState;
  /** Ends the session now. Idempotent. */
  close(code: number, reason: string): void;
}

export interface UserSessionOptions {
  userId: string;
  clock: Clock;
  log: Log;
  /** Between the loss of the socket and the end of the session. Default 60000. */
  graceMs?: number;
  streams: GlassesListener;
  onDeviceState: (state: DeviceState) => void;
  onApp: (verb: 'start' | 'stop', packageName: string) => void;
  /** Once. */
  onEnded: () => void;
}

export function createUserSession(options: UserSessionOptions): UserSession {
  return new Session(options);
}

class Session implements UserSession {
  readonly userId: string;
  readonly #options: UserSessionOptions;
  #socket: Socket<ToGlasses> | undefined;
  #grace: Timer | undefined;
  #known: Omit<DeviceState, 'connected'> = {};
  #isKnown = false;
  /** A phone may be connected while its glasses are not. */
  #isUnpaired = false;
  #isOver = false;

  constructor(options: UserSessionOptions) {
    this.userId = options.userId;
    this.#options = options;
    this.#armGrace();
  }

  isConnected(): boolean {
    return this.#socket?.isOpen ?? false;
  }

  isKnown(): boolean {
    return this.#isKnown;
  }

  send(message: ToGlasses): boolean {
    return this.#socket?.send(message) ?? false;
  }

  attach(socket: Socket<ToGlasses>): void {
    const old = this.#socket;
    this.#socket = socket;
    this.#isKnown = true;
    this.#isUnpaired = false;
    this.#grace?.cancel();
    // First of all: a client waits for nothing longer than for this.
    socket.send({ type: 'connection_ack', sessionId: this.userId });
    old?.close(closeCodes.replaced, 'Replaced by a newer connection');
    this.#options.log.info({ userId: this.userId, replaced: old !== undefined }, 'glasses-connected');
    this.#options.onDeviceState(this.deviceState());
    this.#options.streams.glassesBack(this.userId);
  }

  detach(socket: Socket<ToGlasses>): void {
    // The close of a replaced socket says nothing about the glasses.
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    this.#options.log.info({ userId: this.userId }, 'glasses-disconnected');
    this.#options.onDeviceState(this.deviceState());
    this.#options.streams.glassesGone(this.userId);
    this.#armGrace();
  }

  receive(message: FromGlasses): void {
    const { streams } = this.#options;
    switch (message.type) {
      case 'stream_status':
        streams.deviceStatus(this.userId, message, this);
        return;
      case 'keep_alive_ack':
        streams.keepAliveAck(this.userId, message);
        return;
      case 'connection_init':
        this.send({ type: 'connection_ack', sessionId: this.userId });
        return;
      case 'glasses_connection_state':
        this.#isUnpaired = message.status === 'DISCONNECTED';
        this.#learn({
          ...(message.modelName ? { modelName: message.modelName } : {}),
          ...(message.wifi ? { wifiConnected: message.wifi.connected } : {}),
          ...(message.wifi?.ssid ? { wifiSsid: message.wifi.ssid } : {}),
          ...(message.wifi?.localIp ? { wifiLocalIp: message.wifi.localIp } : {}),
        });
        return;
      case 'glasses_battery_update':
        this.#learn({
          batteryLevel: message.level,
          ...(message.charging === undefined ? {} : { charging: message.charging }),
        });
        return;
      case 'start_app':
        this.#options.onApp('start', message.packageName);
        return;
      case 'stop_app':
        this.#options.onApp('stop', message.packageName);
        return;
      case 'ping':
        this.send({ type: 'pong' });
        return;
      case 'pong':
        return;
      case 'unknown':
        this.#options.log.debug({ userId: this.userId, type: message.wireType }, 'message-type-not-handled');
        return;
      default:
        message satisfies never;
    }
  }

  deviceState(): DeviceState {
    return { connected: this.isConnected() && !this.#isUnpaired, ...this.#known };
  }

  close(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#grace?.cancel();
    this.#options.streams.endUser(this.userId, new GlasscastError('GLASSES_NOT_CONNECTED'));
    this.#socket?.close(code, reason);
    this.#socket = undefined;
    this.#options.log.info({ userId: this.userId, reason }, 'user-session-ended');
    this.#options.onEnded();
  }

  #learn(news: Omit<DeviceState, 'connected'>): void {
    this.#known = { ...this.#known, ...news };
    this.#options.onDeviceState(this.deviceState());
  }

  #armGrace(): void {
    this.#grace?.cancel();
    const { clock, graceMs = 60_000 } = this.#options;
    this.#grace = clock.after('user-session-grace', graceMs, () => this.close(closeCodes.done, 'User session ended'));
  }
}
