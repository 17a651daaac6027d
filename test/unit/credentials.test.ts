import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import {
  apiKeyMatches,
  bearerToken,
  createCredentials,
  hashApiKey,
  newSecret,
} from '../../cloud/access/credentials.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

const coreTokenSecret = new Secret('a-secret-for-core-tokens');
const adminToken = new Secret('the-admin-token');
const world = () => {
  const clock = createTestClock();
  return { clock, credentials: createCredentials({ clock, coreTokenSecret, adminToken }) };
};

describe('core tokens', () => {
  it('go out and come back as the user, in lower case', async () => {
    const { credentials } = world();
    const token = await credentials.mintCoreToken(' Ada@Example.com ');
    expect(await credentials.verifyCoreToken(token.reveal())).toBe('ada@example.com');
    expect(String(token)).toBe('***');
  });

  it('of MentraOS are taken: HS256, sub, email, no expiry', async () => {
    const token = await new SignJWT({ sub: 'x', email: 'Ada@Example.com', organizations: [], defaultOrg: null })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(new TextEncoder().encode(coreTokenSecret.reveal()));
    expect(await world().credentials.verifyCoreToken(token)).toBe('ada@example.com');
  });

  it('expire when they were told to [48]', async () => {
    const { clock, credentials } = world();
    const token = (await credentials.mintCoreToken('a@b.c', 60)).reveal();
    await clock.advance(59_000);
    expect(await credentials.verifyCoreToken(token)).toBe('a@b.c');
    await clock.advance(2_000);
    await expect(credentials.verifyCoreToken(token)).rejects.toMatchObject({ code: 'INVALID_TOKEN' });
  });

  it.each([
    ['another secret', { alg: 'HS256', secret: 'another-secret-of-someone' }, { email: 'a@b.c' }],
    ['another algorithm', { alg: 'HS512', secret: coreTokenSecret.reveal() }, { email: 'a@b.c' }],
    ['no e-mail', { alg: 'HS256', secret: coreTokenSecret.reveal() }, { sub: 'a' }],
  ])('with %s are refused', async (_name, { alg, secret }, claims) => {
    const key = new TextEncoder().encode(secret.padEnd(64, 'x').slice(0, alg === 'HS512' ? 64 : secret.length));
    const token = await new SignJWT(claims).setProtectedHeader({ alg }).sign(key);
    await expect(world().credentials.verifyCoreToken(token)).rejects.toMatchObject({ code: 'INVALID_TOKEN' });
  });

  it('unsigned or absent are refused', async () => {
    const { credentials } = world();
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const unsigned = `${encode({ alg: 'none' })}.${encode({ email: 'a@b.c' })}.`;
    await expect(credentials.verifyCoreToken(unsigned)).rejects.toMatchObject({ code: 'INVALID_TOKEN' });
    await expect(credentials.verifyCoreToken(undefined)).rejects.toMatchObject({ code: 'MISSING_TOKEN' });
  });
});

describe('other keys', () => {
  it('compare by content', () => {
    const { credentials } = world();
    expect([
      credentials.isAdmin('the-admin-token'),
      credentials.isAdmin('the-admin-toke'),
      credentials.isAdmin(undefined),
    ]).toEqual([true, false, false]);
    expect([apiKeyMatches('key', hashApiKey('key').toUpperCase()), apiKeyMatches('kez', hashApiKey('key'))]).toEqual([
      true,
      false,
    ]);
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
