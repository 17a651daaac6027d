/** Core tokens of the fleet: signed here when the relay's secret is known, which costs the relay nothing, else asked for. */
import { createHmac } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import type { Secret } from '../../shared/secrets.ts';

/** Longer than any run; a token of a simulation that got about is worthless soon. */
const LIFETIME_SECONDS = 86_400;

/** A JWT (HS256) with id and expiry, as the relay issues them. Who has one keeps it, as glasses do. */
export function createFleetTokens({
  clock,
  secret,
}: {
  clock: Pick<Clock, 'now'>;
  secret: Secret;
}): (userId: string) => string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const head = part({ alg: 'HS256', typ: 'JWT' });
  const kept = new Map<string, string>();
  return (userId) => {
    const known = kept.get(userId);
    if (known !== undefined) return known;
    const iat = Math.floor(clock.now() / 1000);
    const claims = { sub: userId, email: userId, iat, jti: `fleet-${userId}`, exp: iat + LIFETIME_SECONDS };
    const signed = `${head}.${part(claims)}`;
    const token = `${signed}.${createHmac('sha256', secret.reveal()).update(signed).digest('base64url')}`;
    kept.set(userId, token);
    return token;
  };
}
