/**
 * 100,000 byte strings, each on a connection of its own: 96,000 into the protocol of a fresh connection in this process, 4,000 over
 * real sockets into the real program, while a real stream is published, played and decoded there.
 */
import { connect } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { createRtmpPeer, type RtmpPeer } from '../../cloud/local-stream/ingest/guard.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { ffmpegs } from '../support/ffprobe.ts';
import { eventually, pictures, pushArgs, run, watchArgs } from '../support/ingest-publishers.ts';
import { startLocalStreamProcess } from '../support/local-stream-process.ts';
import type { InputJson } from '../support/local-stream-world.ts';
import { createMutations } from '../support/rtmp-mutations.ts';
import { connectRtmp } from '../support/rtmp-peer.ts';

const IN_PROCESS = 96_000;
const BY_SOCKET = 4_000;
/** Half a minute on two free cores. */
const TIMEOUT_MS = 240_000;
/** At once. */
const SOCKETS = 40;

/** A connection's protocol, let in by every key that begins right. How many tags it took for media. */
function feed(bytes: Buffer): { fault: string | undefined; tags: number } {
  let tags = 0;
  const peer: RtmpPeer = createRtmpPeer(
    {
      output: () => undefined,
      publish: (key) => (key.startsWith('key') ? peer.accept('publisher') : peer.mute()),
      play: (key) => (key.startsWith('watch') ? peer.accept('player') : peer.mute()),
      stopped: () => peer.mute(),
      media: () => {
        tags += 1;
      },
      refused: () => peer.mute(),
    },
    { maxMessageBytes: 4 * 1024 * 1024 },
  );
  const fault = peer.receive(bytes);
  return { fault, tags };
}

it(
  '96,000 strings into the protocol of a fresh connection end in order, however they are wrong',
  () => {
    const mutation = createMutations('key-fuzz', 'watch-fuzz');
    const faults = new Map<string, number>();
    let withMedia = 0;
    for (let index = 0; index < IN_PROCESS; index += 1) {
      const { fault, tags } = feed(mutation(index));
      if (fault) faults.set(fault, (faults.get(fault) ?? 0) + 1);
      if (tags > 0) withMedia += 1;
    }
    // They are no use if they all die at the door.
    expect(withMedia).toBeGreaterThan(IN_PROCESS / 10);
    expect(faults.size).toBeGreaterThan(8);
  },
  TIMEOUT_MS,
);

/** Says it, ends, and waits until the ingest has closed. */
function say(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => undefined).resume();
    socket.once('close', () => resolve());
    socket.end(bytes);
  });
}

it(
  '4,000 strings over real sockets crash nothing, leave nothing and disturb no stream',
  async () => {
    const clock = createSystemClock();
    const stream = await startLocalStreamProcess();
    const { rtmpPort } = stream.ready;
    const create = async () =>
      (await stream.call<InputJson>('POST', '/live_inputs', { recording: { mode: 'off' } })).result;
    const [healthy, fuzzed] = [await create(), await create()];
    const [ffmpeg] = ffmpegs();
    const push = run(ffmpeg?.file ?? 'ffmpeg', pushArgs(healthy.rtmps.url + healthy.rtmps.streamKey));
    const viewer = await connectRtmp(rtmpPort);
    onTestFinished(() => viewer.close());
    await viewer.open();
    await viewer.play(healthy.rtmpsPlayback.streamKey);
    await viewer.wait(({ type }) => type === 9);
    const address = healthy.rtmpsPlayback.url + healthy.rtmpsPlayback.streamKey;
    const watch = run(ffmpeg?.file ?? 'ffmpeg', watchArgs(address));
    await eventually(() => pictures(watch).length > 0);

    const mutation = createMutations(fuzzed.rtmps.streamKey, fuzzed.rtmpsPlayback.streamKey);
    let said = 0;
    async function talkUpTo(count: number): Promise<void> {
      const talk = async () => {
        while (said < count) {
          said += 1;
          await say(rtmpPort, mutation(IN_PROCESS + said));
        }
      };
      await Promise.all(Array.from({ length: SOCKETS }, talk));
    }
    // What the process needs for many at once it keeps for a while: what the rest adds would be a leak.
    await talkUpTo(BY_SOCKET / 2);
    const before = await stream.use();
    await talkUpTo(BY_SOCKET);
    const decodedSoFar = pictures(watch).length;
    await eventually(() => pictures(watch).length > decodedSoFar + 10);

    const times = viewer.received.filter(({ type, body }) => type === 9 && body[1] === 1).map((one) => one.timestampMs);
    const steps = times.slice(1).map((ms, index) => ms - (times[index] ?? ms));
    expect(Math.max(...steps)).toBeLessThanOrEqual(34);
    expect(watch.stderr).toEqual([]);
    expect(push.stderr).toEqual([]);
    await clock.sleep(1500);
    const after = await stream.use();
    expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 5);
    expect(after.rssMb).toBeLessThan(before.rssMb + 60);
    expect(stream.lines.join('\n')).not.toMatch(/ingest-host-failed|uncaught|unhandled/i);
    // Neither key is anybody's business, whatever was said around it.
    expect(stream.lines.join('\n')).not.toContain(fuzzed.rtmps.streamKey);
  },
  TIMEOUT_MS,
);
