/**
 * Tokens that stand in for an id in a playback address (JWT, RS256), and the account's keys that sign them. Keeps the public half of
 * a caller's key, and both halves of the one key of its own that signs for callers without one. Who may watch what is decided elsewhere.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign as rsaSign,
  verify as rsaVerify,
} from 'node:crypto';
import { promisify } from 'node:util';
import * as z from 'zod';
import type { Clock } from '../../../shared/clock.ts';
import { newUid } from '../api/live-input.ts';
import type { Catalogue, SigningKey } from '../catalogue.ts';

const accessRule = z.object({
  type: z.enum(['any', 'ip.src', 'ip.geoip.country']),
  action: z.enum(['allow', 'block']),
  country: z.array(z.string().max(64)).max(300).optional(),
  /** Addresses or ranges in CIDR notation. */
  ip: z.array(z.string().max(64)).max(300).optional(),
});
/** The first one that fits decides. */
export type AccessRule = z.output<typeof accessRule>;

const accessRules = z.array(accessRule).max(50);
/** Seconds since the epoch, as far as a Date goes. */
const epochSeconds = z.number().int().min(0).max(8_640_000_000_000);

/** Body of `POST /stream/{uid}/token`; may be empty. */
export const tokenRequest = z.object({
  /** Of a key of the account, with its `pem` in Base64 as it was shown: signs by it instead of by the account's own. */
  id: z.string().optional(),
  pem: z.string().max(20_000).optional(),
  exp: epochSeconds.optional(),
  nbf: epochSeconds.optional(),
  downloadable: z.boolean().optional(),
  accessRules: accessRules.optional(),
  flags: z.object({ original: z.boolean().optional() }).optional(),
});
export type TokenRequest = z.output<typeof tokenRequest>;

/** What a good token says. */
export interface PlaybackToken {
  /** Of the video or live input that may be watched. */
  uid: string;
  downloadable: boolean;
  accessRules: readonly AccessRule[];
  expiresMs: number;
}

/** Shown once, when it is made. */
export interface NewSigningKey {
  id: string;
  /** PKCS#1 PEM in Base64. */
  pem: string;
  /** JSON Web Key in Base64. */
  jwk: string;
  createdMs: number;
}

export interface PlaybackTokens {
  /** Lives an hour unless told otherwise, and a day at most. */
  sign(uid: string, request: TokenRequest): Promise<{ token: string } | { refused: string }>;
  /** Never throws. `refused` holds nothing of the token. */
  verify(token: string): PlaybackToken | { refused: string };
  createKey(): Promise<NewSigningKey | 'too-many'>;
  /** Without the account's own; oldest first. */
  keys(): { id: string; createdMs: number }[];
  /** Tokens that it signed are worth nothing from now on. False: no such key. */
  removeKey(id: string): boolean;
}

export interface PlaybackTokensOptions {
  catalogue: Pick<Catalogue, 'signingKeys' | 'saveSigningKey' | 'removeSigningKey'>;
  clock: Clock;
}

const DEFAULT_LIFE_SECONDS = 3_600;
const MAX_LIFE_SECONDS = 24 * 3_600;
/** Of one account, as there. */
const MAX_KEYS = 1_000;
/** As a part of an address; some hundred access rules fit. */
export const MAX_TOKEN_CHARS = 8_192;

/** `crit` names what has to be understood, and we understand nothing beyond the rest (RFC 7515 §4.1.11). */
const tokenHeader = z.object({ alg: z.literal('RS256'), kid: z.string().optional(), crit: z.undefined().optional() });
const claims = z.object({
  sub: z.string().min(1),
  kid: z.string().optional(),
  exp: epochSeconds,
  nbf: epochSeconds.optional(),
  downloadable: z.boolean().default(false),
  accessRules: accessRules.default([]),
});
const generate = promisify(generateKeyPair);

/** Reads the keys that the catalogue holds. */
export function createPlaybackTokens({ catalogue, clock }: PlaybackTokensOptions): PlaybackTokens {
  const known = new Map<string, SigningKey & { publicKeyObject: KeyObject }>();
  const remember = (key: SigningKey) =>
    void known.set(key.id, { ...key, publicKeyObject: createPublicKey(key.publicKey) });
  for (const key of catalogue.signingKeys()) remember(key);
  /** One for two callers that come together. */
  let ownKey: Promise<KeyOfSigner> | undefined;
  let waiting = 0;
  let lastMade: Promise<unknown> = Promise.resolve();
  const nowSeconds = () => Math.floor(clock.now() / 1000);

  /**
   * One after the other, on a thread of its own: primes take a tenth of a second or five, and neither live media nor its
   * files, which share these threads, wait for them.
   */
  function made(isOwn: boolean): Promise<KeyOfSigner & { createdMs: number }> {
    waiting += 1;
    const work = lastMade
      .then(() => make(isOwn))
      .finally(() => {
        waiting -= 1;
      });
    lastMade = work.catch(() => undefined);
    return work;
  }
  async function make(isOwn: boolean): Promise<KeyOfSigner & { createdMs: number }> {
    const { privateKey, publicKey } = await generate('rsa', { modulusLength: 2048 });
    const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    const key: SigningKey = { id: newUid(), createdMs: clock.now(), publicKey: publicPem };
    if (isOwn) key.privateKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    catalogue.saveSigningKey(key);
    remember(key);
    return { id: key.id, privateKey, createdMs: key.createdMs };
  }
  function own(): Promise<KeyOfSigner> {
    const kept = [...known.values()].find(({ privateKey }) => privateKey !== undefined);
    if (kept?.privateKey) return Promise.resolve({ id: kept.id, privateKey: createPrivateKey(kept.privateKey) });
    ownKey ??= made(true).finally(() => {
      ownKey = undefined;
    });
    return ownKey;
  }
  async function signer({ id, pem }: TokenRequest): Promise<KeyOfSigner | { refused: string }> {
    if (id === undefined && pem === undefined) return own();
    const key = known.get(id ?? '');
    if (!key || pem === undefined) return { refused: 'id and pem must be those of one key of this account' };
    const privateKey = privateKeyOf(pem);
    const isPair = privateKey && createPublicKey(privateKey).equals(key.publicKeyObject);
    return isPair ? { id: key.id, privateKey } : { refused: 'pem is not the one of the key with this id' };
  }

  return {
    async sign(uid, request) {
      const { downloadable, accessRules: rules, flags, nbf } = request;
      const now = nowSeconds();
      const exp = request.exp ?? now + DEFAULT_LIFE_SECONDS;
      if (exp <= now || exp > now + MAX_LIFE_SECONDS) return { refused: 'exp must lie in the next 24 hours' };
      if (nbf !== undefined && nbf >= exp) return { refused: 'nbf must lie before exp' };
      const key = await signer(request);
      if ('refused' in key) return key;
      const token = signed(key, { sub: uid, kid: key.id, exp, nbf, downloadable, accessRules: rules, flags });
      return token.length > MAX_TOKEN_CHARS ? { refused: 'accessRules are too many for an address' } : { token };
    },
    verify(token) {
      if (token.length > MAX_TOKEN_CHARS) return { refused: 'The token is too long' };
      const [head = '', body = '', signature = '', ...more] = token.split('.');
      const header = tokenHeader.safeParse(decoded(head));
      const said = claims.safeParse(decoded(body));
      if (more.length > 0 || !header.success || !said.success) return { refused: 'The token is malformed' };
      const { sub, exp, nbf, downloadable, accessRules: rules, kid } = said.data;
      const key = known.get(header.data.kid ?? kid ?? '');
      if (!key) return { refused: 'The token is signed by no key of this account' };
      const isOurs = rsaVerify('sha256', bytes(`${head}.${body}`), key.publicKeyObject, fromBase64Url(signature));
      if (!isOurs) return { refused: 'The signature of the token is wrong' };
      if (exp <= nowSeconds()) return { refused: 'The token has expired' };
      if (nbf !== undefined && nbf > nowSeconds()) return { refused: 'The token is not good yet' };
      return { uid: sub, downloadable, accessRules: rules, expiresMs: exp * 1000 };
    },
    async createKey() {
      if (known.size + waiting >= MAX_KEYS) return 'too-many';
      const { id, privateKey, createdMs } = await made(false);
      const pem = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
      const jwk = JSON.stringify({ use: 'sig', kid: id, alg: 'RS256', ...privateKey.export({ format: 'jwk' }) });
      return { id, pem: toBase64(pem), jwk: toBase64(jwk), createdMs };
    },
    keys: () =>
      [...known.values()]
        .filter(({ privateKey }) => privateKey === undefined)
        .sort((a, b) => a.createdMs - b.createdMs)
        .map(({ id, createdMs }) => ({ id, createdMs })),
    removeKey(id) {
      const key = known.get(id);
      if (!key || key.privateKey !== undefined) return false;
      catalogue.removeSigningKey(id);
      return known.delete(id);
    },
  };
}

interface KeyOfSigner {
  id: string;
  privateKey: KeyObject;
}

const bytes = (text: string) => Buffer.from(text, 'utf8');
const toBase64 = (text: string) => bytes(text).toString('base64');
const fromBase64Url = (text: string) => Buffer.from(text, 'base64url');

function signed({ id, privateKey }: KeyOfSigner, payload: object): string {
  const part = (value: object) => bytes(JSON.stringify(value)).toString('base64url');
  const input = `${part({ alg: 'RS256', kid: id })}.${part(payload)}`;
  return `${input}.${rsaSign('sha256', bytes(input), privateKey).toString('base64url')}`;
}

/** Undefined for what is no JSON. */
function decoded(part: string): unknown {
  try {
    return JSON.parse(fromBase64Url(part).toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Of a PEM in Base64; undefined for what is no RSA key. */
function privateKeyOf(pem: string): KeyObject | undefined {
  try {
    const key = createPrivateKey(Buffer.from(pem, 'base64'));
    return key.asymmetricKeyType === 'rsa' ? key : undefined;
  } catch {
    return undefined;
  }
}
