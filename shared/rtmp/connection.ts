/**
 * Opens the TCP or TLS connection to an ingest once, in time, at an address that is allowed.
 * Certificates are always checked; there is no switch to turn that off.
 */
import { type LookupAddress, lookup } from 'node:dns';
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '../clock.ts';
import { GlasscastError } from '../errors.ts';
import { connectError, connectTimeout } from './connection-causes.ts';
import type { PublishUrl } from './publish-url.ts';

export interface ConnectionOptions {
  url: PublishUrl;
  clock: Clock;
  signal: AbortSignal;
  /** For DNS, TCP and TLS together. */
  timeoutMs: number;
  /** Which IP addresses may be connected to; a name with any other is refused as a whole. Default: all. */
  allowsAddress?: ((address: string) => boolean) | undefined;
  ca?: string | Buffer | undefined;
  /** Opens the TCP connection instead of node:net; with rtmps TLS goes over its socket. */
  dial?: Dial | undefined;
}

/** The seam for other networks, a simulated one for instance; `net.connect` fits. */
export type Dial = (target: DialTarget) => Socket;

export interface DialTarget {
  host: string;
  port: number;
  /** Has to be used to look the name up, where there is one: it refuses addresses that are not allowed. */
  lookup?: LookupFunction;
}

/**
 * A connected socket with Nagle off; with rtmps the certificate has been checked.
 * @throws GlasscastError INGEST_UNREACHABLE, INGEST_TLS_FAILED, INGEST_DROPPED, INGEST_SILENT, DESTINATION_FORBIDDEN; or the
 * signal's reason.
 */
export function openConnection(options: ConnectionOptions): Promise<Socket> {
  const { url, clock, signal, timeoutMs, allowsAddress } = options;
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    // A literal is not looked up.
    if (allowsAddress && isIP(url.host) && !allowsAddress(url.host)) {
      reject(new GlasscastError('DESTINATION_FORBIDDEN', { reason: NOT_PUBLIC }));
      return;
    }
    let isTcpConnected = false;
    const { host, port } = url;
    const target = allowsAddress ? { host, port, lookup: checkedLookup(allowsAddress) } : { host, port };
    const socket = opened(target, options);
    socket.setNoDelay(true);
    // Until the session listens too, and after giving up, an error has no one else; unheard it would end the process.
    socket.on('error', () => {});

    const timer = clock.after('rtmp-connect', timeoutMs, () => {
      giveUp(connectTimeout(url, timeoutMs, isTcpConnected));
    });
    const onAbort = () => giveUp(signal.reason);
    const onError = (error: Error) => giveUp(connectError(error, url, isTcpConnected));
    function settle(): void {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
      socket.removeListener('error', onError);
    }
    function giveUp(reason: unknown): void {
      settle();
      socket.destroy();
      reject(reason);
    }
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', onError);
    socket.once('connect', () => {
      isTcpConnected = true;
    });
    socket.once(url.secure ? 'secureConnect' : 'connect', () => {
      settle();
      resolve(socket);
    });
  });
}

function opened(target: DialTarget, { url, ca, dial }: ConnectionOptions): Socket {
  const trust = { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) };
  if (!dial) {
    // The name goes out as SNI and is what the certificate must be for; node:tls leaves SNI out for an IP literal.
    // That it checks is said although it is the default: the environment could tell Node not to.
    return url.secure ? connectTls({ ...target, ...trust }) : connectTcp(target);
  }
  const tcp = dial(target);
  if (!url.secure) return tcp;
  const { host } = target;
  return connectTls({ socket: tcp, host, ...(isIP(host) ? {} : { servername: host }), ...trust });
}

const NOT_PUBLIC = 'it is not on the public internet';

/** Looks at the very addresses that the connection then takes: an earlier look could have been told others. */
function checkedLookup(allowsAddress: (address: string) => boolean): LookupFunction {
  return (host, options, answer) => {
    lookup(host, { ...options, all: true }, (error, found: LookupAddress[]) => {
      const [first] = found ?? [];
      if (error || !first) answer(error ?? new Error('no address'), '', 0);
      else if (!found.every(({ address }) => allowsAddress(address))) {
        answer(new GlasscastError('DESTINATION_FORBIDDEN', { reason: NOT_PUBLIC }), '', 0);
      } else if (options.all) answer(null, found);
      else answer(null, first.address, first.family);
    });
  };
}
