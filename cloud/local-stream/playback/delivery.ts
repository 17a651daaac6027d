/**
 * The delivery host: manifests, segments, clips, lifecycle, thumbnail, viewers; with CORS. An input's uid plays its broadcast (204
 * while idle), a video's uid plays live and then the recording; a token in place of either stays in every address that follows.
 * Reads only; changes nothing. Who is let in is decided by the playback access.
 */
import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import type { Clock } from '../../../shared/clock.ts';
import type { LiveInput } from '../api/live-input.ts';
import type { Broadcasts } from '../packaging/broadcasts.ts';
import type { Recordings } from '../recordings/recordings.ts';
import type { Thumbnails } from '../recordings/thumbnails.ts';
import type { Video } from '../recordings/video.ts';
import { letIn, notFound } from './delivery-answers.ts';
import { manifestRoutes } from './delivery-manifests.ts';
import { mediaRoutes } from './delivery-media.ts';
import type { LowLatencyDelivery } from './ll-delivery.ts';
import { createPlayables } from './playable.ts';
import type { PlaybackAccess } from './playback-access.ts';
import type { Viewers } from './viewers.ts';

export interface DeliveryOptions {
  input: (uid: string) => LiveInput | undefined;
  video: (uid: string) => Video | undefined;
  access: PlaybackAccess;
  broadcasts: Pick<Broadcasts, 'onAir' | 'onAirVideo' | 'isTakenOff'>;
  recordings: Pick<Recordings, 'read' | 'media' | 'soFar'>;
  thumbnails: Thumbnails;
  viewers: Viewers;
  lowLatency: LowLatencyDelivery;
  clock: Pick<Clock, 'now' | 'every'>;
}

type IdRoute = { Params: { id: string } };

/** A connection on which nothing moves for so long is closed; no answer takes as long to begin. */
const STALLED_MS = 120_000;
const EXPOSED = 'content-length, content-range, accept-ranges, etag, location, preview-start-seconds, stream-media-id';

export function createDelivery(options: DeliveryOptions): FastifyPluginCallback {
  const playables = createPlayables({ ...options, nowMs: options.clock.now });

  return (app, _, done) => {
    corsHeaders(app);
    app.setNotFoundHandler((_request, reply) => notFound(reply));
    // An SDP offer is not for us, but it must not be refused for its type.
    app.addContentTypeParser('*', (_request, _body, parsed) => parsed(null));
    app.options('/*', (_request, reply) => reply.code(204).send());
    manifestRoutes(app, options, playables);
    mediaRoutes(app, options, playables);
    factRoutes(app, options);
    done();
  };
}

function corsHeaders(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    // Whoever takes nothing of an answer holds a place and a segment, which nobody else shares when it is recorded.
    request.raw.socket?.setTimeout?.(STALLED_MS);
    // A refusal can be read from anywhere; whoever is let in is named instead where origins are limited.
    void reply.header('access-control-allow-origin', '*').header('access-control-expose-headers', EXPOSED);
    if (request.method !== 'OPTIONS') return undefined;
    void reply.header('access-control-allow-methods', 'GET, HEAD, POST, PATCH, DELETE, OPTIONS');
    void reply.header('access-control-allow-headers', request.headers['access-control-request-headers'] ?? '*');
    void reply.header('access-control-max-age', '86400');
    return reply.code(204).send();
  });
}

/** What a player asks before it plays; Cloudflare's own asks it without a signature. */
function factRoutes(app: FastifyInstance, { access, broadcasts, input, viewers }: DeliveryOptions): void {
  app.get<IdRoute>('/:id/lifecycle', ({ params: { id } }, reply) => {
    void reply.header('cache-control', 'no-store');
    const found = letIn(access.find(id), reply);
    if (!found) return reply;
    const isInput = found.kind === 'input';
    const onAir = isInput ? broadcasts.onAir(found.uid) : broadcasts.onAirVideo(found.uid);
    const videoUID = isInput ? (onAir?.videoUid ?? null) : found.uid;
    return reply.send({ isInput, videoUID, live: onAir?.isLive ?? false });
  });
  app.get<IdRoute>('/:id/views', ({ params: { id } }, reply) => {
    const found = letIn(access.find(id), reply);
    if (!found) return reply;
    const { uid } = found;
    if (input(uid)?.recording.hideLiveViewerCount !== false) return notFound(reply);
    const onAir = broadcasts.onAir(uid);
    return reply.header('cache-control', 'no-store').send({ liveViewers: onAir ? viewers.count(onAir.videoUid) : 0 });
  });
}
