/**
 * Who calls: the address that limits are counted by. A proxy that is trusted speaks for others (X-Forwarded-For); nobody
 * else does. IPv6 counts by /64, because that is what one line at home has. Pure.
 */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { GlasscastError } from '../../shared/errors.ts';

/** Without trusted proxies these may each be one, with everybody behind it. */
const NEAR = ['127.0.0.0/8', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '::1', 'fc00::/7', 'fe80::/10'];

export interface Callers {
  isTrusted(address: string | undefined): boolean;
  /** As Fastify's `request.ip`, for upgrades too; `unknown` when the connection is gone already. */
  addressOf(request: Pick<IncomingMessage, 'headers' | 'socket'>): string;
  /**
   * True when many may hide behind this address: a trusted proxy that names nobody, or, when no proxy is named, any near
   * address. Such an address is not shut out for what one of them did.
   */
  standsForMany(address: string | undefined): boolean;
}

/**
 * @param trustedProxies addresses and networks: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
 * @throws GlasscastError INVALID_CONFIG
 */
export function createCallers(trustedProxies: readonly string[] = []): Callers {
  const trusted = networks(trustedProxies);
  const many = trustedProxies.length > 0 ? trusted : networks(NEAR);
  const isIn = (list: BlockList, address: string | undefined) =>
    address !== undefined && isIP(address) !== 0 && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  const isTrusted = (address: string | undefined) => isIn(trusted, address);

  return {
    isTrusted,
    addressOf({ headers, socket }) {
      const named = [headers['x-forwarded-for'] ?? []].flat().join(',');
      const chain = [...named.split(','), socket.remoteAddress ?? ''].map((part) => part.trim()).reverse();
      // From our end: each trusted proxy vouches for the one before it, and no further.
      const stranger = chain.find((address) => !isTrusted(address));
      return stranger || (chain.filter(Boolean).at(-1) ?? 'unknown');
    },
    standsForMany: (address) => isIn(many, address),
  };
}

function networks(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const [net = '', bits] = text.split('/');
    const family = isIPv6(net) ? 'ipv6' : 'ipv4';
    try {
      if (bits === undefined) list.addAddress(net, family);
      else list.addSubnet(net, /^\d+$/.test(bits) ? Number(bits) : Number.NaN, family);
    } catch (cause) {
      throw new GlasscastError('INVALID_CONFIG', {
        reason: `trusted proxies: ${text} is no address or network`,
        cause,
      });
    }
  }
  return list;
}
