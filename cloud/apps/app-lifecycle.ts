/**
 * Which apps run for which users: start and stop by webhook, admission of their sockets, grace and restart after a loss.
 * The socket decides whether an app runs; the webhook's answer is information once the socket is in.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ToApp } from '../../shared/protocol/app-messages.ts';
import { apiKeyMatches } from '../access/credentials.ts';
import type { DeviceState } from '../glasses/user-session.ts';
import { closeCodes, type Socket } from '../http/socket.ts';
import type { RegisteredApp } from '../store/records.ts';
import type { AppCatalog } from './app-catalog.ts';
import { type AppGlasses, type AppSession, type AppStreams, createAppSession } from './app-session.ts';
import type { AppWebhook } from './app-webhook.ts';

export interface AppClaim {
  sessionId: string | undefined;
  packageName: string;
  apiKey: string;
}

export interface AppLifecycle {
  /** Settles when the app's socket is in. Errors: PACKAGE_NOT_FOUND, APP_UNREACHABLE. */
  start(userId: string, packageName: string): Promise<void>;
  /** Fine when it does not run. */
  stop(userId: string, packageName: string): void;
  /** The session that a socket claims. Errors: SESSION_NOT_FOUND, PACKAGE_NOT_FOUND, INVALID_API_KEY. */
  admit(claim: AppClaim, socket: Socket<ToApp>): Promise<AppSession>;
  lost(session: AppSession, socket: Socket<ToApp>, code: number): void;
  deviceState(userId: string, state: DeviceState): void;
  running(userId: string): { packageName: string; connected: boolean }[];
  endUser(userId: string): void;
  close(): Promise<void>;
}

export interface AppLifecycleOptions {
  catalog: Pick<AppCatalog, 'get'>;
  webhook: AppWebhook;
  streams: AppStreams & { drop(userId: string, viewerId: string): void };
  /** The glasses of a user; opens the user's session when there is none. */
  glasses: (userId: string) => AppGlasses;
  /** Where apps find us: absolute, ending in `/app-ws`. */
  appSocketUrl: () => string;
  clock: Clock;
  log: Log;
  /** For a lost socket to come back. Default 5000. */
  graceMs?: number;
  /** From the webhook's good answer to the socket. Default 10000. */
  connectTimeoutMs?: number;
  onChange: (userId: string) => void;
}

/** Only while nobody listens at the app's address: a second request would tear down a healthy session. */
const REFUSED_RETRY_MS = [1_000, 2_000, 4_000];
/** An app that keeps dying is not started for ever. A minute of health clears the count. */
const MAX_RESTARTS = 5;
const HEALTHY_MS = 60_000;

interface Running {
  session: AppSession;
  app: RegisteredApp;
  isIn: boolean;
  started: Promise<void>;
  admitted: () => void;
  inSinceMs: number;
  restarts: number;
  grace: Timer | undefined;
  /** Ends what is under way for it. */
  over: AbortController;
}

export function createAppLifecycle(options: AppLifecycleOptions): AppLifecycle {
  return new Lifecycle(options);
}

class Lifecycle implements AppLifecycle {
  readonly #options: AppLifecycleOptions;
  /** By session id: the id is looked up, never taken apart. */
  readonly #running = new Map<string, Running>();
  readonly #byUser = new Map<string, Set<Running>>();
  readonly #calls = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();

  constructor(options: AppLifecycleOptions) {
    this.#options = options;
  }

  async start(userId: string, packageName: string): Promise<void> {
    const app = await this.#options.catalog.get(packageName);
    if (this.#closing.signal.aborted) throw new GlasscastError('SHUTTING_DOWN');
    return this.#find(userId, packageName)?.started ?? this.#launch(userId, app, 0);
  }

  stop(userId: string, packageName: string): void {
    const running = this.#find(userId, packageName);
    if (running) this.#end(running, 'App stopped', 'user_disabled');
  }

  async admit({ sessionId, packageName, apiKey }: AppClaim, socket: Socket<ToApp>): Promise<AppSession> {
    const app = await this.#options.catalog.get(packageName);
    if (!apiKeyMatches(apiKey, app.hashedApiKey)) throw new GlasscastError('INVALID_API_KEY');
    const running = sessionId === undefined ? undefined : this.#running.get(sessionId);
    if (!running || running.session.packageName !== packageName) throw new GlasscastError('SESSION_NOT_FOUND');
    const { session } = running;
    running.grace?.cancel();
    running.isIn = true;
    running.inSinceMs = this.#options.clock.monotonicMs();
    session.attach(socket);
    running.admitted();
    this.#options.log.info({ userId: session.userId, appId: packageName }, 'app-connected');
    this.#options.onChange(session.userId);
    return session;
  }

  lost(session: AppSession, socket: Socket<ToApp>, code: number): void {
    if (!session.detach(socket)) return;
    const running = this.#running.get(session.sessionId);
    if (running?.session !== session) return;
    const { clock, log, graceMs = 5_000, onChange } = this.#options;
    log.info({ userId: session.userId, appId: session.packageName, code }, 'app-disconnected');
    // It left on purpose: it neither comes back nor wants to be started.
    if (code === 1000 || code === 1001 || session.isReleased) this.#end(running, 'App stopped', undefined);
    else running.grace = clock.after('app-grace', graceMs, () => this.#restart(running));
    onChange(session.userId);
  }

  deviceState(userId: string, state: DeviceState): void {
    for (const { session } of this.#of(userId)) session.deviceState(state);
  }

  running(userId: string): { packageName: string; connected: boolean }[] {
    return this.#of(userId).map(({ session }) => ({
      packageName: session.packageName,
      connected: session.isConnected,
    }));
  }

  endUser(userId: string): void {
    for (const running of this.#of(userId)) this.#end(running, 'User session ended', undefined);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    for (const running of [...this.#running.values()]) {
      running.grace?.cancel();
      running.over.abort();
      // 1012: the SDK comes back; after 1000 or 1001 it would not.
      running.session.close(closeCodes.restart, 'Relay restarting');
    }
    this.#running.clear();
    this.#byUser.clear();
    await Promise.allSettled(this.#calls);
  }

  #launch(userId: string, app: RegisteredApp, restarts: number): Promise<void> {
    const { streams, glasses, log, clock, onChange } = this.#options;
    const sessionId = `${userId}-${app.packageName}`;
    const session = createAppSession({ sessionId, userId, app, streams, glasses: glasses(userId), log });
    const { promise: entered, resolve: admitted } = deferred();
    const over = new AbortController();
    const inSinceMs = clock.monotonicMs();
    const running: Running = {
      session,
      app,
      isIn: false,
      started: entered,
      admitted,
      inSinceMs,
      restarts,
      grace: undefined,
      over,
    };
    this.#running.set(sessionId, running);
    this.#byUser.set(userId, (this.#byUser.get(userId) ?? new Set()).add(running));
    const asking = this.#track(this.#askToConnect(running));
    running.started = Promise.race([entered, asking.then(() => entered)]).catch((thrown: unknown) => {
      this.#forget(running);
      throw asGlasscastError(thrown);
    });
    // A restart has nobody waiting for it.
    running.started.catch(() => {});
    onChange(userId);
    return running.started;
  }

  /** Rejects when the app cannot be brought to connect; whatever happens after its socket is in is information. */
  async #askToConnect(running: Running): Promise<void> {
    const { webhook, appSocketUrl, clock, log, connectTimeoutMs = 10_000 } = this.#options;
    const { session, app, over } = running;
    const { sessionId, userId, packageName } = session;
    if (!app.publicUrl) throw new GlasscastError('APP_UNREACHABLE', { reason: 'it has no address' });
    for (let attempt = 0; ; attempt += 1) {
      const request = { sessionId, userId, appSocketUrl: appSocketUrl() };
      const outcome = await webhook.start(app.publicUrl, request, over.signal);
      log.info({ userId, appId: packageName, outcome: outcome.kind, isIn: running.isIn }, 'app-webhook-answered');
      if (running.isIn) return;
      if (over.signal.aborted) throw new GlasscastError('APP_NOT_STARTED', { reason: 'it was stopped meanwhile' });
      if (outcome.kind === 'accepted') {
        await clock.sleep(connectTimeoutMs, { name: 'app-connect', signal: over.signal }).catch(() => {});
        if (running.isIn) return;
        throw new GlasscastError('APP_UNREACHABLE', { reason: 'it accepted the session and did not connect' });
      }
      const waitMs = outcome.kind === 'refused' ? REFUSED_RETRY_MS[attempt] : undefined;
      if (waitMs === undefined) {
        const reason = outcome.kind === 'rejected' ? `webhook answered HTTP ${outcome.status}` : outcome.reason;
        throw new GlasscastError('APP_UNREACHABLE', { reason });
      }
      await clock.sleep(waitMs, { name: 'app-webhook-retry', signal: over.signal }).catch(() => {});
      if (running.isIn) return;
    }
  }

  #restart(running: Running): void {
    const { clock, log } = this.#options;
    const { session, app } = running;
    const isHealthy = clock.monotonicMs() - running.inSinceMs > HEALTHY_MS;
    const restarts = isHealthy ? 1 : running.restarts + 1;
    const stopped = this.#end(running, 'App stopped', 'system_stop');
    if (restarts > MAX_RESTARTS) {
      log.warn({ userId: session.userId, appId: session.packageName, restarts }, 'app-restart-given-up');
      return;
    }
    log.info({ userId: session.userId, appId: session.packageName, restarts }, 'app-restarted');
    void stopped.then(() => {
      if (this.#closing.signal.aborted || this.#find(session.userId, session.packageName)) return;
      this.#launch(session.userId, app, restarts).catch((error: GlasscastError) => {
        log.warn({ userId: session.userId, appId: session.packageName, code: error.code }, 'app-restart-failed');
      });
    });
  }

  /** @param webhookReason undefined: the app knows already. */
  #end(running: Running, closeReason: string, webhookReason: string | undefined): Promise<unknown> {
    const { session, app } = running;
    const { sessionId, userId, packageName } = session;
    this.#options.streams.drop(userId, packageName);
    session.close(closeCodes.done, closeReason);
    this.#forget(running);
    if (webhookReason === undefined || !app.publicUrl) return Promise.resolve();
    const body = { sessionId, userId, reason: webhookReason };
    return this.#track(this.#options.webhook.stop(app.publicUrl, body, this.#closing.signal));
  }

  #forget(running: Running): void {
    const { sessionId, userId } = running.session;
    running.grace?.cancel();
    running.over.abort();
    if (this.#running.get(sessionId) === running) this.#running.delete(sessionId);
    const siblings = this.#byUser.get(userId);
    siblings?.delete(running);
    if (siblings?.size === 0) this.#byUser.delete(userId);
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

  #find(userId: string, packageName: string): Running | undefined {
    return this.#of(userId).find(({ session }) => session.packageName === packageName);
  }

  #of(userId: string): Running[] {
    return [...(this.#byUser.get(userId) ?? [])];
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
