/** The API's videos, the tokens that stand in for them, and the keys that sign those. Every rule lies in the library and with the tokens. */
import type { FastifyInstance } from 'fastify';
import * as z from 'zod';
import { type PlaybackTokens, tokenRequest } from '../playback/playback-tokens.ts';
import { type Video, videoBody, videoJson } from '../recordings/video.ts';
import type { VideoLibrary } from '../recordings/video-library.ts';
import { fail, failures, succeed, wrongFields } from './envelope.ts';
import { isoTime, type PublicAddresses } from './live-input.ts';
import type { LiveInputRegistry } from './live-input-registry.ts';

export interface VideoRoutesOptions {
  registry: Pick<LiveInputRegistry, 'get'>;
  library: Pick<VideoLibrary, 'list' | 'get' | 'edit' | 'remove'>;
  tokens: Pick<PlaybackTokens, 'sign' | 'createKey' | 'keys' | 'removeKey'>;
  addresses: () => PublicAddresses;
  /** @param creator of these recordings alone. */
  storageUsage: (creator?: string) => StorageUsage;
}

export interface StorageUsage {
  totalStorageMinutes: number;
  totalStorageMinutesLimit: number;
  videoCount: number;
}

type VideoRoute = { Params: { uid: string } };

const yesNo = z.enum(['true', 'false']).optional();
const time = z.iso.datetime({ offset: true }).optional();

/** Times bound `created`, the newest first unless `asc`. */
const videoQuery = z.object({
  /** One, or several with commas between. */
  id: z.string().optional(),
  name: z.string().optional(),
  video_name: z.string().optional(),
  search: z.string().optional(),
  live_input_id: z.string().optional(),
  status: z
    .enum(['pendingupload', 'downloading', 'queued', 'inprogress', 'ready', 'error', 'live-inprogress'])
    .optional(),
  type: z.enum(['vod', 'live']).optional(),
  creator: z.string().optional(),
  ...{ start: time, after: time, end: time, before: time },
  asc: yesNo,
  include_counts: yesNo,
  limit: z.coerce.number().int().min(1).max(1000).default(1000),
});

function isWanted(video: Video, query: z.output<typeof videoQuery>): boolean {
  const from = query.after ?? query.start;
  const to = query.before ?? query.end;
  const name = String(video.meta.name ?? '');
  const isOneOf = (list: string | undefined, ...values: string[]) =>
    list === undefined || list.split(',').some((one) => values.includes(one.trim()));
  const isLive = video.state === 'live-inprogress';
  return (
    isOneOf(query.id, video.uid) &&
    isOneOf(query.name, name, video.uid) &&
    (query.video_name === undefined || name === query.video_name) &&
    (query.search === undefined || name.toLowerCase().includes(query.search.toLowerCase())) &&
    (query.live_input_id === undefined || video.liveInputUid === query.live_input_id) &&
    (query.status === undefined || video.state === query.status) &&
    (query.type === undefined || isLive === (query.type === 'live')) &&
    (query.creator === undefined || video.creator === query.creator) &&
    (from === undefined || video.createdMs >= Date.parse(from)) &&
    (to === undefined || video.createdMs < Date.parse(to))
  );
}

export function videoRoutes(app: FastifyInstance, options: VideoRoutesOptions): void {
  const { library, registry, tokens, addresses, storageUsage } = options;
  const shown = (video: Video) => videoJson(video, addresses().httpOrigin);
  app.get('/', (request, reply) => {
    const query = videoQuery.safeParse(request.query);
    if (!query.success) return fail(reply, failures.badBody, wrongFields(query.error));
    const wanted = library.list().filter((video) => isWanted(video, query.data));
    if (query.data.asc === 'true') wanted.reverse();
    const listed = wanted.slice(0, query.data.limit);
    const counts = query.data.include_counts === 'true' ? { range: listed.length, total: wanted.length } : {};
    return reply.send(succeed(listed.map(shown), counts));
  });
  app.get<{ Querystring: { creator?: string | string[] } }>('/storage-usage', ({ query: { creator } }, reply) => {
    if (Array.isArray(creator)) return fail(reply, failures.badBody, 'creator: one at a time');
    return reply.send(succeed({ ...storageUsage(creator), ...(creator === undefined ? {} : { creator }) }));
  });
  app.get<VideoRoute>('/:uid', ({ params }, reply) => {
    const video = library.get(params.uid);
    return video ? reply.send(succeed(shown(video))) : fail(reply, failures.notFound);
  });
  app.post<VideoRoute>('/:uid', ({ params, body }, reply) => {
    const wanted = videoBody.safeParse(body ?? {});
    if (!wanted.success) return fail(reply, failures.badBody, wrongFields(wanted.error));
    const video = library.edit(params.uid, wanted.data);
    if (!video) return fail(reply, failures.notFound);
    return 'wrong' in video ? fail(reply, failures.badBody, video.wrong) : reply.send(succeed(shown(video)));
  });
  app.delete<VideoRoute>('/:uid', async ({ params }, reply) => {
    const removed = await library.remove(params.uid);
    if (removed === undefined) return fail(reply, failures.notFound);
    if (!removed) return fail(reply, failures.stillLive);
    return reply.send(succeed({}));
  });
  app.post<VideoRoute>('/:uid/token', async ({ params: { uid }, body }, reply) => {
    const request = tokenRequest.safeParse(body ?? {});
    if (!request.success) return fail(reply, failures.badBody, wrongFields(request.error));
    if (!library.get(uid) && !registry.get(uid)) return fail(reply, failures.notFound);
    const signed = await tokens.sign(uid, request.data);
    return 'refused' in signed ? fail(reply, failures.badBody, signed.refused) : reply.send(succeed(signed));
  });
}

export function signingKeyRoutes(app: FastifyInstance, { tokens }: Pick<VideoRoutesOptions, 'tokens'>): void {
  app.get('/keys', (_, reply) =>
    reply.send(succeed(tokens.keys().map(({ id, createdMs }) => ({ id, created: isoTime(createdMs) })))),
  );
  app.post('/keys', async (_, reply) => {
    const key = await tokens.createKey();
    if (key === 'too-many') return fail(reply, failures.tooManyOfThem);
    const { id, pem, jwk, createdMs } = key;
    return reply.send(succeed({ id, pem, jwk, created: isoTime(createdMs) }));
  });
  app.delete<{ Params: { id: string } }>('/keys/:id', ({ params }, reply) =>
    tokens.removeKey(params.id) ? reply.send(succeed('ok')) : fail(reply, failures.notFound),
  );
}

const NO_UPLOADS = 'the local Stream records live inputs; uploads, and what is made of them, are not offered';

/** What the real one does with uploads: said as such, not as a video that is missing. */
export function uploadRoutes(app: FastifyInstance): void {
  const paths = ['/direct_upload', '/copy', '/clip', '/watermarks', '/watermarks/:id'];
  const ofVideos = ['captions', 'captions/*', 'downloads', 'downloads/*', 'audio', 'audio/*', 'embed'];
  for (const path of [...paths, ...ofVideos.map((rest) => `/:uid/${rest}`)]) {
    app.all(path, (_, reply) => fail(reply, failures.noRoute, NO_UPLOADS));
  }
  app.post('/', (_, reply) => fail(reply, failures.noRoute, NO_UPLOADS));
}
