import fc from 'fast-check';
import fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { createCallers } from '../../cloud/access/callers.ts';
import { countedAddress } from '../../shared/network-address.ts';

const request = (remoteAddress: string, forwardedFor?: string | string[]) =>
  ({ headers: { 'x-forwarded-for': forwardedFor }, socket: { remoteAddress } }) as never;
const FAR = '203.0.113.7';

describe('the address of a caller', () => {
  it.each([
    ['nobody trusted', [], '127.0.0.1', FAR, '127.0.0.1'],
    ['a stranger who names another', ['10.0.0.0/8'], '198.51.100.1', FAR, '198.51.100.1'],
    ['a trusted proxy', ['10.0.0.0/8'], '10.1.2.3', FAR, FAR],
    ['a chain of trusted proxies', ['10.0.0.0/8', 'fd00::/8'], 'fd00::1', `${FAR}, 10.0.0.9`, FAR],
    ['a lie before the truth', ['10.0.0.1'], '10.0.0.1', `1.1.1.1, ${FAR}`, FAR],
    ['a trusted proxy that names nobody', ['10.0.0.1'], '10.0.0.1', undefined, '10.0.0.1'],
    ['a mapped peer', ['127.0.0.1'], '::ffff:127.0.0.1', FAR, FAR],
    ['nonsense from a proxy', ['127.0.0.1'], '127.0.0.1', 'unknown', 'unknown'],
  ])('with %s', (_name, trusted, peer, forwarded, expected) => {
    expect(createCallers(trusted).addressOf(request(peer, forwarded))).toBe(expected);
  });

  it('is the one that Fastify finds', async () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom('10.0.0.1', '10.9.9.9', '127.0.0.1', 'fd00::5'));
    const callers = createCallers(['10.0.0.0/8', '127.0.0.1', 'fd00::/8']);
    const server = fastify({ trustProxy: (peer) => callers.isTrusted(peer) });
    server.get('/', async ({ ip, raw }) => [ip, callers.addressOf(raw)]);
    await fc.assert(
      fc.asyncProperty(address, fc.array(address, { maxLength: 4 }), async (remoteAddress, named) => {
        const headers = named.length > 0 ? { 'x-forwarded-for': named.join(', ') } : {};
        const [theirs, ours] = (await server.inject({ method: 'GET', url: '/', remoteAddress, headers })).json();
        expect(ours).toBe(theirs);
      }),
      { numRuns: 200 },
    );
  });

  it('must be told in addresses and networks', () => {
    for (const bad of ['proxy.lan', '10.0.0.0/33', '10.0.0.0/', 'fd00::/x']) {
      expect(() => createCallers([bad])).toThrow(/trusted proxies/);
    }
  });
});

describe('the address that counts', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['::FFFF:cb00:7107', '203.0.113.7'],
    // Some proxies write the port of the caller, which he chooses.
    ['203.0.113.7:50123', '203.0.113.7'],
    ['[2001:db8::1]:50123', '2001:db8:0:0::/64'],
    ['[2001:db8::1]', '2001:db8:0:0::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:DB8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
  ])('%s is %s', (address, expected) => {
    expect(countedAddress(address)).toBe(expected);
  });

  it('is one for all of an IPv6 /64, in every spelling', () => {
    fc.assert(
      fc.property(
        fc.ipV6(),
        fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 4, maxLength: 4 }),
        (any, host) => {
          const counted = countedAddress(any);
          fc.pre(counted.endsWith('::/64'));
          const net = counted.replace('::/64', '');
          const hex = host.map((part) => part.toString(16));
          expect(countedAddress(`${net}:${hex.join(':')}`)).toBe(counted);
          expect(countedAddress(`${net}:${hex.map((part) => part.padStart(4, '0').toUpperCase()).join(':')}`)).toBe(
            counted,
          );
        },
      ),
    );
  });

  it('is short, whatever comes', () => {
    fc.assert(fc.property(fc.string({ maxLength: 500 }), (text) => countedAddress(text).length <= 64));
  });
});
