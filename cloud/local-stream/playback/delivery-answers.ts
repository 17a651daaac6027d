/** What every address of the delivery host has in common: who is let in, which video an address means, and how a refusal reads. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { NotPlayable, Playables } from './playable.ts';
import { type Admitted, type PlaybackAccess, type PlaybackVerdict, playbackRequest } from './playback-access.ts';

/** Cloudflare's words. */
export const NOT_STARTED = 'Live broadcast not started yet';

/** Undefined: not admitted, and answered. */
export function admittedTo(
  access: Pick<PlaybackAccess, 'admit'>,
  request: FastifyRequest<{ Params: { id: string } }>,
  reply: FastifyReply,
): Admitted | undefined {
  return letIn(access.admit(playbackRequest(request.params.id, request)), reply);
}

export function letIn(verdict: PlaybackVerdict, reply: FastifyReply): Admitted | undefined {
  if ('refused' in verdict) {
    void plain(reply, verdict.refused.http, verdict.refused.sentence);
    return undefined;
  }
  const { allowOrigin } = verdict;
  if (allowOrigin === '*') return verdict;
  void reply.header('vary', 'origin');
  if (allowOrigin === undefined) void reply.removeHeader('access-control-allow-origin');
  else void reply.header('access-control-allow-origin', allowOrigin);
  return verdict;
}

/** The video that an address below an input names, as a subject of its own; undefined when it is not this one's, and answered. */
export function subjectOf(
  admitted: Admitted,
  videoUid: string | undefined,
  playables: Pick<Playables, 'isOfInput'>,
  reply: FastifyReply,
): Pick<Admitted, 'uid' | 'kind'> | undefined {
  if (videoUid === undefined || (admitted.kind === 'video' && admitted.uid === videoUid)) return admitted;
  if (admitted.kind === 'input' && playables.isOfInput(videoUid, admitted.uid)) return { uid: videoUid, kind: 'video' };
  if (admitted.isToken) void plain(reply, 403, 'The token is for something else');
  else void notFound(reply);
  return undefined;
}

export function notPlayable(reply: FastifyReply, why: NotPlayable): FastifyReply {
  if (why === 'idle') return reply.header('cache-control', 'no-store').code(204).send();
  return why === 'failed' ? plain(reply, 424, 'The video cannot be played') : notFound(reply);
}

export function plain(reply: FastifyReply, http: number, sentence: string): FastifyReply {
  return reply.code(http).header('cache-control', 'no-store').type('text/plain').send(sentence);
}

export function notFound(reply: FastifyReply): FastifyReply {
  return plain(reply, 404, 'NotFound');
}

/** Aborts when the connection is closed before the answer is out, and, of no consequence, after it. */
export function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  return gone.signal;
}
