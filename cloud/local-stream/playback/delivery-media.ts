/** The addresses of the delivery host that answer with media: segments, clips to save, thumbnails. Reads only. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../../../shared/clock.ts';
import type { Broadcasts } from '../packaging/broadcasts.ts';
import { durationMs, initName, segmentName, startMs, totalMs } from '../packaging/presentation.ts';
import { clipPieces, clipped, clipRange, clipTimeMs } from '../recordings/clips.ts';
import { type Thumbnails, thumbnailSize } from '../recordings/thumbnails.ts';
import type { Video } from '../recordings/video.ts';
import { admittedTo, goneSignal, notFound, notPlayable, plain, subjectOf } from './delivery-answers.ts';
import type { LowLatencyDelivery, Query } from './ll-delivery.ts';
import { cutStalled, sendPieces } from './pieces.ts';
import type { Playable, Playables } from './playable.ts';
import type { PlaybackAccess } from './playback-access.ts';

export interface MediaRouteOptions {
  access: PlaybackAccess;
  video: (uid: string) => Video | undefined;
  thumbnails: Thumbnails;
  broadcasts: Pick<Broadcasts, 'onAirVideo'>;
  lowLatency: LowLatencyDelivery;
  clock: Pick<Clock, 'every'>;
}

type IdRoute = { Params: { id: string }; Querystring: Query };
/** `video`: of an address that was handed out below an input's uid or token. */
type FileRoute = { Params: { id: string; video?: string; name: string } };
type ClipRoute = { Params: { id: string; video?: string }; Querystring: Query };

/** For whoever saves it; each holds a segment in memory. */
const MAX_CLIP_DOWNLOADS = 32;

export function mediaRoutes(app: FastifyInstance, options: MediaRouteOptions, playables: Playables): void {
  const { access, clock } = options;
  let downloads = 0;

  async function segment(request: FastifyRequest<FileRoute>, reply: FastifyReply): Promise<FastifyReply> {
    const { video, name } = request.params;
    const admitted = admittedTo(access, request, reply);
    const subject = admitted && subjectOf(admitted, video, playables, reply);
    if (!subject) return reply;
    if (await hasNotCome(options, subject.uid, name, reply)) return plain(reply, 503, 'Nothing new yet');
    const media = subject.kind === 'video' ? await playables.media(subject.uid, name) : undefined;
    if (!media) return notFound(reply);
    const type = name.startsWith('audio') ? 'audio/mp4' : 'video/mp4';
    // What not everybody may have, nobody on the way may keep for everybody.
    const scope = admitted.isToken || admitted.allowOrigin !== '*' ? 'private' : 'public';
    const cacheControl = `${scope}, max-age=31536000, immutable`;
    return sendPieces(request, reply, { pieces: media, type, cacheControl, etag: `${subject.uid}-${name}` });
  }

  async function clipMp4(request: FastifyRequest<ClipRoute>, reply: FastifyReply): Promise<FastifyReply> {
    const { params, query } = request;
    const admitted = admittedTo(access, request, reply);
    const subject = admitted && subjectOf(admitted, params.video, playables, reply);
    if (!subject) return reply;
    const range = clipRange(query);
    if (typeof range === 'string') return plain(reply, 400, range);
    const found = await playables.of(subject);
    if (typeof found === 'string') return notPlayable(reply, found);
    const clip = clipped(playables.whole(found), range);
    const pieces = clip && (await clipPieces(clip, (name) => playables.media(found.videoUid, name)));
    if (!clip || !pieces) return notFound(reply);
    if (downloads >= MAX_CLIP_DOWNLOADS) return plain(reply.header('retry-after', '5'), 503, 'Too many downloads');
    downloads += 1;
    reply.raw.once('close', () => {
      downloads -= 1;
    });
    cutStalled(reply, clock);
    const numbers = [clip.segments.video[0], clip.segments.video.at(-1)].map((one) => one?.number);
    const etag = [found.videoUid, ...numbers, pieces.length].join('-');
    const name = fileName(query.filename);
    if (name) void reply.header('content-disposition', `attachment; filename="${name}"`);
    return sendPieces(request, reply, { pieces, type: 'video/mp4', cacheControl: 'no-cache', etag });
  }

  app.get<FileRoute>('/:id/segments/:name', segment);
  app.get<FileRoute>('/:id/:video/segments/:name', segment);
  app.get<ClipRoute>('/:id/clip.mp4', clipMp4);
  app.get<ClipRoute>('/:id/:video/clip.mp4', clipMp4);
  app.get<IdRoute>('/:id/thumbnails/thumbnail.jpg', async (request, reply) => {
    const admitted = admittedTo(access, request, reply);
    if (!admitted) return reply;
    const found = await playables.of(admitted);
    const jpeg = typeof found === 'string' ? undefined : await thumbnail(options, playables, found, request.query);
    return jpeg ? reply.header('cache-control', 'no-cache').type('image/jpeg').send(jpeg) : notFound(reply);
  });
}

/** A part that the newest playlist announces is asked for before it is there. */
async function hasNotCome(
  { broadcasts, lowLatency }: Pick<MediaRouteOptions, 'broadcasts' | 'lowLatency'>,
  videoUid: string,
  name: string,
  reply: FastifyReply,
): Promise<boolean> {
  const window = broadcasts.onAirVideo(videoUid)?.window;
  if (!window || window.media(name)) return false;
  return (await lowLatency.hintedPart({ window, name, signal: goneSignal(reply) })) === 'late';
}

async function thumbnail(
  { thumbnails, video: known }: Pick<MediaRouteOptions, 'thumbnails' | 'video'>,
  playables: Pick<Playables, 'media'>,
  { videoUid, isLive, presentation }: Playable,
  query: Query,
): Promise<Buffer | undefined> {
  const { video } = presentation.segments;
  const share = known(videoUid)?.thumbnailPct ?? 0;
  const askedMs = query.time === undefined ? undefined : clipTimeMs(String(query.time));
  const beginsMs = video[0] ? startMs(video[0]) : 0;
  const wantedMs = askedMs ?? beginsMs + share * totalMs(presentation);
  const at = isLive ? video.at(-1) : (video.find((one) => startMs(one) + durationMs(one) > wantedMs) ?? video.at(-1));
  if (!at) return undefined;
  const moment = segmentName(at);
  const subject = isLive ? videoUid : `${videoUid} ${moment}`;
  return thumbnails.jpeg({ subject, size: thumbnailSize(query), moment }, async () => {
    const names = [initName('video', at.period), moment];
    const [init, segment] = await Promise.all(names.map((name) => playables.media(videoUid, name)));
    return init && segment && Buffer.concat([init, segment]);
  });
}

/** Undefined unless one is asked for. Letters, digits, spaces, dots, dashes; it goes into a header. */
function fileName(wanted: unknown): string | undefined {
  if (typeof wanted !== 'string') return undefined;
  const clean = wanted.replace(/[^\w .-]/g, '_').slice(0, 120);
  return clean.endsWith('.mp4') ? clean : `${clean}.mp4`;
}
