import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { type CoreTokens, openCoreTokens } from '../../cloud/access/core-tokens.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

const secret = new Secret('a-secret-for-core-tokens');
const YEAR_MS = 365 * 24 * 3600 * 1000;

async function world(options: { acceptForeign?: boolean } = {}) {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const reopen = () => openCoreTokens({ clock, secret, store, ...options });
  return { clock, store, tokens: await reopen(), reopen };
}
const refused = { code: 'INVALID_TOKEN' };
const mentraOs = (claims: object) =>
  new SignJWT({ sub: 'x', email: 'Ada@Example.com', organizations: [], defaultOrg: null, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret.reveal()));
const text = async (tokens: CoreTokens, email = 'a@b.c') => (await tokens.issue({ email })).coreToken.reveal();

describe('core tokens', () => {
  it('go out and come back as the user, in lower case', async () => {
    const { tokens } = await world();
    const issued = await tokens.issue({ email: ' Ada@Example.com ', label: 'her glasses' });
    expect(await tokens.verify(issued.coreToken.reveal())).toMatchObject({
      userId: 'ada@example.com',
      tokenId: issued.tokenId,
    });
    expect(String(issued.coreToken)).toBe('***');
    expect(await tokens.list()).toMatchObject([{ tokenId: issued.tokenId, label: 'her glasses' }]);
    expect(JSON.stringify(await tokens.list())).not.toContain(issued.coreToken.reveal());
  });

  it('end after a year unless they are told otherwise; never only when asked for (defect 48)', async () => {
    const { clock, tokens } = await world();
    const [year, minute, lasting] = await Promise.all([
      tokens.issue({ email: 'a@b.c' }),
      tokens.issue({ email: 'a@b.c', lifetimeSeconds: 60 }),
      tokens.issue({ email: 'a@b.c', lifetimeSeconds: null }),
    ]);
    await clock.advance(59_000);
    expect(await tokens.verify(minute.coreToken.reveal())).toMatchObject({ userId: 'a@b.c' });
    await clock.advance(2_000);
    await expect(tokens.verify(minute.coreToken.reveal())).rejects.toMatchObject(refused);
    expect((await tokens.list()).length).toBe(2);
    await clock.advance(YEAR_MS);
    await expect(tokens.verify(year.coreToken.reveal())).rejects.toMatchObject(refused);
    expect(await tokens.verify(lasting.coreToken.reveal())).toMatchObject({ expiresAtMs: undefined });
  });

  it('can be revoked, for good, over a restart too (defect 48)', async () => {
    const { tokens, reopen } = await world();
    const [bad, good] = [await tokens.issue({ email: 'a@b.c' }), await text(tokens)];
    await tokens.revoke(bad.tokenId);
    for (const opened of [tokens, await reopen()]) {
      await expect(opened.verify(bad.coreToken.reveal())).rejects.toMatchObject(refused);
      expect(await opened.verify(good)).toMatchObject({ userId: 'a@b.c' });
      expect(await opened.list()).toContainEqual(
        expect.objectContaining({ tokenId: bad.tokenId, revokedAtMs: expect.any(Number) }),
      );
    }
    await expect(tokens.revoke('unknown')).rejects.toMatchObject({ code: 'TOKEN_NOT_FOUND' });
  });

  it('that are revoked stay so when the clock leaps ahead and is set right again (defect 48)', async () => {
    const { clock, tokens, store, reopen } = await world();
    const bad = await tokens.issue({ email: 'a@b.c', lifetimeSeconds: 3600 });
    await tokens.revoke(bad.tokenId);
    const ahead = { ...clock, now: () => clock.now() + YEAR_MS };
    expect(await (await openCoreTokens({ clock: ahead, secret, store })).list()).toEqual([]);
    const righted = await reopen();
    await expect(righted.verify(bad.coreToken.reveal())).rejects.toMatchObject(refused);
  });

  it('cut what they opened when they are revoked or expire, once, and leave no timer', async () => {
    const { clock, tokens } = await world();
    const cuts: string[] = [];
    const open = async (name: string, lifetimeSeconds: number | null) => {
      const token = await tokens.issue({ email: 'a@b.c', lifetimeSeconds });
      const holder = await tokens.verify(token.coreToken.reveal());
      return { ...token, stop: tokens.watch(holder, () => cuts.push(name)), holder };
    };
    const revoked = await open('revoked', null);
    await open('expired', 60);
    const stopped = await open('stopped', 60);
    const kept = await open('kept', null);
    stopped.stop();
    await tokens.revoke(revoked.tokenId);
    expect(cuts).toEqual(['revoked']);
    await clock.advance(120_000);
    expect(cuts).toEqual(['revoked', 'expired']);
    kept.stop();
    expect(clock.pending()).toEqual([]);
    tokens.watch(revoked.holder, () => cuts.push('late'));
    expect([cuts.at(-1), clock.pending()]).toEqual(['late', []]);
  });

  it('that were good before are refused once they are revoked or over', async () => {
    const { clock, tokens } = await world();
    const revoked = await tokens.issue({ email: 'a@b.c' });
    const over = await tokens.issue({ email: 'a@b.c', lifetimeSeconds: 60 });
    for (const { coreToken } of [revoked, over, revoked, over]) await tokens.verify(coreToken.reveal());
    await tokens.revoke(revoked.tokenId);
    await expect(tokens.verify(revoked.coreToken.reveal())).rejects.toMatchObject(refused);
    expect(await tokens.verify(over.coreToken.reveal())).toMatchObject({ tokenId: over.tokenId });
    await clock.advance(60_000);
    await expect(tokens.verify(over.coreToken.reveal())).rejects.toMatchObject(refused);
  });

  it('of MentraOS, without id and expiry, are taken only where that is allowed (defect 48)', async () => {
    const token = await mentraOs({});
    await expect((await world()).tokens.verify(token)).rejects.toMatchObject(refused);
    const { tokens } = await world({ acceptForeign: true });
    expect(await tokens.verify(token)).toEqual({
      userId: 'ada@example.com',
      tokenId: undefined,
      expiresAtMs: undefined,
    });
  });

  it.each([
    ['another secret', { alg: 'HS256', key: 'another-secret-of-someone' }, { email: 'a@b.c', jti: 'x' }],
    ['another algorithm', { alg: 'HS512', key: secret.reveal().padEnd(64, 'x') }, { email: 'a@b.c', jti: 'x' }],
    ['no e-mail', { alg: 'HS256', key: secret.reveal() }, { sub: 'a', jti: 'x' }],
  ])('with %s are refused', async (_name, { alg, key }, claims) => {
    const token = await new SignJWT(claims).setProtectedHeader({ alg }).sign(new TextEncoder().encode(key));
    await expect((await world()).tokens.verify(token)).rejects.toMatchObject(refused);
  });

  it('unsigned or absent are refused', async () => {
    const { tokens } = await world({ acceptForeign: true });
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const unsigned = `${encode({ alg: 'none' })}.${encode({ email: 'a@b.c' })}.`;
    await expect(tokens.verify(unsigned)).rejects.toMatchObject(refused);
    await expect(tokens.verify(undefined)).rejects.toMatchObject({ code: 'MISSING_TOKEN' });
  });
});
