/**
 * The doors of the ingest: one for RTMP, and one for RTMPS where there is a certificate. Owns the listening sockets and the places
 * of both; every connection is handed on as it is accepted, so that its deadlines hold for the TLS handshake as well.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import type { Clock } from '../../../shared/clock.ts';
import { errorText, GlasscastError } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { type Certificate, type CertificateFiles, watchCertificate } from './certificate.ts';
import { createPlaces, type PlaceLimits } from './places.ts';

export interface ListenAt {
  host: string;
  /** 0: a free one. */
  port: number;
}

export interface IngestPorts {
  port: number;
  /** Only with RTMPS. */
  tlsPort?: number;
}

export interface IngestListeners {
  /** Errors: PORT_IN_USE; INVALID_CONFIG for an address or a certificate that cannot be used. */
  open(): Promise<IngestPorts>;
  /** Nothing more comes in. Resolves when every connection is closed, too. Idempotent; `open` may follow. */
  close(): Promise<void>;
}

export interface IngestListenersOptions {
  listen: ListenAt;
  tls?: (ListenAt & CertificateFiles) | undefined;
  limits: PlaceLimits;
  clock: Clock;
  log: Log;
  /** A warning that is written at most once a second. */
  flood: (event: string, fields: Record<string, unknown>) => void;
  admit: (socket: Socket) => void;
}

const SOCKET_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 };

export function createIngestListeners(options: IngestListenersOptions): IngestListeners {
  const { listen, tls, limits, clock, log, flood, admit } = options;
  const places = createPlaces(limits);
  const opened = new Set<Server>();

  /** False: there is no place, and it is closed. */
  function seat(socket: Socket): boolean {
    const place = places.take(socket.remoteAddress ?? 'gone');
    if (typeof place === 'function') {
      socket.once('close', place);
      return true;
    }
    flood('ingest-full', { remoteAddress: `${socket.remoteAddress}:${socket.remotePort}`, reason: place });
    socket.destroy();
    return false;
  }

  function listenOn({ host, port }: ListenAt, what: 'RTMP' | 'RTMPS', take: (socket: Socket) => void): Promise<number> {
    const server = createServer(SOCKET_OPTIONS, (socket) => seat(socket) && take(socket));
    opened.add(server);
    return new Promise((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        opened.delete(server);
        reject(listenError(error, what, { host, port }));
      });
      server.listen(port, host, () => {
        server.removeAllListeners('error');
        server.on('error', (error) => log.error({ reason: errorText(error) }, 'ingest-listener-failed'));
        const address = server.address();
        const bound = typeof address === 'object' && address ? address.port : port;
        log.info({ host, port: bound, protocol: what }, 'ingest-listening');
        resolve(bound);
      });
    });
  }

  async function close(): Promise<void> {
    const closing = [...opened];
    opened.clear();
    await Promise.all(closing.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }

  return {
    async open() {
      const wrap = tls && createTlsWrap({ ...tls, clock, log });
      try {
        const port = await listenOn(listen, 'RTMP', admit);
        if (!tls || !wrap) return { port };
        return { port, tlsPort: await listenOn(tls, 'RTMPS', (socket) => admit(wrap(socket))) };
      } catch (error) {
        await close();
        throw error;
      }
    },
    close,
  };
}

/** TLS over an accepted connection; a peer that speaks none, or breaks it, closes its socket. */
function createTlsWrap(options: CertificateFiles & { clock: Clock; log: Log }): (socket: Socket) => Socket {
  const certificate = watchCertificate(options);
  let secureContext = contextOf(certificate.current);
  return (socket) => {
    const renewed = certificate.renewed();
    if (renewed) secureContext = contextOf(renewed);
    const secure = new TLSSocket(socket, { isServer: true, secureContext });
    // Without a server of node:tls around it, what goes wrong after the handshake is told by this event alone.
    secure.on('_tlsError', () => secure.destroy());
    return secure;
  };
}

function contextOf(certificate: Certificate): SecureContext {
  return createSecureContext({ ...certificate, minVersion: 'TLSv1.2' });
}

function listenError(error: NodeJS.ErrnoException, what: string, { host, port }: ListenAt): GlasscastError {
  const where = `${host}:${port}`;
  if (error.code === 'EADDRINUSE') {
    return new GlasscastError('PORT_IN_USE', { reason: `${what} on ${where}`, cause: error, details: { host, port } });
  }
  return new GlasscastError('INVALID_CONFIG', {
    reason: `${what} cannot listen on ${where} (${error.code})`,
    cause: error,
  });
}
