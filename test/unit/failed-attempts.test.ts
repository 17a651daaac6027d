import { describe, expect, it } from 'vitest';
import { createCallers } from '../../cloud/access/callers.ts';
import { createFailedAttempts } from '../../cloud/access/failed-attempts.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createTestClock } from '../support/test-clock.ts';

function world(limits: { maxFailures?: number; maxAddresses?: number } = {}, trustedProxies: string[] = []) {
  const clock = createTestClock();
  const attempts = createFailedAttempts({ clock, callers: createCallers(trustedProxies), maxFailures: 3, ...limits });
  const tryWith = (address: string | undefined, result: GlasscastError | 'right') =>
    attempts
      .guard(address, () => (result === 'right' ? Promise.resolve(result) : Promise.reject(result)))
      .catch(({ code }) => code);
  return { clock, tryWith };
}
const wrong = new GlasscastError('INVALID_TOKEN');
const FAR = '203.0.113.7';

describe('failed attempts', () => {
  it('shut an address out for the rest of its minute, and no other address', async () => {
    const { tryWith, clock } = world();
    for (let count = 0; count < 3; count += 1) expect(await tryWith(FAR, wrong)).toBe('INVALID_TOKEN');
    expect([await tryWith(FAR, wrong), await tryWith(FAR, 'right')]).toEqual(['RATE_LIMITED', 'RATE_LIMITED']);
    expect([await tryWith('203.0.113.8', wrong), await tryWith('203.0.113.8', 'right')]).toEqual([
      'INVALID_TOKEN',
      'right',
    ]);
    await clock.advance(60_000);
    expect([await tryWith(FAR, 'right'), await tryWith(FAR, wrong)]).toEqual(['right', 'INVALID_TOKEN']);
  });

  it.each(['127.0.0.1', '192.168.1.5', '::ffff:10.0.0.1', '::1', 'fd00::1', 'fe80::1%eth0'])(
    'from %s, maybe a proxy, do not shut out the right ones',
    async (address) => {
      const { tryWith } = world();
      for (let count = 0; count < 3; count += 1) await tryWith(address, wrong);
      expect([await tryWith(address, wrong), await tryWith(address, 'right')]).toEqual(['RATE_LIMITED', 'right']);
    },
  );

  it('from a near address that a named proxy speaks for do shut it out', async () => {
    const { tryWith } = world({}, ['127.0.0.1']);
    for (let count = 0; count < 3; count += 1) await tryWith('192.168.1.5', wrong);
    expect(await tryWith('192.168.1.5', 'right')).toBe('RATE_LIMITED');
    // The proxy itself, when it names nobody, stands for everybody.
    for (let count = 0; count < 3; count += 1) await tryWith('127.0.0.1', wrong);
    expect(await tryWith('127.0.0.1', 'right')).toBe('right');
  });

  it('of one IPv6 line count together, whatever address it takes', async () => {
    const { tryWith } = world();
    for (const host of ['1', '2:3', 'ffff:ffff']) await tryWith(`2001:db8:1:2::${host}`, wrong);
    expect(await tryWith('2001:db8:1:2:aaaa:bbbb:cccc:dddd', 'right')).toBe('RATE_LIMITED');
    expect(await tryWith('2001:db8:1:3::1', 'right')).toBe('right');
  });

  it('are only what was refused for its token', async () => {
    const { tryWith } = world();
    for (let count = 0; count < 9; count += 1) await tryWith(FAR, new GlasscastError('SESSION_NOT_FOUND'));
    expect([await tryWith(FAR, 'right'), await tryWith(undefined, wrong)]).toEqual(['right', 'INVALID_TOKEN']);
  });

  it('are remembered of a bounded number of addresses', async () => {
    const { tryWith } = world({ maxAddresses: 2, maxFailures: 1 });
    for (const address of ['203.0.113.1', '203.0.113.2', '203.0.113.3']) await tryWith(address, wrong);
    expect(await tryWith('203.0.113.1', 'right')).toBe('right');
    expect(await tryWith('203.0.113.3', 'right')).toBe('RATE_LIMITED');
  });
});
