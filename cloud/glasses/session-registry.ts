/** The sessions of all users: one each, made when glasses or an app ask for it, forgotten when it ends. */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { GlassesAnswer } from '../../shared/protocol/glasses-messages.ts';
import { closeCodes } from '../http/socket.ts';
import type { DeviceState } from './device-state.ts';
import { createUserSession, type GlassesEvent, type GlassesListener, type UserSession } from './user-session.ts';

export interface SessionRegistry {
  /**
   * The user's session; begun now when there is none. It ends by itself when no glasses come. SHUTTING_DOWN after `close`.
   * @param areExpected they were here before the relay restarted: they count as known.
   */
  open(userId: string, areExpected?: boolean): UserSession;
  get(userId: string): UserSession | undefined;
  all(): UserSession[];
  /** Another process goes on with the user's: it is forgotten here, and nobody is told of an end. */
  leave(userId: string, code: number, reason: string): void;
  /** Ends all, for a restart of the relay. */
  close(): void;
}

export interface SessionRegistryOptions {
  clock: Clock;
  log: Log;
  graceMs?: number;
  streams: GlassesListener;
  onDeviceState: (userId: string, state: DeviceState) => void;
  onNews: (userId: string, news: GlassesEvent | GlassesAnswer) => void;
  onApp: (verb: 'start' | 'stop', userId: string, packageName: string) => void;
  onEnded: (userId: string) => void;
}

export function createSessionRegistry(options: SessionRegistryOptions): SessionRegistry {
  const sessions = new Map<string, UserSession>();
  const { clock, log, graceMs, streams } = options;

  let isClosed = false;

  return {
    open(userId, areExpected = false) {
      const known = sessions.get(userId);
      if (known) return known;
      if (isClosed) throw new GlasscastError('SHUTTING_DOWN');
      const session = createUserSession({
        userId,
        clock,
        log,
        streams,
        areExpected,
        ...(graceMs === undefined ? {} : { graceMs }),
        onDeviceState: (state) => options.onDeviceState(userId, state),
        onNews: (news) => options.onNews(userId, news),
        onApp: (verb, packageName) => options.onApp(verb, userId, packageName),
        onEnded: () => {
          sessions.delete(userId);
          options.onEnded(userId);
        },
      });
      sessions.set(userId, session);
      return session;
    },
    get: (userId) => sessions.get(userId),
    all: () => [...sessions.values()],
    leave(userId, code, reason) {
      sessions.get(userId)?.leave(code, reason);
      sessions.delete(userId);
    },
    close() {
      isClosed = true;
      for (const session of [...sessions.values()]) session.close(closeCodes.restart, 'Relay restarting');
    },
  };
}
