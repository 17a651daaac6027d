/** WHEP at the program and at real publishers, where no browser is needed: ports, the end, the fault, B-frames. */
import { createSocket } from 'node:dgram';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { LocalStreamReady } from '../../cloud/local-stream/main.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { ffmpegs } from '../support/ffprobe.ts';
import {
  apiClient,
  createLocalStreamWorld,
  pushTestPattern,
  temporaryFolder,
  until,
} from '../support/local-stream-world.ts';
import { offerSdp } from '../support/whep-offers.ts';

async function post(url: string, body = offerSdp()) {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body });
  return { status: response.status, location: response.headers.get('location') ?? '', body: await response.text() };
}
const answered = (url: string) =>
  until(async () => {
    const answer = await post(url);
    return answer.status !== 409 && answer;
  });

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return port;
}

describe('the program', () => {
  it('takes all viewers on one UDP port of the address it listens on, and ends with them connected or not', async () => {
    const { spawn, close } = createChildSpawner({
      ...{ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() },
    });
    onTestFinished(close);
    const port = await freeUdpPort();
    const flags = [
      '--http-port',
      '0',
      '--rtmp-port',
      '0',
      '--web-rtc-port',
      String(port),
      '--data-dir',
      temporaryFolder(),
    ];
    let tell: (ready: LocalStreamReady) => void = () => {};
    const ready = new Promise<LocalStreamReady>((resolve) => {
      tell = resolve;
    });
    const program = spawn({
      name: 'local-stream',
      file: process.execPath,
      args: ['--import', './scripts/typescript.js', 'cloud/local-stream/main.ts', '--log-level', 'warn', ...flags],
      ipc: true,
      onMessage: (message) => tell(message as LocalStreamReady),
      stopTimeoutMs: 20_000,
      stopSignal: 'SIGTERM',
    });
    const { apiToken, ...address } = await ready;
    const input = await apiClient({ ...address, apiToken: new Secret(apiToken) }, apiToken).createInput(5);
    const push = pushTestPattern(spawn, input);
    const url = `${new URL(address.apiBaseUrl).origin}/${input.uid}/webRTC/play`;
    const answers = [await answered(url), await post(url)];
    for (const { status, body, location } of answers) {
      expect(status).toBe(201);
      expect(location).toMatch(new RegExp(`^/${input.uid}/webRTC/play/[0-9a-f]{32}$`));
      const candidates = [...body.matchAll(/^a=candidate:\S+ 1 UDP \d+ (\S+) (\d+) typ host/gm)];
      expect(candidates.map(([, host, at]) => `${host}:${at}`)).toEqual([`127.0.0.1:${port}`]);
      // The formats of the offer: H.264 of the publisher's own profile, and Opus.
      expect(body).toMatch(/^a=rtpmap:\d+ H264\/90000/m);
      expect(body).toMatch(/^a=rtpmap:111 opus\/48000\/2/m);
    }
    const { code, end } = await program.stop();
    expect([code, end]).toEqual([0, 'stopped']);
    await push.exited;
  });
});

describe('a publisher', () => {
  it('that sends B-frames is not shown by WebRTC, and the viewer is told why', async () => {
    const world = await createLocalStreamWorld();
    const input = await world.createInput();
    world.spawn({
      name: 'push',
      file: ffmpegs()[0]?.file ?? 'ffmpeg',
      args: [
        ...['-hide_banner', '-loglevel', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=30'],
        ...[
          '-c:v',
          'libx264',
          '-preset',
          'veryfast',
          '-bf',
          '2',
          '-b_strategy',
          '0',
          '-g',
          '30',
          '-pix_fmt',
          'yuv420p',
        ],
        ...['-f', 'flv', input.rtmps.url + input.rtmps.streamKey],
      ],
    });
    const url = `${new URL(world.address.apiBaseUrl).origin}/${input.uid}/webRTC/play`;
    await answered(url);
    const refused = await until(async () => {
      const answer = await post(url);
      return answer.status === 406 && answer;
    });
    expect(refused.body).toContain('B-frames');
  });
  it('by RTMP is not shown by WebRTC while that is an island, as at Cloudflare', async () => {
    const world = await createLocalStreamWorld({ adminPort: 0 });
    const input = await world.createInput();
    world.push(input);
    const url = `${new URL(world.address.apiBaseUrl).origin}/${input.uid}/webRTC/play`;
    expect((await answered(url)).status).toBe(201);
    const fault = (method: string) =>
      fetch(`http://127.0.0.1:${world.address.adminPort}/faults/webrtc-island`, {
        ...{ method, headers: { authorization: `Bearer ${world.address.apiToken.reveal()}` } },
      });
    expect((await fault('PUT')).status).toBe(200);
    expect(await post(url)).toMatchObject({ status: 409, body: 'Live broadcast not started yet' });
    expect((await fault('DELETE')).status).toBe(200);
    expect((await post(url)).status).toBe(201);
  });
});
