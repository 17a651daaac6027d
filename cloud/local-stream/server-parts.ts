/**
 * Composition root of the local Stream: builds the parts and joins them. Holds no rule of its own, starts nothing.
 *
 * The folders: api/ is Cloudflare's REST; ingest/ RTMP in, and RTMP players; packaging/ segments, parts and manifests; recordings/
 * what lies on disk; playback/ who is let in, and HLS and DASH out; flv/ and whep/ the live picture out.
 * A viewer that does not read: ingest/connection.ts (RTMP), flv/queue.ts and flv/viewer.ts (FLV), playback/pieces.ts (files).
 */
import { join } from 'node:path';
import Fastify, { type FastifyInstance, type FastifyPluginCallback } from 'fastify';
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import { isPublicAddress } from '../../shared/network-address.ts';
import type { Redactor, Secret } from '../../shared/secrets.ts';
import { createAdmin } from './admin.ts';
import { answerUnroutable, apiPrefix, createApi } from './api/api.ts';
import { createLiveAlerts } from './api/live-alerts.ts';
import type { PublicAddresses } from './api/live-input.ts';
import { createLiveInputRegistry, type LiveInputRegistry } from './api/live-input-registry.ts';
import { createRequestLimit } from './api/request-limit.ts';
import type { StorageUsage } from './api/video-routes.ts';
import { createWebhooks, type LiveWebhook, type Webhooks } from './api/webhooks.ts';
import { createBroadcastMetrics } from './broadcast-metrics.ts';
import { type Catalogue, openCatalogue } from './catalogue.ts';
import { createFaults, type Faults } from './faults.ts';
import { createFlvEgress } from './flv/egress.ts';
import type { CertificateFiles } from './ingest/certificate.ts';
import type { IngestLimits } from './ingest/connection.ts';
import { createIngest, type Ingest, type IngestHost } from './ingest/ingest.ts';
import { createLiveFeed, type LiveFeed } from './live-feed.ts';
import { createOutputs, type Outputs } from './outputs.ts';
import { type Broadcasts, createBroadcasts } from './packaging/broadcasts.ts';
import { createDelivery } from './playback/delivery.ts';
import { createLowLatencyDelivery } from './playback/ll-delivery.ts';
import { createNewsWaits } from './playback/news-waits.ts';
import { createPlaybackAccess } from './playback/playback-access.ts';
import { createPlaybackTokens, MAX_TOKEN_CHARS } from './playback/playback-tokens.ts';
import { createPlayerPage } from './playback/player-page.ts';
import { createViewers } from './playback/viewers.ts';
import { createRecordings } from './recordings/recordings.ts';
import { createStorageRoom } from './recordings/storage-room.ts';
import { createThumbnails, type Thumbnails } from './recordings/thumbnails.ts';
import { type Video, videoJson } from './recordings/video.ts';
import { createVideoLibrary, type VideoLibrary } from './recordings/video-library.ts';
import { createWhepPeers } from './whep/peer.ts';
import { createWhepSessions, type WhepSessions } from './whep/sessions.ts';
import { createWhepSound } from './whep/sound.ts';
import { createWhep } from './whep/whep.ts';

export interface LocalStreamOptions {
  clock: Clock;
  log: Log;
  redactor: Redactor;
  spawn: SpawnChild;
  /** Holds the database (mode 0600) and one folder per video; made when missing. */
  dataDir: string;
  /** Bearer token of the API. Default: the one kept in `dataDir`, made at random the first time. */
  apiToken?: Secret;
  /** 32 hex digits. Default: `a1` sixteen times. */
  accountId?: string;
  /** Address to listen on. Default 127.0.0.1. */
  listenHost?: string;
  /** Host written into every URL handed out. Default 127.0.0.1. */
  publicHost?: string;
  /** Default 0: a free one. */
  httpPort?: number;
  /** Default 0: a free one. */
  rtmpPort?: number;
  /** RTMPS beside RTMP; then it is what addresses are handed out for. Port 0: a free one. Default: none. */
  rtmps?: ({ port: number } & CertificateFiles) | undefined;
  /** What the ingest bears. */
  ingestLimits?: Partial<IngestLimits>;
  /** Hold window of inputs whose `recording.timeoutSeconds` is null. Default 60. */
  defaultHoldSeconds?: number;
  /** Added to every hold window, as the real one does. Default 3000. */
  holdMarginMs?: number;
  /** From the end of a broadcast to `ready`. Default 500. */
  readyDelayMs?: number;
  /** What `storage-usage` tells as the limit; with nothing left no publisher is let in. Default 1000. */
  storageLimitMinutes?: number;
  /** Of all recordings on the disk; then recordings end and live streams go on. Default: no limit. */
  storageLimitBytes?: number | undefined;
  /** What recordings leave free on the disk. Default 64 MiB. */
  minFreeBytes?: number;
  /** Calls of the API in five minutes; past that none for the next five, as Cloudflare's 1,200. Default 0: no limit. */
  apiRequestLimit?: number;
  /** Outputs may push to addresses that are not on the public internet. Default false. */
  outputPrivateTargets?: boolean;
  /** For thumbnails and for WebRTC's sound. Default: the one on PATH, else the bundled one; with none there is neither. */
  ffmpegPath?: string;
  /** UDP port of all viewers by WebRTC. Default 0: a free one for each. */
  webRtcPort?: number;
  /** Viewers by WebRTC at once. Default 100. */
  maxWebRtcViewers?: number;
  /** Where live events are told to. Default: nowhere. */
  liveWebhook?: LiveWebhook | undefined;
  /** Opens the admin port, on loopback, where faults are switched on. Default: there is none. */
  adminPort?: number | undefined;
}

export interface Parts {
  catalogue: Catalogue;
  registry: LiveInputRegistry;
  library: VideoLibrary;
  broadcasts: Broadcasts;
  feed: LiveFeed;
  outputs: Outputs;
  ingest: Ingest;
  thumbnails: Thumbnails;
  webhooks: Webhooks;
  whep: WhepSessions;
  http: FastifyInstance;
  admin: FastifyInstance | undefined;
  /** A recording is ready, or will never be; needs the addresses. */
  tellFinished: (video: Video) => void;
}

interface Identity {
  apiToken: Secret;
  accountId: string;
  addresses: () => PublicAddresses;
}

/** Just above six pictures at 30 a second, five at 25 or 24, nine frames of sound: all fill their parts. */
const PART_TARGET_MS = 210;
const MAX_BODY_BYTES = 256 * 1024;
/** For a request to arrive whole. */
const REQUEST_TIMEOUT_MS = 30_000;
const MAX_HTTP_CONNECTIONS = 5_000;
export function buildParts(options: LocalStreamOptions, identity: Identity): Parts {
  const { clock, log, redactor, spawn, dataDir } = options;
  const catalogue = openCatalogue({ dataDir });
  const tokens = createPlaybackTokens({ catalogue, clock });
  const room = createStorageRoom({
    ...{ folder: dataDir, limitBytes: options.storageLimitBytes },
    minFreeBytes: options.minFreeBytes ?? 64 * 1024 * 1024,
    usedBytes: () => library.usage().bytes + recordings.writtenBytes(),
  });
  const recordings = createRecordings({ folder: join(dataDir, 'videos'), log, refusal: room.refusal });
  const faults = options.adminPort === undefined ? undefined : createFaults({ clock });
  const alerts = createLiveAlerts({ catalogue, clock, redactor });
  const webhooks = createWebhooks({
    ...{ alerts, catalogue, accountId: identity.accountId, liveTarget: options.liveWebhook, clock, log, redactor },
    ...(faults ? { sendings: faults.sendings } : {}),
  });
  const library = createVideoLibrary({
    ...{ catalogue, recordings, clock, log, readyDelayMs: options.readyDelayMs ?? 500 },
    onFinished: tellFinished,
  });
  function tellFinished(video: Video): void {
    webhooks.recording(videoJson(video, identity.addresses().httpOrigin));
  }
  const storageUsage = storageOf(library, options.storageLimitMinutes ?? 1000, faults);
  const registry = createLiveInputRegistry({
    catalogue,
    clock,
    redactor,
    log,
    onChanged(uid) {
      broadcasts.reconsider(uid);
      outputs.reconsider(uid);
      const input = registry.get(uid);
      if (!input) ingest.forget(uid);
      else if (!input.enabled) ingest.cut(uid);
    },
    onKeysRotated: (uid) => ingest.cut(uid, 'The keys of the live input were changed'),
  });
  const broadcasts = createBroadcasts({
    clock,
    log,
    input: registry.get,
    beginVideo: library.begin,
    beginRecording: recordings.begin,
    endVideo: library.end,
    onEnded: (inputUid) => feed.end(inputUid),
    defaultHoldMs: (options.defaultHoldSeconds ?? 60) * 1000,
    holdMarginMs: options.holdMarginMs ?? 3000,
    partTargetMs: PART_TARGET_MS,
  });
  const feed = createLiveFeed({ clock });
  const outputs = createOutputs({
    ...{ clock, log, input: registry.get },
    allowsAddress: options.outputPrivateTargets ? () => true : isPublicAddress,
  });
  const listenAt = { host: options.listenHost ?? '127.0.0.1', port: options.rtmpPort ?? 0 };
  const host = ingestHost({ registry, broadcasts, feed, outputs, webhooks, storageUsage });
  const tls = options.rtmps && { host: listenAt.host, ...options.rtmps };
  const ingest = createIngest({ host, clock, log, listen: listenAt, tls, limits: options.ingestLimits });
  const thumbnails = createThumbnails({
    ffmpeg: async () =>
      (await findFfmpeg({ spawn, clock, explicitFile: options.ffmpegPath, needsEncoders: ['mjpeg'] })).file,
    spawn,
    clock,
    log,
  });
  const http = newServer();
  const { apiToken, accountId, addresses } = identity;
  const { apiRequestLimit: requestsPerWindow = 0 } = options;
  const api = createApi({
    ...{ registry, library, outputs, apiToken, accountId, log, addresses, storageUsage, webhooks, alerts, tokens },
    requestLimit: requestsPerWindow > 0 ? createRequestLimit({ clock, requestsPerWindow }) : undefined,
  });
  http.register(inside(api, faults?.aroundApi), { prefix: apiPrefix });
  const viewers = createViewers({ clock });
  const { get: input } = registry;
  const access = createPlaybackAccess({ input, video: library.get, tokens });
  const delivered = {
    input,
    video: library.get,
    access,
    broadcasts,
    recordings,
    thumbnails,
    viewers,
    clock,
    lowLatency: createLowLatencyDelivery({ waits: createNewsWaits({ clock }), partTargetMs: PART_TARGET_MS }),
  };
  http.register(inside(createDelivery(delivered), faults?.aroundDelivery));
  const whep = whepSessions(options, feed);
  const island = faults && { isIsland: faults.isWebRtcIsland };
  http.register(inside(createWhep({ access, sessions: whep, ...island }), faults?.aroundDelivery));
  const watching = { flv: 0 };
  const flv = createFlvEgress({
    ...{ access, video: library.get, feed, broadcasts, viewers, clock, log },
    onViewers(count) {
      watching.flv = count;
    },
    ...(faults ? { isForbidden: faults.isDeliveryForbidden } : {}),
  });
  http.register(inside(flv, faults?.aroundDelivery));
  http.register(inside(createPlayerPage({ access }), faults?.aroundDelivery));
  http.get('/healthz', () => ({ status: 'ok', publications: ingest.publications().length }));
  const metrics = createBroadcastMetrics({
    publications: ingest.publications,
    viewers: () => ({ flv: watching.flv, webrtc: whep.count() }),
  });
  const admin = faults && createAdmin({ faults, webhooks, apiToken, metrics });
  return {
    ...{ catalogue, registry, library, broadcasts, feed, outputs, ingest, thumbnails, webhooks, whep, http, admin },
    tellFinished,
  };
}

function whepSessions(options: LocalStreamOptions, feed: LiveFeed): WhepSessions {
  const { clock, log, spawn, listenHost = '127.0.0.1', webRtcPort: port = 0, maxWebRtcViewers = 100 } = options;
  const ffmpeg = async () =>
    (await findFfmpeg({ spawn, clock, explicitFile: options.ffmpegPath, needsEncoders: ['libopus'] })).file;
  const sound = createWhepSound({ ffmpeg, feed, spawn, clock, log });
  const peers = createWhepPeers({ listenHost, port, log });
  return createWhepSessions({ peers, sound, feed, clock, log, maxSessions: maxWebRtcViewers });
}

function newServer(): FastifyInstance {
  const server = Fastify({
    forceCloseConnections: true,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    frameworkErrors: answerUnroutable,
    // A token may stand for an id.
    routerOptions: { maxParamLength: MAX_TOKEN_CHARS },
  });
  // What is more is closed at once: descriptors are needed by publishers and recordings, too.
  server.server.maxConnections = MAX_HTTP_CONNECTIONS;
  return server;
}

/** Routes in a scope of their own, for whoever puts hooks around them. */
function inside(routes: FastifyPluginCallback, around?: (scope: FastifyInstance) => void): FastifyPluginCallback {
  return (scope, _, done) => {
    around?.(scope);
    scope.register(routes);
    done();
  };
}

function storageOf(
  library: Pick<VideoLibrary, 'usage'>,
  totalStorageMinutesLimit: number,
  faults: Pick<Faults, 'isStorageExhausted'> | undefined,
): (creator?: string) => StorageUsage {
  return (creator) => {
    const { minutes, videoCount } = library.usage(creator);
    const totalStorageMinutes = faults?.isStorageExhausted() ? totalStorageMinutesLimit : minutes;
    return { totalStorageMinutes, totalStorageMinutesLimit, videoCount };
  };
}

/** Where the ingest meets the API's objects, and whatever else takes in what is published. */
function ingestHost(options: {
  registry: LiveInputRegistry;
  broadcasts: Broadcasts;
  feed: LiveFeed;
  outputs: Outputs;
  webhooks: Pick<Webhooks, 'live'>;
  storageUsage: () => StorageUsage;
}): IngestHost {
  const { registry, broadcasts, feed, outputs, webhooks, storageUsage } = options;
  return {
    authorisePublish(streamKey) {
      const input = registry.byPublishKey(streamKey);
      if (!input) return { refused: 'Unknown stream key' };
      if (!input.enabled) return { refused: 'The live input is disabled' };
      const { totalStorageMinutes, totalStorageMinutesLimit } = storageUsage();
      if (totalStorageMinutes < totalStorageMinutesLimit) return { inputUid: input.uid };
      // As there: the input was made all the same, and the publisher sees what looks like a network fault.
      const message = 'The storage quota is exhausted';
      webhooks.live({ type: 'errored', inputUid: input.uid, code: 'ERR_STORAGE_QUOTA_EXHAUSTED', message });
      return { refused: message };
    },
    authorisePlay(playbackKey) {
      const input = registry.byPlaybackKey(playbackKey);
      return input ? { inputUid: input.uid } : { refused: 'Unknown playback key' };
    },
    published(publication) {
      registry.connectionChanged(publication.inputUid, 'connected');
      webhooks.live({ type: 'connected', inputUid: publication.inputUid });
      broadcasts.published(publication);
      feed.published(publication);
      outputs.published(publication);
    },
    tag(inputUid, publicationId, tag) {
      broadcasts.tag(inputUid, publicationId, tag);
      feed.tag(inputUid, publicationId, tag);
      outputs.tag(inputUid, publicationId, tag);
    },
    refused({ inputUid }, { code, sentence: message, videoCodec, audioCodec }) {
      if (code) webhooks.live({ type: 'errored', inputUid, code, message, videoCodec, audioCodec });
    },
    unpublished(publication, reason) {
      const isRefused = reason === 'refused';
      registry.connectionChanged(publication.inputUid, isRefused ? 'failed_to_connect' : 'client_disconnect');
      webhooks.live({ type: 'disconnected', inputUid: publication.inputUid });
      broadcasts.unpublished(publication);
      feed.unpublished(publication);
      outputs.unpublished(publication);
    },
  };
}
