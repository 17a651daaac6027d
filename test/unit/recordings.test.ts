import { expect, it } from 'vitest';
import { createRecordings } from '../../cloud/provider/recordings.ts';
import type { ApiCall } from '../../cloud/provider/stream-api.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { createTestClock } from '../support/test-clock.ts';

const playback = { hls: 'https://play.example/v1/manifest/video.m3u8', dash: 'https://play.example/v1/x.mpd' };
const video = {
  uid: 'v1',
  creator: 'relay-1',
  meta: { name: 'glasscast m1abc 28 Nov 26 10:00 UTC' },
  status: { state: 'ready' },
  created: '2026-11-28T10:00:00Z',
  duration: 12.5,
  size: 1000,
  input: { width: 1280, height: 720 },
  playback,
  thumbnail: 'https://play.example/v1/thumbnails/thumbnail.jpg',
};
const live = { ...video, uid: 'v2', status: { state: 'live-inprogress' }, created: '2026-11-28T11:00:00Z' };

function world(videos: unknown = [video], hasPreviewPage = false) {
  const clock = createTestClock();
  const calls: ApiCall[] = [];
  const state = { storageFails: false, deletion: undefined as ErrorCode | undefined };
  const recordings = createRecordings({
    api: {
      async call(asked) {
        calls.push(asked);
        if (asked.method === 'DELETE' && state.deletion) throw new GlasscastError(state.deletion);
        return asked.method === 'GET' ? videos : {};
      },
      close() {},
    },
    inputs: {
      async storageUsage() {
        if (state.storageFails) throw new GlasscastError('PROVIDER_UNREACHABLE');
        return { totalStorageMinutes: 1, totalStorageMinutesLimit: 100, videoCount: 1 };
      },
    },
    ...{ clock, relayId: 'relay-1', keepsRecordings: true, hasPreviewPage },
    userOf: (streamId) => (streamId === 'm1abc' ? 'ada@example.com' : undefined),
  });
  return { clock, calls, recordings, state };
}

it('tells what there is to replay, newest first, whose it is and how much is stored', async () => {
  const { calls, recordings } = world([video, { ...live, duration: -1, size: 0, input: { width: -1, height: -1 } }]);
  const urls = { hlsUrl: playback.hls, dashUrl: playback.dash, thumbnailUrl: video.thumbnail };
  const of = { streamId: 'm1abc', userId: 'ada@example.com', urls };
  expect(await recordings.list()).toEqual({
    recordings: [
      { ...of, uid: 'v2', state: 'live-inprogress', createdAt: '2026-11-28T11:00:00Z', durationSeconds: 0 },
      {
        ...of,
        ...{ uid: 'v1', state: 'ready', createdAt: '2026-11-28T10:00:00Z', durationSeconds: 12.5, sizeBytes: 1000 },
        ...{ widthPx: 1280, heightPx: 720 },
      },
    ],
    keepsRecordings: true,
    storage: { totalStorageMinutes: 1, totalStorageMinutesLimit: 100, videoCount: 1 },
  });
  expect(calls).toEqual([{ method: 'GET', path: '?creator=relay-1&limit=100' }]);
});

it('shows only what this relay has made, whatever the provider answers', async () => {
  const strangers = [
    { ...video, uid: 'a', creator: 'another' },
    { ...video, uid: 'b', creator: null },
    { uid: 'c' },
    7,
  ];
  const kept = { ...video, uid: 'f', meta: { name: 'glasscast m2 <eve@example.com> 2026-11-28T10:00:00Z' } };
  const renamed = { ...video, uid: 'd', meta: { name: 'Holiday' } };
  const { recordings } = world([...strangers, renamed, kept, { ...video, uid: 'e', playback: null }]);
  const { recordings: listed } = await recordings.list();
  expect(listed.map(({ uid, streamId, userId }) => [uid, streamId, userId])).toEqual([
    ['d', undefined, undefined],
    ['f', 'm2', 'eve@example.com'],
  ]);
  await expect(recordings.remove('a')).rejects.toMatchObject({ code: 'RECORDING_NOT_FOUND' });
  await expect(world('nonsense').recordings.list()).rejects.toMatchObject({ code: 'PROVIDER_FAILED' });
});

it('asks once for all who look within a few seconds, and is fine without the storage', async () => {
  const { calls, clock, recordings, state } = world();
  state.storageFails = true;
  const [first] = await Promise.all([recordings.list(), recordings.list()]);
  expect(first).not.toHaveProperty('storage');
  await clock.advance(2_900);
  await recordings.list();
  expect(calls.length).toBe(1);
  await clock.advance(200);
  await recordings.list();
  expect(calls.length).toBe(2);
});

it('deletes what is over, and looks anew afterwards', async () => {
  const { calls, recordings, state } = world([video, live]);
  await expect(recordings.remove('v2')).rejects.toMatchObject({ code: 'RECORDING_LIVE', http: 409 });
  await recordings.remove('v1');
  expect(calls.map(({ method, path }) => [method, path])[1]).toEqual(['DELETE', '/v1']);
  await recordings.list();
  expect(calls.length).toBe(3);
  for (const [theirs, ours] of [
    ['PROVIDER_CONFLICT', 'RECORDING_LIVE'],
    ['LIVE_INPUT_NOT_FOUND', 'RECORDING_NOT_FOUND'],
    ['PROVIDER_FAILED', 'PROVIDER_FAILED'],
  ] as const) {
    state.deletion = theirs;
    await expect(recordings.remove('v1')).rejects.toMatchObject({ code: ours });
  }
});

it('names the player page where there is one', async () => {
  const { recordings } = await world([video], true).recordings.list();
  expect(recordings[0]?.urls.previewUrl).toBe('https://play.example/v1/iframe');
});
