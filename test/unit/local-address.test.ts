import type { NetworkInterfaceInfo } from 'node:os';
import { describe, expect, it } from 'vitest';
import { createLocalAddress } from '../../shared/local-address.ts';

const listed = (...addresses: string[]) => ({
  wlan0: addresses.map((address) => ({ address }) as NetworkInterfaceInfo),
});

describe('local address', () => {
  it('is gone when two looks in a row do not find it', () => {
    let now = listed('10.0.0.5', 'fe80::1');
    const address = createLocalAddress('10.0.0.5', () => now);
    expect(address.isGone(true)).toBe(false);
    now = listed('10.9.9.9');
    expect([address.isGone(true), address.isMissing, address.isGone(true)]).toEqual([false, true, true]);
    now = listed('10.0.0.5');
    expect([address.isGone(true), address.isMissing]).toEqual([false, false]);
  });
  it('is not looked for while the connection moves', () => {
    let looks = 0;
    const address = createLocalAddress('10.0.0.5', () => (looks++ === 0 ? listed('10.0.0.5') : listed()));
    expect([address.isGone(true), address.isGone(false), address.isGone(true), looks]).toEqual([
      false,
      false,
      false,
      3,
    ]);
  });
  it.each([
    ['::ffff:10.0.0.5', '10.0.0.5'],
    ['fe80::1%wlan0', 'fe80::1'],
  ])('knows %s as %s', (socket, system) => {
    let now = listed(system);
    const address = createLocalAddress(socket, () => now);
    expect([address.isGone(true), address.isMissing]).toEqual([false, false]);
    now = listed();
    address.isGone(true);
    expect(address.isGone(true)).toBe(true);
  });
  it('is never gone where nobody can tell: not listed to begin with, no address, a system that does not say', () => {
    const unlisted = createLocalAddress('127.0.0.2', () => listed('127.0.0.1'));
    const unknown = createLocalAddress(undefined, () => listed());
    let fails = false;
    const failing = createLocalAddress('10.0.0.5', () => {
      if (fails) throw new Error('no netlink here');
      return listed('10.0.0.5');
    });
    fails = true;
    for (const address of [unlisted, unknown, failing])
      expect([address.isGone(true), address.isGone(true)]).toEqual([false, false]);
  });
});
