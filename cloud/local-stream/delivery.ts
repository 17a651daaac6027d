/**
 * The delivery host: manifests, segments, clips, lifecycle, thumbnail, viewers; with CORS. An input's uid plays its broadcast (204
 * while idle), a video's uid plays live and then the recording; a token in place of either stays in every address that follows.
 * Reads only; changes nothing. Who is let in is decided by the playback access.
 */
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../../shared/clock.ts';
import type { Broadcasts } from './broadcasts.ts';
import { clipped, clipRange, clipTimeMs, previewRange } from './clips.ts';
import { mpd } from './dash-manifest.ts';
import { admittedTo, letIn, notFound, notPlayable, plain, subjectOf } from './delivery-answers.ts';
import { mediaRoutes } from './delivery-media.ts';
import type { TrackKind } from './fmp4.ts';
import { masterPlaylist, mediaPlaylist } from './hls-manifest.ts';
import type { LiveInput } from './live-input.ts';
import { LISTED_SEGMENTS } from './live-window.ts';
import { createPlayables, type Playable, type Playables } from './playable.ts';
import { type Admitted, type PlaybackAccess, playbackRequest } from './playback-access.ts';
import { type Presentation, startMs } from './presentation.ts';
import type { Recordings } from './recordings.ts';
import type { Thumbnails } from './thumbnails.ts';
import type { Video } from './video.ts';
import type { Viewers } from './viewers.ts';

export interface DeliveryOptions {
  input: (uid: string) => LiveInput | undefined;
  video: (uid: string) => Video | undefined;
  access: PlaybackAccess;
  broadcasts: Pick<Broadcasts, 'onAir' | 'onAirVideo' | 'isTakenOff'>;
  recordings: Pick<Recordings, 'read' | 'media' | 'soFar'>;
  thumbnails: Thumbnails;
  viewers: Viewers;
  clock: Pick<Clock, 'now' | 'every'>;
}

type Query = Record<string, unknown>;
type IdRoute = { Params: { id: string }; Querystring: Query };
/** `video`: of an address that was handed out below an input's uid or token. */
type FileRoute = { Params: { id: string; video?: string; name: string }; Querystring: Query };

const MANIFEST_TYPE = { hls: 'application/vnd.apple.mpegurl', dash: 'application/dash+xml' };
const NOT_STARTED = 'Live broadcast not started yet';
const MEDIA_PLAYLIST = /^(live|dvr|clip|vod)-(video|audio)\.m3u8$/;
const EXPOSED = 'content-length, content-range, accept-ranges, etag, location, preview-start-seconds, stream-media-id';

export function createDelivery(options: DeliveryOptions): FastifyPluginCallback {
  const { access } = options;
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
    // What the real one answers for every input that is fed by RTMP.
    app.post<IdRoute>('/:id/webRTC/play', (request, reply) => {
      const admitted = admittedTo(access, request, reply);
      return admitted ? reply.code(409).type('text/plain').send(NOT_STARTED) : reply;
    });
    done();
  };
}

function corsHeaders(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    // A refusal can be read from anywhere; whoever is let in is named instead where origins are limited.
    void reply.header('access-control-allow-origin', '*').header('access-control-expose-headers', EXPOSED);
    if (request.method !== 'OPTIONS') return undefined;
    void reply.header('access-control-allow-methods', 'GET, HEAD, POST, PATCH, DELETE, OPTIONS');
    void reply.header('access-control-allow-headers', request.headers['access-control-request-headers'] ?? '*');
    void reply.header('access-control-max-age', '86400');
    return reply.code(204).send();
  });
}

function manifestRoutes(app: FastifyInstance, options: DeliveryOptions, playables: Playables): void {
  const { access, viewers } = options;
  const dvr = dvrPlaylists(playables);

  /** Where the addresses of one video's playlists and segments begin: named by video, so that a player never mixes two. */
  function placeOf(request: FastifyRequest<FileRoute>, { kind, isToken }: Admitted, videoUid: string): string {
    const { id } = request.params;
    if (kind === 'video') return id;
    const isPlain = !isToken && !('refused' in access.admit(playbackRequest(videoUid, request)));
    return isPlain ? videoUid : `${id}/${videoUid}`;
  }

  async function manifest(request: FastifyRequest<FileRoute>, reply: FastifyReply): Promise<FastifyReply> {
    const { params, query } = request;
    const admitted = admittedTo(access, request, reply);
    const subject = admitted && subjectOf(admitted, params.video, playables, reply);
    if (!subject) return reply;
    void reply.header('cache-control', 'no-store');
    const found = await playables.of(subject);
    if (typeof found === 'string') return notPlayable(reply, found);
    if (found.isLive) viewers.seen(found.videoUid, `${request.ip} ${request.headers['user-agent'] ?? ''}`);
    const place = placeOf(request, admitted, found.videoUid);
    if (params.name === 'video.m3u8') return master(reply, found, query, place);
    if (params.name === 'clip.m3u8') return clipMaster(reply, found, query, place);
    if (params.name === 'video.mpd') {
      const base = `../../${place}/segments/`;
      return reply.type(MANIFEST_TYPE.dash).send(mpd(found.presentation, base, options.clock.now()));
    }
    const [, kind, track] = MEDIA_PLAYLIST.exec(params.name) ?? [];
    if (!track) return notFound(reply);
    if (kind === 'dvr' && found.isLive) {
      return reply.type(MANIFEST_TYPE.hls).send(dvr(found, track as TrackKind));
    }
    const shown = kind === 'clip' ? clipOf(found, query) : seenFrom(kind, found);
    if (typeof shown === 'string') return plain(reply, 400, shown);
    if (!shown) return notFound(reply);
    return reply.type(MANIFEST_TYPE.hls).send(mediaPlaylist(shown, track as TrackKind, '../segments/'));
  }

  function master(reply: FastifyReply, found: Playable, query: Query, place: string): FastifyReply {
    const { videoUid, isLive, presentation } = found;
    if (query.duration !== undefined) {
      const lengthMs = clipTimeMs(String(query.duration));
      if (!lengthMs) return plain(reply, 400, 'duration must be a time such as 30s or 5m');
      const { fromMs, lengthMs: keptMs } = previewRange(presentation, lengthMs);
      const clip = { time: `${fromMs / 1000}s`, duration: `${keptMs / 1000}s` };
      const first = clipped(playables.whole(found), { fromMs, lengthMs: keptMs })?.segments.video[0];
      void reply.header('preview-start-seconds', String((first ? startMs(first) : fromMs) / 1000));
      void reply.header('stream-media-id', videoUid);
      return clipMaster(reply, found, clip, place);
    }
    const kind = isLive ? (query.dvrEnabled === 'true' ? 'dvr' : 'live') : 'vod';
    const uri = (track: TrackKind) => `../../${place}/manifest/${kind}-${track}.m3u8`;
    return reply.type(MANIFEST_TYPE.hls).send(masterPlaylist(presentation, uri));
  }

  function clipMaster(reply: FastifyReply, found: Playable, query: Query, place: string): FastifyReply {
    const clip = clipOf(found, query);
    if (typeof clip === 'string') return plain(reply, 400, clip);
    if (!clip) return notFound(reply);
    const wanted = new URLSearchParams();
    for (const name of ['time', 'duration']) if (query[name] !== undefined) wanted.set(name, String(query[name]));
    const uri = (track: TrackKind) => `../../${place}/manifest/clip-${track}.m3u8?${wanted}`;
    return reply.type(MANIFEST_TYPE.hls).send(masterPlaylist(clip, uri));
  }

  /** A sentence when the wish cannot be understood; undefined when nothing is there. */
  function clipOf(found: Playable, query: Query): Presentation | string | undefined {
    const range = clipRange(query);
    return typeof range === 'string' ? range : clipped(playables.whole(found), range);
  }

  app.get<FileRoute>('/:id/manifest/:name', manifest);
  app.get<FileRoute>('/:id/:video/manifest/:name', manifest);
}

/** A player of the live playlist sees its end, with the numbers it knows; it is not thrown back to the beginning. */
function seenFrom(kind: string | undefined, { isLive, presentation }: Playable): Presentation {
  if (kind !== 'live' || isLive) return presentation;
  const { video, audio } = presentation.segments;
  return { ...presentation, segments: { video: video.slice(-LISTED_SEGMENTS), audio: audio.slice(-LISTED_SEGMENTS) } };
}

const MAX_DVR_TEXTS = 16;

/** Playlists of whole broadcasts are long, and the same for everybody until the next segment: each is written once. */
function dvrPlaylists(playables: Pick<Playables, 'whole'>): (found: Playable, track: TrackKind) => string {
  const written = new Map<string, { shown: Presentation; text: string }>();
  return (found, track) => {
    const key = `${found.videoUid} ${track}`;
    const known = written.get(key);
    if (known?.shown === found.presentation) return known.text;
    const text = mediaPlaylist(playables.whole(found), track, '../segments/');
    written.delete(key);
    written.set(key, { shown: found.presentation, text });
    for (const oldest of written.keys()) {
      if (written.size <= MAX_DVR_TEXTS) break;
      written.delete(oldest);
    }
    return text;
  };
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
