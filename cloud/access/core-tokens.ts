/**
 * Core tokens of glasses and phones (JWT, HS256): issued, verified, listed, revoked. Keeps a record of each token, never
 * the token. What was revoked is held in memory, so that a check costs no read.
 */
import { createHash, randomUUID } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import * as z from 'zod';
import type { Clock, Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { IssuedToken } from '../store/records.ts';
import type { Store } from '../store/store.ts';

/** How long a token is good when nobody says otherwise. */
const DEFAULT_LIFETIME_SECONDS = 365 * 24 * 3600;
/** Tokens that were good, remembered by their hashes: ten thousand glasses that come back at once are not checked anew. */
const MAX_REMEMBERED = 20_000;
/** Expiry cuts an open connection at most this much late; revocation at once. */
const EXPIRY_CHECK_MS = 30_000;

const claims = z.object({
  email: z.string().trim().toLowerCase().min(1).max(320),
  jti: z.string().min(1).max(200).optional(),
  exp: z.number().optional(),
});

export interface TokenRequest {
  email: string;
  /** What it is for, in the operator's words. */
  label?: string | undefined;
  /** `null`: it never expires. Default: a year. */
  lifetimeSeconds?: number | null | undefined;
}

export interface NewToken {
  tokenId: string;
  userId: string;
  coreToken: Secret;
  /** Absent: it does not expire. */
  expiresAtMs: number | undefined;
}

/** Who showed a good token. */
export interface TokenHolder {
  /** The e-mail in lower case. */
  userId: string;
  /** Absent in foreign tokens. */
  tokenId: string | undefined;
  expiresAtMs: number | undefined;
}

export interface CoreTokens {
  issue(request: TokenRequest): Promise<NewToken>;
  /** @throws GlasscastError MISSING_TOKEN, INVALID_TOKEN */
  verify(token: string | undefined): Promise<TokenHolder>;
  /** Calls `cut` once when the token is revoked or has expired, at once if it is so already. Returns the way to stop. */
  watch(holder: TokenHolder, cut: () => void): () => void;
  /** All that have not expired, revoked ones too. */
  list(): Promise<IssuedToken[]>;
  /** From now on it opens nothing, and what it opened is cut. @throws GlasscastError TOKEN_NOT_FOUND */
  revoke(tokenId: string): Promise<void>;
  /** Another process has revoked it: as `revoke`, and nothing is written. */
  learnRevoked(tokenId: string): void;
  /** Another process may have revoked some: reads the store anew. */
  refresh(): Promise<void>;
}

export interface CoreTokensOptions {
  clock: Clock;
  /** Signs and verifies. */
  secret: Secret;
  store: Pick<Store, 'tokens'>;
  /** Take tokens without id or expiry too, as MentraOS issues them: whoever has the secret made them. Default false. */
  acceptForeign?: boolean | undefined;
  onRevoked?: ((tokenId: string) => void) | undefined;
}

/** Reads what was revoked before. */
export async function openCoreTokens(options: CoreTokensOptions): Promise<CoreTokens> {
  const { clock, secret, store, acceptForeign, onRevoked } = options;
  const key = new TextEncoder().encode(secret.reveal());
  const watched = new Map<() => void, TokenHolder>();
  let expiry: Timer | undefined;

  const hasExpired = ({ expiresAtMs }: { expiresAtMs?: number | undefined }) =>
    expiresAtMs !== undefined && expiresAtMs <= clock.now();
  async function listed(): Promise<IssuedToken[]> {
    const all = await store.tokens.all();
    // What was revoked stays so when a clock that ran ahead is set right again.
    const over = all.filter((record) => hasExpired(record) && record.revokedAtMs === undefined);
    for (const { tokenId } of over) await store.tokens.delete(tokenId);
    return all.filter((record) => !hasExpired(record));
  }
  await listed();
  const revoked = new Set<string>();
  const learn = async () => {
    for (const { tokenId, revokedAtMs } of await store.tokens.all())
      if (revokedAtMs !== undefined) revoked.add(tokenId);
  };
  await learn();
  const isRevoked = ({ tokenId }: TokenHolder) => tokenId !== undefined && revoked.has(tokenId);
  const remembered = new Map<string, TokenHolder>();

  /** The signature is checked once; what time and the operator can change is for the caller to look at. */
  async function holderOf(token: string): Promise<TokenHolder> {
    const hash = createHash('sha256').update(token).digest('base64');
    const known = remembered.get(hash);
    if (known && !hasExpired(known)) return known;
    const holder = await verified(token, key, clock.now());
    const oldest = remembered.keys().next().value;
    if (remembered.size >= MAX_REMEMBERED && oldest !== undefined) remembered.delete(oldest);
    remembered.set(hash, holder);
    return holder;
  }

  function unwatch(end: () => void): void {
    watched.delete(end);
    if (watched.size > 0) return;
    expiry?.cancel();
    expiry = undefined;
  }
  function cutUnfit(): void {
    for (const [end, holder] of [...watched]) {
      if (!isRevoked(holder) && !hasExpired(holder)) continue;
      unwatch(end);
      end();
    }
  }

  return {
    async issue({ email, label, lifetimeSeconds = DEFAULT_LIFETIME_SECONDS }) {
      const userId = email.trim().toLowerCase();
      const tokenId = randomUUID();
      const issuedAtSeconds = Math.floor(clock.now() / 1000);
      const token = new SignJWT({ sub: userId, email: userId })
        .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
        .setIssuedAt(issuedAtSeconds)
        .setJti(tokenId);
      const expiresAtSeconds = lifetimeSeconds === null ? undefined : issuedAtSeconds + lifetimeSeconds;
      if (expiresAtSeconds !== undefined) token.setExpirationTime(expiresAtSeconds);
      const expiresAtMs = expiresAtSeconds === undefined ? undefined : expiresAtSeconds * 1000;
      const coreToken = new Secret(await token.sign(key));
      await store.tokens.put({ tokenId, userId, label, issuedAtMs: issuedAtSeconds * 1000, expiresAtMs });
      return { tokenId, userId, coreToken, expiresAtMs };
    },
    async verify(token) {
      if (!token) throw new GlasscastError('MISSING_TOKEN');
      const holder = await holderOf(token);
      const isForeign = holder.tokenId === undefined;
      if (isRevoked(holder) || (isForeign && !acceptForeign)) throw new GlasscastError('INVALID_TOKEN');
      return holder;
    },
    watch(holder, cut) {
      // A key of its own: one function may watch two tokens.
      const end = () => cut();
      watched.set(end, holder);
      expiry ??= clock.every('token-expiry', EXPIRY_CHECK_MS, cutUnfit);
      // The token's end may have come between its check and now.
      if (isRevoked(holder) || hasExpired(holder)) cutUnfit();
      return () => unwatch(end);
    },
    list: listed,
    async revoke(tokenId) {
      const record = await store.tokens.get(tokenId);
      if (!record) throw new GlasscastError('TOKEN_NOT_FOUND');
      await store.tokens.put({ ...record, revokedAtMs: record.revokedAtMs ?? clock.now() });
      revoked.add(tokenId);
      cutUnfit();
      onRevoked?.(tokenId);
    },
    learnRevoked(tokenId) {
      revoked.add(tokenId);
      cutUnfit();
    },
    async refresh() {
      await learn();
      cutUnfit();
    },
  };
}

async function verified(token: string, key: Uint8Array, nowMs: number): Promise<TokenHolder> {
  try {
    // The algorithm is fixed here: a token may not choose its own.
    const { payload } = await jwtVerify(token, key, { algorithms: ['HS256'], currentDate: new Date(nowMs) });
    const { email, jti, exp } = claims.parse(payload);
    return { userId: email, tokenId: jti, expiresAtMs: exp === undefined ? undefined : exp * 1000 };
  } catch (cause) {
    throw new GlasscastError('INVALID_TOKEN', { cause });
  }
}
