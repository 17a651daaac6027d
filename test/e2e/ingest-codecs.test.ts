/** Publishers whose picture or sound cannot be played here: told in words, ended at once, and told to the account as Cloudflare does. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createSystemClock } from '../../shared/clock.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { Secret } from '../../shared/secrets.ts';
import { ffmpegs } from '../support/ffprobe.ts';
import { eventually, pushArgs, run } from '../support/ingest-publishers.ts';
import { createIngestWorld } from '../support/ingest-world.ts';
import { createLocalStreamWorld } from '../support/local-stream-world.ts';
import { media } from '../support/rtmp-peer.ts';

const enhanced = (name: string): FlvTag => ({
  kind: 'video',
  timestampMs: 0,
  body: Buffer.concat([Buffer.from([0x90]), Buffer.from(name), Buffer.alloc(30, 1)]),
});
const opus: FlvTag = {
  kind: 'audio',
  timestampMs: 0,
  body: Buffer.concat([Buffer.from([0x90]), Buffer.from('OpusOpusHead')]),
};

describe.each(ffmpegs())('$name', ({ file }) => {
  it.each([
    ['h263', { video: ['-c:v', 'flv1'] }, 'ERR_UNSUPPORTED_VIDEO_CODEC', 'The picture is h263; send H.264'],
    ['screen', { video: ['-c:v', 'flashsv'] }, 'ERR_UNSUPPORTED_VIDEO_CODEC', 'The picture is screen; send H.264'],
    ['mp3', { audio: ['-c:a', 'libmp3lame'] }, 'ERR_UNSUPPORTED_AUDIO_CODEC', 'The sound is mp3; send AAC'],
    [
      'pcm',
      { audio: ['-c:a', 'pcm_s16le', '-ar', '44100'] },
      'ERR_UNSUPPORTED_AUDIO_CODEC',
      'The sound is pcm; send AAC',
    ],
    [
      'H.264 of 4:4:4',
      { video: ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv444p'] },
      'ERR_UNSUPPORTED_VIDEO_CODEC',
      'No browser plays H.264 of profile 244',
    ],
  ])('that sends %s is refused and told why', async (_, media, code, words) => {
    const world = await createIngestWorld(createSystemClock());
    const push = run(file, pushArgs(`rtmp://127.0.0.1:${world.port}/live/key-a`, media));
    expect((await push.child.exited).code).not.toBe(0);
    expect(push.stderr.join('\n')).toContain(`${code}: ${words}`);
    expect(world.events).toEqual(['published a', `refused a ${code}`, 'unpublished a refused']);
    expect(world.tags.filter(({ tag }) => tag.kind !== 'script' && tag.body[1] === 1).length).toBeLessThan(30);
  });
});

describe('a publisher', () => {
  it.each([
    [enhanced('hvc1'), 'hevc', 'ERR_UNSUPPORTED_VIDEO_CODEC'],
    [enhanced('av01'), 'av1', 'ERR_UNSUPPORTED_VIDEO_CODEC'],
    [enhanced('vp09'), 'vp9', 'ERR_UNSUPPORTED_VIDEO_CODEC'],
    [opus, 'opus', 'ERR_UNSUPPORTED_AUDIO_CODEC'],
  ])('by enhanced RTMP is refused at the first tag: %#', async (tag, codec, code) => {
    const world = await createIngestWorld(createSystemClock());
    const device = await world.peer();
    await device.open();
    await device.publish('key-a');
    device.tag(tag);
    expect(await device.status('NetStream.Publish.Rejected')).toBe('NetStream.Publish.Rejected');
    await device.closed;
    expect(world.events).toEqual(['published a', `refused a ${code}`, 'unpublished a refused']);
    expect(world.tags).toEqual([]);
    expect(world.refusals[0]).toMatchObject({ [tag.kind === 'video' ? 'videoCodec' : 'audioCodec']: codec });
  });

  it('that sends far too much is ended, and told so; its viewers and others are not harmed', async () => {
    const world = await createIngestWorld(createSystemClock(), { limits: { maxBitrateBps: 1_000_000 } });
    const [device, other] = [await world.publisher('key-a'), await world.publisher('key-b')];
    const viewer = await world.player('watch-b');
    for (let count = 0; count < 20; count += 1) device.tag(media.key(count * 40, 1, 100_000));
    expect(await device.status('NetStream.Publish.Rejected')).toBe('NetStream.Publish.Rejected');
    await device.closed;
    other.tag(media.key(40));
    await viewer.wait(({ type, timestampMs }) => type === 9 && timestampMs === 40);
    expect(world.events).toContain('unpublished a refused');
  });

  it('beyond the hundred that there may be is turned away; a newcomer on a known key is not', async () => {
    const world = await createIngestWorld(createSystemClock(), { limits: { maxPublishers: 2 } });
    const first = await world.publisher('key-a');
    await world.publisher('key-b');
    const third = await world.peer();
    await third.open();
    expect(await third.publish('key-c')).toBe('NetStream.Failed');
    await third.closed;
    await world.publisher('key-a');
    await first.closed;
    expect(world.events).not.toContain('published c');
    expect(world.ingest.publications().map(({ inputUid }) => inputUid)).toEqual(['a', 'b']);
  });
});

interface LiveEventJson {
  data: { event_type: string; input_id: string; live_input_errored?: object };
}

/** What the account's live webhook was told. */
async function webhookTarget(): Promise<{ url: string; told: LiveEventJson[] }> {
  const told: LiveEventJson[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    told.push(JSON.parse(Buffer.concat(chunks).toString()) as LiveEventJson);
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, told };
}

it('the account is told by webhook, with the codecs by name', async () => {
  const { url, told } = await webhookTarget();
  const world = await createLocalStreamWorld({ liveWebhook: { url, secret: new Secret('of-the-hook') } });
  const input = await world.createInput();
  const target = input.rtmps.url + input.rtmps.streamKey;
  await run(ffmpegs()[0]?.file ?? 'ffmpeg', pushArgs(target, { audio: ['-c:a', 'libmp3lame'] })).child.exited;
  const errored = () => told.find(({ data }) => data.event_type === 'live_input.errored');
  await eventually(() => errored() !== undefined);
  expect(errored()?.data).toMatchObject({
    input_id: input.uid,
    live_input_errored: {
      error: { code: 'ERR_UNSUPPORTED_AUDIO_CODEC', message: 'The sound is mp3; send AAC' },
      audio_codec: 'mp3',
    },
  });
  const { result } = await world.call<typeof input>('GET', `/live_inputs/${input.uid}`);
  expect(result.status?.current).toMatchObject({ state: 'disconnected', reason: 'failed_to_connect' });
});
