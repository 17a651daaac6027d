/**
 * Composition root of the relay: wires its parts, starts them in order, and closes them in reverse. Holds no rule of its
 * own. Control only: no media passes through here.
 */
import { errorText, GlasscastError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import type { Secret } from '../shared/secrets.ts';
import { createAppCatalog } from './apps/app-catalog.ts';
import { createAppStorage } from './apps/app-storage.ts';
import { createSessionIds } from './apps/session-ids.ts';
import { createCarrier } from './cluster/carrier.ts';
import type { Leadership } from './cluster/cluster.ts';
import { createHttpForwarding } from './cluster/http-forwarding.ts';
import { createRelayedSockets } from './cluster/relayed-sockets.ts';
import { createSessionPlaces } from './cluster/session-places.ts';
import { createSharedEvents } from './cluster/shared-events.ts';
import { createSharedRecords } from './cluster/shared-records.ts';
import { createUnownedUsers } from './cluster/unowned-users.ts';
import { createUserLife } from './cluster/user-life.ts';
import { afterJoining, composeCluster } from './cluster-parts.ts';
import { accessRoutes, enrolRoute } from './http/access-routes.ts';
import { welcomeApp } from './http/app-handshake.ts';
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
import type { Cleanup } from './provider/cleanup.ts';
import {
  composeAccess,
  composeSessions,
  composeStreams,
  composeUpdates,
  keptSecret,
  type RelayOptions,
  sessionView,
} from './relay-parts.ts';
import type { Store } from './store/store.ts';
import { operator, operatorStream } from './streams/operator-stream.ts';
import { endings } from './streams/stream-story.ts';
import { usersToTakeOver } from './streams/take-over.ts';
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

/** How it ends; nobody knows before it does. */
interface Ending {
  keepStreams: boolean;
  hasBegun: boolean;
}

export function createRelay(options: RelayOptions): Relay {
  const closers: (() => Promise<void> | void)[] = [];
  const ending: Ending = { keepStreams: false, hasBegun: false };
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
  ending: Ending,
): Promise<RelayAddress> {
  const { clock, host = '127.0.0.1', port = 0 } = given;
  const composedCluster = await composeCluster(given, closers);
  const { cluster, store: opened, isAlone, acceptNode, isStoreUp, onStoreBack } = composedCluster;
  const { leadership, mesh } = cluster;
  let hasJoined = false;
  let joined = () => {};
  const joining = new Promise<void>((resolve) => {
    joined = resolve;
  });
  const ownership = afterJoining(cluster.ownership, joining);
  const events = createSharedEvents({ mesh, log: given.log });
  const watching = await composeWatching({
    ...{ clock, log: given.log, store: opened, redactor: given.redactor },
    readings: {
      sessions: () => presenceOf(sessions.all().map((session) => session.isConnected())),
      apps: () => presenceOf(sessions.all().flatMap(({ userId }) => apps.running(userId).map((app) => app.connected))),
      provider: () => providerHealth.state(),
      cluster: isAlone
        ? undefined
        : {
            isLeader: leadership.isLeader,
            nodes: () => mesh.others().length + 1,
            ownedSessions: ownership.count,
            relayedSockets: () => relayed.counts().edge,
            isRedisUp: isStoreUp,
          },
    },
    // Its own words may name an address.
    cluster: () => (isStoreUp() ? undefined : 'Redis does not answer'),
    isEnding: () => ending.hasBegun,
    ...{ otlpEndpoint: given.otlpEndpoint, otlpHeaders: given.otlpHeaders, instanceId: cluster.nodeId },
  });
  closers.push(() => watching.close());
  const { log, store } = watching;
  const options = { ...given, log };
  const access = await composeAccess(options, store, (tokenId) => shared.tokenRevoked(tokenId));
  const { adminToken, enrolments, tokens, ...guards } = access;
  const catalog = createAppCatalog({
    store,
    onChange: (name, app) => apps.changed(name, app),
    onWritten: () => shared.catalogChanged(),
  });
  const shared = createSharedRecords({ mesh, catalog, tokens, clock, log });

  // No secret, only a name that no other relay on the account has.
  const relayId = (await keptSecret(store, 'relay-id')).reveal();
  const life = createUserLife({ ownership, clock, isNeeded: (userId) => isNeeded(userId), isStoreUp });
  const onLeft = (userId: string) => life.look(userId);
  const unowned = createUnownedUsers({ ownership, leadership, clock, log, users: () => usersToTakeOver(store) });
  const composed = composeStreams(options, store, { events, relayId, mesh, isAlone, onLeft, watching });
  const { api, cleanup, health: providerHealth, history, recordings, streams, webhooks } = composed;
  const address = { url: '' };
  const appSocketUrl = () => `${(options.publicUrl ?? address.url).replace(/^http/, 'ws').replace(/\/+$/, '')}/app-ws`;
  const sessionIds = createSessionIds(await keptSecret(store, 'app-session-secret'));
  const {
    releases,
    rollouts,
    close: closeUpdates,
  } = composeUpdates(options, store, {
    ...{ mesh, leadership, isAlone },
    toGlasses: (userId, message) => sessions.get(userId)?.send(message) ?? false,
    onChange: (userId) => publish(userId),
  });
  const { apps, publish, sessions } = composeSessions(options, {
    ...{ catalog, store, streams, history, events, appSocketUrl, rollouts, sessionIds, onLeft, watching },
    isHere: ownership.isHere,
  });
  const isNeeded = (userId: string) =>
    sessions.get(userId) !== undefined || streams.has(userId) || apps.has(userId) || cleanup.has(userId);
  const carrier = createCarrier({
    ...{ store, cleanup, streams: watching.carried(streams), apps, sessions, rollouts, history, log },
    builtIn: (appId) => (appId === operator.id ? operator : undefined),
    isEnding: () => ending.hasBegun,
    // Who was only asked about is let go again.
    onAdopted: onLeft,
  });

  const places = createSessionPlaces(mesh, ownership);
  const relayed = createRelayedSockets({
    ...{ mesh, ownership: places, sessionIds, clock, log },
    welcome: (ws, arrival) => welcomeApp(ws, arrival, handshake),
  });
  const handshake = {
    ...{ ...guards, catalog, apps, clock, log, elsewhere: relayed, meters: watching.metrics.sockets },
    ...(options.socketLimits ? { limits: options.socketLimits } : {}),
  };
  const upgrades = createUpgrades({
    ...{ ...handshake, tokens },
    take: ownership.take,
    isHere: ownership.isHere,
    glassesSession(userId) {
      watching.metrics.glassesCame(sessions.get(userId) !== undefined);
      return sessions.open(userId);
    },
    glassesBack: (userId) => apps.glassesBack(userId),
  });
  const areConnected = (userId: string) => sessions.get(userId)?.isConnected() ?? false;
  const health = () => ({
    provider: providerHealth.state(),
    sessions: sessions.all().length,
    streams: streams.snapshots().length,
  });
  const findStream = (streamId: string) => streams.snapshots().find((stream) => stream.streamId === streamId);
  const forwarding = createHttpForwarding({
    ...{ mesh, ownership: places, leadership, log },
    streams: {
      isHere: (streamId) => findStream(streamId) !== undefined,
      isRemembered: (streamId) => history.userOf(streamId) !== undefined,
      userOf: async (streamId) => (await store.streams.get(streamId))?.userId,
    },
  });
  const http = createHttp({
    ...{ host, port, adminToken, clock, log, ...guards, forwarding },
    publicRoutes: [
      ...watching.hooks(forwarding),
      ...watching.routes({ adminToken, metricsToken: options.metricsToken, attempts: guards.attempts }, health),
      publicRoutes({ catalog }),
      enrolRoute({ enrolments, attempts: guards.attempts }),
      phoneRoutes({ tokens, adminToken, apps, ...guards, areConnected }),
      releaseDownload({ releases, tokens, adminToken, ...guards, clock }),
      uplinkRoutes({ tokens, attempts: guards.attempts, clock }),
      sdkRoutes({ catalog, apps, storage: createAppStorage({ store, apps }), sessionIds, attempts: guards.attempts }),
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
        operatorStream: operatorStream(sessions, streams, async () => void (await store.values.get('relay-id'))),
        sessions: () => sessions.all().map(({ userId }) => sessionView(userId, { sessions, apps, rollouts })),
        streams: () => streams.snapshots(),
        history,
        endStream: (streamId) => streams.end(streamId, endings.operator),
      }),
    ],
    onUpgrade(request, socket, head) {
      if (!acceptNode(request, socket, head)) upgrades.accept(request, socket, head);
    },
  });
  closers.push(
    () => http.close(),
    // Its lines are connections of the server, which waits for them.
    () => cluster.close(),
    () => upgrades.close(),
    () => relayed.close(),
    () => providerHealth.close(),
    () => webhooks.close(),
    () => closeUpdates(),
    () => sessions.close(),
    () => apps.close(),
    () => api.close(),
    () => cleanup.close(),
    () => shared.close(),
    () => unowned.close(),
    () => life.close(),
    // After its streams: what happens to their lines from then on is nothing that befell them.
    () => history.close(),
    async () => {
      // Others go on with what is here; the last one of several ends it like one alone, when it is to end.
      const isOneOfSeveral = !isAlone && hasJoined;
      if (isOneOfSeveral && (ending.keepStreams || mesh.others().length > 0)) await cluster.drain();
      else await (ending.keepStreams ? streams.suspend() : streams.close());
    },
    () => upgrades.shut(),
    () => {
      ending.hasBegun = true;
      // Who waits still is refused.
      joined();
    },
  );
  // Before anybody can come in: whoever was here comes back within a second or two.
  if (isAlone || options.appsFile !== undefined) await catalog.load(options.appsFile ?? '{}');
  else await catalog.list();
  await history.open();
  if (isAlone) for (const userId of await usersToTakeOver(store)) await carrier.adopt(userId);
  leadership.onChange(() => {
    unowned.lookSoon();
    followLeadership(leadership, cleanup, store, log);
  });
  if (isAlone) await cleanup.lead();
  await rollouts.start();
  const listening = await http.start();
  address.url = `http://${host.includes(':') ? `[${host}]` : host}:${listening.port}`;
  await cluster.start(options.nodeAddress ?? address.url, carrier);
  hasJoined = true;
  joined();
  onStoreBack(() => {
    shared.refresh();
    cleanup.saveAgain();
    streams.saveAgain();
    apps.saveAgain();
    unowned.lookSoon();
    // It may not have been able to read what it is to lead.
    if (leadership.isLeader()) followLeadership(leadership, cleanup, store, log);
  });
  providerHealth.start();
  // Last, so that a start that fails leaves no token that nobody has seen.
  const madeAdminToken = await adminToken.keep();
  log.info({ port: listening.port, provider: options.provider.kind }, 'relay-listening');
  return { port: listening.port, url: address.url, madeAdminToken };
}

/** What belongs to nobody is the leader's: strays, and what older versions wrote. */
function followLeadership(leadership: Leadership, cleanup: Cleanup, store: Store, log: Log): void {
  const lead = async () => {
    const running = await store.streams.all();
    if (leadership.isLeader()) await cleanup.lead(new Set(running.map(({ streamId }) => streamId)));
  };
  if (!leadership.isLeader()) cleanup.follow();
  else lead().catch((error) => log.warn({ reason: errorText(error) }, 'ledger-not-led'));
}

function presenceOf(areConnected: readonly boolean[]): { connected: number; away: number } {
  const connected = areConnected.filter(Boolean).length;
  return { connected, away: areConnected.length - connected };
}

export type { RelayOptions, RelayProvider, WebhookSecrets } from './relay-parts.ts';
