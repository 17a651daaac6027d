/**
 * Who may come in: core tokens of glasses (HS256 JWT), the operator's admin token, API keys of apps.
 * Compares in constant time; keeps no key of an app, only its hash.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';

const claims = z.object({ email: z.string().min(1).max(320) });

export interface Credentials {
  /** A core token for a user's glasses. @param lifetimeSeconds none: it does not expire, as MentraOS' tokens do not. */
  mintCoreToken(email: string, lifetimeSeconds?: number): Promise<Secret>;
  /** The user id (e-mail in lower case). MISSING_TOKEN or INVALID_TOKEN otherwise. */
  verifyCoreToken(token: string | undefined): Promise<string>;
  /** True when this is the operator's token. */
  isAdmin(token: string | undefined): boolean;
}

export interface CredentialsOptions {
  clock: Clock;
  coreTokenSecret: Secret;
  adminToken: Secret;
}

export function createCredentials({ clock, coreTokenSecret, adminToken }: CredentialsOptions): Credentials {
  const key = new TextEncoder().encode(coreTokenSecret.reveal());
  return {
    async mintCoreToken(email, lifetimeSeconds) {
      const userId = email.trim().toLowerCase();
      const nowSeconds = Math.floor(clock.now() / 1000);
      const token = new SignJWT({ sub: userId, email: userId })
        .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
        .setIssuedAt(nowSeconds);
      if (lifetimeSeconds !== undefined) token.setExpirationTime(nowSeconds + lifetimeSeconds);
      return new Secret(await token.sign(key));
    },
    async verifyCoreToken(token) {
      if (!token) throw new GlasscastError('MISSING_TOKEN');
      try {
        // The algorithm is fixed here: a token may not choose its own.
        const { payload } = await jwtVerify(token, key, {
          algorithms: ['HS256'],
          currentDate: new Date(clock.now()),
        });
        return claims.parse(payload).email.trim().toLowerCase();
      } catch (cause) {
        throw new GlasscastError('INVALID_TOKEN', { cause });
      }
    },
    isAdmin: (token) => token !== undefined && sameText(token, adminToken.reveal()),
  };
}

/** Hex SHA-256 of an app's API key. */
export function hashApiKey(apiKey: string): string {
  return createHash('sha256').update(apiKey).digest('hex');
}

export function apiKeyMatches(apiKey: string, hashedApiKey: string): boolean {
  return sameText(hashApiKey(apiKey), hashedApiKey.toLowerCase());
}

/** 256 random bits, fit for headers and URLs. */
export function newSecret(): Secret {
  return new Secret(randomBytes(32).toString('base64url'));
}

/** `Bearer x` → x. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer\s+(\S+)\s*$/i.exec(header ?? '')?.[1];
}

function sameText(a: string, b: string): boolean {
  // Hashing first gives equal lengths, so that neither length nor content shows in the time taken.
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
