/**
 * The local Stream: Cloudflare's Stream Live API with media behind it, on one HTTP port and one RTMP port. Owns the order in
 * which its parts start and end; what they are stands in server-parts.ts.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import { apiPrefix } from './api/api.ts';
import type { PublicAddresses } from './api/live-input.ts';
import { claimDataFolder } from './data-folder.ts';
import { buildParts, type LocalStreamOptions, type Parts } from './server-parts.ts';

export type { LocalStreamOptions } from './server-parts.ts';

export interface LocalStreamAddress {
  /** `http://HOST:PORT/client/v4` */
  apiBaseUrl: string;
  accountId: string;
  apiToken: Secret;
  httpPort: number;
  rtmpPort: number;
  /** Where there is RTMPS. */
  rtmpsPort?: number;
  adminPort?: number;
}

export interface LocalStream {
  /** Listens on its ports. Errors: PORT_IN_USE, INVALID_CONFIG. One per process: the RTMP library is a singleton. Starts once. */
  start(): Promise<LocalStreamAddress>;
  /** Cuts publishers, finishes recordings, closes ports. Idempotent. */
  close(): Promise<void>;
}

const MIN_TOKEN_CHARS = 8;

export function createLocalStream(options: LocalStreamOptions): LocalStream {
  const { log, listenHost = '127.0.0.1', publicHost = '127.0.0.1', accountId = 'a1'.repeat(16) } = options;
  let parts: Parts | undefined;
  let release: (() => void) | undefined;
  let starting: Promise<LocalStreamAddress> | undefined;
  let closing: Promise<void> | undefined;

  async function open(): Promise<LocalStreamAddress> {
    release = claimDataFolder(options.dataDir);
    const apiToken = options.apiToken ?? keptToken(options.dataDir);
    options.redactor.add(apiToken);
    const addresses: PublicAddresses = { httpOrigin: '', rtmpUrl: '' };
    parts = buildParts(options, { apiToken, accountId, addresses: () => addresses });
    parts.registry.start();
    const cutShort = await parts.library.start();
    const { port: rtmpPort, tlsPort: rtmpsPort } = await parts.ingest.start();
    const httpPort = await listen(parts.http, listenHost, options.httpPort ?? 0);
    addresses.httpOrigin = `http://${publicHost}:${httpPort}`;
    const [scheme, mediaPort] = rtmpsPort === undefined ? ['rtmp', rtmpPort] : ['rtmps', rtmpsPort];
    addresses.rtmpUrl = `${scheme}://${publicHost}:${mediaPort}/live/`;
    const admin = parts.admin ? { adminPort: await listen(parts.admin, '127.0.0.1', options.adminPort ?? 0) } : {};
    for (const video of cutShort) parts.tellFinished(video);
    const ports = { httpPort, rtmpPort, ...(rtmpsPort === undefined ? {} : { rtmpsPort }), ...admin };
    log.info(ports, 'local-stream-listening');
    return { apiBaseUrl: `${addresses.httpOrigin}${apiPrefix}`, accountId, apiToken, ...ports };
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
  async function end(open: Parts): Promise<void> {
    const { admin, ingest, http, broadcasts, feed, outputs, library, thumbnails, catalogue, webhooks, whep } = open;
    await Promise.all([ingest.close(), http.close(), admin?.close()]);
    broadcasts.close();
    feed.close();
    await Promise.all([whep.close(), outputs.close(), library.close(), thumbnails.close()]);
    await webhooks.close();
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
      .then(() => parts && end(parts))
      .finally(() => release?.());
    return closing;
  }
  return { start, close };
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
