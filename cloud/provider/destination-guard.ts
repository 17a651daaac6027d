/**
 * Where apps may have a stream pushed to. Refuses what would turn the relay, or the provider, against somebody's own
 * network (SSRF). Whoever pushes has to look again when it connects: a name may mean another address by then.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import { isAmbiguousAddress, isPublicAddress } from '../../shared/network-address.ts';
import { type PublishUrl, parsePublishUrl } from '../../shared/rtmp/publish-url.ts';

export interface DestinationGuard {
  /** @throws GlasscastError DESTINATION_FORBIDDEN, DESTINATION_UNRESOLVED; their texts hold no key. */
  check(destination: PublishUrl): Promise<void>;
}

export interface DestinationGuardOptions {
  /** Loopback, private and other addresses that are not public are allowed: nothing is looked up. */
  allowPrivate: boolean;
  clock: Clock;
  /** All addresses of a name. Default: the system's resolver, which is what a connection uses. */
  resolve?: (host: string) => Promise<string[]>;
  /** Default 5000. */
  lookupTimeoutMs?: number;
}

/** Ports below 1024 belong to other protocols; platforms offer RTMP on the web's two as well, for firewalls' sake. */
const WEB_PORTS = [80, 443];
const FIRST_FREE_PORT = 1024;

export function createDestinationGuard(options: DestinationGuardOptions): DestinationGuard {
  const { allowPrivate, clock, resolve = resolveBySystem, lookupTimeoutMs = 5_000 } = options;

  async function addressesOf(host: string): Promise<string[]> {
    if (isIP(host)) return [host];
    const unresolved = (reason: string, cause?: unknown) =>
      new GlasscastError('DESTINATION_UNRESOLVED', { reason, cause });
    const looking = resolve(host).catch((cause: unknown) => {
      throw unresolved(cause instanceof Error && 'code' in cause ? String(cause.code) : 'lookup failed', cause);
    });
    const late = () => unresolved(`no answer within ${lookupTimeoutMs} ms`);
    const found = await withTimeout(clock, 'destination-lookup', lookupTimeoutMs, looking, late);
    if (found.length === 0) throw unresolved('no address');
    return found;
  }

  return {
    async check({ host, port }) {
      if (port < FIRST_FREE_PORT && !WEB_PORTS.includes(port)) throw forbidden(`port ${port} is not one of RTMP`);
      if (isAmbiguousAddress(host)) throw forbidden('write the host as a name or as a plain IP address');
      if (allowPrivate) return;
      // One private address among public ones is enough: the connection may take any of them.
      const addresses = await addressesOf(host);
      if (!addresses.every(isPublicAddress)) throw forbidden('it is not on the public internet');
    },
  };
}

/** @throws GlasscastError INVALID_URL_FORMAT: what is wrong, without the address itself. */
export function parseDestination(url: string): PublishUrl {
  try {
    return parsePublishUrl(url);
  } catch (cause) {
    const { reason } = asGlasscastError(cause).details;
    throw new GlasscastError('INVALID_URL_FORMAT', { reason: typeof reason === 'string' ? reason : undefined, cause });
  }
}

/** Undefined for what cannot be pushed to. */
export function readableDestination(url: string): PublishUrl | undefined {
  try {
    return parseDestination(url);
  } catch {
    return undefined;
  }
}

function forbidden(reason: string): GlasscastError {
  return new GlasscastError('DESTINATION_FORBIDDEN', { reason });
}

async function resolveBySystem(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
