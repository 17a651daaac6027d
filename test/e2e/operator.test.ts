/** What the console shows and does, at a real relay with a local Stream: outputs, timelines, history, recordings. */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { RecordingList } from '../../cloud/provider/recordings.ts';
import type { EndedStream } from '../../cloud/streams/stream-history.ts';
import type { TimelineEntry } from '../../cloud/streams/stream-story.ts';
import type { StreamSnapshot } from '../../cloud/streams/stream-views.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { probe } from '../support/ffprobe.ts';
import { until } from '../support/local-stream-world.ts';
import { createRelayWorld, type RelayWorld } from '../support/relay-world.ts';
import { startRtmpSink } from '../support/rtmp-sink.ts';

const USER = 'ada-o@example.com';
const PATH = `/api/users/${USER}/managed-stream`;

async function world(keepRecordings: boolean): Promise<RelayWorld> {
  const made = await createRelayWorld({ restreamPrivateTargets: true, keepRecordings }, { outputPrivateTargets: true });
  onTestFinished(async () => expect(await made.close()).toEqual([]));
  return made;
}
const streamOf = async ({ rest }: RelayWorld) =>
  (await rest<{ streams: StreamSnapshot[] }>('GET', '/api/streams')).streams[0];
const becomes = (relay: RelayWorld, state: StreamSnapshot['state'] | undefined) =>
  until(async () => (await streamOf(relay))?.state === state);
const timelineOf = async ({ rest }: RelayWorld, streamId: string) =>
  (await rest<{ entries: TimelineEntry[] }>('GET', `/api/streams/${streamId}/timeline`)).entries;

describe('an operator', () => {
  it('adds an output while live, sees it arrive, and takes it away', async () => {
    const relay = await world(false);
    const glasses = await relay.glasses(USER);
    const [first, second] = [await startRtmpSink(), await startRtmpSink()];
    onTestFinished(() => Promise.all([first.close(), second.close()]).then(() => {}));
    const urlOf = (port: number) => `rtmp://127.0.0.1:${port}/live/the-operators-key`;
    await relay.rest('POST', PATH, { outputs: [{ url: urlOf(first.port), name: 'From the start' }] });
    await becomes(relay, 'active');
    const added = await relay.rest<{ status: number; outputId: string }>('POST', `${PATH}/outputs`, {
      url: urlOf(second.port),
    });
    for (const sink of [first, second]) await sink.until(() => sink.tags.some(({ kind }) => kind === 'video'));
    await until(async () => (await streamOf(relay))?.outputs.every(({ status }) => status === 'active'));
    const stream = await streamOf(relay);
    expect(stream?.outputs).toEqual([
      expect.objectContaining({ url: `rtmp://127.0.0.1:${first.port}`, name: 'From the start' }),
      expect.objectContaining({ url: `rtmp://127.0.0.1:${second.port}`, addedBy: 'glasscast.console' }),
    ]);
    const deleted = await relay.rest('DELETE', `${PATH}/outputs/${stream?.outputs[1]?.outputId}`);
    expect(deleted.status).toBe(204);
    expect((await streamOf(relay))?.outputs).toHaveLength(1);
    const texts = (await timelineOf(relay, stream?.streamId ?? '')).map(({ text }) => text);
    expect(texts).toContain(`Output rtmp://127.0.0.1:${second.port}: the picture arrives`);
    expect(texts.at(-1)).toBe(`Output rtmp://127.0.0.1:${second.port} removed`);
    expect([JSON.stringify([stream, texts]), ...relay.logLines].join()).not.toContain('the-operators-key');
    expect(added.outputId).toBe(stream?.outputs[1]?.outputId);
    await glasses.close();
  });

  it('sees why a stream broke off and came back, and where to watch it meanwhile', async () => {
    const relay = await world(false);
    const glasses = await relay.glasses(USER);
    await relay.rest('POST', PATH, {});
    await becomes(relay, 'active');
    const before = await streamOf(relay);
    const { streamId = '', playback } = before ?? {};
    const base = playback?.hlsUrl.replace('/manifest/video.m3u8', '');
    expect(playback).toMatchObject({
      llHlsUrl: `${base}/manifest/video.m3u8?protocol=llhls`,
      flvUrl: `${base}/live.flv`,
      webrtcUrl: `${base}/webRTC/play`,
      thumbnailUrl: `${base}/thumbnails/thumbnail.jpg`,
    });
    const notice = { code: 'UPLINK_NARROW', text: 'The picture is smaller', numbers: { videoBitrateBps: 300_000 } };
    glasses.status({ status: 'streaming', streamId, notice, temperatureC: 61.5 });
    await until(async () => (await streamOf(relay))?.temperatureC === 61.5);
    glasses.status({ status: 'reconnecting', streamId, errorCode: 'INGEST_DROPPED', errorDetails: 'cut by the test' });
    await becomes(relay, 'interrupted');
    const meanwhile = await streamOf(relay);
    expect(meanwhile).toMatchObject({ playback });
    expect(meanwhile).not.toHaveProperty('urls');
    await glasses.disconnect();
    await glasses.connect();
    glasses.status({ status: 'streaming', streamId });
    await becomes(relay, 'active');
    const entries = await timelineOf(relay, streamId);
    expect(entries).toEqual([...entries].sort((a, b) => a.atMs - b.atMs));
    expect(entries.find(({ kind }) => kind === 'notice')).toMatchObject(notice);
    const cause = entries.find(({ kind }) => kind === 'trouble');
    expect(cause).toMatchObject({ code: 'INGEST_DROPPED', source: 'network', text: 'cut by the test' });
    expect(entries.find(({ state }) => state === 'interrupted')).toMatchObject({
      ...{ text: 'The glasses are reconnecting', because: cause?.id },
    });
    expect(entries.filter(({ kind }) => kind === 'glasses')).toHaveLength(2);
    expect(entries.at(-1)?.numbers?.interruptedMs).toBeGreaterThan(0);
    await glasses.close();
  });

  it('replays what was kept, after the stream and its input are gone, and deletes it', async () => {
    const relay = await world(true);
    const glasses = await relay.glasses(USER);
    await relay.rest('POST', PATH, {});
    await becomes(relay, 'active');
    const { streamId = '' } = (await streamOf(relay)) ?? {};
    const list = () => relay.rest<RecordingList & { status: number }>('GET', '/api/recordings');
    const [live] = (await list()).recordings;
    expect(live).toMatchObject({ streamId, userId: USER, state: 'live-inprogress' });
    expect(await relay.rest('DELETE', `/api/recordings/${live?.uid}`)).toMatchObject({
      ...{ status: 409, error: 'RECORDING_LIVE' },
    });
    await relay.clock.sleep(2_000);
    await relay.rest('DELETE', PATH);
    await becomes(relay, undefined);
    await until(async () => ((await relay.providerCall('/live_inputs')) as unknown[]).length === 0);
    await until(async () => (await list()).recordings[0]?.state === 'ready');
    const { recordings, keepsRecordings, storage } = await list();
    expect([recordings.length, keepsRecordings, storage?.videoCount]).toEqual([1, true, expect.any(Number)]);
    expect(recordings[0]).toMatchObject({ uid: live?.uid, streamId, userId: USER, widthPx: 320, heightPx: 240 });
    expect(recordings[0]?.durationSeconds).toBeGreaterThan(1);
    await expectPlayable(recordings[0]?.urls.hlsUrl ?? '');
    const { streams } = await relay.rest<{ streams: EndedStream[] }>('GET', '/api/streams/history');
    expect(streams).toMatchObject([{ streamId, state: 'stopped', endedAt: expect.any(String) }]);
    expect((await timelineOf(relay, streamId)).at(-1)).toMatchObject({ state: 'stopped' });
    await relay.restart();
    expect((await list()).recordings).toMatchObject([{ uid: live?.uid, streamId, userId: USER }]);
    expect((await relay.rest('DELETE', `/api/recordings/${live?.uid}`)).status).toBe(204);
    expect((await list()).recordings).toEqual([]);
    expect(await relay.leftovers()).toEqual([]);
    await glasses.close();
  });
});

async function expectPlayable(hlsUrl: string): Promise<void> {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const media = await probe(children.spawn, hlsUrl);
  expect(media.streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
  await children.close();
}
