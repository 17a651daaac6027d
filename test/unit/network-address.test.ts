import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isAmbiguousAddress, isPublicAddress } from '../../shared/network-address.ts';

/** Private, loopback and the like: first and last of each range, and the neighbours outside. */
const ranges: [first: string, last: string, before: string | undefined, after: string | undefined][] = [
  ['0.0.0.0', '0.255.255.255', undefined, '1.0.0.0'],
  ['10.0.0.0', '10.255.255.255', '9.255.255.255', '11.0.0.0'],
  ['100.64.0.0', '100.127.255.255', '100.63.255.255', '100.128.0.0'],
  ['127.0.0.0', '127.255.255.255', '126.255.255.255', '128.0.0.0'],
  ['169.254.0.0', '169.254.255.255', '169.253.255.255', '169.255.0.0'],
  ['172.16.0.0', '172.31.255.255', '172.15.255.255', '172.32.0.0'],
  ['192.168.0.0', '192.168.255.255', '192.167.255.255', '192.169.0.0'],
  ['198.18.0.0', '198.19.255.255', '198.17.255.255', '198.20.0.0'],
  ['224.0.0.0', '255.255.255.255', '223.255.255.255', undefined],
];

describe('isPublicAddress', () => {
  it.each(ranges)('refuses %s to %s and nothing beside it', (first, last, before, after) => {
    expect([first, last].map(isPublicAddress)).toEqual([false, false]);
    for (const beside of [before, after]) if (beside) expect(isPublicAddress(beside)).toBe(true);
  });
  it.each([
    '::',
    '::1',
    '0:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::127.0.0.1',
    '::ffff:8.8.8.8',
    '64:ff9b::7f00:1',
    '64:ff9b:1::a00:1',
    '2002:7f00:1::',
    '2001:0:4136:e378:8000:63bf:3fff:fdd2',
    '2001:db8::1',
    'fc00::1',
    'fdff::1',
    'fe80::1',
    'fe80::1%eth0',
    '2606:4700::1%eth0',
    'fec0::1',
    'ff02::1',
    '100::1',
  ])('refuses %s', (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });
  it.each(['1.1.1.1', '93.184.216.34', '2606:4700::6810:84e5', '2a00:1450:4001:81c::200e', '2001:4860:4860::8888'])(
    'allows %s',
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );
  it('refuses everything that is no address', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.domain()), (text) => {
        fc.pre(!/^[\d.]+$|:/.test(text));
        expect(isPublicAddress(text)).toBe(false);
      }),
    );
  });
  it('reads an IPv6 address the same however it is written', () => {
    const word = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(fc.tuple(word, word, word, word, word, word, word, word), fc.boolean(), (words, isUpper) => {
        const plain = words.map((one) => one.toString(16)).join(':');
        const padded = words.map((one) => one.toString(16).padStart(4, '0')).join(':');
        expect(isPublicAddress(isUpper ? padded.toUpperCase() : padded)).toBe(isPublicAddress(plain));
        if ((words[0] ?? 0) >> 13 !== 1) expect(isPublicAddress(plain)).toBe(false);
      }),
    );
  });
});

describe('isAmbiguousAddress', () => {
  const octet = fc.integer({ min: 0, max: 255 });
  const spelled = fc.oneof(
    octet.map(String),
    octet.map((n) => `0${n.toString(8)}`),
    octet.map((n) => `0x${n.toString(16)}`),
  );
  it('finds every odd spelling of an IPv4 address', () => {
    const forms = fc.oneof(
      fc.integer({ min: 0, max: 2 ** 32 - 1 }).map(String),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((n) => `0x${n.toString(16)}`),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((n) => `0${n.toString(8)}`),
      fc.array(spelled, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.')),
    );
    fc.assert(
      fc.property(forms, fc.boolean(), (host, isDotted) => {
        const isPlain = /^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(host);
        expect(isAmbiguousAddress(isDotted ? `${host}.` : host)).toBe(!isPlain || isDotted);
      }),
    );
  });
  it.each(['127.0.0.1', '::1', 'live.example', 'a.rtmp.youtube.com', '1e100.net', '0xcafe.example', 'x1'])(
    'leaves %s alone',
    (host) => {
      expect(isAmbiguousAddress(host)).toBe(false);
    },
  );
});
