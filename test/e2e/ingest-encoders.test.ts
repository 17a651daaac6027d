/** Any encoder is welcome: GStreamer by its own RTMP code and by librtmp, OBS command for command, addresses as people type them. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import { isKeyFrame, isMetadata, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { ffmpegs } from '../support/ffprobe.ts';
import { gstreamerArgs, hasGstreamer } from '../support/gstreamer.ts';
import { pictures, pushArgs, run, watchArgs } from '../support/ingest-publishers.ts';
import { createIngestWorld } from '../support/ingest-world.ts';
import { publishAsObs } from '../support/obs-peer.ts';
import { media } from '../support/rtmp-peer.ts';

const ffmpeg = ffmpegs()[0]?.file ?? 'ffmpeg';

describe.runIf(hasGstreamer())('GStreamer', () => {
  it.each(['rtmp2sink', 'rtmpsink'] as const)(
    'by %s publishes what decodes; its end ends the publication',
    async (sink) => {
      const world = await createIngestWorld(createSystemClock());
      const base = `rtmp://127.0.0.1:${world.port}/live`;
      const push = run('gst-launch-1.0', gstreamerArgs(sink, `${base}/key-a`));
      await world.tag(isKeyFrame);
      const watch = run(ffmpeg, watchArgs(`${base}/watch-a`, { after: ['-frames:v', '45'] }));
      expect((await watch.child.exited).code).toBe(0);
      expect(pictures(watch)).toHaveLength(45);
      expect(watch.stderr).toEqual([]);
      const kinds = world.tags.map(({ tag }) => tag);
      expect(kinds.some(isMetadata)).toBe(true);
      expect(
        kinds
          .filter(isSequenceHeader)
          .map(({ kind }) => kind)
          .sort(),
      ).toEqual(['audio', 'video']);
      await push.child.stop();
      await world.event('unpublished a closed');
    },
  );

  it.each(['rtmp2sink', 'rtmpsink'] as const)('by %s with a wrong key ends by itself', async (sink) => {
    const world = await createIngestWorld(createSystemClock());
    const push = run('gst-launch-1.0', gstreamerArgs(sink, `rtmp://127.0.0.1:${world.port}/live/wrong`));
    expect((await push.child.exited).code).not.toBe(0);
    expect(world.events).toEqual([]);
  });
});

describe('OBS', () => {
  it('publishes with its commands and chunks, and stops in order', async () => {
    const world = await createIngestWorld(createSystemClock());
    const viewer = await world.player('watch-a');
    const obs = await publishAsObs(world.port, 'rtmp://127.0.0.1/live', 'key-a');
    onTestFinished(() => obs.peer.close());
    expect(obs.code).toBe('NetStream.Publish.Start');
    obs.tag(media.key(0, 1, 50_000));
    obs.tag(media.audio(10));
    obs.tag(media.frame(33, 2, 9000));
    const { body } = await viewer.wait(({ type, timestampMs }) => type === 9 && timestampMs === 33);
    expect(body.length).toBe(9009);
    expect(world.tags.map(({ tag }) => tag).filter(isMetadata)).toHaveLength(1);
    obs.stop();
    await world.event('unpublished a closed');
  });

  it.each([
    ['rtmp://h/live', 'key-a'],
    ['rtmp://h/live/', 'key-a'],
    ['rtmp://h//live', 'key-a'],
    ['rtmp://h/live', 'key-a?bandwidthtest=true'],
    ['rtmp://h/live', '/key-a'],
    ['rtmp://h/live/key-a', ''],
    ['rtmp://h/live/key-a/', ''],
  ])('with server %s and key "%s" reaches its input', async (server, key) => {
    const world = await createIngestWorld(createSystemClock());
    const obs = await publishAsObs(world.port, server, key);
    onTestFinished(() => obs.peer.close());
    expect(obs.code).toBe('NetStream.Publish.Start');
    expect(world.events).toEqual(['published a']);
  });

  it('with a wrong key is told so', async () => {
    const world = await createIngestWorld(createSystemClock());
    const obs = await publishAsObs(world.port, 'rtmp://h/live', 'nonsense');
    expect(obs.code).toBe('NetStream.Publish.Denied');
    await obs.peer.closed;
  });
});

it.each(ffmpegs())('$name reaches its input by a key with a query', async ({ file }) => {
  const world = await createIngestWorld(createSystemClock());
  run(file, pushArgs(`rtmp://127.0.0.1:${world.port}/live/key-a?token=1&x=y`));
  await world.tag(isKeyFrame);
  expect(world.events).toEqual(['published a']);
});
