/**
 * The relay's parts, each group built bottom-up from what it needs: who may come in, streams at their provider, sessions
 * of glasses and apps. Part of the composition root.
 */
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../shared/clock.ts';
import type { GlasscastError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { type Redactor, Secret } from '../shared/secrets.ts';
import { isStreamOver } from '../shared/stream.ts';
import { createCallers } from './access/callers.ts';
import { openCoreTokens } from './access/core-tokens.ts';
import { newSecret, openAdminToken } from './access/credentials.ts';
import { createDoor, type DoorLimits } from './access/door.ts';
import { createEnrolments } from './access/enrolments.ts';
import { createFailedAttempts } from './access/failed-attempts.ts';
import type { AppCatalog } from './apps/app-catalog.ts';
import { type AppLifecycle, createAppLifecycle } from './apps/app-lifecycle.ts';
import { createAppWebhook } from './apps/app-webhook.ts';
import { capabilitiesOf } from './apps/glasses-models.ts';
import type { SessionIds } from './apps/session-ids.ts';
import type { Mesh } from './cluster/cluster.ts';
import { createKnownInputs } from './cluster/known-inputs.ts';
import { createSharedReleases } from './cluster/shared-releases.ts';
import { createSharedRollouts, type SharedRollouts, type SharedRolloutsOptions } from './cluster/shared-rollouts.ts';
import { createSessionRegistry, type SessionRegistry } from './glasses/session-registry.ts';
import type { GlassesListener } from './glasses/user-session.ts';
import { createBrowserGuard } from './http/browser-guard.ts';
import type { EventFeed, SessionView } from './http/event-feed.ts';
import type { Routes } from './http/http.ts';
import type { SocketLimits } from './http/socket.ts';
import { type Cleanup, createCleanup } from './provider/cleanup.ts';
import { createDestinationGuard } from './provider/destination-guard.ts';
import { createIngestSource } from './provider/ingest-source.ts';
import { createLiveInputs, providerProfiles } from './provider/live-inputs.ts';
import { createPlayback } from './provider/playback.ts';
import { createProviderHealth, type ProviderHealth } from './provider/provider-health.ts';
import { createProviderWebhooks, type ProviderWebhooks } from './provider/provider-webhooks.ts';
import { createRecordings, type Recordings } from './provider/recordings.ts';
import { createRestreaming } from './provider/restream-outputs.ts';
import { createStreamApi, type StreamApi } from './provider/stream-api.ts';
import type { Store } from './store/store.ts';
import { createStoryArchive } from './streams/story-archive.ts';
import { createStreamHistory, type StreamHistory } from './streams/stream-history.ts';
import { createStreamRegistry, type StreamRegistry } from './streams/stream-registry.ts';
import { troubleOf } from './streams/stream-timeline.ts';
import type { StreamTimings } from './streams/stream-timings.ts';
import { createReleaseFolder, type ReleaseFolder } from './updates/release-folder.ts';
import { openRollouts, type Rollouts } from './updates/rollouts.ts';
import type { Watching } from './watching.ts';

export interface RelayProvider {
  kind: keyof typeof providerProfiles;
  /** Up to and including `/client/v4`. */
  apiBaseUrl: string;
  accountId: string;
  apiToken: Secret;
}

export interface WebhookSecrets {
  live?: Secret | undefined;
  recording?: Secret | undefined;
}

export interface RelayOptions {
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: a free one. */
  port?: number;
  /** Where apps reach us, e.g. `wss://relay.example`. Default: `ws://` and the address we listen on. */
  publicUrl?: string | undefined;
  /** Holds the database; `:memory:` keeps nothing. */
  dataDir: string;
  /** The Redis that relays share: they are nodes of one cluster then. Default: one relay by itself. */
  redisUrl?: Secret | undefined;
  /** Default `glasscast:`. */
  redisPrefix?: string;
  /** Where the other nodes reach this one. Default: where it listens. */
  nodeAddress?: string | undefined;
  /** Default: made at the first start; the store keeps its hash. */
  adminToken?: Secret | undefined;
  /** Signs core tokens. Default: made once and kept in the store. */
  coreTokenSecret?: Secret | undefined;
  /** Core tokens without id or expiry, as MentraOS issues them. Default: refused. */
  acceptForeignTokens?: boolean;
  /** Addresses and networks whose X-Forwarded-For is believed. */
  trustedProxies?: readonly string[] | undefined;
  /** Names besides the public one that operators may use. */
  allowedHosts?: readonly string[] | undefined;
  doorLimits?: Partial<DoorLimits>;
  /** Opens `/metrics`, and nothing else. Default: the admin token alone does. */
  metricsToken?: Secret | undefined;
  /** Where traces go by OTLP over HTTP, e.g. `http://127.0.0.1:4318`. Default: there are none. */
  otlpEndpoint?: string | undefined;
  /** `name=value,name=value`: what the collector wants to see. */
  otlpHeaders?: Secret | undefined;
  /** How often the provider is asked how it is. Default 60000. */
  providerHealthIntervalMs?: number;
  provider: RelayProvider;
  /** What the provider's webhooks prove themselves by. Default: none is listened to. */
  webhookSecrets?: WebhookSecrets;
  keepRecordings?: boolean;
  /** Releases of the agent. Default: `releases` in the data folder. */
  releasesFolder?: string | undefined;
  /** Releases that are signed by none of these are not taken in. Default: glasses alone decide. */
  releaseKeys?: readonly KeyObject[] | undefined;
  /** Streams may be pushed on to addresses that are not on the public internet. Default false. */
  restreamPrivateTargets?: boolean;
  /** How long the provider holds a broadcast whose publisher is lost. Default 120. */
  holdSeconds?: number;
  /** The provider's own last line of clean-up. Default 30. */
  deleteRecordingAfterDays?: number;
  /** Text of the apps file. */
  appsFile?: string | undefined;
  timings?: Partial<StreamTimings>;
  socketLimits?: Partial<SocketLimits>;
  sessionGraceMs?: number;
  appGraceMs?: number;
  /** The same after a restart of the relay. Default 8000. */
  appResumeGraceMs?: number;
  /** No stage of a roll-out opens for so long after a restart. Default 30000. */
  rolloutResumeGraceMs?: number;
  /** Adds the console's pages to the server. */
  pages?: Routes;
  clock: Clock;
  log: Log;
  redactor: Redactor;
  fetch?: typeof fetch;
  onDefect?: (error: GlasscastError) => void;
}

/** Who may come in, and how fast. */
export async function composeAccess(options: RelayOptions, store: Store, onRevoked: (tokenId: string) => void) {
  const { acceptForeignTokens: acceptForeign, clock, provider, redactor } = options;
  const secret = options.coreTokenSecret ?? (await keptSecret(store, 'core-token-secret'));
  const adminToken = await openAdminToken(store, options.adminToken);
  const known = [options.adminToken, adminToken.made, secret, provider.apiToken, options.metricsToken];
  for (const one of known) if (one) redactor.add(one);
  const tokens = await openCoreTokens({ clock, secret, store, acceptForeign, onRevoked });
  const callers = createCallers(options.trustedProxies);
  return {
    adminToken,
    tokens,
    enrolments: createEnrolments({ clock, store, tokens }),
    callers,
    attempts: createFailedAttempts({ clock, callers }),
    door: createDoor({ clock, callers, limits: options.doorLimits }),
    browserGuard: createBrowserGuard(options),
  };
}

export function composeStreams(
  options: RelayOptions,
  store: Store,
  parts: {
    events: EventFeed;
    relayId: string;
    mesh: Mesh;
    isAlone: boolean;
    onLeft: (userId: string) => void;
    watching: Watching;
  },
): {
  api: StreamApi;
  cleanup: Cleanup;
  health: ProviderHealth;
  history: StreamHistory;
  recordings: Recordings;
  streams: StreamRegistry;
  webhooks: ProviderWebhooks;
} {
  const { clock, keepRecordings = false, log, provider, redactor, timings, onDefect } = options;
  const { events, relayId, mesh, isAlone, onLeft, watching } = parts;
  const profile = providerProfiles[provider.kind];
  const withFetch = options.fetch ? { fetch: options.fetch } : {};
  const { maxRequestsPerSecond, provingPollMs, watchingPollMs, stallMs } = profile;
  const { lateRecordingLooksMs } = profile;
  const sharers = () => mesh.others().length + 1;
  const tracedFetch = watching.providerFetch(options.fetch ?? fetch);
  const api = watching.api(
    createStreamApi({ ...provider, clock, log, maxRequestsPerSecond, sharers, fetch: tracedFetch }),
  );
  const inputs = createLiveInputs({ api, profile, relayId });
  const health = createProviderHealth({ inputs, clock, log, intervalMs: options.providerHealthIntervalMs });
  const cleanup: Cleanup = createCleanup({
    ...{ inputs, store, clock, log, keepRecordings, lateRecordingLooksMs, isShared: !isAlone },
    onGone: onLeft,
    knownElsewhere: createKnownInputs(mesh, () => cleanup.known()).elsewhere,
  });
  const history = createStreamHistory({
    clock,
    redact: redactor.redact,
    onEntry: (streamId, entry) => events.publish({ type: 'stream-entry', streamId, entry }),
    archive: createStoryArchive({ store, clock, log }),
  });
  const source = createIngestSource({
    onRetry: (streamId, error, waitMs) => history.provider(streamId, troubleOf(error, waitMs)),
    inputs,
    cleanup,
    redactor,
    admit: health.admit,
    profile,
    keepsRecordings: keepRecordings,
    holdSeconds: options.holdSeconds ?? 120,
    deleteRecordingAfterDays: keepRecordings ? undefined : (options.deleteRecordingAfterDays ?? 30),
  });
  const restreaming = createRestreaming({
    ...{ inputs, clock, log, redactor },
    guard: createDestinationGuard({ allowPrivate: options.restreamPrivateTargets ?? false, clock }),
    pollMs: profile.outputPollMs,
    // The rest of the budget is for starts and stops.
    maxPollsPerSecond: maxRequestsPerSecond && maxRequestsPerSecond / 3,
  });
  const playback = watching.playback(createPlayback({ clock, log, provingPollMs, watchingPollMs, ...withFetch }));
  const streams = createStreamRegistry({
    ...{ source, restreaming, store, playback },
    clock,
    log,
    timings: { stallMs, ...timings },
    onChange(stream) {
      events.publish({ type: 'stream', stream });
      watching.saw(stream);
      history.saw(stream);
      if (isStreamOver(stream.state)) onLeft(stream.userId);
    },
    onKeepAliveMissed: watching.metrics.sockets.keepAliveMissed,
    onSaved: onLeft,
    ...(onDefect ? { onDefect } : {}),
  });
  const secrets = options.webhookSecrets ?? {};
  for (const secret of [secrets.live, secrets.recording]) if (secret) redactor.add(secret);
  const webhooks = createProviderWebhooks({ secrets, streams, cleanup, inputs, health, playback, clock, log });
  const recordings = createRecordings({
    ...{ api, inputs, relayId, clock, keepsRecordings: keepRecordings, userOf: history.userOf },
    hasPreviewPage: profile.hasPreviewPage,
  });
  return { api, cleanup, health, history, recordings, streams, webhooks };
}

export function composeSessions(
  options: RelayOptions,
  parts: {
    catalog: AppCatalog;
    store: Store;
    streams: StreamRegistry;
    history: StreamHistory;
    events: EventFeed;
    appSocketUrl: () => string;
    rollouts: Rollouts;
    /** Unguessable: some of the SDK's requests show nothing else. */
    sessionIds: SessionIds;
    isHere: (userId: string) => boolean;
    /** Something of the user's has ended. */
    onLeft: (userId: string) => void;
    watching: Watching;
  },
): {
  apps: AppLifecycle;
  /** Tells operators how a user's session stands. */
  publish: (userId: string) => void;
  sessions: SessionRegistry;
} {
  const { clock, log } = options;
  const { catalog, store, streams, history, events, appSocketUrl, rollouts, sessionIds, isHere, onLeft } = parts;
  const { watching } = parts;
  const publish = (userId: string) => {
    if (!events.isHeard() || !sessions.get(userId)) return;
    events.publish({ type: 'session', session: sessionView(userId, { sessions, apps, rollouts }) });
  };
  const sessions: SessionRegistry = createSessionRegistry({
    clock,
    log,
    streams: witnessed(streams, history, rollouts),
    ...(options.sessionGraceMs === undefined ? {} : { graceMs: options.sessionGraceMs }),
    onDeviceState(userId, state) {
      for (const app of apps.sessions(userId)) app.deviceState(state);
      publish(userId);
    },
    onNews(userId, news) {
      for (const app of apps.sessions(userId)) app.hear(news);
    },
    onApp(verb, userId, packageName) {
      if (verb === 'stop') apps.stop(userId, packageName);
      else
        apps.start(userId, packageName).catch(({ code }) => log.debug({ userId, packageName, code }, 'start-refused'));
    },
    onEnded(userId) {
      apps.endUser(userId);
      events.publish({ type: 'session-ended', userId });
      onLeft(userId);
    },
  });
  const apps: AppLifecycle = createAppLifecycle({
    catalog,
    records: store.appSessions,
    webhook: watching.webhook(createAppWebhook({ clock, fetch: watching.webhookFetch(options.fetch ?? fetch) })),
    streams,
    glasses: sessions.open,
    toGlasses: (userId, message) => void sessions.get(userId)?.send(message),
    capabilities: (userId) => capabilitiesOf(sessions.get(userId)?.deviceState().modelName),
    sessionIdOf: sessionIds.of,
    isHere,
    appSocketUrl,
    clock,
    log,
    ...(options.appGraceMs === undefined ? {} : { graceMs: options.appGraceMs }),
    ...(options.appResumeGraceMs === undefined ? {} : { resumeGraceMs: options.appResumeGraceMs }),
    onChange(userId) {
      publish(userId);
      onLeft(userId);
    },
    onSaved: onLeft,
  });
  return { apps, publish, sessions };
}

/** Releases of the agent, and who gets them when. */
export function composeUpdates(
  options: RelayOptions,
  store: Store,
  links: Pick<SharedRolloutsOptions, 'mesh' | 'leadership' | 'toGlasses' | 'onChange'> & { isAlone: boolean },
): { releases: ReleaseFolder; rollouts: SharedRollouts; close: () => void } {
  const { clock, dataDir, log, releaseKeys, rolloutResumeGraceMs } = options;
  // What keeps nothing keeps no releases.
  const beside = dataDir === ':memory:' ? undefined : join(dataDir, 'releases');
  const folder = createReleaseFolder({ folder: options.releasesFolder ?? beside, trustedKeys: releaseKeys });
  const { mesh, isAlone } = links;
  const shared = isAlone ? undefined : createSharedReleases({ mesh, folder, store, log });
  const releases = shared ?? folder;
  const resumeGrace = rolloutResumeGraceMs === undefined ? {} : { resumeGraceMs: rolloutResumeGraceMs };
  const rollouts = createSharedRollouts({
    ...{ ...links, clock, log },
    open: (ways) => openRollouts({ ...{ store, releases, clock, log }, ...ways, ...resumeGrace }),
  });
  return { releases, rollouts, close: () => [rollouts, shared].forEach((part) => void part?.close()) };
}

/** What the glasses say and do, to the streams, into their history, and to the roll-outs. */
function witnessed(streams: StreamRegistry, history: StreamHistory, rollouts: Rollouts): GlassesListener {
  return {
    deviceStatus: (userId, status, glasses) =>
      history.deviceStatus(userId, status, () => streams.deviceStatus(userId, status, glasses)),
    keepAliveAck: (userId, ack) => streams.keepAliveAck(userId, ack),
    glassesGone(userId) {
      history.glasses(userId, false);
      streams.glassesGone(userId);
      rollouts.agentGone(userId);
    },
    glassesBack(userId) {
      history.glasses(userId, true);
      streams.glassesBack(userId);
    },
    endUser(userId, error) {
      streams.endUser(userId, error);
      rollouts.agentGone(userId);
    },
    agentHello: (userId, facts) => rollouts.agentHello(userId, facts),
    agentUpdate: (userId, status) => rollouts.agentUpdate(userId, status),
  };
}

export function sessionView(
  userId: string,
  { sessions, apps, rollouts }: { sessions: SessionRegistry; apps: AppLifecycle; rollouts: Rollouts },
): SessionView {
  const state = sessions.get(userId)?.deviceState() ?? { connected: false };
  return { userId, ...state, apps: apps.running(userId), ...rollouts.device(userId) };
}

export async function keptSecret(store: Store, name: string): Promise<Secret> {
  const kept = (await store.values.get(name))?.value;
  if (kept !== undefined) return new Secret(kept);
  const made = newSecret();
  // Another node may have made it at the same moment: theirs counts then.
  return (await store.values.add({ name, value: made.reveal() })) ? made : keptSecret(store, name);
}
