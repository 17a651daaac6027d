/**
 * Composition root of the local Stream: Cloudflare's Stream Live API with media behind it, on one HTTP port and one RTMP port.
 * Builds and closes the parts; holds no rule of its own.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { findFfmpeg } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import { type Redactor, Secret } from '../../shared/secrets.ts';
import { apiPrefix, createApi } from './api.ts';
import { type Broadcasts, createBroadcasts } from './broadcasts.ts';
import { type Catalogue, openCatalogue } from './catalogue.ts';
import { createDelivery } from './delivery.ts';
import { createIngest, type Ingest, type IngestHost } from './ingest.ts';
import type { PublicAddresses } from './live-input.ts';
import { createLiveInputRegistry, type LiveInputRegistry } from './live-input-registry.ts';
import { createRecordings } from './recordings.ts';
import { createThumbnails, type Thumbnails } from './thumbnails.ts';
import { createVideoLibrary, type VideoLibrary } from './video-library.ts';
import { createViewers } from './viewers.ts';

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
  /** Hold window of inputs whose `recording.timeoutSeconds` is null. Default 60. */
  defaultHoldSeconds?: number;
  /** Added to every hold window, as the real one does. Default 3000. */
  holdMarginMs?: number;
  /** From the end of a broadcast to `ready`. Default 500. */
  readyDelayMs?: number;
  /** What `storage-usage` tells as the limit. Default 1000. */
  storageLimitMinutes?: number;
  /** For thumbnails. Default: the one on PATH, else the bundled one; with none the address answers 404. */
  ffmpegPath?: string;
}

export interface LocalStreamAddress {
  /** `http://HOST:PORT/client/v4` */
  apiBaseUrl: string;
  accountId: string;
  apiToken: Secret;
  httpPort: number;
  rtmpPort: number;
}

export interface LocalStream {
  /** Listens on both ports. Errors: PORT_IN_USE. One per process: the RTMP library is a singleton. Starts once. */
  start(): Promise<LocalStreamAddress>;
  /** Cuts publishers, finishes recordings, closes ports. Idempotent. */
  close(): Promise<void>;
}

interface Parts {
  catalogue: Catalogue;
  registry: LiveInputRegistry;
  library: VideoLibrary;
  broadcasts: Broadcasts;
  ingest: Ingest;
  thumbnails: Thumbnails;
  http: FastifyInstance;
}

interface Identity {
  apiToken: Secret;
  accountId: string;
  addresses: () => PublicAddresses;
}

const MAX_BODY_BYTES = 256 * 1024;
/** For a request to arrive whole. */
const REQUEST_TIMEOUT_MS = 30_000;
const MIN_TOKEN_CHARS = 8;

export function createLocalStream(options: LocalStreamOptions): LocalStream {
  const { log, listenHost = '127.0.0.1', publicHost = '127.0.0.1', accountId = 'a1'.repeat(16) } = options;
  let parts: Parts | undefined;
  let starting: Promise<LocalStreamAddress> | undefined;
  let closing: Promise<void> | undefined;

  async function open(): Promise<LocalStreamAddress> {
    const apiToken = options.apiToken ?? keptToken(options.dataDir);
    options.redactor.add(apiToken);
    const addresses: PublicAddresses = { httpOrigin: '', rtmpUrl: '' };
    parts = build(options, { apiToken, accountId, addresses: () => addresses });
    parts.registry.start();
    await parts.library.start();
    const rtmpPort = (await parts.ingest.start()).port;
    const httpPort = await listen(parts.http, listenHost, options.httpPort ?? 0);
    addresses.httpOrigin = `http://${publicHost}:${httpPort}`;
    addresses.rtmpUrl = `rtmp://${publicHost}:${rtmpPort}/live/`;
    log.info({ httpPort, rtmpPort }, 'local-stream-listening');
    return { apiBaseUrl: `${addresses.httpOrigin}${apiPrefix}`, accountId, apiToken, httpPort, rtmpPort };
  }
  async function start(): Promise<LocalStreamAddress> {
    if (closing) throw new GlasscastError('SHUTTING_DOWN');
    starting ??= open();
    try {
      return await starting;
    } catch (error) {
      await close();
      throw error;
    }
  }
  /** Media first, so that recordings end with what arrived; the catalogue last, since finishing writes to it. */
  async function end({ ingest, http, broadcasts, library, thumbnails, catalogue }: Parts): Promise<void> {
    await Promise.all([ingest.close(), http.close()]);
    broadcasts.close();
    await Promise.all([library.close(), thumbnails.close()]);
    catalogue.close();
    log.info('local-stream-closed');
  }
  function close(): Promise<void> {
    // A start that goes on meanwhile would open its ports behind our back.
    closing ??= (starting ?? Promise.resolve())
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => parts && end(parts));
    return closing;
  }
  return { start, close };
}

function build(options: LocalStreamOptions, identity: Identity): Parts {
  const { clock, log, redactor, spawn, dataDir } = options;
  const catalogue = openCatalogue({ dataDir });
  const recordings = createRecordings({ folder: join(dataDir, 'videos'), log });
  const library = createVideoLibrary({ catalogue, recordings, clock, log, readyDelayMs: options.readyDelayMs ?? 500 });
  const registry = createLiveInputRegistry({
    catalogue,
    clock,
    redactor,
    log,
    onChanged(uid) {
      broadcasts.reconsider(uid);
      if (!registry.get(uid)?.enabled) ingest.cut(uid);
    },
  });
  const broadcasts = createBroadcasts({
    clock,
    log,
    input: registry.get,
    beginVideo: library.begin,
    beginRecording: recordings.begin,
    endVideo: library.end,
    defaultHoldMs: (options.defaultHoldSeconds ?? 60) * 1000,
    holdMarginMs: options.holdMarginMs ?? 3000,
  });
  const listenAt = { host: options.listenHost ?? '127.0.0.1', port: options.rtmpPort ?? 0 };
  const ingest = createIngest({ host: ingestHost(registry, broadcasts), clock, log, listen: listenAt });
  const thumbnails = createThumbnails({
    ffmpeg: async () =>
      (await findFfmpeg({ spawn, clock, explicitFile: options.ffmpegPath, needsEncoders: ['mjpeg'] })).file,
    spawn,
    clock,
    log,
  });
  const http = Fastify({
    forceCloseConnections: true,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: 400 },
  });
  const { apiToken, accountId, addresses } = identity;
  const storageLimitMinutes = options.storageLimitMinutes ?? 1000;
  http.register(createApi({ registry, library, apiToken, accountId, log, addresses, storageLimitMinutes }), {
    prefix: apiPrefix,
  });
  const viewers = createViewers({ clock });
  const { get: input } = registry;
  http.register(
    createDelivery({ input, video: library.get, broadcasts, recordings, thumbnails, viewers, nowMs: clock.now }),
  );
  http.get('/healthz', () => ({ status: 'ok', publications: ingest.publications().length }));
  return { catalogue, registry, library, broadcasts, ingest, thumbnails, http };
}

/** Where the ingest meets the API's objects. What else listens to publications (restream outputs, low latency) joins here. */
function ingestHost(registry: LiveInputRegistry, broadcasts: Broadcasts): IngestHost {
  return {
    authorisePublish(streamKey) {
      const input = registry.byPublishKey(streamKey);
      if (!input) return { refused: 'Unknown stream key' };
      return input.enabled ? { inputUid: input.uid } : { refused: 'The live input is disabled' };
    },
    authorisePlay(playbackKey) {
      const input = registry.byPlaybackKey(playbackKey);
      return input ? { inputUid: input.uid } : { refused: 'Unknown playback key' };
    },
    published(publication) {
      registry.connectionChanged(publication.inputUid, 'connected');
      broadcasts.published(publication);
    },
    tag: broadcasts.tag,
    unpublished(publication) {
      registry.connectionChanged(publication.inputUid, 'disconnected');
      broadcasts.unpublished(publication);
    },
  };
}

async function listen(http: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    const address = new URL(await http.listen({ host, port }));
    return Number(address.port);
  } catch (error) {
    const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
    if (isTaken) throw new GlasscastError('PORT_IN_USE', { reason: `HTTP port ${port} on ${host}`, details: { port } });
    throw new GlasscastError('INTERNAL', { reason: errorText(error), cause: error });
  }
}

/** The token outlives restarts, so that clients need not be told again. */
function keptToken(dataDir: string): Secret {
  const file = join(dataDir, 'api-token');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  try {
    const token = readFileSync(file, 'utf8').trim();
    // Empty: the disk was full or the machine died while it was written.
    if (token.length >= MIN_TOKEN_CHARS) return new Secret(token);
  } catch {
    // Made below, the first time.
  }
  const token = randomBytes(24).toString('base64url');
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return new Secret(token);
}
