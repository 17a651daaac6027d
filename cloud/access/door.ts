/**
 * How many may come in, and how fast: connections in all, those of one address that have not shown who they are, requests
 * and handshakes each second. Knows no token; who is behind an address is told by `Callers`.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { countedAddress } from '../../shared/network-address.ts';
import type { Callers } from './callers.ts';
import { createRateLimit, type Rate } from './rate-limits.ts';

export interface DoorLimits {
  /** TCP connections in all. Default 50,000: ten thousand glasses, their apps, and room for both to come back at once. */
  maxConnections: number;
  /** Of one address, not yet let in by a token or key: HTTP, and WebSockets before their proof. Default 100. */
  maxStrangersPerAddress: number;
  /** HTTP requests of one address. Default 50 each second, 500 at once. */
  requests: Rate;
  /** WebSocket handshakes of one address. Default 10 each second, 100 at once. */
  handshakes: Rate;
}

const defaultDoorLimits: DoorLimits = {
  maxConnections: 50_000,
  maxStrangersPerAddress: 100,
  requests: { perSecond: 50, burst: 500 },
  handshakes: { perSecond: 10, burst: 100 },
};

export interface Door {
  readonly maxConnections: number;
  /** Every new TCP connection; false: it is one too many of its address and has to be cut. */
  connected(socket: Socket): boolean;
  /** An HTTP request has come in on this connection. */
  asked(socket: Socket): void;
  /** Every HTTP request, with Fastify's `request.ip`: undefined when the caller has gone already. @throws GlasscastError RATE_LIMITED */
  request(address: string | undefined): void;
  /**
   * Every WebSocket handshake. Returns what to call once the caller has proven who it is; its place is then free for
   * another stranger. @throws GlasscastError RATE_LIMITED
   */
  handshake(request: IncomingMessage): () => void;
}

/**
 * When so many connections wait to be heard, a handshake that has waited this long is refused unread: whoever sent it has
 * given up or is about to (glasses after 10 s), and work for those keeps the relay from those who still wait.
 */
const CROWD = 500;
const STALE_MS = 5_000;

export interface DoorOptions {
  clock: Clock;
  callers: Callers;
  limits?: Partial<DoorLimits> | undefined;
}

export function createDoor({ clock, callers, limits: given }: DoorOptions): Door {
  const limits = { ...defaultDoorLimits, ...given };
  const requests = createRateLimit({ clock, ...limits.requests });
  const handshakes = createRateLimit({ clock, ...limits.handshakes });
  const strangers = new Map<string, number>();
  /** The way to give up the place that a direct connection holds since it was made. */
  const places = new WeakMap<Socket, () => void>();

  /** Connections that have asked for nothing yet, by the time of their arrival. */
  const unheard = new Map<Socket, number>();
  function forget(this: Socket): void {
    unheard.delete(this);
  }
  function asked(socket: Socket): void {
    if (unheard.delete(socket)) socket.off('close', forget);
  }

  /** A place among the strangers of an address until it is given up or the connection ends; undefined: none is free. */
  function takePlace(address: string, socket: Socket): (() => void) | undefined {
    const key = countedAddress(address);
    const taken = strangers.get(key) ?? 0;
    if (taken >= limits.maxStrangersPerAddress) return undefined;
    strangers.set(key, taken + 1);
    let isHeld = true;
    const giveUp = () => {
      if (!isHeld) return;
      isHeld = false;
      const left = (strangers.get(key) ?? 1) - 1;
      if (left === 0) strangers.delete(key);
      else strangers.set(key, left);
    };
    socket.once('close', giveUp);
    return giveUp;
  }

  return {
    maxConnections: limits.maxConnections,
    asked,
    connected(socket) {
      unheard.set(socket, clock.monotonicMs());
      socket.on('close', forget);
      const address = socket.remoteAddress;
      if (address === undefined || callers.standsForMany(address) || callers.isTrusted(address)) return true;
      const giveUp = takePlace(address, socket);
      if (giveUp) places.set(socket, giveUp);
      return giveUp !== undefined;
    },
    request(address = 'unknown') {
      if (callers.standsForMany(address) || requests.take(countedAddress(address))) return;
      throw new GlasscastError('RATE_LIMITED');
    },
    handshake(request) {
      const isCrowded = unheard.size >= CROWD;
      const waitedMs = clock.monotonicMs() - (unheard.get(request.socket) ?? Number.POSITIVE_INFINITY);
      asked(request.socket);
      if (isCrowded && waitedMs > STALE_MS) throw new GlasscastError('RATE_LIMITED');
      const address = callers.addressOf(request);
      if (callers.standsForMany(address)) return () => {};
      if (!handshakes.take(countedAddress(address))) throw new GlasscastError('RATE_LIMITED');
      const giveUp = places.get(request.socket) ?? takePlace(address, request.socket);
      if (!giveUp) throw new GlasscastError('RATE_LIMITED');
      return giveUp;
    },
  };
}
