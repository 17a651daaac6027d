/** Two publishers on one key, publishers that die, keys that are changed: what viewers see stays whole, and the dead are gone in seconds. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createLiveFeed } from '../../cloud/local-stream/live-feed.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { type FlvTag, flvHeader, flvTagBytes, isKeyFrame } from '../../shared/rtmp/flv.ts';
import { ffmpegs } from '../support/ffprobe.ts';
import { eventually, pictures, pushArgs, type Run, run, watchArgs } from '../support/ingest-publishers.ts';
import { createIngestWorld, type IngestWorld, testTls } from '../support/ingest-world.ts';
import { createLocalStreamWorld, type InputJson, temporaryFolder } from '../support/local-stream-world.ts';
import { connectRtmp, media } from '../support/rtmp-peer.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { testCertificate } from '../support/test-certificate.ts';

const ffmpeg = ffmpegs()[0]?.file ?? 'ffmpeg';

/** Started again some time after its end, until told to stop. */
function forEver(args: string[], pauseMs: number): { starts: () => number; stop: () => Promise<void> } {
  const clock = createSystemClock();
  let starts = 0;
  let isStopped = false;
  let current: Run | undefined;
  async function go(): Promise<void> {
    while (!isStopped) {
      starts += 1;
      current = run(ffmpeg, args);
      await current.child.exited;
      if (!isStopped) await clock.sleep(pauseMs);
    }
  }
  const going = go();
  return {
    starts: () => starts,
    async stop() {
      isStopped = true;
      await current?.child.stop();
      await going;
    },
  };
}

/** A viewer of the live feed of input `a`, as the low-latency addresses use it. */
function feedViewer(world: IngestWorld): { tags: FlvTag[]; isEnded: () => boolean } {
  const feed = createLiveFeed({ clock: createSystemClock() });
  onTestFinished(() => feed.close());
  const tags: FlvTag[] = [];
  let isEnded = false;
  const viewer = {
    tag: (tag: FlvTag) => void tags.push(tag),
    ended() {
      isEnded = true;
    },
  };
  let publicationId = '';
  world.onTag = (inputUid, id, tag) => {
    if (id !== publicationId) {
      const isFirst = publicationId === '';
      if (!isFirst) feed.unpublished({ inputUid, publicationId });
      feed.published({ inputUid, publicationId: id });
      if (isFirst) feed.join(inputUid, viewer);
      publicationId = id;
    }
    feed.tag(inputUid, id, tag);
  };
  return { tags, isEnded: () => isEnded };
}

describe('two publishers that both come back for ever', () => {
  it('cost their viewers no broken picture: RTMP and live feed decode without an error', async () => {
    const world = await createIngestWorld(createSystemClock());
    const viewer = feedViewer(world);
    const target = `rtmp://127.0.0.1:${world.port}/live/key-a`;
    const first = forEver(pushArgs(target), 1500);
    await world.tag(isKeyFrame);
    const plain = await world.player('watch-a');
    const second = forEver(pushArgs(target, { picture: 'testsrc' }), 1900);
    await eventually(() => first.starts() >= 3 && second.starts() >= 3 && viewer.tags.length > 150);
    expect(plain.socket.closed).toBe(false);
    expect(viewer.isEnded()).toBe(false);
    await Promise.all([first.stop(), second.stop()]);

    const rtmpTags = plain.received.flatMap(({ type, timestampMs, body }): FlvTag[] =>
      type === 9 ? [{ kind: 'video', timestampMs, body }] : [],
    );
    for (const seen of [viewer.tags, rtmpTags]) {
      const sent = seen.filter(({ kind, body }) => kind === 'video' && body[1] === 1).length;
      expect(sent).toBeGreaterThan(50);
      expect(await decoded(seen)).toBe(sent);
      // Whoever plays stops at time that steps back.
      const times = seen.filter(({ kind }) => kind === 'video').map(({ timestampMs }) => timestampMs);
      expect(times.every((time, index) => time >= (times[index - 1] ?? 0))).toBe(true);
    }
  });
});

/** Every picture that was decoded, whatever its time: two that share one would count once. */
const passthrough = ['-vf', 'setpts=N/30/TB', '-vsync', 'passthrough'];

/** How many pictures a decoder that forgives nothing makes of them. */
async function decoded(tags: readonly FlvTag[]): Promise<number> {
  const file = join(temporaryFolder(), 'seen.flv');
  const shown = tags.filter(({ kind }) => kind === 'video');
  writeFileSync(file, Buffer.concat([flvHeader({ audio: false, video: true }), ...shown.map(flvTagBytes)]));
  const watch = run(ffmpeg, watchArgs(file, { after: passthrough }));
  expect((await watch.child.exited).code).toBe(0);
  expect(watch.stderr).toEqual([]);
  return pictures(watch).length;
}

describe('a dead publisher', () => {
  it('frozen by SIGSTOP is gone in seconds, and its viewers stay', async () => {
    const world = await createIngestWorld(createSystemClock(), { limits: { idleTimeoutMs: 1500 } });
    const push = run(ffmpeg, pushArgs(`rtmp://127.0.0.1:${world.port}/live/key-a`));
    await world.tag(isKeyFrame);
    const viewer = await world.player('watch-a');
    process.kill(push.child.pid ?? 0, 'SIGSTOP');
    onTestFinished(() => void process.kill(push.child.pid ?? 0, 'SIGCONT'));
    await world.event('unpublished a idle');
    expect(viewer.socket.closed).toBe(false);
    (await world.publisher('key-a')).tag(media.key(90_000));
    await viewer.wait(({ type, body }) => type === 9 && body.equals(media.key(90_000).body));
  });

  it('behind a network that swallows everything is gone in seconds', async () => {
    const clock = createSystemClock();
    const world = await createIngestWorld(clock, { limits: { idleTimeoutMs: 1500 } });
    const proxy = await startTcpProxy({ clock, targetPort: world.port });
    onTestFinished(() => proxy.close());
    run(ffmpeg, pushArgs(`rtmp://127.0.0.1:${proxy.port}/live/key-a`));
    await world.tag(isKeyFrame);
    proxy.wedge();
    await world.event('unpublished a idle');
  });
});

describe('keys that are changed', () => {
  /** What is ended sooner was not left to a deadline of ours. */
  const SHORTEST_DEADLINE_MS = 5000;
  const player = async (port: number, key: string, ca?: string) => {
    const peer = await connectRtmp(port, ca === undefined ? {} : { ca });
    onTestFinished(() => peer.close());
    await peer.open();
    return { peer, code: await peer.play(key) };
  };

  it.each(['rtmp', 'rtmps'] as const)('over %s cut publisher and player at once, and are refused', async (how) => {
    const world = await createLocalStreamWorld(how === 'rtmps' ? { rtmps: testTls() } : {});
    const input = await world.createInput(60);
    expect(input.rtmps.url.startsWith(`${how}://127.0.0.1:`)).toBe(true);
    const port = Number(new URL(input.rtmps.url.replace(/^rtmps?/, 'http')).port);
    const ca = how === 'rtmps' ? testCertificate : undefined;
    const push = run(ffmpeg, pushArgs(input.rtmps.url + input.rtmps.streamKey));
    const { peer: viewer, code } = await player(port, input.rtmpsPlayback.streamKey, ca);
    expect(code).toBe('NetStream.Play.Start');
    await viewer.wait(({ type }) => type === 9);

    const clock = createSystemClock();
    const sinceMs = clock.monotonicMs();
    const { result: rotated } = await world.call<InputJson>('POST', `/live_inputs/${input.uid}/rotate_keys`);
    await Promise.all([push.child.exited, viewer.closed]);
    expect(clock.monotonicMs() - sinceMs).toBeLessThan(SHORTEST_DEADLINE_MS);

    const again = run(ffmpeg, pushArgs(input.rtmps.url + input.rtmps.streamKey));
    expect((await again.child.exited).code).not.toBe(0);
    expect(again.stderr.join('\n')).toContain('Unknown stream key');
    expect((await player(port, input.rtmpsPlayback.streamKey, ca)).code).toBe('NetStream.Play.StreamNotFound');
    run(ffmpeg, pushArgs(rotated.rtmps.url + rotated.rtmps.streamKey));
    const renewed = await player(port, rotated.rtmpsPlayback.streamKey, ca);
    await renewed.peer.wait(({ type }) => type === 9);
  });

  it('and an input that is switched off cuts both at once, too', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput(60);
    const push = run(ffmpeg, pushArgs(input.rtmps.url + input.rtmps.streamKey));
    const port = world.address.rtmpPort;
    const { peer: viewer } = await player(port, input.rtmpsPlayback.streamKey);
    await viewer.wait(({ type }) => type === 9);
    const clock = createSystemClock();
    const sinceMs = clock.monotonicMs();
    await world.call('PUT', `/live_inputs/${input.uid}`, { enabled: false });
    await Promise.all([push.child.exited, viewer.closed]);
    expect(clock.monotonicMs() - sinceMs).toBeLessThan(SHORTEST_DEADLINE_MS);
  });
});
