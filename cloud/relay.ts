/**
 * Composition root of the relay: wires its parts, starts them in order, and closes them in reverse. Holds no rule of its
 * own. Control only: no media passes through here.
 */
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
import { endings } from './streams/stream-story.ts';
import { takeOver } from './streams/take-over.ts';

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
  const ending = { keepStreams: false };
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
      // What a start is still building is built first: nothing of it may be left.
      closing ??= Promise.allSettled([starting]).then(closeAll);
      return closing;
    },
  };
}

async function startRelay(
  options: RelayOptions,
  closers: (() => Promise<void> | void)[],
  ending: { readonly keepStreams: boolean },
): Promise<RelayAddress> {
  const { clock, host = '127.0.0.1', log, port = 0 } = options;
  const store = createSqliteStore({
    file: options.dataDir === ':memory:' ? ':memory:' : join(options.dataDir, 'relay.db'),
    onUnreadable: (record) => log.warn(record, 'record-not-readable'),
  });
  closers.push(() => store.close());
  const access = await composeAccess(options, store);
  const catalog = createAppCatalog({ store, onChange: (name, app) => apps.changed(name, app) });

  const events = createEventFeed();
  // No secret, only a name that no other relay on the account has.
  const relayId = (await keptSecret(store, 'relay-id')).reveal();
  const composed = composeStreams(options, store, { events, relayId });
  const { api, cleanup, health: providerHealth, history, recordings, streams, webhooks } = composed;
  const address = { url: '' };
  const appSocketUrl = () => `${(options.publicUrl ?? address.url).replace(/^http/, 'ws').replace(/\/+$/, '')}/app-ws`;
  const sessionSecret = await keptSecret(store, 'app-session-secret');
  const { releases, rollouts } = await composeUpdates(options, store, {
    toGlasses: (userId, message) => sessions.get(userId)?.send(message) ?? false,
    onChange: (userId) => publish(userId),
  });
  const { apps, publish, sessions } = composeSessions(options, {
    ...{ catalog, store, streams, history, events, appSocketUrl, rollouts, sessionSecret },
  });

  const { adminToken, enrolments, tokens, ...guards } = access;
  const upgrades = createUpgrades({
    tokens,
    ...guards,
    glassesSession: (userId) => sessions.open(userId),
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
      publicRoutes({ catalog, health }),
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
        endStream: (streamId) => streams.end(streamId, endings.operator),
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
    // After its streams: what happens to their lines from then on is nothing that befell them.
    () => history.close(),
    () => (ending.keepStreams ? streams.suspend() : streams.close()),
    () => upgrades.shut(),
  );
  // Before anybody can come in: whoever was here comes back within a second or two.
  await catalog.load(options.appsFile ?? '{}');
  await apps.resume();
  await history.open();
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

export type { RelayOptions, RelayProvider, WebhookSecrets } from './relay-parts.ts';
