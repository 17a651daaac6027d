/**
 * Enrolment of glasses by a one-time code: short enough to type, good once and for a short time, kept as a hash. What comes
 * of it is a core token.
 */
import { randomInt } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { Enrolment } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { CoreTokens, NewToken } from './core-tokens.ts';
import { hashSecret } from './credentials.ts';
import { createBucket } from './rate-limits.ts';

/** Nothing that is read as another one, no vowels: no words. */
const ALPHABET = '23456789BCDFGHJKMNPQRSTVWXZ';
/** 47 bits: so many that the tries of all the world need not be held so low that a flood of them keeps out the right one. */
const CODE_CHARS = 10;
/** Of everybody together. A week of it finds one given code once in a million times. */
const TRIES = { perSecond: 200, burst: 1_000 };
/** How long a code is good when nobody says otherwise. */
const DEFAULT_CODE_LIFETIME_SECONDS = 15 * 60;

export interface EnrolmentRequest {
  email: string;
  label?: string | undefined;
  /** Of the code. Default 15 minutes. */
  expiresInSeconds?: number | undefined;
  /** Of the token that it gives, as in `TokenRequest`. */
  tokenLifetimeSeconds?: number | null | undefined;
}

export interface Enrolments {
  /** The code is shown here and never again. */
  create(
    request: EnrolmentRequest,
  ): Promise<{ enrolmentId: string; code: Secret; userId: string; expiresAtMs: number }>;
  /** Those still waiting for their glasses. */
  list(): Promise<(Omit<Enrolment, 'hashedCode'> & { enrolmentId: string })[]>;
  /** @throws GlasscastError ENROLMENT_NOT_FOUND */
  cancel(enrolmentId: string): Promise<void>;
  /**
   * The token that a code stands for: of two that show the same code one gets it. Unknown, used and expired codes are told
   * apart by nobody. @throws GlasscastError ENROLMENT_REFUSED; RATE_LIMITED when all the world tries too many.
   */
  redeem(code: string): Promise<NewToken>;
}

export interface EnrolmentsOptions {
  clock: Clock;
  store: Pick<Store, 'enrolments'>;
  tokens: Pick<CoreTokens, 'issue'>;
}

export function createEnrolments({ clock, store, tokens }: EnrolmentsOptions): Enrolments {
  const tries = createBucket({ clock, ...TRIES });

  async function open(): Promise<Enrolment[]> {
    const all = await store.enrolments.all();
    const isOver = ({ expiresAtMs }: Enrolment) => expiresAtMs <= clock.now();
    for (const { hashedCode } of all.filter(isOver)) await store.enrolments.delete(hashedCode);
    return all.filter((enrolment) => !isOver(enrolment));
  }

  return {
    async create({ email, label, expiresInSeconds = DEFAULT_CODE_LIFETIME_SECONDS, tokenLifetimeSeconds }) {
      await open();
      const code = newCode();
      const hashedCode = hashSecret(normalised(code));
      const userId = email.trim().toLowerCase();
      const expiresAtMs = clock.now() + expiresInSeconds * 1000;
      await store.enrolments.put({ hashedCode, userId, label, expiresAtMs, tokenLifetimeSeconds });
      return { enrolmentId: idOf(hashedCode), code: new Secret(code), userId, expiresAtMs };
    },
    async list() {
      return (await open()).map(({ hashedCode, ...rest }) => ({ enrolmentId: idOf(hashedCode), ...rest }));
    },
    async cancel(enrolmentId) {
      const found = (await open()).find(({ hashedCode }) => idOf(hashedCode) === enrolmentId);
      if (!found || !(await store.enrolments.delete(found.hashedCode))) throw new GlasscastError('ENROLMENT_NOT_FOUND');
    },
    async redeem(code) {
      if (!tries.take()) throw new GlasscastError('RATE_LIMITED');
      // Looked up by its hash: how long that takes tells nothing about the code.
      const hashedCode = hashSecret(normalised(code));
      const enrolment = await store.enrolments.get(hashedCode);
      if (!enrolment || enrolment.expiresAtMs <= clock.now() || !(await store.enrolments.delete(hashedCode))) {
        throw new GlasscastError('ENROLMENT_REFUSED');
      }
      const { userId, label, tokenLifetimeSeconds } = enrolment;
      return tokens.issue({ email: userId, label, lifetimeSeconds: tokenLifetimeSeconds });
    },
  };
}

/** `XXXXX-XXXXX`. */
function newCode(): string {
  const letters = Array.from({ length: CODE_CHARS }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  return `${letters.slice(0, CODE_CHARS / 2)}-${letters.slice(CODE_CHARS / 2)}`;
}

/** As people type it: small letters, spaces, with the dash or without. */
function normalised(code: string): string {
  return code.replace(/[\s-]/g, '').toUpperCase();
}

/** Names a code among the open ones without helping to find it: 64 of 256 bits of its hash would. So hashed once more. */
function idOf(hashedCode: string): string {
  return hashSecret(hashedCode).slice(0, 16);
}
