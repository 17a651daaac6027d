/**
 * The delivery host: manifests, segments, lifecycle, thumbnail, viewers; public, with CORS. An input's uid plays its broadcast
 * (204 while idle), a video's uid plays live and then the recording. Reads only; changes nothing.
 */
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import type { Broadcasts, OnAir } from './broadcasts.ts';
import { mpd } from './dash-manifest.ts';
import type { TrackKind } from './fmp4.ts';
import { masterPlaylist, mediaPlaylist } from './hls-manifest.ts';
import type { LiveInput } from './live-input.ts';
import { LISTED_SEGMENTS, type LiveWindow } from './live-window.ts';
import type { LowLatencyDelivery, Query } from './ll-delivery.ts';
import type { PlaybackAccess } from './playback-access.ts';
import { durationMs, initName, newestPeriod, type Presentation, segmentName, startMs } from './presentation.ts';
import type { Recordings } from './recordings.ts';
import type { Thumbnails } from './thumbnails.ts';
import type { Video } from './video.ts';
import type { Viewers } from './viewers.ts';

export interface DeliveryOptions {
  input: (uid: string) => LiveInput | undefined;
  video: (uid: string) => Video | undefined;
  access: PlaybackAccess;
  broadcasts: Pick<Broadcasts, 'onAir' | 'onAirVideo'>;
  recordings: Pick<Recordings, 'read' | 'media'>;
  thumbnails: Thumbnails;
  viewers: Viewers;
  lowLatency: LowLatencyDelivery;
  /** Wall clock, ms since the epoch. */
  nowMs: () => number;
}

type IdRoute = { Params: { id: string } };
type FileRoute = { Params: { id: string; name: string }; Querystring: Query };

/** `idle`: the input exists and nothing is on air. `failed`: the recording is unusable. */
type Playable =
  | { videoUid: string; isLive: boolean; presentation: Presentation; onAir?: OnAir }
  | 'idle'
  | 'failed'
  | 'unknown';

const MANIFEST_TYPE = { hls: 'application/vnd.apple.mpegurl', dash: 'application/dash+xml' };
const NOT_STARTED = 'Live broadcast not started yet';
const MEDIA_PLAYLIST = /^(live|ll|vod)-(video|audio)\.m3u8$/;

export function createDelivery(options: DeliveryOptions): FastifyPluginCallback {
  const { broadcasts, recordings, viewers } = options;

  async function playable(id: string): Promise<Playable> {
    const onAir = broadcasts.onAir(id) ?? broadcasts.onAirVideo(id);
    const shown = onAir?.window.presentation();
    if (onAir && shown && newestPeriod(shown)) {
      return { videoUid: onAir.videoUid, isLive: true, presentation: shown, onAir };
    }
    if (onAir || options.input(id)) return 'idle';
    const video = options.video(id);
    if (!video) return 'unknown';
    const presentation = video.state === 'error' ? undefined : await recordings.read(id);
    return presentation ? { videoUid: id, isLive: false, presentation } : 'failed';
  }

  async function manifest(request: FastifyRequest<FileRoute>, reply: FastifyReply): Promise<FastifyReply> {
    const { id, name } = request.params;
    const { query } = request;
    void reply.header('cache-control', 'no-store');
    const found = await playable(id);
    if (found === 'idle') return reply.code(204).send();
    if (found === 'failed') return reply.code(424).type('text/plain').send('The video cannot be played');
    if (found === 'unknown') return notFound(reply);
    const { videoUid, isLive, presentation, onAir } = found;
    if (isLive) viewers.seen(videoUid, `${request.ip} ${request.headers['user-agent'] ?? ''}`);
    if (name === 'video.m3u8') {
      // Named by video, so that a player never mixes the numbers of two broadcasts.
      const isLowLatency = query.protocol === 'llhls' && onAir?.window.lowLatency();
      const kind = isLowLatency ? 'll' : isLive ? 'live' : 'vod';
      const uri = (track: TrackKind) => `../../${videoUid}/manifest/${kind}-${track}.m3u8`;
      return reply.type(MANIFEST_TYPE.hls).send(masterPlaylist(presentation, uri));
    }
    if (name === 'video.mpd') {
      return reply.type(MANIFEST_TYPE.dash).send(mpd(presentation, `../../${videoUid}/segments/`, options.nowMs()));
    }
    const [, kind, track] = MEDIA_PLAYLIST.exec(name) ?? [];
    if (!track) return notFound(reply);
    if (kind === 'll' && onAir?.window.lowLatency()) {
      const asked = { window: onAir.window, track: track as TrackKind, query, isHeld: !onAir.isLive };
      const answer = await options.lowLatency.playlist({ ...asked, signal: goneSignal(reply) });
      if ('text' in answer) return reply.type(MANIFEST_TYPE.hls).send(answer.text);
      return reply.code(answer.http).type('text/plain').send(answer.sentence);
    }
    // A player of the live playlist sees its end, with the numbers it knows; it is not thrown back to the beginning.
    const shown = kind !== 'vod' && !isLive ? lastOf(presentation) : presentation;
    return reply.type(MANIFEST_TYPE.hls).send(mediaPlaylist(shown, track as TrackKind, '../segments/'));
  }

  return (app, _, done) => {
    app.addHook('onRequest', async (request, reply) => {
      void reply.header('access-control-allow-origin', '*');
      if (request.method !== 'OPTIONS') return undefined;
      void reply.header('access-control-allow-methods', 'GET, HEAD, POST, OPTIONS');
      void reply.header('access-control-allow-headers', request.headers['access-control-request-headers'] ?? '*');
      return reply.code(204).send();
    });
    app.setNotFoundHandler((_request, reply) => notFound(reply));
    // An SDP offer is not for us, but it must not be refused for its type.
    app.addContentTypeParser('*', (_request, _body, parsed) => parsed(null));
    app.options('/*', (_request, reply) => reply.code(204).send());
    app.get<FileRoute>('/:id/manifest/:name', manifest);
    app.get<FileRoute>('/:id/segments/:name', async ({ params: { id, name } }, reply) => {
      const window = broadcasts.onAirVideo(id)?.window;
      const isLate = window && (await hasNotCome(window, name, reply));
      if (isLate) return reply.code(503).header('cache-control', 'no-store').type('text/plain').send('Nothing new yet');
      const media = window?.media(name) ?? (await storedMedia(id, name));
      if (!media) return notFound(reply);
      const type = name.startsWith('audio') ? 'audio/mp4' : 'video/mp4';
      return reply.header('cache-control', 'public, max-age=31536000, immutable').type(type).send(media);
    });
    app.get<IdRoute>('/:id/lifecycle', ({ params: { id } }, reply) => {
      void reply.header('cache-control', 'no-store');
      const isInput = options.input(id) !== undefined;
      const onAir = isInput ? broadcasts.onAir(id) : broadcasts.onAirVideo(id);
      if (!isInput && !options.video(id)) return notFound(reply);
      return reply.send({ isInput, videoUID: isInput ? (onAir?.videoUid ?? null) : id, live: onAir?.isLive ?? false });
    });
    app.get<IdRoute>('/:id/views', ({ params: { id } }, reply) => {
      const input = options.input(id);
      if (!input || input.recording.hideLiveViewerCount) return notFound(reply);
      const onAir = broadcasts.onAir(id);
      return reply.header('cache-control', 'no-store').send({ liveViewers: onAir ? viewers.count(onAir.videoUid) : 0 });
    });
    app.get<IdRoute & { Querystring: { time?: string; height?: string } }>(
      '/:id/thumbnails/thumbnail.jpg',
      async ({ params: { id }, query }, reply) => {
        const found = await playable(id);
        const jpeg = typeof found === 'string' ? undefined : await thumbnail(found, query);
        return jpeg ? reply.header('cache-control', 'no-cache').type('image/jpeg').send(jpeg) : notFound(reply);
      },
    );
    // What the real one answers for every input that is fed by RTMP.
    app.post<IdRoute>('/:id/webRTC/play', (_request, reply) => reply.code(409).type('text/plain').send(NOT_STARTED));
    done();
  };

  async function hasNotCome(window: LiveWindow, name: string, reply: FastifyReply): Promise<boolean> {
    if (window.media(name)) return false;
    return (await options.lowLatency.hintedPart({ window, name, signal: goneSignal(reply) })) === 'late';
  }

  async function storedMedia(id: string, name: string): Promise<Buffer | undefined> {
    // Asked first, so that a name from outside never becomes a folder on its own.
    return options.video(id) ? recordings.media(id, name) : undefined;
  }

  async function thumbnail(
    { videoUid, isLive, presentation }: Exclude<Playable, string>,
    { time, height }: { time?: string; height?: string },
  ): Promise<Buffer | undefined> {
    const { video } = presentation.segments;
    const wantedMs = Number.parseFloat(time ?? '0') * 1000;
    const at = isLive ? video.at(-1) : (video.find((one) => startMs(one) + durationMs(one) > wantedMs) ?? video.at(-1));
    if (!at) return undefined;
    const heightPx = Math.min(2160, Math.max(16, Math.round(Number(height ?? 360) / 2) * 2 || 360));
    const media = (name: string) =>
      broadcasts.onAirVideo(videoUid)?.window.media(name) ?? recordings.media(videoUid, name);
    const moment = segmentName(at);
    const subject = isLive ? videoUid : `${videoUid} ${moment}`;
    return options.thumbnails.jpeg({ subject, heightPx, moment }, async () => {
      const [init, segment] = await Promise.all([media(initName('video', at.period)), media(moment)]);
      return init && segment && Buffer.concat([init, segment]);
    });
  }
}

/** Aborts when the connection is closed before the answer is out, and, of no consequence, after it. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  return gone.signal;
}

function lastOf(presentation: Presentation): Presentation {
  const { video, audio } = presentation.segments;
  return { ...presentation, segments: { video: video.slice(-LISTED_SEGMENTS), audio: audio.slice(-LISTED_SEGMENTS) } };
}

function notFound(reply: FastifyReply): FastifyReply {
  return reply.code(404).header('cache-control', 'no-store').type('text/plain').send('NotFound');
}
