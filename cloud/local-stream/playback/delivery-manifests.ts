/** The addresses of the delivery host that answer with manifests: HLS, low-latency HLS, DASH, whole broadcasts, clips. Reads only. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../../../shared/clock.ts';
import { mpd } from '../packaging/dash-manifest.ts';
import type { TrackKind } from '../packaging/fmp4.ts';
import { masterPlaylist, mediaPlaylist } from '../packaging/hls-manifest.ts';
import { LISTED_SEGMENTS } from '../packaging/live-window.ts';
import { type Presentation, startMs } from '../packaging/presentation.ts';
import { clipped, clipRange, clipTimeMs, previewRange } from '../recordings/clips.ts';
import { admittedTo, goneSignal, notFound, notPlayable, plain, subjectOf } from './delivery-answers.ts';
import type { LowLatencyDelivery, Query } from './ll-delivery.ts';
import type { Playable, Playables } from './playable.ts';
import { type Admitted, type PlaybackAccess, playbackRequest } from './playback-access.ts';
import type { Viewers } from './viewers.ts';

export interface ManifestRouteOptions {
  access: PlaybackAccess;
  viewers: Viewers;
  lowLatency: LowLatencyDelivery;
  clock: Pick<Clock, 'now'>;
}

/** `video`: of an address that was handed out below an input's uid or token. */
type FileRoute = { Params: { id: string; video?: string; name: string }; Querystring: Query };

const MANIFEST_TYPE = { hls: 'application/vnd.apple.mpegurl', dash: 'application/dash+xml' };
const MEDIA_PLAYLIST = /^(live|ll|dvr|clip|vod)-(video|audio)\.m3u8$/;

export function manifestRoutes(app: FastifyInstance, options: ManifestRouteOptions, playables: Playables): void {
  const { access, viewers } = options;
  const wholePlaylist = wholePlaylists(playables);

  /** Where the addresses of one video's playlists and segments begin: named by video, so that a player never mixes two. */
  function placeOf(request: FastifyRequest<FileRoute>, { kind, isToken }: Admitted, videoUid: string): string {
    const { id, video } = request.params;
    if (video !== undefined) return video;
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
    if (kind === 'll' && found.onAir?.window.lowLatency()) {
      const { window, isLive } = found.onAir;
      const asked = { window, track: track as TrackKind, query, isHeld: !isLive, signal: goneSignal(reply) };
      const answer = await options.lowLatency.playlist(asked);
      if ('text' in answer) return reply.type(MANIFEST_TYPE.hls).send(answer.text);
      return plain(reply, answer.http, answer.sentence);
    }
    if (kind === 'dvr' || (kind === 'vod' && !found.isLive)) {
      return reply.type(MANIFEST_TYPE.hls).send(wholePlaylist(found, track as TrackKind));
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
    const liveKind = query.dvrEnabled === 'true' ? 'dvr' : isLowLatency(found, query) ? 'll' : 'live';
    const kind = isLive ? liveKind : 'vod';
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

function isLowLatency({ onAir }: Playable, { protocol }: Query): boolean {
  return protocol === 'llhls' && onAir?.window.lowLatency() !== undefined;
}

/** A player of the live playlist sees its end, with the numbers it knows; it is not thrown back to the beginning. */
function seenFrom(kind: string | undefined, { isLive, presentation }: Playable): Presentation {
  if ((kind !== 'live' && kind !== 'll') || isLive) return presentation;
  const { video, audio } = presentation.segments;
  return { ...presentation, segments: { video: video.slice(-LISTED_SEGMENTS), audio: audio.slice(-LISTED_SEGMENTS) } };
}

const MAX_KEPT_BYTES = 64 * 1024 * 1024;
/** With each is kept the list of segments it was written from, also of a recording that was deleted since. */
export const MAX_KEPT_PLAYLISTS = 64;

/**
 * Playlists of whole broadcasts are long, days of them many MB, and the same for everybody until the next segment: each is written
 * once, and its bytes are shared by all who read it.
 */
export function wholePlaylists(playables: Pick<Playables, 'whole'>): (found: Playable, track: TrackKind) => Buffer {
  const written = new Map<string, { shown: Presentation; bytes: Buffer }>();
  let keptBytes = 0;
  function forget(key: string): void {
    keptBytes -= written.get(key)?.bytes.length ?? 0;
    written.delete(key);
  }
  return (found, track) => {
    const key = `${found.videoUid} ${track}`;
    const known = written.get(key);
    if (known?.shown === found.presentation) return known.bytes;
    const bytes = Buffer.from(mediaPlaylist(playables.whole(found), track, '../segments/'));
    forget(key);
    written.set(key, { shown: found.presentation, bytes });
    keptBytes += bytes.length;
    for (const oldest of written.keys()) {
      if (keptBytes <= MAX_KEPT_BYTES && written.size <= MAX_KEPT_PLAYLISTS) break;
      forget(oldest);
    }
    return bytes;
  };
}
