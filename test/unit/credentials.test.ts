import { describe, expect, it } from 'vitest';
import {
  bearerToken,
  hashMatches,
  hashSecret,
  newSecret,
  openAdminToken,
  resetAdminToken,
} from '../../cloud/access/credentials.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { Secret } from '../../shared/secrets.ts';

const kept = async (store: ReturnType<typeof createSqliteStore>) => JSON.stringify(await store.values.all());

describe('the admin token', () => {
  it('of two processes that start in the same moment one makes it and shows it, and it is good at both', async () => {
    const store = createSqliteStore({ file: ':memory:' });
    const [one, other] = [await openAdminToken(store), await openAdminToken(store)];
    const shown = await one.keep();
    expect([shown?.reveal(), await other.keep()]).toEqual([one.made?.reveal(), undefined]);
    expect([one, other].map((token) => token.matches(shown?.reveal()))).toEqual([true, true]);
    expect(other.matches(other.made?.reveal())).toBe(false);
  });

  it('is made at the first start, kept as a hash, and made no second time', async () => {
    const store = createSqliteStore({ file: ':memory:' });
    const first = await openAdminToken(store);
    const text = first.made?.reveal() ?? '';
    expect([first.matches(text), first.matches(`${text}x`), first.matches(undefined)]).toEqual([true, false, false]);
    expect(await kept(store)).toBe('[]');
    await first.keep();
    expect(await kept(store)).not.toContain(text);
    const second = await openAdminToken(store);
    expect([second.made, second.matches(text)]).toEqual([undefined, true]);
  });

  it('that was made by a start that failed is made anew by the next one', async () => {
    const store = createSqliteStore({ file: ':memory:' });
    const failed = await openAdminToken(store);
    const next = await openAdminToken(store);
    expect(next.made?.reveal()).toHaveLength(43);
    expect(next.matches(failed.made?.reveal())).toBe(false);
  });

  it('that is given wins, and changes nothing that is kept', async () => {
    const store = createSqliteStore({ file: ':memory:' });
    const own = await openAdminToken(store);
    await own.keep();
    const given = await openAdminToken(store, new Secret('the-admin-token'));
    await given.keep();
    expect([given.made, given.matches('the-admin-token'), given.matches(own.made?.reveal())]).toEqual([
      undefined,
      true,
      false,
    ]);
    expect((await openAdminToken(store)).matches(own.made?.reveal())).toBe(true);
  });

  it('can be replaced: the old one is nothing then', async () => {
    const store = createSqliteStore({ file: ':memory:' });
    const old = await openAdminToken(store);
    await old.keep();
    const made = await resetAdminToken(store);
    const opened = await openAdminToken(store);
    expect([opened.matches(made.reveal()), opened.matches(old.made?.reveal())]).toEqual([true, false]);
  });
});

describe('keys', () => {
  it('compare by content', () => {
    expect([hashMatches('key', hashSecret('key').toUpperCase()), hashMatches('kez', hashSecret('key'))]).toEqual([
      true,
      false,
    ]);
    expect(hashMatches('key', 'no hash')).toBe(false);
    expect(newSecret().reveal()).not.toBe(newSecret().reveal());
  });
  it('are read from the header', () => {
    expect([
      bearerToken('Bearer x.y'),
      bearerToken('bearer x'),
      bearerToken('Basic x'),
      bearerToken(undefined),
    ]).toEqual(['x.y', 'x', undefined, undefined]);
  });
});
