/** Restream outputs with real media: ffmpeg into the local Stream, on to destinations that die, stall and come back. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { flvHeader, flvTagBytes, isKeyFrame, isMetadata, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { probe } from '../support/ffprobe.ts';
import { createLocalStreamWorld, type InputJson, temporaryFolder, until } from '../support/local-stream-world.ts';
import { createRelayWorld, type Frame, type RelayWorld } from '../support/relay-world.ts';
import { type RtmpSink, type RtmpSinkBehaviour, type SinkTag, startRtmpSink } from '../support/rtmp-sink.ts';

interface OutputJson {
  uid: string;
  enabled: boolean;
  status?: { current: { state: string; reason?: string } };
}

async function sinkWith(behaviour: RtmpSinkBehaviour = {}): Promise<RtmpSink> {
  const sink = await startRtmpSink(behaviour);
  onTestFinished(() => sink.close());
  return sink;
}
/** Coded pictures: neither the decoder's configuration (0) nor the end of the sequence (2). */
const pictures = (sink: RtmpSink, connection?: number) =>
  sink.tags.filter(
    ({ kind, body, connection: from }) =>
      kind === 'video' && body[1] === 1 && (connection === undefined || from === connection),
  );
/** Resolves once so many more pictures have arrived. */
function more(sink: RtmpSink, count: number, connection?: number): Promise<void> {
  const goal = pictures(sink, connection).length + count;
  return sink.until(() => pictures(sink, connection).length >= goal);
}
/** Pictures that are missing between the first and the last, at 30 a second. */
function missing(tags: readonly SinkTag[]): number {
  const times = tags.map(({ timestampMs }) => timestampMs);
  return times.reduce(
    (sum, time, n) => (n === 0 ? 0 : sum + Math.round((time - (times[n - 1] ?? 0)) / (1000 / 30)) - 1),
    0,
  );
}
/** Every connection begins with what a decoder needs, and its first picture is a key frame. */
function expectFreshStart(sink: RtmpSink, connection: number): void {
  const own = sink.tags.filter((tag) => tag.connection === connection);
  const first = own.findIndex((tag) => tag.kind === 'video' && !isSequenceHeader(tag));
  const before = own.slice(0, first);
  expect(own[first] && isKeyFrame(own[first])).toBe(true);
  expect(before.some(isMetadata)).toBe(true);
  expect(before.some((tag) => tag.kind === 'video' && isSequenceHeader(tag))).toBe(true);
  expect(own.find((tag) => tag.kind === 'audio' && isSequenceHeader(tag))).toBeDefined();
}

async function world() {
  const stream = await createLocalStreamWorld({ outputPrivateTargets: true });
  const input = await stream.createInput(1);
  const path = `/live_inputs/${input.uid}/outputs`;
  const list = async () => (await stream.call<OutputJson[]>('GET', path)).result;
  return {
    ...stream,
    input,
    async add(sink: { port: number }, key: string): Promise<string> {
      const url = `rtmp://127.0.0.1:${sink.port}/live`;
      return (await stream.call<OutputJson>('POST', path, { url, streamKey: key })).result.uid;
    },
    switch: (uid: string, enabled: boolean) => stream.call('PUT', `${path}/${uid}`, { enabled }),
    remove: (uid: string) => stream.call('DELETE', `${path}/${uid}`),
    output: async (uid: string) => (await list()).find((output) => output.uid === uid),
    /** Resolves when the API says so. */
    says: (uid: string, state: string | undefined) =>
      until(async () => (await list()).find((output) => output.uid === uid)?.status?.current.state === state),
  };
}
type World = Awaited<ReturnType<typeof world>>;
const publish = ({ push, input }: World) => push(input as InputJson, { size: '320x240' });

describe('outputs of the local Stream', () => {
  it('give each destination the media as it is, from a key frame on, and end with the broadcast', async () => {
    const local = await world();
    const [first, second] = [await sinkWith(), await sinkWith()];
    const uid = await local.add(first, 'first-key');
    expect(await local.output(uid)).not.toHaveProperty('status');
    const ffmpeg = publish(local);
    await more(first, 30);
    const late = await local.add(second, 'second-key');
    await Promise.all([more(first, 60), more(second, 45)]);
    for (const output of [uid, late]) await local.says(output, 'connected');
    for (const sink of [first, second]) {
      expectFreshStart(sink, 1);
      expect(missing(pictures(sink))).toBe(0);
    }
    expect(first.commands.find(({ name }) => name === 'publish')?.values).toContain('first-key');
    await ffmpeg.stop();
    await local.call('PUT', `/live_inputs/${local.input.uid}`, { enabled: false });
    await Promise.all([first, second].map((sink) => sink.until(() => hasEnded(sink))));
    await local.says(uid, 'disconnected');

    for (const sink of [first, second]) {
      const file = join(temporaryFolder(), 'arrived.flv');
      writeFileSync(file, Buffer.concat([flvHeader({ audio: true, video: true }), ...sink.tags.map(flvTagBytes)]));
      const { streams, complaints } = await probe(local.spawn, file, { countFrames: true });
      expect(complaints).toBe('');
      expect(streams.find(({ codec_type }) => codec_type === 'audio')).toMatchObject({ codec_name: 'aac' });
      const video = streams.find(({ codec_type }) => codec_type === 'video');
      expect(video).toMatchObject({ codec_name: 'h264', width: 320, height: 240 });
      expect(Number(video?.nb_read_frames)).toBe(pictures(sink).length);
    }
  });

  it('keep a destination that is killed, stalls or is never there from the others', async () => {
    const local = await world();
    const [good, bad] = [await sinkWith(), await sinkWith()];
    const closed = await sinkWith();
    await closed.close();
    const refusing = await sinkWith({ refuseCode: 'NetStream.Publish.BadName' });
    const [goodUid, badUid] = [await local.add(good, 'good'), await local.add(bad, 'bad')];
    const [deadUid, refusedUid] = [await local.add(closed, 'dead'), await local.add(refusing, 'refused')];
    publish(local);
    await Promise.all([more(good, 30), more(bad, 30)]);
    await local.says(refusedUid, 'error');
    expect((await local.output(refusedUid))?.status?.current.reason).toBe('INGEST_REFUSED_KEY');
    expect((await local.output(deadUid))?.status?.current).toEqual({
      state: 'connecting',
      reason: 'INGEST_UNREACHABLE',
    });

    const stopped = bad.stopListening();
    bad.reset();
    await stopped;
    await local.says(badUid, 'reconnecting');
    await more(good, 45);
    await bad.listen();
    await local.says(badUid, 'connected');
    await more(bad, 30, bad.connections);
    expectFreshStart(bad, bad.connections);

    bad.wedge();
    await more(good, 90);
    expect(missing(pictures(good))).toBe(0);
    expect(good.connections).toBe(1);
    await local.says(goodUid, 'connected');
  });

  it('are switched off and on and removed within a second, each for itself', async () => {
    const local = await world();
    const [one, other] = [await sinkWith(), await sinkWith()];
    const [uid, otherUid] = [await local.add(one, 'one'), await local.add(other, 'other')];
    publish(local);
    await Promise.all([more(one, 15), more(other, 15)]);
    const within = async (work: () => Promise<unknown>) => {
      const startedMs = performance.now();
      await work();
      return performance.now() - startedMs;
    };
    const offMs = await within(async () => {
      await local.switch(uid, false);
      await one.until(() => hasEnded(one));
    });
    expect((await local.output(uid))?.status?.current.state).toBe('disconnected');
    const arrived = one.tags.length;
    await more(other, 15);
    expect(one.tags.length).toBe(arrived);
    const onMs = await within(async () => {
      await local.switch(uid, true);
      await more(one, 1, 2);
    });
    expectFreshStart(one, 2);
    const goneMs = await within(async () => {
      await local.remove(uid);
      await one.until(() => one.commands.filter(({ name }) => name === 'deleteStream').length === 2);
    });
    expect(await local.output(uid)).toBeUndefined();
    expect(Math.max(offMs, onMs, goneMs)).toBeLessThan(1_000);
    await more(other, 15);
    expect(missing(pictures(other))).toBe(0);
    await local.says(otherUid, 'connected');
  });

  it('stay connected over a publisher that comes back, on a timeline that goes on', async () => {
    const local = await world();
    const sink = await sinkWith();
    await local.add(sink, 'key');
    const ffmpeg = publish(local);
    await more(sink, 45);
    await ffmpeg.stop();
    // A new encoder, whose time begins at zero.
    publish(local);
    await more(sink, 45);
    expect(sink.connections).toBe(1);
    const times = sink.tags.filter(({ kind }) => kind === 'video').map(({ timestampMs }) => timestampMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  it('push to nobody inside unless that is allowed, whatever the API was told', async () => {
    const stream = await createLocalStreamWorld();
    const input = await stream.createInput(1);
    const sink = await sinkWith();
    const path = `/live_inputs/${input.uid}/outputs`;
    for (const host of ['127.0.0.1', 'localhost', '127.1']) {
      await stream.call('POST', path, { url: `rtmp://${host}:${sink.port}/live`, streamKey: 'key' });
    }
    stream.push(input, { size: '320x240' });
    const reasons = async () =>
      (await stream.call<OutputJson[]>('GET', path)).result.map(({ status }) => status?.current.reason);
    await until(async () => (await reasons()).every((reason) => reason === 'DESTINATION_FORBIDDEN'));
    expect(sink.connections).toBe(0);
  });
});

function hasEnded(sink: RtmpSink): boolean {
  return sink.commands.some(({ name }) => name === 'deleteStream');
}

describe('outputs over the relay', () => {
  const USER = 'ada@example.com';
  async function watching(relay: RelayWorld, destinations: { url: string; name?: string }[]) {
    const glasses = await relay.glasses(USER);
    const [owner, guest] = [await relay.app('com.example.owner'), await relay.app('com.example.guest')];
    for (const app of [owner, guest]) await relay.rest('POST', `/api/apps/${app.packageName}/start`, { userId: USER });
    owner.send({ type: 'managed_stream_request', restreamDestinations: destinations });
    const active = await owner.inbox.take('active', (frame) => frame.status === 'active');
    guest.send({ type: 'managed_stream_request' });
    await guest.inbox.take('join', (frame) => frame.status === 'active');
    const base = `${relay.url}/api/streams/${active.streamId}/outputs`;
    async function ask(app: typeof owner, method: string, path = '', body: object = {}) {
      const { apiKey, packageName } = app;
      const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };
      const query = method === 'GET' ? `?packageName=${packageName}` : '';
      const response = await fetch(base + path + query, {
        ...{ method, headers },
        ...(method === 'GET' ? {} : { body: JSON.stringify({ packageName, ...body }) }),
      });
      const answer = (await response.json()) as Record<string, unknown>;
      return { ...answer, status: response.status } as Record<string, unknown>;
    }
    return { owner, guest, glasses, ask, active };
  }
  type Status = { url: string; status: string; name?: string; error?: string };
  const outputsOf = (frame: Frame) => (frame.outputs ?? []) as Status[];
  /** The next status whose outputs go like this. */
  const taking = (words: string[]) => (frame: Frame) =>
    frame.status === 'active' && String(outputsOf(frame).map(({ status }) => status)) === String(words);

  it('push from the start and live, are told as they go, and show their keys to their owner alone (defects 28, 29)', async () => {
    const relay = await createRelayWorld({ restreamPrivateTargets: true }, { outputPrivateTargets: true });
    onTestFinished(async () => expect(await relay.close()).toEqual([]));
    const [first, second] = [await sinkWith(), await sinkWith()];
    const urlOf = (sink: RtmpSink, key: string) => `rtmp://127.0.0.1:${sink.port}/live/${key}`;
    const url = urlOf(first, 'the-first-key?token=the-query');
    const bad = 'rtmp://127.0.0.1:25/live/the-forbidden-key';
    const { owner, guest, ask } = await watching(relay, [{ url, name: 'One' }, { url: bad }]);
    const host = `rtmp://127.0.0.1:${first.port}`;

    const refused = { status: 'error', error: expect.stringContaining('does not push to that address') };
    // It may have been connected by the first `active`.
    const connected = (app: typeof owner) => until(async () => app.inbox.frames.find(taking(['active', 'error'])));
    expect((await connected(owner)).outputs).toEqual([
      { url, name: 'One', status: 'active' },
      { url: bad, ...refused },
    ]);
    expect((await connected(guest)).outputs).toEqual([
      { url: host, name: 'One', status: 'active' },
      { url: 'rtmp://127.0.0.1:25', ...refused },
    ]);
    await more(first, 10);
    expect(first.commands.find(({ name }) => name === 'publish')?.values).toContain('the-first-key?token=the-query');

    const secondUrl = urlOf(second, 'the-second-key');
    const added = await ask(guest, 'POST', '', { url: secondUrl, name: 'Two' });
    expect(added).toMatchObject({ status: 200, success: true, message: 'Output added successfully' });
    expect(await ask(owner, 'POST', '', { url: secondUrl })).toMatchObject({ status: 409, error: 'DUPLICATE_URL' });
    await more(second, 10);
    for (const app of [owner, guest]) {
      const updated = await app.inbox.take('three outputs', taking(['active', 'error', 'active']));
      expect(updated).toMatchObject({ message: 'Outputs updated', hlsUrl: expect.any(String) });
    }
    expect(await ask(owner, 'GET')).toMatchObject({ total: 3, maxPerStream: 10, maxPerApp: 10 });

    const told = owner.inbox.frames.length;
    const stopped = second.stopListening();
    second.reset();
    await stopped;
    const toldLater = (words: string[]) => until(async () => owner.inbox.frames.slice(told).find(taking(words)));
    await toldLater(['active', 'error', 'stopped']);
    await second.listen();
    await toldLater(['active', 'error', 'active']);

    expect(await ask(owner, 'DELETE', `/${added.outputId}`)).toMatchObject({ status: 403, error: 'NOT_AUTHORIZED' });
    expect(await ask(guest, 'DELETE', `/${added.outputId}`)).toMatchObject({ status: 200, success: true });
    await second.until(() => hasEnded(second));
    await toldLater(['active', 'error']);
    await more(first, 10);
    expect(first.connections).toBe(1);

    for (const app of [owner, guest]) app.send({ type: 'managed_stream_stop' });
    await first.until(() => hasEnded(first));
    const keys = /the-(first|second|forbidden)-key|the-query/;
    const own = (app: typeof owner, key: RegExp) => JSON.stringify(app.inbox.frames).match(key);
    expect(own(guest, /the-(first|forbidden)-key/)).toBeNull();
    expect(own(owner, /the-second-key/)).toBeNull();
    expect(relay.logLines.filter((line) => keys.test(line))).toEqual([]);
  });

  it('go on over a restart of the relay: the destination notices nothing, the owner still owns', async () => {
    const relay = await createRelayWorld({ restreamPrivateTargets: true }, { outputPrivateTargets: true });
    onTestFinished(async () => expect(await relay.close()).toEqual([]));
    const sink = await sinkWith();
    const url = `rtmp://127.0.0.1:${sink.port}/live/the-stream-key`;
    const { owner, guest, glasses, ask } = await watching(relay, [{ url, name: 'One' }]);
    await more(sink, 10);
    const [before] = (await ask(owner, 'GET')).outputs as { outputId: string }[];
    await relay.restart({ keepStreams: true });
    const heard = owner.inbox.frames.length;
    await Promise.all([
      glasses.connect(),
      ...[owner, guest].map((app) =>
        app.connect(`${relay.wsUrl}/app-ws`, String(app.webhooks.frames.at(-1)?.sessionId)),
      ),
    ]);
    const told = await until(async () =>
      owner.inbox.frames.slice(heard).find((frame) => outputsOf(frame)[0]?.status === 'active'),
    );
    expect(outputsOf(told)).toEqual([{ url, name: 'One', status: 'active' }]);
    await more(sink, 10);
    expect(sink.connections).toBe(1);
    const [after] = (await ask(owner, 'GET')).outputs as { outputId: string }[];
    expect(after).toMatchObject({ outputId: before?.outputId, url, name: 'One', status: 'connected' });
    expect(await ask(guest, 'DELETE', `/${after?.outputId}`)).toMatchObject({ status: 403 });
    expect(await ask(owner, 'DELETE', `/${after?.outputId}`)).toMatchObject({ status: 200 });
    await sink.until(() => hasEnded(sink));
    expect(relay.logLines.filter((line) => line.includes('the-stream-key'))).toEqual([]);
  });

  it('refuse an address inside by default, at the start and live, and let the stream be', async () => {
    const relay = await createRelayWorld();
    onTestFinished(async () => expect(await relay.close()).toEqual([]));
    const sink = await sinkWith();
    const inside = `rtmp://127.0.0.1:${sink.port}/live/key`;
    const { owner, active, ask } = await watching(relay, [{ url: inside }]);
    const told = outputsOf(active)[0] ?? outputsOf(await owner.inbox.take('outputs', taking(['error'])))[0];
    expect(told).toMatchObject({ url: inside, status: 'error', error: expect.stringContaining('public internet') });
    const url = `rtmp://localhost:${sink.port}/live/other`;
    expect(await ask(owner, 'POST', '', { url })).toMatchObject({ status: 400, error: 'DESTINATION_FORBIDDEN' });
    expect(sink.connections).toBe(0);
  });
});
