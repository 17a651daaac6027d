/** The apps that run, by session and by user, and their records in the store. Decides nothing. */
import type { Timer } from '../../shared/clock.ts';
import { asGlasscastError, errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { AppStateChange } from '../../shared/protocol/glasses-messages.ts';
import type { AppSessionRecord, RegisteredApp } from '../store/records.ts';
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
  erase(sessionId: string): void;
  /** Everything saved and erased so far is in the store, or could not be written. */
  written(): Promise<void>;
  /** What could not be written is written now. */
  writeAgain(): void;
}

export function createAppRoster({ records, log }: { records: Collection<AppSessionRecord>; log: Log }): AppRoster {
  const bySession = new Map<string, RunningApp>();
  const byUser = new Map<string, Set<RunningApp>>();
  /** One write after the other, so that the last one counts. */
  let writing: Promise<void> = Promise.resolve();

  const of = (userId: string) => [...(byUser.get(userId) ?? [])];
  /** The newest word about each session that the store did not take. */
  const unwritten = new Map<string, () => Promise<unknown>>();
  function write(sessionId: string, change: () => Promise<unknown>): void {
    writing = writing.then(change).then(
      () => void unwritten.delete(sessionId),
      (error: unknown) => {
        // What another process has is its own to write.
        const isOurs = asGlasscastError(error).code !== 'SESSION_MOVED';
        if (isOurs) unwritten.set(sessionId, change);
        else unwritten.delete(sessionId);
        log[isOurs ? 'error' : 'debug']({ reason: errorText(error) }, 'app-session-not-saved');
      },
    );
  }

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
      write(sessionId, () => records.put(record));
      return record;
    },
    erase: (sessionId) => write(sessionId, () => records.delete(sessionId)),
    written: () => writing,
    writeAgain() {
      for (const [sessionId, change] of unwritten) write(sessionId, change);
    },
  };
}
