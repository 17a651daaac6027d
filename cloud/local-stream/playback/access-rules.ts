/**
 * The access rules of a playback token: the first that fits decides, and where none fits the viewer is let in (Cloudflare, "Secure
 * your Stream"). Where a viewer's country is cannot be known here: a rule about countries fits nobody. Pure.
 */
import { BlockList, isIP } from 'node:net';
import type { AccessRule } from './playback-tokens.ts';

/** @param ip address of the viewer; an IPv4 address that came over IPv6 counts as IPv4. */
export function isLetIn(rules: readonly AccessRule[], ip: string): boolean {
  const fitting = rules.find((rule) => fits(rule, ip));
  return fitting === undefined || fitting.action === 'allow';
}

function fits({ type, ip: ranges = [] }: AccessRule, ip: string): boolean {
  switch (type) {
    case 'any':
      return true;
    case 'ip.src':
      return ranges.some((range) => contains(range, plainAddress(ip)));
    case 'ip.geoip.country':
      return false;
    default:
      return type satisfies never;
  }
}

/** One address or a CIDR range; what is neither contains nobody. A range of IPv4 never holds an IPv6 address. */
function contains(range: string, ip: string): boolean {
  const [network = '', prefix, ...more] = range.split('/');
  const family = isIP(network);
  if (family === 0 || family !== isIP(ip) || more.length > 0) return false;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  if (prefix === undefined) list.addAddress(network, type);
  else if (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128)) {
    list.addSubnet(network, Number(prefix), type);
  }
  return list.check(ip, type);
}

function plainAddress(ip: string): string {
  return ip.replace(/^::ffff:(?=\d+\.)/i, '');
}
