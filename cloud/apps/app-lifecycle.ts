/**
 * Which apps run for which users: start and stop by webhook, admission of their sockets, grace and restart after a loss,
 * and their records, by which they run on over a restart of the relay. The socket decides whether an app runs.
 */
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { ToApp } from '../../shared/protocol/app-messages.ts';
import type { AppStateChange } from '../../shared/protocol/glasses-messages.ts';
import { closeCodes, type Socket } from '../http/socket.ts';
import type { AppSessionRecord, RegisteredApp } from '../store/records.ts';
import { inviteApp } from './app-invitation.ts';
import type { AppLifecycleOptions } from './app-lifecycle-options.ts';
import { type AppRoster, createAppRoster, type RunningApp } from './app-roster.ts';
import { type AppSession, createAppSession } from './app-session.ts';
import { createDormantApps, type DormantApp, type DormantApps } from './dormant-apps.ts';
import { missingHardware } from './hardware.ts';

/** Who an app says that it is. */
export interface AppClaim {
  sessionId: string | undefined;
  packageName: string;
  apiKey: string;
  /** Checked when given. */
  userId?: string | undefined;
  /** It had been in and says `reconnect`. */
  isReturn?: boolean;
}

export interface AppLifecycle {
  /**
   * Settles when the app's socket is in; at once when it runs. A `standard` app takes the place of another one.
   * Errors: PACKAGE_NOT_FOUND, HARDWARE_MISSING, APP_UNREACHABLE, APP_NOT_STARTED when stopped meanwhile, SHUTTING_DOWN.
   */
  start(userId: string, packageName: string): Promise<void>;
  /** Fine when it does not run. */
  stop(userId: string, packageName: string): void;
  /**
   * The session that a socket claims. A return while the glasses are away is deferred: it settles when they are back.
   * Errors: PACKAGE_NOT_FOUND, INVALID_API_KEY, SESSION_NOT_FOUND; of a return also APP_NOT_STARTED, APP_BOOT_TIMEOUT.
   */
  admit(claim: AppClaim, socket: Socket<ToApp>): Promise<AppSession>;
  lost(session: AppSession, socket: Socket<ToApp>, code: number): void;
  /** The user's glasses have connected: what ran when they left starts again. */
  glassesBack(userId: string): void;
  /** The session of an app that runs, connected or not. */
  session(userId: string, packageName: string): AppSession | undefined;
  sessionById(sessionId: string): AppSession | undefined;
  sessions(userId: string): AppSession[];
  running(userId: string): { packageName: string; connected: boolean }[];
  state(userId: string): AppStateChange;
  /** The catalogue has changed: without `app`, or with another key, its sessions end; else they go on with what it may now. */
  changed(packageName: string, app: RegisteredApp | undefined): void;
  /** The user's glasses stayed away: the apps end, and start again when they are back. */
  endUser(userId: string): void;
  /** Something of the user's runs, or will when the glasses are back; or it is not saved yet. */
  has(userId: string): boolean;
  /** Before one user comes in, or anybody: apps that ran in another process have their sessions again, and some time. */
  resume(userId?: string): Promise<void>;
  /** Tells one user's apps to come back: another process goes on with them, by their records. Settles when those are written. */
  handOver(userId: string, why: { isLost: boolean }): Promise<void>;
  /** The store answers again: what could not be written is written now. */
  saveAgain(): void;
  /** Tells apps to come back. Their records stay for `resume`. */
  close(): Promise<void>;
}

/** An app that keeps dying is not started for ever. A minute of health clears the count. */
const MAX_RESTARTS = 5;
const HEALTHY_MS = 60_000;

export function createAppLifecycle(options: AppLifecycleOptions): AppLifecycle {
  return new Lifecycle({ isHere: () => true, ...options });
}

class Lifecycle implements AppLifecycle {
  readonly #options: AppLifecycleOptions & Required<Pick<AppLifecycleOptions, 'isHere'>>;
  readonly #roster: AppRoster;
  readonly #dormant: DormantApps;
  readonly #calls = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();

  constructor(options: AppLifecycleOptions & Required<Pick<AppLifecycleOptions, 'isHere'>>) {
    this.#options = options;
    this.#roster = createAppRoster(options);
    this.#dormant = createDormantApps({ clock: options.clock });
  }

  async start(userId: string, packageName: string): Promise<void> {
    const app = await this.#options.catalog.get(packageName);
    if (this.#closing.signal.aborted) throw new GlasscastError('SHUTTING_DOWN');
    if (!this.#options.isHere(userId)) throw new GlasscastError('SESSION_MOVED');
    const running = this.#roster.find(userId, packageName);
    if (running) return running.started;
    const missing = missingHardware(app, this.#options.capabilities(userId));
    if (missing.length > 0) throw new GlasscastError('HARDWARE_MISSING', { reason: missing.join(', ') });
    if (app.appType === 'standard') this.#stop(userId, ({ appType }) => appType === 'standard');
    const [dormant] = this.#dormant.take(
      ({ record }) => record.userId === userId && record.packageName === packageName,
    );
    return dormant ? this.#wake({ ...dormant, app }) : this.#launch(userId, app, 0);
  }

  stop(userId: string, packageName: string): void {
    this.#stop(userId, (app) => app.packageName === packageName);
  }

  async admit(claim: AppClaim, socket: Socket<ToApp>): Promise<AppSession> {
    const { sessionId = '', packageName, apiKey, userId, isReturn = false } = claim;
    await this.#options.catalog.verify(packageName, apiKey).catch((why) => this.#roster.refused(sessionId, why));
    if (this.#closing.signal.aborted) throw new GlasscastError('SHUTTING_DOWN');
    const running = this.#roster.get(sessionId);
    const dormant = this.#dormant.get(sessionId);
    const known = running?.session ?? dormant?.record;
    if (known && (known.packageName !== packageName || (userId ?? known.userId) !== known.userId)) {
      throw new GlasscastError('SESSION_NOT_FOUND');
    }
    if (running) return this.#enter(running, socket, isReturn);
    if (!isReturn) throw new GlasscastError('SESSION_NOT_FOUND');
    if (!dormant) throw new GlasscastError('APP_NOT_STARTED');
    return this.#dormant.defer(dormant, socket);
  }

  lost(session: AppSession, socket: Socket<ToApp>, code: number): void {
    if (!session.detach(socket)) return;
    const running = this.#roster.get(session.sessionId);
    if (running?.session !== session) return;
    const { clock, log, graceMs = 5_000, onChange } = this.#options;
    log.info({ userId: session.userId, appId: session.packageName, code }, 'app-disconnected');
    const isFarewell = code === 1000 || code === 1001 || session.isReleased;
    // It left on purpose: it neither comes back nor wants to be started.
    if (isFarewell && !running.isAskedAgain) this.#end(running, 'App stopped', undefined);
    else running.grace = clock.after('app-grace', graceMs, () => this.#restart(running));
    running.isAskedAgain = false;
    onChange(session.userId);
  }

  glassesBack(userId: string): void {
    this.#options.toGlasses(userId, this.#roster.state(userId));
    for (const dormant of this.#dormant.take(({ record }) => record.userId === userId)) void this.#wake(dormant);
  }

  session(userId: string, packageName: string): AppSession | undefined {
    return this.#roster.find(userId, packageName)?.session;
  }

  sessionById(sessionId: string): AppSession | undefined {
    return this.#roster.get(sessionId)?.session;
  }

  sessions(userId: string): AppSession[] {
    return this.#roster.of(userId).map(({ session }) => session);
  }

  running(userId: string): { packageName: string; connected: boolean }[] {
    return this.sessions(userId).map(({ packageName, isConnected }) => ({ packageName, connected: isConnected }));
  }

  state(userId: string): AppStateChange {
    return this.#roster.state(userId);
  }

  changed(packageName: string, app: RegisteredApp | undefined): void {
    const mayNot = (former: RegisteredApp) =>
      former.packageName === packageName && former.hashedApiKey !== app?.hashedApiKey;
    for (const running of this.#roster.all()) {
      if (mayNot(running.app)) {
        this.#end(running, 'App stopped', 'system_stop');
      } else if (app && running.app.packageName === packageName) {
        running.app = app;
        running.session.update(app);
      }
    }
    for (const dormant of this.#dormant.take((one) => mayNot(one.app))) this.#drop(dormant);
    if (app) this.#dormant.update(packageName, app);
  }

  endUser(userId: string): void {
    for (const running of this.#roster.of(userId)) {
      this.#end(running, 'User session ended', undefined, { keepsRecord: true });
      this.#dormant.add(this.#roster.save(running, true), running.app);
    }
  }

  has(userId: string): boolean {
    return this.#roster.of(userId).length > 0 || this.#dormant.has(userId) || this.#roster.saves.has(userId);
  }

  async resume(userId?: string): Promise<void> {
    const { catalog, records, glasses, clock, log, resumeGraceMs = 8_000 } = this.#options;
    const apps = new Map((await catalog.list()).map((app) => [app.packageName, app]));
    for (const record of await (userId === undefined ? records.all() : records.of(userId))) {
      const app = apps.get(record.packageName);
      if (!app) {
        this.#roster.erase(record);
      } else if (record.isDormant) {
        this.#dormant.add(record, app);
      } else {
        glasses(record.userId, true);
        const running = this.#add(record, app, { isResumed: true, isContinued: true });
        running.grace = clock.after('app-grace', resumeGraceMs, () => this.#restart(running));
      }
    }
    const resumed = userId === undefined ? this.#roster.all() : this.#roster.of(userId);
    if (resumed.length > 0 || userId === undefined) log.info({ userId, apps: resumed.length }, 'apps-resumed');
    await this.#roster.saves.written();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#dormant.close();
    this.#sendAway(this.#roster.all());
    await Promise.allSettled(this.#calls);
    await this.#roster.saves.close();
  }

  async handOver(userId: string, { isLost }: { isLost: boolean }): Promise<void> {
    for (const { waiting } of this.#dormant.take(({ record }) => record.userId === userId)) {
      waiting?.refuse(new GlasscastError('SESSION_MOVED'));
    }
    this.#sendAway(this.#roster.of(userId));
    await this.#roster.saves.release(userId, { isLost });
  }

  saveAgain(): void {
    this.#roster.saves.retry();
  }

  #sendAway(apps: readonly RunningApp[]): void {
    for (const running of apps) {
      // Off the roster first: so they end without erasing their records.
      this.#roster.remove(running);
      running.grace?.cancel();
      running.over.abort();
      // 1012: the SDK comes back; after 1000 or 1001 it would not.
      running.session.close(closeCodes.restart, 'Relay restarting');
    }
  }

  /** Ends what runs and what would run again. */
  #stop(userId: string, fits: (app: RegisteredApp) => boolean): void {
    for (const running of this.#roster.of(userId)) {
      if (fits(running.app)) this.#end(running, 'App stopped', 'user_disabled');
    }
    for (const dormant of this.#dormant.take(({ record, app }) => record.userId === userId && fits(app))) {
      this.#drop(dormant);
    }
  }

  #drop({ record, waiting }: DormantApp): void {
    waiting?.refuse(new GlasscastError('APP_NOT_STARTED'));
    this.#roster.erase(record);
  }

  /** By the socket that waits, else by webhook. */
  #wake({ record, app, waiting }: DormantApp): Promise<void> {
    if (!waiting?.socket.isOpen) {
      waiting?.refuse(new GlasscastError('APP_NOT_STARTED'));
      this.#roster.erase(record);
      return this.#launch(record.userId, app, 0);
    }
    const running = this.#add({ ...record, restarts: 0 }, app, { isContinued: true });
    waiting.settle(this.#enter(running, waiting.socket, true));
    this.#roster.save(running, false);
    return running.started;
  }

  #add(
    { sessionId, userId, restarts }: Omit<AppSessionRecord, 'isDormant'>,
    app: RegisteredApp,
    { isResumed = false, isContinued = false } = {},
  ): RunningApp {
    const { streams, glasses, log, clock, webhook } = this.#options;
    const session = createAppSession({
      ...{ sessionId, userId, app, streams, glasses: glasses(userId), log, clock, isContinued },
      peers: () => this.sessions(userId),
      photoFailed: (...what) => void this.#track(webhook.photoFailed(...what, this.#closing.signal)),
    });
    return this.#roster.add({ session, app, restarts, inSinceMs: clock.monotonicMs(), isResumed });
  }

  #enter(running: RunningApp, socket: Socket<ToApp>, isReturn: boolean): AppSession {
    const { session, isIn } = running;
    const { userId, packageName } = session;
    running.grace?.cancel();
    running.isIn = true;
    running.isResumed = false;
    running.inSinceMs = this.#options.clock.monotonicMs();
    session.attach(socket, isReturn);
    running.admitted();
    this.#options.log.info({ userId, appId: packageName }, 'app-connected');
    if (isIn) {
      this.#options.onChange(userId);
    } else {
      this.#options.toGlasses(userId, { type: 'app_started', packageName });
      this.#changed(userId);
    }
    return session;
  }

  /** @param former of a restart: settles when the app has been told of the end of its former self, which may not hear it. */
  #launch(userId: string, app: RegisteredApp, restarts: number, former?: Promise<unknown>): Promise<void> {
    const { sessionIdOf = (user, packageName) => `${user}-${packageName}` } = this.#options;
    let sessionId = sessionIdOf(userId, app.packageName);
    // Hyphens on both sides: another user's other app may have come to the same text.
    while (this.#roster.get(sessionId) || this.#dormant.get(sessionId)) sessionId += '+';
    const record = { sessionId, userId, packageName: app.packageName, restarts };
    const running = this.#add(record, app, { isContinued: former !== undefined });
    running.isAskedAgain = former !== undefined;
    const entered = running.started;
    const asking = this.#track(this.#invite(running, former));
    running.started = Promise.race([entered, asking.then(() => entered)]).catch((thrown: unknown) => {
      this.#forget(running);
      // It goes on at the other node, which may be asked.
      const error = this.#options.isHere(userId) ? asGlasscastError(thrown) : new GlasscastError('SESSION_MOVED');
      this.#options.log.warn({ userId, appId: app.packageName, code: error.code, restarts }, 'app-not-started');
      throw error;
    });
    // A restart has nobody waiting for it.
    running.started.catch(() => {});
    this.#changed(userId);
    return running.started;
  }

  async #invite(running: RunningApp, former: Promise<unknown> | undefined): Promise<void> {
    const { appSocketUrl, log } = this.#options;
    const { session, app, over, isAskedAgain: isPatient } = running;
    const { sessionId, userId } = session;
    // Before the app hears of it: whoever connects after a crash must be known.
    this.#roster.save(running, false);
    await Promise.all([this.#roster.saves.written(), former]);
    // Its record was refused: another node has the user, and asks the app.
    if (!this.#options.isHere(userId)) throw new GlasscastError('SESSION_MOVED');
    const request = { sessionId, userId, appSocketUrl: appSocketUrl() };
    const invitation = { publicUrl: app.publicUrl, request, progress: running, isPatient, signal: over.signal };
    await inviteApp(invitation, { ...this.#options, log: log.child({ appId: app.packageName }) }).finally(() => {
      running.isAskedAgain = false;
    });
  }

  #restart(running: RunningApp): void {
    const { clock, log } = this.#options;
    const { session, app, isResumed } = running;
    const { userId, packageName } = session;
    const isHealthy = clock.monotonicMs() - running.inSinceMs > HEALTHY_MS;
    const restarts = isHealthy ? 1 : running.restarts + 1;
    const isLast = restarts > MAX_RESTARTS;
    // After our own restart the app may be gone, or on its way back: nothing tells it to stop.
    const former = this.#end(running, 'App stopped', isResumed ? undefined : 'system_stop', { keepsRecord: !isLast });
    if (isLast) {
      log.warn({ userId, appId: packageName, restarts }, 'app-restart-given-up');
      return;
    }
    log.info({ userId, appId: packageName, restarts }, 'app-restarted');
    void this.#launch(userId, app, restarts, former);
  }

  /** @param webhookReason undefined: the app knows already. @param keepsRecord it will be written anew. */
  #end(
    running: RunningApp,
    closeReason: string,
    webhookReason: string | undefined,
    { keepsRecord = false } = {},
  ): Promise<unknown> {
    const { session, app } = running;
    const { sessionId, userId, packageName } = session;
    this.#options.streams.drop(userId, packageName);
    session.close(closeCodes.done, closeReason);
    this.#forget(running, keepsRecord);
    if (webhookReason === undefined || !app.publicUrl) return Promise.resolve();
    const body = { sessionId, userId, reason: webhookReason };
    return this.#track(this.#options.webhook.stop(app.publicUrl, body, this.#closing.signal));
  }

  #forget(running: RunningApp, keepsRecord = false): void {
    const { userId, packageName } = running.session;
    running.grace?.cancel();
    running.over.abort();
    if (!this.#roster.remove(running)) return;
    if (!keepsRecord) this.#roster.erase(running.session);
    if (running.isIn) this.#options.toGlasses(userId, { type: 'app_stopped', packageName });
    this.#changed(userId);
  }

  #changed(userId: string): void {
    this.#options.toGlasses(userId, this.#roster.state(userId));
    this.#options.onChange(userId);
  }

  #track<T>(call: Promise<T>): Promise<T> {
    const settled = call.then(
      () => {},
      () => {},
    );
    this.#calls.add(settled);
    void settled.then(() => this.#calls.delete(settled));
    return call;
  }
}

export type { AppLifecycleOptions } from './app-lifecycle-options.ts';
