/**
 * Which addresses belong to the public internet: the rule that keeps pushes to other people's addresses away from our
 * own network; and by what an address is counted where callers have limits. Pure. Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries, IPv6 global unicast space (2000::/3).
 */
import { BlockList, isIP, isIPv6 } from 'node:net';

const special = subnets('ipv4', [
  '0.0.0.0/8', // this network, unspecified
  '10.0.0.0/8',
  '100.64.0.0/10', // carriers' own (CGNAT)
  '127.0.0.0/8',
  '169.254.0.0/16', // link-local, clouds' metadata
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16',
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, broadcast
]);

const globalUnicast = subnets('ipv6', ['2000::/3']);

const specialUnicast = subnets('ipv6', [
  '2001::/23', // protocols of their own; Teredo, which carries an IPv4 address
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4, which carries an IPv4 address
  '3fff::/20', // documentation
]);

/**
 * True for an address that anybody on the internet can be reached at. False for loopback, private, link-local, shared,
 * multicast, reserved and unspecified ones, for every IPv6 address that carries an IPv4 one, and for what is no address.
 */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !special.check(address, 'ipv4');
    case 6:
      // A zone (fe80::1%eth0) is a matter of this machine.
      return !address.includes('%') && globalUnicast.check(address, 'ipv6') && !specialUnicast.check(address, 'ipv6');
    default:
      return false;
  }
}

/**
 * True for a host that some programs take for an IPv4 address and others read differently or not at all: `2130706433`,
 * `0x7f.1`, `127.1`, `010.8.8.8`. Rule: the last label is a number (WHATWG URL, "ends in a number"), yet it is no plain address.
 */
export function isAmbiguousAddress(host: string): boolean {
  const last = host.replace(/\.$/, '').split('.').at(-1) ?? '';
  return /^(\d+|0x[0-9a-f]*)$/i.test(last) && isIP(host) === 0;
}

/** What limits are counted by: `203.0.113.7`, `2001:db8:1:2::/64`; what is no address stays as it is, shortened. */
export function countedAddress(address: string): string {
  // Some proxies write the port too, which the caller chooses.
  const [, bracketed, bare] = /^\[([^\]]*)\](?::\d+)?$|^([\d.]+):\d+$/.exec(address) ?? [];
  const plain = (bracketed ?? bare ?? address).replace(/%.*$/, '');
  if (!isIPv6(plain)) return plain.slice(0, 64);
  // The URL parser writes an address in its one shortest form.
  const shortest = new URL(`http://[${plain}]`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([\da-f]+):([\da-f]+)$/.exec(shortest) ?? [];
  if (high && low) return [high, low].flatMap((hex) => byteTexts(Number.parseInt(hex, 16))).join('.');
  const [head = '', tail] = shortest.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  const all = [...groups, ...Array.from({ length: missing }, () => '0'), ...(tail ? tail.split(':') : [])];
  return `${all.slice(0, 4).join(':')}::/64`;
}

const byteTexts = (word: number) => [`${word >> 8}`, `${word & 0xff}`];

function subnets(family: 'ipv4' | 'ipv6', ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [net = '', bits] = range.split('/');
    list.addSubnet(net, Number(bits), family);
  }
  return list;
}
