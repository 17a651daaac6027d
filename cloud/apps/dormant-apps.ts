/**
 * Apps whose user's session ended under them: they start again when the glasses are back. A 3.x app that comes back
 * before them may wait on its socket. Starts nothing itself.
 */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { ToApp } from '../../shared/protocol/app-messages.ts';
import type { Socket } from '../http/socket.ts';
import type { AppSessionRecord, RegisteredApp } from '../store/records.ts';
import type { AppSession } from './app-session.ts';

export interface DormantApp {
  record: AppSessionRecord;
  app: RegisteredApp;
  waiting: WaitingSocket | undefined;
}

/** Exactly one of `settle` and `refuse` counts. */
export interface WaitingSocket {
  socket: Socket<ToApp>;
  settle(session: AppSession): void;
  refuse(error: GlasscastError): void;
}

export interface DormantApps {
  add(record: AppSessionRecord, app: RegisteredApp): void;
  /** Who waits for it waits on. */
  update(packageName: string, app: RegisteredApp): void;
  get(sessionId: string): DormantApp | undefined;
  has(userId: string): boolean;
  /** Removes those that fit. Whoever takes them settles or refuses who waits. */
  take(fits: (dormant: DormantApp) => boolean): DormantApp[];
  /** Tells the app to wait. Rejects with APP_BOOT_TIMEOUT when the glasses do not come, or as its taker says. */
  defer(dormant: DormantApp, socket: Socket<ToApp>): Promise<AppSession>;
  /** Refuses all who wait. */
  close(): void;
}

/** How long a 3.x app waits for the glasses; the SDK's own default. */
const DEFER_MS = 30_000;

export function createDormantApps({ clock }: { clock: Clock }): DormantApps {
  const all = new Map<string, DormantApp>();

  return {
    add: (record, app) => void all.set(record.sessionId, { record, app, waiting: undefined }),
    update(packageName, app) {
      for (const dormant of all.values()) if (dormant.app.packageName === packageName) dormant.app = app;
    },
    get: (sessionId) => all.get(sessionId),
    has(userId) {
      for (const { record } of all.values()) if (record.userId === userId) return true;
      return false;
    },
    take(fits) {
      const taken = [...all.values()].filter(fits);
      for (const { record } of taken) all.delete(record.sessionId);
      return taken;
    },
    defer(dormant, socket) {
      dormant.waiting?.refuse(new GlasscastError('APP_NOT_STARTED', { reason: 'replaced by a newer connection' }));
      return new Promise((resolve, reject) => {
        const end = (act: () => void) => {
          patience.cancel();
          if (dormant.waiting === waiting) dormant.waiting = undefined;
          act();
        };
        const waiting: WaitingSocket = {
          socket,
          settle: (session) => end(() => resolve(session)),
          refuse: (error) => end(() => reject(error)),
        };
        const patience = clock.after('app-deferred', DEFER_MS, () =>
          waiting.refuse(new GlasscastError('APP_BOOT_TIMEOUT')),
        );
        dormant.waiting = waiting;
        socket.send({ type: 'reconnect_deferred', timeoutMs: DEFER_MS });
      });
    },
    close() {
      for (const { waiting } of all.values()) waiting?.refuse(new GlasscastError('SHUTTING_DOWN'));
      all.clear();
    },
  };
}
