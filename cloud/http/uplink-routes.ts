/**
 * Lets glasses measure their uplink: counts what comes and throws it away as it comes. Bounded in bytes, time, how many run at
 * once and how often; of who may not, nothing is read. Keeps no body.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import {
  MAX_UPLINK_PROBE_BYTES,
  MAX_UPLINK_PROBE_MS,
  UPLINK_PROBE_PATH,
  type UplinkProbeAnswer,
} from '../../shared/protocol/uplink-probe.ts';
import type { CoreTokens } from '../access/core-tokens.ts';
import { bearerToken } from '../access/credentials.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import { createRateLimit } from '../access/rate-limits.ts';
import type { Routes } from './http.ts';

export interface UplinkRoutesOptions {
  tokens: Pick<CoreTokens, 'verify'>;
  attempts: FailedAttempts;
  clock: Clock;
  /** Of all users together. Default 20. */
  maxAtOnce?: number;
}

/** Of one user. The doctor takes two: an empty one, to see what it is answered, and the burst. */
const PROBES = { perSecond: 6 / 60, burst: 10 };
/** A connection that is closed with bytes unread is reset, and the answer may be lost with it. */
const LINGER_MS = 1_000;

export function uplinkRoutes({ tokens, attempts, clock, maxAtOnce = 20 }: UplinkRoutesOptions): Routes {
  const rate = createRateLimit({ clock, ...PROBES });
  const probing = new Set<string>();

  /** @throws GlasscastError MISSING_TOKEN, INVALID_TOKEN, UPLINK_PROBE_TOO_LARGE, RATE_LIMITED */
  async function admit({ headers, ip }: FastifyRequest): Promise<string> {
    const { userId } = await attempts.guard(ip, () => tokens.verify(bearerToken(headers.authorization)));
    if (Number(headers['content-length'] ?? 0) > MAX_UPLINK_PROBE_BYTES) {
      throw new GlasscastError('UPLINK_PROBE_TOO_LARGE');
    }
    if (probing.has(userId) || probing.size >= maxAtOnce || !rate.take(userId))
      throw new GlasscastError('RATE_LIMITED');
    return userId;
  }
  return (server) => {
    server.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      // The route reads by itself: every parser would keep the body.
      scope.addContentTypeParser('*', (_request, _body, parsed) => parsed(null));
      scope.post(UPLINK_PROBE_PATH, async (request, reply) => {
        // Unless all is well: otherwise Node would read what is left of the body, to keep the connection.
        reply.header('connection', 'close');
        const userId = await admit(request);
        probing.add(userId);
        whenOver(request.raw, clock, () => probing.delete(userId));
        const answer = await count(request.raw, clock);
        // In the middle of the body the connection stays for a moment, whatever the caller wants.
        if (request.raw.complete) reply.removeHeader('connection');
        else reply.header('connection', 'keep-alive');
        return answer;
      });
    });
  };
}

/** Errors: UPLINK_PROBE_TOO_LARGE; UPLINK_PROBE_SILENT: nothing came; MALFORMED_MESSAGE: it broke off. */
function count(body: IncomingMessage, clock: Clock): Promise<UplinkProbeAnswer> {
  const sinceMs = clock.monotonicMs();
  let bytes = 0;
  return new Promise<UplinkProbeAnswer>((resolve, reject) => {
    const answer = () => resolve({ bytes, ms: Math.round(clock.monotonicMs() - sinceMs) });
    const patience = clock.after('uplink-probe', MAX_UPLINK_PROBE_MS, () =>
      bytes > 0 ? answer() : reject(new GlasscastError('UPLINK_PROBE_SILENT')),
    );
    body.on('data', (piece: Buffer) => {
      bytes += piece.length;
      if (bytes > MAX_UPLINK_PROBE_BYTES) {
        patience.cancel();
        reject(new GlasscastError('UPLINK_PROBE_TOO_LARGE'));
      }
    });
    body.once('end', () => {
      patience.cancel();
      answer();
    });
    body.once('close', () => {
      patience.cancel();
      reject(new GlasscastError('MALFORMED_MESSAGE', { reason: 'the body broke off' }));
    });
  });
}

/** Calls once, when the body has ended or its connection; cuts it where it goes on after the answer's time. */
function whenOver(body: IncomingMessage, clock: Clock, over: () => void): void {
  const { socket } = body;
  let isOver = false;
  const end = () => {
    if (isOver) return;
    isOver = true;
    cut.cancel();
    socket.off('close', end);
    over();
  };
  const cut = clock.after('uplink-probe-end', MAX_UPLINK_PROBE_MS + LINGER_MS, () => {
    socket.destroy();
    // It may have been gone before we listened.
    end();
  });
  body.once('end', end);
  // A body that was answered in the middle hears no end of its connection.
  socket.once('close', end);
}
