/** The sessions of all users: one each, made when glasses or an app ask for it, forgotten when it ends. */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { closeCodes } from '../http/socket.ts';
import { createUserSession, type DeviceState, type GlassesListener, type UserSession } from './user-session.ts';

export interface SessionRegistry {
  /** The user's session; begun now when there is none. It ends by itself when no glasses come. SHUTTING_DOWN after `close`. */
  open(userId: string): UserSession;
  get(userId: string): UserSession | undefined;
  all(): UserSession[];
  /** Ends all, for a restart of the relay. */
  close(): void;
}

export interface SessionRegistryOptions {
  clock: Clock;
  log: Log;
  graceMs?: number;
  streams: GlassesListener;
  onDeviceState: (userId: string, state: DeviceState) => void;
  onApp: (verb: 'start' | 'stop', userId: string, packageName: string) => void;
  onEnded: (userId: string) => void;
}

export function createSessionRegistry(options: SessionRegistryOptions): SessionRegistry {
  const sessions = new Map<string, UserSession>();
  const { clock, log, graceMs, streams, onDeviceState, onApp, onEnded } = options;

  let isClosed = false;

  return {
    open(userId) {
      const known = sessions.get(userId);
      if (known) return known;
      if (isClosed) throw new GlasscastError('SHUTTING_DOWN');
      const session = createUserSession({
        userId,
        clock,
        log,
        streams,
        ...(graceMs === undefined ? {} : { graceMs }),
        onDeviceState: (state) => onDeviceState(userId, state),
        onApp: (verb, packageName) => onApp(verb, userId, packageName),
        onEnded: () => {
          sessions.delete(userId);
          onEnded(userId);
        },
      });
      sessions.set(userId, session);
      return session;
    },
    get: (userId) => sessions.get(userId),
    all: () => [...sessions.values()],
    close() {
      isClosed = true;
      for (const session of [...sessions.values()]) session.close(closeCodes.restart, 'Relay restarting');
    },
  };
}
