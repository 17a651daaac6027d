/** The push against a real nginx-rtmp: plays back what was sent, is killed and comes back, refuses, drops who is idle. */
import { createServer } from 'node:http';
import ffmpegInstaller from '@ffmpeg-installer/ffmpeg';
import { afterEach, describe, expect, it } from 'vitest';
import { nginxWithRtmp } from '../../scripts/bench/nginx-process.ts';
import { type Child, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createFlvParser, type FlvTag, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpPush, type RtmpPush, type RtmpPushChange, type RtmpPushOptions } from '../../shared/rtmp/push.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { probe } from '../support/ffprobe.ts';
import { tags } from '../support/media-tags.ts';
import { type NginxRtmp, startNginxRtmp } from '../support/nginx-rtmp.ts';

const file = nginxWithRtmp();
if (!file) process.stderr.write('The nginx-rtmp tests are skipped: apt-get install nginx-light libnginx-mod-rtmp.\n');

const KEY = 'the-stream-key';
const clock = createSystemClock();
const spawner = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
  await spawner.close();
  expect([spawner.running(), clock.pending()]).toEqual([[], []]);
});

async function nginxWith(options: { application?: string; server?: string } = {}): Promise<NginxRtmp> {
  const nginx = await startNginxRtmp({ ...options, file: file ?? '', spawn: spawner.spawn, clock });
  opened.push(nginx);
  return nginx;
}

interface Pushing {
  push: RtmpPush;
  changes: RtmpPushChange[];
  changed(fits: (change: RtmpPushChange) => boolean): Promise<RtmpPushChange>;
}
function pushTo(nginx: NginxRtmp, options: Partial<RtmpPushOptions> = {}): Pushing {
  const changes: RtmpPushChange[] = [];
  const push = createRtmpPush({
    url: parsePublishUrl(`rtmp://127.0.0.1:${nginx.port}/live/${KEY}`),
    clock,
    log: silentLog(),
    mode: 'backfill',
    onChange: (change) => changes.push(change),
    ...options,
  });
  opened.push(push);
  push.start();
  const changed = async (fits: (change: RtmpPushChange) => boolean) => {
    await until(() => changes.some(fits));
    return changes.find(fits) ?? { state: 'connecting', attempt: 0 };
  };
  return { push, changes, changed };
}
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await clock.sleep(20);
}
const isPicture = (tag: FlvTag) => tag.kind === 'video' && !isSequenceHeader(tag) && tag.body[1] === 1;

/** A real encoder at the pace of time. */
function film(push: RtmpPush): { written: FlvTag[]; encoder: Child } {
  const written: FlvTag[] = [];
  const encoder = spawner.spawn({
    name: 'encoder',
    file: ffmpegInstaller.path,
    stdout: 'raw',
    args: [
      ...['-hide_banner', '-loglevel', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=30'],
      ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'],
      ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '30'],
      ...['-b:v', '1500k', '-c:a', 'aac', '-b:a', '64k', '-f', 'flv', '-flush_packets', '1', 'pipe:1'],
    ],
  });
  const parser = createFlvParser({
    onTag(tag) {
      push.write(tag);
      if (isPicture(tag)) written.push(tag);
    },
  });
  encoder.stdout?.on('data', (chunk: Buffer) => parser.push(chunk));
  return { written, encoder };
}

describe.skipIf(!file)('push to nginx-rtmp', () => {
  it.each([128, 4096, 1_000_000])('plays back what was pushed, with chunk_size %i', async (bytes) => {
    const nginx = await nginxWith({ server: `chunk_size ${bytes};` });
    const { push } = pushTo(nginx);
    const { written, encoder } = film(push);
    await until(() => written.length > 15);
    const { streams } = await probe(spawner.spawn, `rtmp://127.0.0.1:${nginx.port}/live/${KEY}`);
    expect(streams.map(({ codec_name, width = 0 }) => [codec_name, width]).sort()).toEqual([
      ['aac', 0],
      ['h264', 640],
    ]);
    await encoder.stop();
    await until(() => push.stats().backlogBytes === 0);
    await push.close();
    const recorded = nginx.recorded().flat().filter(isPicture);
    expect(recorded.map(({ body }) => body.toString('hex'))).toEqual(written.map(({ body }) => body.toString('hex')));
  });
  it('killed and started again loses no picture', async ({ annotate }) => {
    const nginx = await nginxWith();
    const { push, changes } = pushTo(nginx);
    const { written, encoder } = film(push);
    await until(() => written.length >= 90);
    await nginx.kill();
    const at = written.length;
    await until(() => written.length >= at + 90);
    await nginx.start();
    await until(() => changes.at(-1)?.state === 'publishing' && written.length >= at + 150);
    await encoder.stop();
    await until(() => push.stats().backlogBytes === 0);
    await push.close();
    const lives = nginx
      .recorded()
      .map((life) => new Set(life.filter(isPicture).map(({ body }) => body.toString('hex'))));
    const lost = written.filter(({ body }) => !lives.some((life) => life.has(body.toString('hex'))));
    expect(lost.map(({ timestampMs }) => timestampMs)).toEqual([]);
    expect(push.stats()).toMatchObject({ reconnects: 1, framesDropped: 0, skips: 0 });
    await annotate(`${written.length} pictures, ${push.stats().tagsResent} tags sent twice`);
  });
  it('says that the key is refused when on_publish answers 403, and publishes when it answers 200', async () => {
    const answers = { status: 403, asked: '' };
    const callback = createServer((request, response) => {
      request.on('data', (bytes: Buffer) => {
        answers.asked += String(bytes);
      });
      request.on('end', () => response.writeHead(answers.status).end());
    });
    await new Promise<void>((resolve) => callback.listen(0, '127.0.0.1', resolve));
    opened.push({ close: () => new Promise((resolve) => callback.close(resolve)) });
    const address = callback.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const nginx = await nginxWith({ application: `on_publish http://127.0.0.1:${port}/may;` });
    const { changed, push } = pushTo(nginx, { random: () => 1 });
    const { cause } = await changed(({ cause: why }) => why?.code === 'INGEST_REFUSED_KEY');
    expect(cause).toMatchObject({ retryable: false });
    expect(cause?.message).not.toContain(KEY);
    expect(answers.asked).toContain(`name=${KEY}`);
    answers.status = 200;
    for (const tag of [tags.videoConfig(), tags.picture(0, { isKey: true })]) push.write(tag);
    await until(() => nginx.recorded().flat().some(isPicture));
    expect(push.stats().state).toBe('publishing');
  });
  it('comes back after drop_idle_publisher has thrown it out', async () => {
    const nginx = await nginxWith({ application: 'drop_idle_publisher 1s;' });
    const { push, changed, changes } = pushTo(nginx);
    for (const tag of [tags.videoConfig(), tags.picture(0, { isKey: true })]) push.write(tag);
    const { cause } = await changed(({ state }) => state === 'retrying');
    expect(cause?.code).toBe('INGEST_DROPPED');
    await until(() => changes.at(-1)?.state === 'publishing');
    push.write(tags.picture(4000, { isKey: true }));
    await until(() => nginx.recorded().flat().filter(isPicture).length >= 2);
    await push.close();
  });
  it('understands pictures of many chunks at time stamps beyond 0xffffff', async () => {
    const nginx = await nginxWith();
    const { push } = pushTo(nginx);
    const startMs = 0xffffff - 200;
    const large = (n: number): FlvTag => {
      const picture = tags.picture(startMs + n * 40, { isKey: n % 5 === 0 });
      return { ...picture, body: Buffer.concat([picture.body, Buffer.alloc(150_000, n)]) };
    };
    push.write(tags.videoConfig('640x360', startMs));
    const sent = Array.from({ length: 12 }, (_, n) => large(n));
    for (const tag of sent) push.write(tag);
    await until(() => push.stats().backlogBytes === 0);
    await push.close();
    await until(() => nginx.recorded().flat().filter(isPicture).length >= sent.length);
    const got = nginx.recorded().flat().filter(isPicture);
    expect(got.map(({ body }) => body.equals(sent[body.at(-1) ?? 0]?.body ?? body.subarray(1)))).toEqual(
      sent.map(() => true),
    );
    const [first] = got;
    expect(got.map(({ timestampMs }) => timestampMs - (first?.timestampMs ?? 0))).toEqual(sent.map((_, n) => n * 40));
  });
});
