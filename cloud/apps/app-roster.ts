/** The apps that run, by session and by user, and their records in the store. Decides nothing. */
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { AppStateChange } from '../../shared/protocol/glasses-messages.ts';
import type { AppSessionRecord, RegisteredApp } from '../store/records.ts';
import { createSaves, type Saves } from '../store/saves.ts';
import type { Collection } from '../store/store.ts';
import type { AppSession } from './app-session.ts';

export interface RunningApp {
  readonly session: AppSession;
  app: RegisteredApp;
  /** Its socket has been in. */
  isIn: boolean;
  /** Why its socket was not let in, the last time that one came for it. */
  refusal: string | undefined;
  /** Settles when its socket is in, or when it is clear that it will not be. */
  started: Promise<void>;
  /** Settles `started` well. */
  readonly admitted: () => void;
  /** Since then its socket is in, or was; monotonic. */
  inSinceMs: number;
  readonly restarts: number;
  grace: Timer | undefined;
  /** Ends what is under way for it. */
  readonly over: AbortController;
  /** From before the relay's restart, and not back yet. */
  isResumed: boolean;
  /** Asked again though its former self may live: the SDK then releases that one's socket, and means us. */
  isAskedAgain: boolean;
}

export interface AppRoster {
  /** By session id: the id is looked up, never taken apart. */
  get(sessionId: string): RunningApp | undefined;
  find(userId: string, packageName: string): RunningApp | undefined;
  of(userId: string): RunningApp[];
  all(): RunningApp[];
  state(userId: string): AppStateChange;
  /** A resumed one counts as in. */
  add(begun: Pick<RunningApp, 'session' | 'app' | 'restarts' | 'inSinceMs' | 'isResumed'>): RunningApp;
  /** Throws it again. Whoever waits for this app may want to know. */
  refused(sessionId: string, why: unknown): never;
  /** False when it is not there, or another one is in its place. */
  remove(running: RunningApp): boolean;
  save(running: RunningApp, isDormant: boolean): AppSessionRecord;
  erase(ended: Pick<AppSessionRecord, 'sessionId' | 'userId'>): void;
  /** Of what was saved and erased. */
  saves: Omit<Saves<AppSessionRecord>, 'save'>;
}

export interface AppRosterOptions {
  records: Collection<AppSessionRecord>;
  clock: Clock;
  log: Log;
  onSaved?: (userId: string) => void;
}

export function createAppRoster(options: AppRosterOptions): AppRoster {
  const saves = createSaves({ ...options, collection: options.records, name: 'app-session' });
  const bySession = new Map<string, RunningApp>();
  const byUser = new Map<string, Set<RunningApp>>();
  const of = (userId: string) => [...(byUser.get(userId) ?? [])];

  return {
    get: (sessionId) => bySession.get(sessionId),
    find: (userId, packageName) => of(userId).find(({ session }) => session.packageName === packageName),
    of,
    all: () => [...bySession.values()],
    state(userId) {
      const names = (isIn: boolean) =>
        of(userId).flatMap(({ app, ...running }) => (running.isIn === isIn ? app.packageName : []));
      const userSession = { sessionId: userId, userId, activeAppSessions: names(true), loadingApps: names(false) };
      return { type: 'app_state_change', sessionId: userId, userSession };
    },
    add(begun) {
      const { sessionId, userId } = begun.session;
      let admitted = () => {};
      const started = new Promise<void>((resolve) => {
        admitted = resolve;
      });
      if (begun.isResumed) admitted();
      const over = new AbortController();
      const running = {
        ...begun,
        isIn: begun.isResumed,
        started,
        admitted,
        grace: undefined,
        over,
        refusal: undefined,
        isAskedAgain: false,
      };
      bySession.set(sessionId, running);
      byUser.set(userId, (byUser.get(userId) ?? new Set()).add(running));
      return running;
    },
    refused(sessionId, why) {
      const running = bySession.get(sessionId);
      if (running) running.refusal = errorText(why);
      throw why;
    },
    remove(running) {
      const { sessionId, userId } = running.session;
      if (bySession.get(sessionId) !== running) return false;
      bySession.delete(sessionId);
      const siblings = byUser.get(userId);
      siblings?.delete(running);
      if (siblings?.size === 0) byUser.delete(userId);
      return true;
    },
    save({ session: { sessionId, userId, packageName }, restarts }, isDormant) {
      const record = { sessionId, userId, packageName, restarts, isDormant };
      // What fails is logged, and tried again.
      void saves.save({ key: sessionId, userId }, record).catch(() => {});
      return record;
    },
    erase: ({ sessionId, userId }) => void saves.save({ key: sessionId, userId }, undefined).catch(() => {}),
    saves,
  };
}
