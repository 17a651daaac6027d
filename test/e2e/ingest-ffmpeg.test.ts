/** The ingest with real ffmpeg at both ends, each build that this machine has. */
import { createRequire } from 'node:module';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Child, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { isKeyFrame, isMetadata, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createIngestWorld, type IngestWorld } from '../support/ingest-world.ts';

const require = createRequire(import.meta.url);
const bundled = (name: string) => (require(name) as { path: string }).path;
const ffprobe = bundled('@ffprobe-installer/ffprobe');
const builds = [
  { build: 'bundled', ffmpeg: bundled('@ffmpeg-installer/ffmpeg') },
  ...[findOnPath('ffmpeg')].flatMap((ffmpeg) => (ffmpeg ? [{ build: 'system', ffmpeg }] : [])),
];

interface Run {
  child: Child;
  stdout: string[];
}

/** `file args`, its lines kept; stopped when the test is finished. */
function run(file: string, args: string[]): Run {
  const clock = createSystemClock();
  const spawner = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  const stdout: string[] = [];
  const onStdoutLine = (line: string) => void stdout.push(line);
  const child = spawner.spawn({ name: 'peer', file, args, stdout: 'lines', onStdoutLine, stopTimeoutMs: 1000 });
  onTestFinished(() => spawner.close());
  return { child, stdout };
}

/** Synthetic pictures encode to the same bytes each time: another source for another publisher. */
function publish(ffmpeg: string, { port }: IngestWorld, key: string, source = 'testsrc2', app = 'live'): Run {
  const picture = ['-f', 'lavfi', '-i', `${source}=size=320x180:rate=30`];
  const sound = ['-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=44100'];
  const video = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '15'];
  const flags = ['-hide_banner', '-nostats', '-loglevel', 'error', '-re'];
  const target = `rtmp://127.0.0.1:${port}/${app}/${key}`;
  return run(ffmpeg, [...flags, ...picture, '-re', ...sound, ...video, '-c:a', 'aac', '-f', 'flv', target]);
}

describe.each(builds)('$build ffmpeg', ({ ffmpeg }) => {
  it('publishes H.264 and AAC that ffprobe reads from the playback address', async () => {
    const world = await createIngestWorld(createSystemClock());
    const { child } = publish(ffmpeg, world, 'key-a');
    await world.tag(isKeyFrame);
    const address = `rtmp://127.0.0.1:${world.port}/live/watch-a`;
    const entries = ['-show_entries', 'stream=codec_name,width,height', '-of', 'csv=p=0'];
    const probe = run(ffprobe, ['-v', 'error', '-analyzeduration', '2000000', ...entries, address]);
    expect((await probe.child.exited).code).toBe(0);
    expect(probe.stdout.sort()).toEqual(['aac', 'h264,320,180']);
    const kinds = world.tags.map(({ tag }) => tag);
    expect(kinds.filter(isMetadata)).toHaveLength(1);
    expect(kinds.filter(isSequenceHeader)).toHaveLength(2);
    expect((await child.stop()).end).toBe('stopped');
    await world.event('unpublished a closed');
  });

  it('is told at once, and in words, that its key is wrong', async () => {
    const world = await createIngestWorld(createSystemClock());
    const { code, lastLines } = await publish(ffmpeg, world, 'wrong').child.exited;
    expect(code).not.toBe(0);
    expect(lastLines.join('\n')).toContain('bad key');
    expect(world.tags).toEqual([]);
  });

  it('is told in words that its address is wrong', async () => {
    const world = await createIngestWorld(createSystemClock());
    const { lastLines } = await publish(ffmpeg, world, 'key-a', 'testsrc2', 'other').child.exited;
    expect(lastLines.join('\n')).toContain('No such application; use /live/ and the key');
  });

  it('frozen by SIGSTOP loses its place to a newcomer at once; the player goes on', async () => {
    const world = await createIngestWorld(createSystemClock());
    const frozen = publish(ffmpeg, world, 'key-a');
    await world.tag(isKeyFrame);
    const viewer = await world.player('watch-a');
    await viewer.wait(({ type }) => type === 9);
    process.kill(frozen.child.pid ?? 0, 'SIGSTOP');
    onTestFinished(() => void process.kill(frozen.child.pid ?? 0, 'SIGCONT'));
    publish(ffmpeg, world, 'key-a', 'testsrc');
    await world.event('published a', 2);
    const seen = viewer.received.length;
    // A coded key frame of the newcomer.
    await viewer.wait((message) => {
      const { type, body } = message;
      return type === 9 && body[0] === 0x17 && body[1] === 1 && viewer.received.indexOf(message) >= seen;
    });
    expect(world.events).toEqual(['published a', 'unpublished a taken-over', 'published a']);
  });

  it('killed, it is gone at once: no grace', async () => {
    const world = await createIngestWorld(createSystemClock());
    const { child } = publish(ffmpeg, world, 'key-a');
    await world.tag(isKeyFrame);
    process.kill(child.pid ?? 0, 'SIGKILL');
    await world.event('unpublished a closed');
  });

  it('plays: decodes every picture from the first on', async () => {
    const world = await createIngestWorld(createSystemClock());
    publish(ffmpeg, world, 'key-a');
    await world.tag(isKeyFrame);
    const address = `rtmp://127.0.0.1:${world.port}/live/watch-a`;
    const { child, stdout } = run(ffmpeg, [
      ...['-hide_banner', '-nostats', '-loglevel', 'error', '-i', address],
      ...['-frames:v', '30', '-an', '-f', 'framemd5', '-'],
    ]);
    const { code, lastLines } = await child.exited;
    expect({ code, lastLines }).toEqual({ code: 0, lastLines: [] });
    expect(stdout.filter((line) => !line.startsWith('#'))).toHaveLength(30);
  });
});
