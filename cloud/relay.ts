/**
 * Composition root of the relay: wires its parts, starts them in order, and closes them in reverse. Holds no rule of its
 * own. Control only: no media passes through here.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { errorText, GlasscastError } from '../shared/errors.ts';
import type { Secret } from '../shared/secrets.ts';
import { createAppCatalog } from './apps/app-catalog.ts';
import { createAppStorage } from './apps/app-storage.ts';
import { accessRoutes, enrolRoute } from './http/access-routes.ts';
import { createEventFeed } from './http/event-feed.ts';
import { createHttp } from './http/http.ts';
import { operatorRoutes } from './http/operator-routes.ts';
import { outputRoutes } from './http/output-routes.ts';
import { phoneRoutes } from './http/phone-routes.ts';
import { publicRoutes } from './http/public-routes.ts';
import { recordingRoutes } from './http/recording-routes.ts';
import { sdkRoutes } from './http/sdk-routes.ts';
import { releaseDownload, updateRoutes } from './http/update-routes.ts';
import { createUpgrades } from './http/upgrades.ts';
import { uplinkRoutes } from './http/uplink-routes.ts';
import { webhookRoutes } from './http/webhook-routes.ts';
import {
  composeAccess,
  composeSessions,
  composeStreams,
  composeUpdates,
  keptSecret,
  type RelayOptions,
  sessionView,
} from './relay-parts.ts';
import { createSqliteStore } from './store/sqlite-store.ts';
import { operator, operatorStream } from './streams/operator-stream.ts';
import { takeOver } from './streams/take-over.ts';
import { composeWatching } from './watching.ts';

export interface RelayAddress {
  port: number;
  /** `http://HOST:PORT`: the operator's REST and the console. */
  url: string;
  /** Set once, by the start that made it: to be shown to the operator, who keeps it. */
  madeAdminToken: Secret | undefined;
}

export interface Relay {
  /** Errors: PORT_IN_USE, INVALID_CONFIG. */
  start(): Promise<RelayAddress>;
  /**
   * Stops every stream, cleans up at the provider as far as it answers, and tells peers to come back. Idempotent.
   * @param keepStreams they go on, and the next start takes them over.
   */
  close(options?: { keepStreams?: boolean }): Promise<void>;
}

export function createRelay(options: RelayOptions): Relay {
  const closers: (() => Promise<void> | void)[] = [];
  const ending = { keepStreams: false, hasBegun: false };
  let starting: Promise<RelayAddress> | undefined;
  let closing: Promise<void> | undefined;

  async function closeAll(): Promise<void> {
    for (const close of closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        // The rest is closed all the same, the store's lock above all.
        options.log.error({ reason: errorText(error) }, 'relay-close-failed');
      }
    }
  }
  return {
    async start() {
      if (closing) throw new GlasscastError('SHUTTING_DOWN');
      starting ??= startRelay(options, closers, ending);
      try {
        return await starting;
      } catch (error) {
        // What an earlier process left running waits for a start that succeeds.
        ending.keepStreams = true;
        await closeAll();
        throw error;
      }
    },
    close({ keepStreams = false } = {}) {
      ending.keepStreams = keepStreams;
      ending.hasBegun = true;
      // What a start is still building is built first: nothing of it may be left.
      closing ??= Promise.allSettled([starting]).then(closeAll);
      return closing;
    },
  };
}

async function startRelay(
  given: RelayOptions,
  closers: (() => Promise<void> | void)[],
  ending: { readonly keepStreams: boolean; readonly hasBegun: boolean },
): Promise<RelayAddress> {
  const { clock, host = '127.0.0.1', port = 0 } = given;
  const opened = createSqliteStore({
    file: given.dataDir === ':memory:' ? ':memory:' : join(given.dataDir, 'relay.db'),
    onUnreadable: (record) => given.log.warn(record, 'record-not-readable'),
  });
  closers.push(() => opened.close());
  const events = createEventFeed();
  const watching = await composeWatching({
    ...{ clock, events, log: given.log, store: opened, redactor: given.redactor },
    readings: {
      sessions: () => presenceOf(sessions.all().map((session) => session.isConnected())),
      apps: () => presenceOf(sessions.all().flatMap(({ userId }) => apps.running(userId).map((app) => app.connected))),
      provider: () => providerHealth.state(),
    },
    isEnding: () => ending.hasBegun,
    ...{ otlpEndpoint: given.otlpEndpoint, otlpHeaders: given.otlpHeaders, instanceId: randomUUID() },
  });
  closers.push(() => watching.close());
  const { log, store } = watching;
  const options = { ...given, log };
  const access = await composeAccess(options, store);
  const catalog = createAppCatalog({ store, onChange: (name, app) => apps.changed(name, app) });

  // No secret, only a name that no other relay on the account has.
  const relayId = (await keptSecret(store, 'relay-id')).reveal();
  const composed = composeStreams(options, store, { events, relayId, watching });
  const { api, cleanup, health: providerHealth, history, recordings, streams, webhooks } = composed;
  const address = { url: '' };
  const appSocketUrl = () => `${(options.publicUrl ?? address.url).replace(/^http/, 'ws').replace(/\/+$/, '')}/app-ws`;
  const sessionSecret = await keptSecret(store, 'app-session-secret');
  const { releases, rollouts } = await composeUpdates(options, store, {
    toGlasses: (userId, message) => sessions.get(userId)?.send(message) ?? false,
    onChange: (userId) => publish(userId),
  });
  const { apps, publish, sessions } = composeSessions(options, {
    ...{ catalog, store, streams, history, events, appSocketUrl, rollouts, sessionSecret, watching },
  });

  const { adminToken, enrolments, tokens, ...guards } = access;
  const upgrades = createUpgrades({
    tokens,
    ...guards,
    glassesSession(userId) {
      watching.metrics.glassesCame(sessions.get(userId) !== undefined);
      return sessions.open(userId);
    },
    meters: watching.metrics.sockets,
    glassesBack: (userId) => apps.glassesBack(userId),
    catalog,
    apps,
    clock,
    log,
    ...(options.socketLimits ? { limits: options.socketLimits } : {}),
  });
  const areConnected = (userId: string) => sessions.get(userId)?.isConnected() ?? false;
  const health = () => ({
    provider: providerHealth.state(),
    sessions: sessions.all().length,
    streams: streams.snapshots().length,
  });
  const http = createHttp({
    ...{ host, port, adminToken, clock, log, ...guards },
    publicRoutes: [
      ...watching.hooks,
      ...watching.routes({ adminToken, metricsToken: options.metricsToken, attempts: guards.attempts }, health),
      publicRoutes({ catalog }),
      enrolRoute({ enrolments, attempts: guards.attempts }),
      phoneRoutes({ tokens, adminToken, apps, ...guards, areConnected }),
      releaseDownload({ releases, tokens, adminToken, ...guards, clock }),
      uplinkRoutes({ tokens, attempts: guards.attempts, clock }),
      sdkRoutes({ catalog, apps, storage: createAppStorage({ store, apps }), attempts: guards.attempts }),
      outputRoutes({ catalog, streams, clock, log, attempts: guards.attempts }),
      webhookRoutes({ webhooks, attempts: guards.attempts }),
      ...(options.pages ? [options.pages] : []),
    ],
    operatorRoutes: [
      accessRoutes({ tokens, enrolments }),
      recordingRoutes({ recordings }),
      updateRoutes({ releases, rollouts }),
      operatorRoutes({
        ...{ catalog, events, clock },
        operatorStream: operatorStream(sessions, streams),
        sessions: () => sessions.all().map(({ userId }) => sessionView(userId, { sessions, apps, rollouts })),
        streams: () => streams.snapshots(),
        history,
        endStream: (streamId) => streams.end(streamId, 'The operator has ended the stream'),
      }),
    ],
    onUpgrade: upgrades.accept,
  });
  closers.push(
    () => http.close(),
    () => upgrades.close(),
    () => providerHealth.close(),
    () => webhooks.close(),
    () => rollouts.close(),
    () => sessions.close(),
    () => apps.close(),
    () => api.close(),
    () => cleanup.close(),
    () => (ending.keepStreams ? streams.suspend() : streams.close()),
    () => upgrades.shut(),
  );
  // Before anybody can come in: whoever was here comes back within a second or two.
  await catalog.load(options.appsFile ?? '{}');
  await apps.resume();
  await takeOver({
    ...{ store, cleanup, streams, log },
    peers: {
      viewer: (userId, appId) => (appId === operator.id ? operator : apps.session(userId, appId)),
      glasses: (userId) => sessions.open(userId, true),
    },
  });
  const listening = await http.start();
  address.url = `http://${host.includes(':') ? `[${host}]` : host}:${listening.port}`;
  providerHealth.start();
  // Last, so that a start that fails leaves no token that nobody has seen.
  await adminToken.keep();
  log.info({ port: listening.port, provider: options.provider.kind }, 'relay-listening');
  return { port: listening.port, url: address.url, madeAdminToken: adminToken.made };
}

function presenceOf(areConnected: readonly boolean[]): { connected: number; away: number } {
  const connected = areConnected.filter(Boolean).length;
  return { connected, away: areConnected.length - connected };
}

export type { RelayOptions, RelayProvider, WebhookSecrets } from './relay-parts.ts';
