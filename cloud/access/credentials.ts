/**
 * Keys and how they are compared: made at random, kept as hashes, compared in constant time. Owns the operator's admin
 * token; core tokens and enrolment codes stand beside.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Secret } from '../../shared/secrets.ts';
import type { Store } from '../store/store.ts';

const ADMIN_TOKEN_HASH = 'admin-token-hash';

export interface AdminToken {
  /** True when this is the operator's token. */
  matches(token: string | undefined): boolean;
  /** The token, when it was made just now. */
  readonly made: Secret | undefined;
  /**
   * Stores the hash of one that was made; before that nothing is changed. Returns it to be shown, once: undefined when
   * another process has made one meanwhile, which counts here too.
   */
  keep(): Promise<Secret | undefined>;
}

/** The operator's token: the given one, else the one whose hash is kept, else a new one. */
export async function openAdminToken(store: Pick<Store, 'values'>, given?: Secret | undefined): Promise<AdminToken> {
  const opened = (hash: string, made?: Secret): AdminToken => {
    let valid = hash;
    return {
      matches: (token) => token !== undefined && hashMatches(token, valid),
      made,
      async keep() {
        if (!made || (await store.values.add({ name: ADMIN_TOKEN_HASH, value: hash }))) return made;
        valid = (await store.values.get(ADMIN_TOKEN_HASH))?.value ?? hash;
        return undefined;
      },
    };
  };
  if (given) return opened(hashSecret(given.reveal()));
  const kept = (await store.values.get(ADMIN_TOKEN_HASH))?.value;
  if (kept !== undefined) return opened(kept);
  const made = newSecret();
  return opened(hashSecret(made.reveal()), made);
}

/** Makes a new admin token in place of the kept one. A relay that runs knows nothing of it until it is started again. */
export async function resetAdminToken(store: Pick<Store, 'values'>): Promise<Secret> {
  const made = newSecret();
  await store.values.put({ name: ADMIN_TOKEN_HASH, value: hashSecret(made.reveal()) });
  return made;
}

/** Hex SHA-256. */
export function hashSecret(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** In constant time: hashes are of one length, so neither length nor content of the secret shows. */
export function hashMatches(text: string, hash: string): boolean {
  const [given, kept] = [Buffer.from(hashSecret(text)), Buffer.from(hash.toLowerCase())];
  return given.length === kept.length && timingSafeEqual(given, kept);
}

/** Of one text always the same, and not to be guessed without the key: 128 bits, fit for headers and URLs. */
export function keyedHash(key: Secret, text: string): string {
  return createHmac('sha256', key.reveal()).update(text).digest().subarray(0, 16).toString('base64url');
}

/** 256 random bits, fit for headers and URLs. */
export function newSecret(): Secret {
  return new Secret(randomBytes(32).toString('base64url'));
}

/** `Bearer x` → x. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer\s+(\S+)\s*$/i.exec(header ?? '')?.[1];
}
