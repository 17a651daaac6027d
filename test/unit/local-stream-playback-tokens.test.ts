/** Playback tokens: signed here and read by jose, signed by jose and read here, and nothing else let in. */
import { createPrivateKey, type JsonWebKey } from 'node:crypto';
import fc from 'fast-check';
import {
  decodeJwt,
  importJWK,
  type JWTHeaderParameters,
  type JWTPayload,
  jwtVerify,
  SignJWT,
  UnsecuredJWT,
} from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openCatalogue, type SigningKey } from '../../cloud/local-stream/catalogue.ts';
import { createPlaybackTokens, type NewSigningKey } from '../../cloud/local-stream/playback/playback-tokens.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';
import { createTestClock } from '../support/test-clock.ts';

const HOUR_S = 3600;

function createWorld({ dataDir = temporaryFolder(), keys = [] as SigningKey[] } = {}) {
  const clock = createTestClock();
  const catalogue = openCatalogue({ dataDir });
  onTestFinished(() => catalogue.close());
  for (const key of keys) catalogue.saveSigningKey(key);
  const tokens = createPlaybackTokens({ catalogue, clock });
  const nowS = () => Math.floor(clock.now() / 1000);
  async function newKey(): Promise<NewSigningKey> {
    const key = await tokens.createKey();
    if (key === 'too-many') throw new Error(key);
    return key;
  }
  async function signed(uid: string, request: Parameters<typeof tokens.sign>[1] = {}): Promise<string> {
    const answer = await tokens.sign(uid, request);
    if ('refused' in answer) throw new Error(answer.refused);
    return answer.token;
  }
  return { dataDir, clock, catalogue, tokens, newKey, signed, nowS };
}

const jwkOf = (key: NewSigningKey) => JSON.parse(Buffer.from(key.jwk, 'base64').toString()) as JsonWebKey;
async function byJose(key: NewSigningKey, payload: JWTPayload, header: Partial<JWTHeaderParameters> = {}) {
  const privateKey = createPrivateKey(Buffer.from(key.pem, 'base64'));
  return new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid: key.id, ...header }).sign(privateKey);
}

describe('playback tokens', () => {
  it('are good for an hour, for one uid, without a key of the caller', async () => {
    const { tokens, signed, clock, nowS } = createWorld();
    const token = await signed('input-1');
    expect(tokens.verify(token)).toEqual({
      ...{ uid: 'input-1', downloadable: false, accessRules: [] },
      expiresMs: (nowS() + HOUR_S) * 1000,
    });
    await clock.advance(HOUR_S * 1000);
    expect(tokens.verify(token)).toEqual({ refused: 'The token has expired' });
    // The account's own key is nobody's to see or to remove.
    expect(tokens.keys()).toEqual([]);
    expect(tokens.removeKey(String(decodeJwt(token).kid))).toBe(false);
  });

  it('are RS256 as others read it, with the claims that were asked for', async () => {
    const { newKey, signed, nowS, tokens } = createWorld();
    const key = await newKey();
    const accessRules = [
      { type: 'ip.src' as const, action: 'allow' as const, ip: ['127.0.0.0/8'] },
      { type: 'any' as const, action: 'block' as const },
    ];
    const exp = nowS() + 60;
    const token = await signed('v', { id: key.id, pem: key.pem, exp, downloadable: true, accessRules });
    const publicKey = await importJWK({ kty: 'RSA', n: jwkOf(key).n as string, e: jwkOf(key).e as string }, 'RS256');
    const read = await jwtVerify(token, publicKey, { currentDate: new Date(nowS() * 1000) });
    expect(read.protectedHeader).toEqual({ alg: 'RS256', kid: key.id });
    expect(read.payload).toEqual({ sub: 'v', kid: key.id, exp, downloadable: true, accessRules });
    expect(tokens.verify(token)).toMatchObject({ uid: 'v', downloadable: true, accessRules });
  });

  it('that an app signs itself are as good, until the key is removed', async () => {
    const { newKey, nowS, tokens, clock } = createWorld();
    const [key, other] = [await newKey(), await newKey()];
    expect(tokens.keys().map(({ id }) => id)).toEqual([key.id, other.id]);
    const payload = { sub: 'v', kid: key.id, exp: nowS() + 60, nbf: nowS() + 10 };
    const token = await byJose(key, payload);
    expect(tokens.verify(token)).toEqual({ refused: 'The token is not good yet' });
    await clock.advance(10_000);
    expect(tokens.verify(token)).toMatchObject({ uid: 'v' });
    expect([tokens.removeKey(key.id), tokens.removeKey(key.id)]).toEqual([true, false]);
    expect(tokens.verify(token)).toEqual({ refused: 'The token is signed by no key of this account' });
    expect(tokens.keys().map(({ id }) => id)).toEqual([other.id]);
  });

  it('survive a restart, and the private half of a caller’s key is kept nowhere', async () => {
    const first = createWorld();
    const key = await first.newKey();
    const mine = await first.signed('v');
    const theirs = await byJose(key, { sub: 'v', exp: first.nowS() + 60 });
    const kept = first.catalogue.signingKeys().find(({ id }) => id === key.id);
    expect(kept).toEqual({ id: key.id, createdMs: key.createdMs, publicKey: expect.stringContaining('PUBLIC KEY') });
    const second = createWorld({ dataDir: first.dataDir });
    for (const token of [mine, theirs]) expect(second.tokens.verify(token)).toMatchObject({ uid: 'v' });
    // One key of its own, not one for each start.
    expect(decodeJwt(await second.signed('v')).kid).toBe(decodeJwt(mine).kid);
  });

  /** Primes take their time: one pair for all of them. */
  let known: { key: NewSigningKey; keys: SigningKey[] } | undefined;
  async function knownKey() {
    if (known) return known;
    const { newKey, catalogue } = createWorld();
    known = { key: await newKey(), keys: catalogue.signingKeys() };
    return known;
  }
  it.each([
    ['another algorithm', async (key: NewSigningKey, payload: JWTPayload) => byJose(key, payload, { alg: 'RS384' })],
    ['no algorithm', async (_: NewSigningKey, payload: JWTPayload) => new UnsecuredJWT(payload).encode()],
    [
      'the public key as a shared secret',
      async (key: NewSigningKey, payload: JWTPayload) =>
        new SignJWT(payload)
          .setProtectedHeader({ alg: 'HS256', kid: key.id })
          .sign(new TextEncoder().encode(String(jwkOf(key).n))),
    ],
    [
      'an unknown key',
      async (key: NewSigningKey, payload: JWTPayload) => byJose(key, payload, { kid: 'f'.repeat(32) }),
    ],
    [
      'an extension that has to be understood',
      async (key: NewSigningKey, payload: JWTPayload) => byJose(key, payload, { crit: ['b64'], b64: true }),
    ],
    ['no expiry', async (key: NewSigningKey, payload: JWTPayload) => byJose(key, { sub: String(payload.sub) })],
    ['no subject', async (key: NewSigningKey, payload: JWTPayload) => byJose(key, { exp: Number(payload.exp) })],
    [
      'an unknown kind of rule',
      async (key: NewSigningKey, payload: JWTPayload) =>
        byJose(key, { ...payload, accessRules: [{ type: 'asn', action: 'block' }] }),
    ],
    [
      'claims of another token',
      async (key: NewSigningKey, payload: JWTPayload) => {
        const [head, , signature] = (await byJose(key, payload)).split('.');
        const body = Buffer.from(JSON.stringify({ ...payload, sub: 'other' })).toString('base64url');
        return [head, body, signature].join('.');
      },
    ],
  ])('with %s are refused', async (_, make) => {
    const { key, keys } = await knownKey();
    const { tokens, nowS } = createWorld({ keys });
    const payload = { sub: 'v', exp: nowS() + 60 };
    expect(tokens.verify(await byJose(key, payload))).toMatchObject({ uid: 'v' });
    expect(tokens.verify(await make(key, payload))).toEqual({ refused: expect.any(String) });
  });

  it('of whatever text are refused and never throw', async () => {
    const { tokens, signed } = createWorld();
    const good = await signed('v');
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(fc.base64String()).map((parts) => parts.join('.')),
        ),
        (text) => {
          expect(tokens.verify(text)).toHaveProperty('refused');
        },
      ),
    );
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.constantFrom('A', 'b', '_', '.'), (at, letter) => {
        const changed = good.slice(0, at) + letter + good.slice(at + 1);
        // The last letter of a part holds bits that mean nothing.
        if (Buffer.from(changed, 'base64url').equals(Buffer.from(good, 'base64url'))) return;
        const isLastOfPart = [...good.matchAll(/\.|$/g)].some(({ index }) => index - 1 === at);
        if (changed !== good && !isLastOfPart) expect(tokens.verify(changed)).toHaveProperty('refused');
      }),
    );
    expect(tokens.verify('a'.repeat(1_000_000))).toEqual({ refused: 'The token is too long' });
  });

  it('are not made for more than a day, for the past, or by a key that is not the account’s', async () => {
    const { tokens, newKey, nowS } = createWorld();
    const [key, other] = [await newKey(), await newKey()];
    const refused = { refused: expect.any(String) };
    for (const request of [
      { exp: nowS() },
      { exp: nowS() + 25 * HOUR_S },
      { nbf: nowS() + 2 * HOUR_S },
      { id: key.id },
      { pem: key.pem },
      { id: 'unknown', pem: key.pem },
      { id: key.id, pem: other.pem },
      { id: key.id, pem: 'nonsense' },
    ]) {
      expect(await tokens.sign('v', request)).toEqual(refused);
    }
  });
});
