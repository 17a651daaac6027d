/** The push with real parts: ffmpeg writes FLV to a pipe, node-media-server takes RTMP, and is killed in the middle. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ffmpegInstaller from '@ffmpeg-installer/ffmpeg';
import { afterEach, describe, expect, it } from 'vitest';
import { type Child, createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createFlvParser, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpPush, type PushMode, type RtmpPush } from '../../shared/rtmp/push.ts';
import { createRedactor } from '../../shared/secrets.ts';

const clock = createSystemClock();
const spawner = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const folders: string[] = [];
const pushes: RtmpPush[] = [];
afterEach(async () => {
  await Promise.all(pushes.splice(0).map((push) => push.close()));
  await spawner.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  expect([spawner.running(), clock.pending()]).toEqual([[], []]);
});

const ffmpegs = [
  { name: 'the bundled ffmpeg', file: ffmpegInstaller.path },
  ...[findOnPath('ffmpeg')].flatMap((file) => (file ? [{ name: "the system's ffmpeg", file }] : [])),
];

interface Arrived {
  type: number;
  timestampMs: number;
  isHeader: boolean;
  isKey: boolean;
  at: number;
}

interface MediaServer {
  port: number;
  listeningAt: number;
  tags: Arrived[];
  /** Resolves when so many pictures have arrived. */
  pictures(count: number): Promise<void>;
  kill(): Promise<unknown>;
}

async function startMediaServer(port = 0): Promise<MediaServer> {
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-test-'));
  folders.push(folder);
  const tags: Arrived[] = [];
  const waiting = new Set<() => void>();
  let child: Child | undefined;
  const { port: listening, at } = await new Promise<{ port: number; at: number }>((resolve) => {
    child = spawner.spawn({
      name: 'media-server',
      file: process.execPath,
      args: [join(import.meta.dirname, '../support/plain-media-server.mjs'), String(port), folder],
      ipc: true,
      stopSignal: 'SIGKILL',
      onMessage(message) {
        if (isListening(message)) resolve(message);
        else tags.push(message as Arrived);
        for (const look of [...waiting]) look();
      },
    });
  });
  return {
    port: listening,
    listeningAt: at,
    tags,
    pictures: (count) =>
      new Promise((resolve) => {
        const look = () => {
          if (tags.filter(isPicture).length < count) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
    kill: async () => child?.stop(),
  };
}
function isListening(message: unknown): message is { port: number; at: number } {
  return typeof message === 'object' && message !== null && 'port' in message;
}
const isPicture = (tag: Arrived) => tag.type === 9 && !tag.isHeader;

interface Filming {
  /** Time stamps of the pictures that the encoder has written. */
  written: number[];
  encoder: Child;
  until(count: number): Promise<void>;
}

function film(ffmpeg: string, push: RtmpPush): Filming {
  const written: number[] = [];
  const waiting = new Set<() => void>();
  const encoder = spawner.spawn({
    name: 'encoder',
    file: ffmpeg,
    stdout: 'raw',
    args: [
      ...['-hide_banner', '-loglevel', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=30'],
      ...['-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'],
      ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '30'],
      ...['-b:v', '1000k', '-c:a', 'aac', '-b:a', '64k', '-f', 'flv', '-flush_packets', '1', 'pipe:1'],
    ],
  });
  const parser = createFlvParser({
    onTag(tag) {
      push.write(tag);
      if (tag.kind !== 'video' || isSequenceHeader(tag) || tag.body[1] !== 1) return;
      written.push(tag.timestampMs);
      for (const look of [...waiting]) look();
    },
  });
  encoder.stdout?.on('data', (chunk: Buffer) => parser.push(chunk));
  return {
    written,
    encoder,
    until: (count) =>
      new Promise((resolve) => {
        const look = () => {
          if (written.length < count) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}
function pushTo(port: number, mode: PushMode): RtmpPush {
  const push = createRtmpPush({
    url: parsePublishUrl(`rtmp://127.0.0.1:${port}/live/key`),
    clock,
    log: silentLog(),
    mode,
    onChange: () => {},
  });
  pushes.push(push);
  return push;
}

describe.each(ffmpegs)('push from $name', ({ file }) => {
  it('an ingest killed and restarted loses no picture', async ({ annotate }) => {
    const first = await startMediaServer();
    const push = pushTo(first.port, 'backfill');
    push.start();
    const { written, encoder, until } = film(file, push);
    await first.pictures(90);
    await first.kill();
    const killedAtPicture = written.length;
    // Three seconds of film with nobody listening.
    await until(killedAtPicture + 90);
    const second = await startMediaServer(first.port);
    await second.pictures(120);
    await encoder.stop();
    await push.close();
    await second.pictures(written.filter((ms) => ms >= (second.tags.find(isPicture)?.timestampMs ?? 0)).length);

    const seen = new Set([...first.tags, ...second.tags].filter(isPicture).map(({ timestampMs }) => timestampMs));
    expect(written.filter((ms) => !seen.has(ms))).toEqual([]);
    expect(push.stats()).toMatchObject({ reconnects: 1, framesDropped: 0 });
    const start = second.tags.filter(({ type }) => type === 9);
    expect([start[0]?.isHeader, start[1]?.isKey]).toEqual([true, true]);
    for (const type of [8, 9]) {
      const times = second.tags.filter((tag) => tag.type === type).map(({ timestampMs }) => timestampMs);
      expect(times).toEqual([...times].sort((a, b) => a - b));
    }
    const gapMs = (second.tags.find(isPicture)?.at ?? Number.NaN) - second.listeningAt;
    await annotate(`first picture ${gapMs} ms after the ingest listened; ${push.stats().tagsResent} tags sent twice`);
  });
});

describe('push in live mode', () => {
  it('comes back with the newest picture, not with the past', async () => {
    const first = await startMediaServer();
    const push = pushTo(first.port, 'live');
    push.start();
    const { written, encoder, until } = film(ffmpegInstaller.path, push);
    await first.pictures(30);
    await first.kill();
    await until(written.length + 90);
    const second = await startMediaServer(first.port);
    await second.pictures(30);
    await encoder.stop();
    await push.close();
    const firstBack = second.tags.find(isPicture);
    expect(firstBack?.isKey).toBe(true);
    expect(push.stats().framesDropped).toBeGreaterThan(30);
  });
});
