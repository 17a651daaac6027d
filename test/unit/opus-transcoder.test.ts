/** AAC in, Opus out: the child of one input, its restarts, and where its packets belong in time. */
import { PassThrough, Writable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLiveFeed } from '../../cloud/local-stream/live-feed.ts';
import { createOpusTranscoder, createSampleTimeline } from '../../cloud/local-stream/whep/opus-transcoder.ts';
import { createWhepSound } from '../../cloud/local-stream/whep/sound.ts';
import type { Child, ChildExit, ChildSpec } from '../../shared/child-process.ts';
import { silentLog } from '../../shared/log.ts';
import { tags } from '../support/media-tags.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

interface Run {
  spec: ChildSpec;
  written: Buffer[];
  stdout: PassThrough;
  isAlive: boolean;
  die(): void;
}

/** Children that take everything, or nothing. */
function fakeChildren({ isStuck = false } = {}) {
  const runs: Run[] = [];
  const spawn = (spec: ChildSpec): Child => {
    let settleExit: (exit: ChildExit) => void = () => {};
    const exited = new Promise<ChildExit>((resolve) => {
      settleExit = resolve;
    });
    const written: Buffer[] = [];
    const stdin = new Writable({
      write(chunk: Buffer, _encoding, done) {
        written.push(chunk);
        if (!isStuck) done();
      },
    });
    const end = (how: ChildExit['end']) => {
      run.isAlive = false;
      settleExit({ end: how, code: 1, signal: null, lastLines: [], ms: 1 });
    };
    const run: Run = { spec, written, stdout: new PassThrough(), isAlive: true, die: () => end('exited') };
    runs.push(run);
    const stop = () => {
      end('stopped');
      return exited;
    };
    const { stdout } = run;
    return { pid: 1, stdin, stdout, exited, progressed() {}, send() {}, stop, kill: () => void stop() };
  };
  return { runs, spawn, alive: () => runs.filter(({ isAlive }) => isAlive).length };
}

function createWorld(options = {}) {
  const clock = createTestClock();
  const children = fakeChildren(options);
  const packets: number[] = [];
  const transcoder = createOpusTranscoder({
    ...{ ffmpeg: 'ffmpeg', spawn: children.spawn, clock, log: silentLog() },
    onPacket: (_packet, timestampMs) => void packets.push(timestampMs),
  });
  return { clock, transcoder, packets, ...children };
}

/** One packet per page, as ffmpeg is told to write them. */
function page(packet: Buffer): Buffer {
  const header = Buffer.alloc(28);
  header.write('OggS');
  header[26] = 1;
  header[27] = packet.length;
  return Buffer.concat([header, packet]);
}
const opusHead = Buffer.from('OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00', 'latin1');

describe('a transcoder', () => {
  it('starts with the configuration and gets each frame with its ADTS header', async () => {
    const { transcoder, runs } = createWorld();
    transcoder.tag(tags.sound(0));
    transcoder.tag(tags.picture(0));
    expect(runs).toHaveLength(0);
    transcoder.tag(tags.audioConfig('44100 mono'));
    transcoder.tag(tags.sound(0));
    // 44.1 kHz is number 4, one channel, 10 bytes in all.
    expect(runs[0]?.written.map((bytes) => bytes.toString('hex'))).toEqual(['fff15040015ffc211004']);
    expect(runs[0]?.spec.args.join(' ')).toContain('-f aac -i pipe:0');
    transcoder.tag(tags.audioConfig('44100 mono'));
    expect(runs).toHaveLength(1);
    await transcoder.close();
  });
  it('is another one for another configuration, and none after the end', async () => {
    const { transcoder, runs, alive, clock } = createWorld();
    transcoder.tag(tags.audioConfig('44100 mono'));
    transcoder.tag(tags.audioConfig('48000 stereo'));
    expect([runs.length, alive()]).toEqual([2, 1]);
    expect(runs[1]?.spec.args.join(' ')).toContain('-ac 2');
    await transcoder.close();
    transcoder.tag(tags.audioConfig('44100 mono'));
    await clock.advance(100_000);
    expect([runs.length, alive(), clock.pending()]).toEqual([2, 0, []]);
  });
  it('that dies is started again, five times in a minute at most', async () => {
    const { transcoder, runs, clock } = createWorld();
    transcoder.tag(tags.audioConfig());
    for (let time = 0; time < 12; time += 1) {
      runs.at(-1)?.die();
      await clock.advance(600);
      transcoder.tag(tags.sound(time * 23));
    }
    expect(runs).toHaveLength(5);
    await clock.advance(61_000);
    expect(runs).toHaveLength(6);
    await transcoder.close();
  });
  it('that does not read is ended, and holds little meanwhile', async () => {
    const { transcoder, runs, alive } = createWorld({ isStuck: true });
    transcoder.tag(tags.audioConfig());
    const frame = { ...tags.sound(0), body: Buffer.concat([Buffer.from([0xaf, 1]), Buffer.alloc(1000)]) };
    for (let count = 0; count < 80; count += 1) transcoder.tag(frame);
    expect([runs.length, alive()]).toEqual([1, 0]);
    await transcoder.close();
  });
  it('gives packets on the timeline of what it was fed', async () => {
    const { transcoder, runs, packets } = createWorld();
    transcoder.tag(tags.audioConfig('48000 stereo'));
    for (const ms of [5000, 5021, 5043]) transcoder.tag(tags.sound(ms));
    for (const bytes of [opusHead, Buffer.from('OpusTags'), Buffer.from('a'), Buffer.from('b')]) {
      runs[0]?.stdout.write(page(bytes));
    }
    await settle();
    expect(packets).toEqual([4993.5, 5003.5]);
    await transcoder.close();
  });
  it.each([
    ['leaves out what piled up while it started', 15, [223.5, 233.5]],
    ['that is never in time is heard all the same, after 2 s', 400, [1973.5, 1983.5]],
  ])('%s', async (_what, frameCount, firstMs) => {
    const { transcoder, runs, packets } = createWorld();
    transcoder.tag(tags.audioConfig('48000 stereo'));
    for (let frame = 0; frame < frameCount; frame += 1) transcoder.tag(tags.sound(Math.round((frame * 1024) / 48)));
    for (const bytes of [opusHead, Buffer.from('OpusTags')]) runs[0]?.stdout.write(page(bytes));
    for (let count = 0; count < 220; count += 1) runs[0]?.stdout.write(page(Buffer.from('a')));
    await settle();
    expect(packets.slice(0, 2)).toEqual(firstMs);
    await transcoder.close();
  });
});

describe('the place of a packet', () => {
  it('is 10 ms after the one before, whatever milliseconds the publisher rounds to', () => {
    const timeline = createSampleTimeline(1024 / 44.1);
    for (let frame = 0; frame < 100; frame += 1) timeline.fed(Math.floor((frame * 1024) / 44.1));
    const places = Array.from({ length: 200 }, (_, index) => timeline.place(index * 10));
    expect(places).toEqual(Array.from({ length: 200 }, (_, index) => index * 10));
  });
  it('follows a gap of the publisher', () => {
    const timeline = createSampleTimeline(20);
    for (const ms of [0, 20, 5000, 5020]) timeline.fed(ms);
    expect([0, 10, 20, 30, 40, 50].map(timeline.place)).toEqual([0, 10, 20, 30, 5000, 5010]);
  });
  it('is never far from the frame that it was made of', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1 }), (steps) => {
        const timeline = createSampleTimeline(20);
        let nowMs = 0;
        const fed = steps.map((ms) => {
          nowMs += ms;
          timeline.fed(nowMs);
          return nowMs;
        });
        for (const [index, ms] of fed.entries())
          expect(Math.abs((timeline.place(index * 20) ?? 0) - ms)).toBeLessThan(31);
      }),
    );
  });
  it('is unknown before anything was fed', () => {
    expect(createSampleTimeline(20).place(0)).toBeUndefined();
  });
});

describe('sound for viewers', () => {
  function sound({ ffmpeg = async () => 'ffmpeg' } = {}) {
    const clock = createTestClock();
    const feed = createLiveFeed({ clock });
    const children = fakeChildren();
    feed.published({ inputUid: 'input', publicationId: 'p' });
    for (const tag of [tags.videoConfig(), tags.audioConfig(), tags.picture(0, { isKey: true }), tags.sound(0)]) {
      feed.tag('input', 'p', tag);
    }
    return {
      clock,
      feed,
      ...children,
      sound: createWhepSound({ ffmpeg, feed, spawn: children.spawn, clock, log: silentLog() }),
    };
  }
  it('is made once for all of an input, from the first that listens to the last that leaves, and of nothing past', async () => {
    const { sound: made, runs, alive, feed } = sound();
    const leaving = [made.listen('input', () => {}), made.listen('input', () => {})];
    await settle();
    feed.tag('input', 'p', tags.sound(23));
    expect([runs.length, alive(), runs[0]?.written.length]).toEqual([1, 1, 1]);
    leaving[0]?.();
    leaving[0]?.();
    expect(alive()).toBe(1);
    leaving[1]?.();
    await settle();
    expect(alive()).toBe(0);
    made.listen('input', () => {});
    await settle();
    expect([runs.length, alive()]).toEqual([2, 1]);
    await made.close();
    expect(alive()).toBe(0);
  });
  it('is not begun any more for one that leaves while ffmpeg is looked for', async () => {
    const { sound: made, runs } = sound();
    made.listen('input', () => {})();
    await made.close();
    expect(runs).toHaveLength(0);
  });
  it('is none without an ffmpeg that makes Opus, and ends with the broadcast', async () => {
    const none = sound({ ffmpeg: () => Promise.reject(new Error('none here')) });
    none.sound.listen('input', () => {});
    await settle();
    expect(none.runs).toHaveLength(0);
    await none.sound.close();
    const { sound: made, feed, alive } = sound();
    made.listen('input', () => {});
    await settle();
    feed.end('input');
    expect(alive()).toBe(0);
    await made.close();
  });
});
