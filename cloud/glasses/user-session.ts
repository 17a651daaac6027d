/**
 * One user's glasses across reconnects: the socket they have now, what is known of them, and the grace after a loss.
 * Hands their words to the streams and to the apps; never decides what a stream does or who may hear an event.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Dialect } from '../../shared/protocol/dialects.ts';
import type {
  DeviceStreamStatus,
  FromGlasses,
  GlassesAnswer,
  ToGlasses,
} from '../../shared/protocol/glasses-messages.ts';
import type { AgentFacts, AgentUpdateStatus } from '../../shared/protocol/releases.ts';
import { redactUrlsIn } from '../../shared/secrets.ts';
import { closeCodes, type Socket } from '../http/socket.ts';
import type { GlassesLink } from '../streams/stream-orders.ts';
import { type DeviceFacts, type DeviceState, factsOf, printableStatus, withFacts } from './device-state.ts';
import { closestTier, IDLE_TIER } from './location-tiers.ts';

/** What the streams want to hear of the glasses. */
export interface GlassesListener {
  deviceStatus(userId: string, status: DeviceStreamStatus, glasses: GlassesLink): void;
  keepAliveAck(userId: string, ack: { streamId: string; ackId: string }): void;
  glassesGone(userId: string): void;
  glassesBack(userId: string): void;
  endUser(userId: string, error: GlasscastError): void;
  /** The agent there: at each connection, and when it has changed. Undefined: none tells of itself. */
  agentHello?(userId: string, facts: AgentFacts | undefined): void;
  agentUpdate?(userId: string, status: AgentUpdateStatus): void;
}

/** Something the glasses tell whoever wants to know. */
export interface GlassesEvent {
  type: 'event';
  /** The name that apps subscribe to. */
  streamType: string;
  /** The whole message. */
  data: Record<string, unknown>;
}

export interface UserSession extends GlassesLink {
  readonly userId: string;
  /** Glasses have been here since the session began: they may come back. */
  isKnown(): boolean;
  knowsDialect(): boolean;
  /** A new socket replaces the old one, which is closed. */
  attach(socket: Socket<ToGlasses>): void;
  /** Ignored unless it is the present socket. */
  detach(socket: Socket<ToGlasses>): void;
  receive(message: FromGlasses): void;
  deviceState(): DeviceState;
  /** How closely an app wants to follow the location; undefined: not at all. The glasses hear of the closest. */
  followLocation(appId: string, tier: string | undefined): void;
  /** Ends the session now. Idempotent. */
  close(code: number, reason: string): void;
  /** Another process goes on with it: nobody is told of an end. Idempotent. */
  leave(code: number, reason: string): void;
}

export interface UserSessionOptions {
  userId: string;
  clock: Clock;
  log: Log;
  /** Between the loss of the socket and the end of the session. Default 60000. */
  graceMs?: number;
  streams: GlassesListener;
  /** They count as known before they come: a restart of the relay was in between. Default false. */
  areExpected?: boolean;
  onDeviceState: (state: DeviceState) => void;
  /** For the user's apps; an answer is for the one that asked. */
  onNews: (news: GlassesEvent | GlassesAnswer) => void;
  onApp: (verb: 'start' | 'stop', packageName: string) => void;
  /** Once. */
  onEnded: () => void;
}

/** What a phone tells its cloud about itself, and no app. */
const NOT_FOR_APPS = new Set(['dashboard_state', 'livekit_init', 'request_settings', 'udp_register', 'udp_unregister']);

export function createUserSession(options: UserSessionOptions): UserSession {
  return new Session(options);
}

class Session implements UserSession {
  readonly userId: string;
  readonly #options: UserSessionOptions;
  #socket: Socket<ToGlasses> | undefined;
  #grace: Timer | undefined;
  #known: DeviceFacts = {};
  #toldState = '';
  /** Of this connection. */
  #toldAgent: string | undefined;
  /** By app; made for the first that wants any. */
  #locationTiers: Map<string, string> | undefined;
  /** What this socket has been told. */
  #locationTier: string | undefined;
  #isKnown: boolean;
  /** A phone may be connected while its glasses are not. */
  #isUnpaired = false;
  #isOver = false;

  constructor(options: UserSessionOptions) {
    this.userId = options.userId;
    this.#options = options;
    this.#isKnown = options.areExpected ?? false;
    this.#armGrace();
  }

  isConnected(): boolean {
    return this.#socket?.isOpen ?? false;
  }

  isKnown(): boolean {
    return this.#isKnown;
  }

  knowsDialect(): boolean {
    return this.#socket?.dialect !== undefined;
  }

  send(message: ToGlasses, dialect?: Dialect): boolean {
    return this.#socket?.send(message, 'state', dialect) ?? false;
  }

  attach(socket: Socket<ToGlasses>): void {
    const old = this.#socket;
    this.#socket = socket;
    this.#isKnown = true;
    this.#isUnpaired = false;
    this.#toldAgent = undefined;
    this.#grace?.cancel();
    // First of all: a client waits for nothing longer than for this.
    socket.send({ type: 'connection_ack', sessionId: this.userId });
    old?.close(closeCodes.replaced, 'Replaced by a newer connection');
    this.#options.log.info({ userId: this.userId, replaced: old !== undefined }, 'glasses-connected');
    this.#locationTier = undefined;
    this.#sendLocationTier();
    this.#tellState();
    this.#options.streams.glassesBack(this.userId);
  }

  detach(socket: Socket<ToGlasses>): void {
    // The close of a replaced socket says nothing about the glasses.
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    this.#options.log.info({ userId: this.userId }, 'glasses-disconnected');
    this.#tellState();
    this.#options.streams.glassesGone(this.userId);
    this.#armGrace();
  }

  receive(message: FromGlasses): void {
    const { streams } = this.#options;
    switch (message.type) {
      case 'stream_status':
        streams.deviceStatus(this.userId, withoutKeys(message), this);
        return;
      case 'keep_alive_ack':
        streams.keepAliveAck(this.userId, message);
        return;
      case 'connection_init':
        this.send({ type: 'connection_ack', sessionId: this.userId });
        return;
      case 'glasses_connection_state':
        // Apps hear of it with the state as a whole.
        this.#isUnpaired = message.status !== 'CONNECTED';
        this.#learn(message);
        this.#tellAgent(message.agent);
        return;
      case 'glasses_battery_update':
        this.#learn(message);
        this.#tell(message.type, message);
        return;
      case 'core_status_update':
        this.#learn(message);
        this.#tell(message.type, { ...message, status: printableStatus(message.status) });
        return;
      case 'photo_response':
      case 'audio_play_response':
      case 'rgb_led_control_response':
        this.#options.onNews(message);
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
      case 'agent_update_status':
        streams.agentUpdate?.(this.userId, message);
        return;
      case 'pong':
        return;
      case 'unknown':
        if (!NOT_FOR_APPS.has(message.wireType)) this.#tell(message.wireType, message.fields);
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

  leave(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#grace?.cancel();
    this.#socket?.close(code, reason);
    this.#socket = undefined;
    this.#options.log.info({ userId: this.userId, code }, 'user-session-left');
  }

  followLocation(appId: string, tier: string | undefined): void {
    if (tier === undefined) {
      this.#locationTiers?.delete(appId);
    } else {
      this.#locationTiers ??= new Map();
      this.#locationTiers.set(appId, tier);
    }
    this.#sendLocationTier();
  }

  #learn(message: FromGlasses): void {
    this.#known = withFacts(this.#known, factsOf(message));
    this.#tellState();
  }

  #tellState(): void {
    const state = this.deviceState();
    // Phones repeat themselves every few seconds.
    const text = JSON.stringify(state);
    if (text === this.#toldState) return;
    this.#toldState = text;
    this.#options.onDeviceState(state);
  }

  /** For operators: apps have no use for it, so it is no part of the state that they hear. */
  #tellAgent(facts: AgentFacts | undefined): void {
    const text = JSON.stringify(facts ?? null);
    if (text === this.#toldAgent) return;
    this.#toldAgent = text;
    this.#options.streams.agentHello?.(this.userId, facts);
  }

  #tell(wireType: string, data: Record<string, unknown>): void {
    // Some clients write it in lower case; apps know one name.
    const streamType = wireType === 'vad' ? 'VAD' : wireType;
    this.#options.onNews({ type: 'event', streamType, data: { ...data, type: streamType } });
  }

  #sendLocationTier(): void {
    const tier = closestTier([...(this.#locationTiers?.values() ?? [])]);
    if (tier === (this.#locationTier ?? IDLE_TIER) || !this.isConnected()) return;
    if (this.send({ type: 'set_location_tier', tier })) this.#locationTier = tier;
  }

  #armGrace(): void {
    this.#grace?.cancel();
    const { clock, graceMs = 60_000 } = this.#options;
    this.#grace = clock.after('user-session-grace', graceMs, () => this.close(closeCodes.done, 'User session ended'));
  }
}

/** Firmware quotes the address in what went wrong with it; apps hear of that. */
function withoutKeys(status: DeviceStreamStatus): DeviceStreamStatus {
  const { errorDetails } = status;
  return errorDetails === undefined ? status : { ...status, errorDetails: redactUrlsIn(errorDetails) };
}
