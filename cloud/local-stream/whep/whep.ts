/**
 * WHEP on the delivery host (draft-ietf-wish-whep; its HTTP as in RFC 9725): an offer is posted, the answer is 201 and names
 * the session, DELETE ends it. Without trickle ICE: candidates are all in the answer. Knows no WebRTC.
 */
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { admittedTo, NOT_STARTED, notFound, plain } from '../playback/delivery-answers.ts';
import type { PlaybackAccess } from '../playback/playback-access.ts';
import type { WhepSessions } from './sessions.ts';

export interface WhepOptions {
  access: Pick<PlaybackAccess, 'admit'>;
  sessions: Pick<WhepSessions, 'begin' | 'end'>;
  /** Cloudflare's behaviour: what comes by RTMP does not go out by WebRTC. */
  isIsland?: () => boolean;
}

type IdRoute = { Params: { id: string } };
type SessionRoute = { Params: { id: string; session: string } };

const SDP = 'application/sdp';
/** Chromium's offers have some 6 kB. */
const MAX_OFFER_BYTES = 64 * 1024;
const REFUSED_METHODS = ['GET', 'PUT', 'PATCH'] as const;

export function createWhep({ access, sessions, isIsland = () => false }: WhepOptions): FastifyPluginCallback {
  async function play(request: FastifyRequest<IdRoute>, reply: FastifyReply): Promise<FastifyReply> {
    const { id } = request.params;
    const admitted = admittedTo(access, request, reply);
    if (!admitted) return reply;
    if (admitted.kind === 'video') return notFound(reply);
    if (isIsland()) return plain(reply, 409, NOT_STARTED);
    const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
    if (type !== undefined && type !== SDP) return plain(reply, 415, `The offer must be ${SDP}`);
    const sdp = typeof request.body === 'string' ? request.body : '';
    const begun = await sessions.begin(admitted.uid, id, sdp);
    if ('refused' in begun) {
      const { http, sentence } = begun.refused;
      if (http === 503) void reply.header('retry-after', '5');
      return plain(reply, http, sentence);
    }
    const location = `/${encodeURIComponent(id)}/webRTC/play/${begun.sessionId}`;
    return reply.code(201).header('location', location).header('content-type', SDP).send(begun.answer);
  }

  return (app, _, done) => {
    app.addHook('onRequest', async (_request, reply) => {
      void reply.header('access-control-allow-origin', '*');
      void reply.header('access-control-expose-headers', 'Location, Retry-After');
      void reply.header('cache-control', 'no-store');
    });
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'string', bodyLimit: MAX_OFFER_BYTES }, (_request, body, parsed) =>
      parsed(null, body),
    );
    app.setErrorHandler((error: { statusCode?: number }, _request, reply) => {
      if (error.statusCode === 413) return plain(reply, 413, `An offer has at most ${MAX_OFFER_BYTES} bytes`);
      return plain(reply, error.statusCode === 400 ? 400 : 500, 'Unable to parse SDP');
    });
    for (const [url, methods] of [
      ['/:id/webRTC/play', 'POST, OPTIONS'],
      ['/:id/webRTC/play/:session', 'DELETE, OPTIONS'],
    ] as const) {
      app.options(url, (request, reply) => {
        void reply.header('access-control-allow-methods', methods);
        void reply.header('access-control-allow-headers', request.headers['access-control-request-headers'] ?? '*');
        return reply.code(204).header('accept-post', SDP).send();
      });
      // RFC 9725 §4.1 and §4.3: 405 for what is not offered, PATCH among it when there is no trickle ICE.
      app.route({
        method: [...REFUSED_METHODS, methods.startsWith('POST') ? 'DELETE' : 'POST'],
        url,
        handler: (_request, reply) => plain(reply.header('allow', methods), 405, 'MethodNotAllowed'),
      });
    }
    app.post<IdRoute>('/:id/webRTC/play', play);
    app.delete<SessionRoute>('/:id/webRTC/play/:session', ({ params }, reply) =>
      sessions.end(params.id, params.session) ? reply.code(200).send() : notFound(reply),
    );
    done();
  };
}
