import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Encoder, EncoderEnd } from '../../device/encoding/encoder.ts';
import { createPicture, type PictureWay } from '../../device/encoding/picture.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { type FlvTag, isKeyFrame, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import type { PictureQuality } from '../../shared/stream.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const asked: PictureQuality = { widthPx: 1280, heightPx: 720, frameRate: 30, videoBitrateBps: 2_000_000 };
const smaller: PictureQuality = { ...asked, videoBitrateBps: 500_000 };
const smallest: PictureQuality = { ...asked, videoBitrateBps: 200_000 };

interface FakeRun {
  way: string;
  quality: PictureQuality;
  isStarted: boolean;
  isClosed: boolean;
  /** Died by itself. */
  isDead: boolean;
  header(): void;
  key(timestampMs: number): void;
  frame(timestampMs: number): void;
  dies(code: ErrorCode, end?: Partial<EncoderEnd>): Promise<void>;
}

/** Runs that speak and die as the test says. */
function world({
  isShared = true,
  ways = ['libx264'],
  captureNames = [],
}: {
  isShared?: boolean;
  ways?: string[];
  captureNames?: string[];
} = {}) {
  // The camera's own H.264, whatever is asked for.
  const own = { widthPx: 1920, heightPx: 1080, frameRate: 25 };
  const clock = createTestClock();
  const runs: FakeRun[] = [];
  const tags: FlvTag[] = [];
  /** Who was on the air while each tag left. */
  const airs: (string | undefined)[] = [];
  const lost: [ErrorCode, number][] = [];
  const failed: ErrorCode[] = [];
  const notices: string[] = [];
  const texts: string[] = [];
  let away: ErrorCode | undefined;
  let changes = 0;
  let unfit: GlasscastError | undefined;
  let opening = Promise.resolve();
  let closing = Promise.resolve();
  let areWaysClosed = false;
  let openedTooLate = 0;

  function open(way: string, quality: PictureQuality, onTag: (tag: FlvTag) => void): Encoder {
    const mark = runs.length + 1;
    let settleEnd: (end: EncoderEnd) => void = () => {};
    const ended = new Promise<EncoderEnd>((resolve) => {
      settleEnd = resolve;
    });
    const video = (timestampMs: number, ...body: number[]) =>
      onTag({ kind: 'video', timestampMs, body: Buffer.from([...body, mark]) });
    const run: FakeRun = {
      ...{ way, quality, isStarted: false, isClosed: false, isDead: false },
      header: () => video(0, 0x17, 0, 0, 0, 0),
      key: (timestampMs) => video(timestampMs, 0x17, 1, 0, 0, 0),
      frame: (timestampMs) => video(timestampMs, 0x27, 1, 0, 0, 0),
      async dies(code, end = {}) {
        run.isDead = true;
        settleEnd({ cause: new GlasscastError(code), frames: 10, ms: 100, ...end });
        await settle();
      },
    };
    runs.push(run);
    return {
      start: () => {
        run.isStarted = true;
      },
      pid: mark,
      fetch: () => {},
      ended,
      async close(because) {
        run.isClosed = true;
        await closing;
        settleEnd({ cause: because, frames: 10, ms: 100 });
      },
    };
  }
  const picture = createPicture({
    clock,
    log: silentLog(),
    random: () => 0,
    quality: asked,
    async findWays() {
      return ways.map(
        (encoder, index): PictureWay => ({
          ...{ encoder, isShared: isShared && encoder !== 'copy', ...(encoder === 'copy' ? { fixed: own } : {}) },
          captureName: captureNames[index],
          async open(quality, onTag) {
            await opening;
            if (away) throw new GlasscastError(away);
            if (areWaysClosed) openedTooLate += 1;
            return open(encoder, quality, onTag);
          },
          newRules: () => () => unfit,
        }),
      );
    },
    closeWays: async () => {
      areWaysClosed = true;
    },
    describe: ({ videoBitrateBps }) => ({ kind: 'script', timestampMs: 0, body: Buffer.from(`${videoBitrateBps}`) }),
    onTag(tag) {
      tags.push(tag);
      airs.push(picture.onAir?.way.encoder);
    },
    onLost: ({ code }, attempt) => void lost.push([code, attempt]),
    onFailed: ({ code }) => void failed.push(code),
    onChanged: () => {
      changes += 1;
    },
    onNotice({ code, text }) {
      notices.push(code);
      texts.push(text);
    },
  });
  return {
    ...{ clock, runs, tags, airs, lost, failed, notices, texts, picture },
    changes: () => changes,
    setAway: (code: ErrorCode | undefined) => {
      away = code;
    },
    /** Opening takes until this settles. */
    setOpening: (until: Promise<void>) => {
      opening = until;
    },
    /** A run needs until this settles to go. */
    setClosing: (until: Promise<void>) => {
      closing = until;
    },
    openedTooLate: () => openedTooLate,
    setUnfit: (code: ErrorCode | undefined) => {
      unfit = code && new GlasscastError(code);
    },
    run: (index: number): FakeRun => {
      const run = runs[index];
      if (!run) throw new Error(`no run ${index}`);
      return run;
    },
    /** What left, in short: the description, h, k or f with the run's number. */
    said: () =>
      tags.map((tag) => {
        if (tag.kind === 'script') return String(tag.body);
        return `${isSequenceHeader(tag) ? 'h' : isKeyFrame(tag) ? 'k' : 'f'}${tag.body.at(-1)}`;
      }),
  };
}
async function onAir(options?: Parameters<typeof world>[0]) {
  const all = world(options);
  all.picture.start();
  await settle();
  all.run(0).header();
  all.run(0).key(0);
  return all;
}

describe('one run', () => {
  test('is described, then speaks', async () => {
    const { said, picture, clock, run } = await onAir();
    run(0).frame(33);
    expect(said()).toEqual(['2000000', 'h1', 'k1', 'f1']);
    expect(picture.onAir).toMatchObject({ quality: asked, way: { encoder: 'libx264' } });
    await picture.close();
    expect([run(0).isClosed, clock.pending()]).toEqual([true, []]);
    run(0).frame(66);
    expect(said()).toHaveLength(4);
  });

  test('is known when its first picture leaves, since that is told as what is sent', async () => {
    const { airs } = await onAir();
    expect(airs).toEqual([undefined, undefined, 'libx264']);
  });

  test('that dies is followed after its backoff; gives up after seven, a healthy one counts anew', async () => {
    const { clock, runs, run, failed, lost } = await onAir();
    await run(0).dies('ENCODER_FAILED', { frames: 900, ms: 30_000 });
    expect(lost).toEqual([['ENCODER_FAILED', 1]]);
    await clock.advance(99);
    expect(runs).toHaveLength(1);
    await clock.advance(1);
    expect(run(1).isStarted).toBe(true);
    for (let each = 1; each < 8; each += 1) {
      expect(failed).toEqual([]);
      await run(each).dies('ENCODER_FAILED', { frames: 0 });
      await clock.advance(5000);
    }
    expect(failed).toEqual(['ENCODER_FAILED']);
    await clock.advance(60_000);
    expect([runs.length, clock.pending()]).toEqual([8, []]);
  });

  test('of a file that cannot be read ends it at once, but not once it was read', async () => {
    const all = world();
    all.setAway('CAPTURE_FILE_UNREADABLE');
    all.picture.start();
    await settle();
    expect([all.failed, all.runs]).toEqual([['CAPTURE_FILE_UNREADABLE'], []]);
    const later = await onAir();
    await later.run(0).dies('CAPTURE_FILE_UNREADABLE');
    expect(later.failed).toEqual([]);
    await later.picture.close();
  });
});

describe('a camera', () => {
  test('that is away at the start is waited for, told once, for ten seconds', async () => {
    const { clock, picture, setAway, failed, lost } = world();
    setAway('CAMERA_BUSY');
    picture.start();
    await clock.advance(9_900);
    expect({ failed, lost }).toEqual({ failed: [], lost: [['CAMERA_BUSY', 1]] });
    await clock.advance(200);
    expect([failed, clock.pending()]).toEqual([['CAMERA_BUSY'], []]);
  });

  test('that is unplugged later is waited for without an end, and resumes', async () => {
    const { clock, run, runs, setAway, failed, lost, said } = await onAir();
    setAway('CAMERA_NOT_FOUND');
    await run(0).dies('CAMERA_NOT_FOUND');
    await clock.advance(3_600_000);
    expect({ failed, lost }).toEqual({ failed: [], lost: [['CAMERA_NOT_FOUND', 1]] });
    setAway(undefined);
    await clock.advance(1_000);
    expect(runs).toHaveLength(2);
    run(1).header();
    run(1).key(3_600_000);
    expect(said().slice(-3)).toEqual(['2000000', 'h2', 'k2']);
  });

  test('that falls silent is waited for as one that is unplugged', async () => {
    const { clock, run, runs, failed, lost, said, notices } = await onAir({ ways: ['libx264', 'other'] });
    await run(0).dies('CAMERA_SILENT');
    for (let index = 1; index < 12; index += 1) {
      await clock.advance(1_000);
      await run(index).dies('CAMERA_SILENT', { frames: 0, ms: 10_000 });
    }
    expect({ failed, lost, notices }).toEqual({ failed: [], lost: [['CAMERA_SILENT', 1]], notices: [] });
    await clock.advance(1_000);
    expect(runs).toHaveLength(13);
    run(12).header();
    run(12).key(120_000);
    expect(said().slice(-3)).toEqual(['2000000', 'h13', 'k13']);
  });

  test('that never gave a picture is tried in another mode, which is named', async () => {
    const captureNames = ['yuyv422 640x360', 'mjpeg 640x360'];
    const { picture, clock, run, notices, texts } = world({ ways: ['libx264', 'libx264'], captureNames });
    picture.start();
    await settle();
    await run(0).dies('CAMERA_SILENT', { frames: 0 });
    await clock.advance(100);
    expect([run(1).isStarted, notices]).toEqual([true, ['ENCODER_CHANGED']]);
    expect(texts[0]).toMatch(/^libx264 from mjpeg 640x360 takes over from libx264 from yuyv422 640x360: The camera/);
    await picture.close();
  });

  test('without its light captures nothing and gives up after ten seconds, also in the middle', async () => {
    const { clock, run, setAway, failed } = await onAir();
    setAway('PRIVACY_LIGHT_FAILED');
    await run(0).dies('PRIVACY_LIGHT_FAILED');
    await clock.advance(11_000);
    expect(failed).toEqual(['PRIVACY_LIGHT_FAILED']);
  });
});

describe('another quality', () => {
  test('takes over at its first key frame, described and with its header; the old one goes on until then', async () => {
    const { picture, run, said, changes, tags } = await onAir();
    picture.change(smaller);
    await settle();
    expect(run(1)).toMatchObject({ isStarted: true, quality: smaller });
    run(0).frame(33);
    run(1).header();
    run(1).frame(40);
    run(0).frame(66);
    expect([changes(), run(0).isClosed]).toEqual([0, false]);
    run(1).key(60);
    run(0).frame(100);
    run(1).frame(70);
    expect(said()).toEqual(['2000000', 'h1', 'k1', 'f1', 'f1', '500000', 'h2', 'k2', 'f2']);
    expect([changes(), run(0).isClosed]).toEqual([1, true]);
    // Never back, though the two runs' stamps cross.
    expect(tags.slice(-2).map(({ timestampMs }) => timestampMs)).toEqual([67, 70]);
    expect(picture.onAir?.quality).toBe(smaller);
    await picture.close();
  });

  test('wanted before the last one took over: only the newest comes', async () => {
    const { picture, run, runs, said } = await onAir();
    picture.change(smaller);
    await settle();
    picture.change(smallest);
    await settle();
    expect(run(1).isClosed).toBe(true);
    run(1).header();
    run(1).key(50);
    run(2).header();
    run(2).key(60);
    expect(said().slice(3)).toEqual(['200000', 'h3', 'k3']);
    expect(runs).toHaveLength(3);
    await picture.close();
  });

  test('of a camera that only one may open: the old one ends first', async () => {
    const { picture, run, said } = await onAir({ isShared: false });
    picture.change(smaller);
    await settle();
    expect(run(0).isClosed).toBe(true);
    expect(run(1)).toMatchObject({ isStarted: true, quality: smaller });
    run(1).header();
    run(1).key(400);
    expect(said().slice(3)).toEqual(['500000', 'h2', 'k2']);
    await picture.close();
  });

  test('of a camera that makes the picture itself: an encoder of ours has to do, from then on', async () => {
    const { picture, run, runs, notices } = await onAir({ ways: ['copy', 'libx264'] });
    expect(picture.onAir?.quality).toEqual({ ...asked, widthPx: 1920, heightPx: 1080, frameRate: 25 });
    picture.change(smaller);
    await settle();
    expect(run(0).isClosed).toBe(true);
    expect(run(1)).toMatchObject({ way: 'libx264', quality: smaller });
    run(1).header();
    run(1).key(400);
    picture.change({ ...asked });
    await settle();
    expect(run(2)).toMatchObject({ way: 'libx264', quality: asked });
    expect([runs.length, notices]).toEqual([3, ['ENCODER_CHANGED']]);
    await picture.close();
  });

  test('of a camera that makes the picture itself, and nothing else: it goes on as it is', async () => {
    const { picture, run, runs, notices } = await onAir({ ways: ['copy'] });
    picture.change(smaller);
    picture.change(smallest);
    await settle();
    expect([run(0).isClosed, runs.length, notices]).toEqual([false, 1, ['SETTING_UNAVAILABLE']]);
    await picture.close();
  });

  test('wanted while the first run is being opened is not forgotten', async () => {
    const all = world();
    let opened = () => {};
    all.setOpening(
      new Promise((resolve) => {
        opened = resolve;
      }),
    );
    all.picture.start();
    await settle();
    all.picture.change(smaller);
    opened();
    await settle();
    all.run(0).header();
    all.run(0).key(0);
    expect(all.run(1)).toMatchObject({ isStarted: true, quality: smaller });
    await all.picture.close();
  });

  test('whose run dies before it speaks is tried again, less and less often, and the old one goes on', async () => {
    const { picture, run, runs, clock, lost } = await onAir();
    picture.change(smaller);
    await settle();
    for (const [index, delayMs] of [2_000, 4_000, 8_000].entries()) {
      await run(index + 1).dies('ENCODER_FAILED', { frames: 0 });
      await clock.advance(delayMs - 1);
      expect(runs).toHaveLength(index + 2);
      await clock.advance(1);
      expect(runs).toHaveLength(index + 3);
    }
    expect([run(0).isClosed, lost]).toEqual([false, []]);
    await picture.close();
  });

  test('the old run dies while the new one starts: the new one is the picture', async () => {
    const { picture, run, runs, clock, lost, said } = await onAir();
    picture.change(smaller);
    await settle();
    run(1).header();
    await run(0).dies('ENCODER_STALLED');
    expect(lost).toEqual([['ENCODER_STALLED', 1]]);
    run(1).key(500);
    expect(said().slice(3)).toEqual(['500000', 'h2', 'k2']);
    await clock.advance(10_000);
    expect(runs).toHaveLength(2);
    await picture.close();
    expect(clock.pending()).toEqual([]);
  });
});

describe('encoders', () => {
  test('one that cannot start gives way to the next, which is told', async () => {
    const { picture, run, clock, notices, texts } = world({ ways: ['h264_v4l2m2m', 'libx264'] });
    picture.start();
    await settle();
    expect(run(0).way).toBe('h264_v4l2m2m');
    await run(0).dies('ENCODER_FAILED', { frames: 0 });
    await clock.advance(100);
    expect([run(1).way, notices]).toEqual(['libx264', ['ENCODER_CHANGED']]);
    expect(texts[0]).toMatch(/^libx264 takes over from h264_v4l2m2m: /);
    await picture.close();
  });

  test('one that makes what no provider takes gives way', async () => {
    const { run, clock, setUnfit, lost } = await onAir({ ways: ['h264_v4l2m2m', 'libx264'] });
    setUnfit('ENCODER_UNFIT');
    run(0).frame(33);
    await settle();
    expect(run(0).isClosed).toBe(true);
    setUnfit(undefined);
    await clock.advance(100);
    expect([lost[0]?.[0], run(1).way]).toEqual(['ENCODER_UNFIT', 'libx264']);
  });
});

const ACTS = ['header', 'key', 'frame', 'dies', 'away', 'there', 'change', 'wait', 'long wait'] as const;

test('in whatever order: time stamps grow, a picture begins with its header and a key frame, nothing is left', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(fc.tuple(fc.constantFrom(...ACTS), fc.nat(2)), { maxLength: 40 }),
      async (isShared, acts) => {
        const all = world({ isShared, ways: ['a', 'b'] });
        let atMs = 0;
        const speaks: Record<string, (run: FakeRun) => unknown> = {
          header: (run) => run.header(),
          key: (run) => run.key(atMs),
          frame: (run) => run.frame(atMs),
          dies: (run) => run.dies('ENCODER_FAILED'),
        };
        all.picture.start();
        for (const [act, which] of acts) {
          atMs += 20;
          const live = all.runs.filter(({ isStarted, isClosed }) => isStarted && !isClosed);
          const speaker = live[which % Math.max(1, live.length)];
          if (speaker) await speaks[act]?.(speaker);
          if (act === 'away') all.setAway('CAMERA_BUSY');
          if (act === 'there') all.setAway(undefined);
          if (act === 'change') all.picture.change([asked, smaller, smallest][which] ?? asked);
          if (act === 'wait') await all.clock.advance(200);
          if (act === 'long wait') await all.clock.advance(3_000);
          await settle();
        }
        await all.picture.close();
        const stamps = all.tags.filter((tag) => tag.kind === 'video' && !isSequenceHeader(tag));
        stamps.slice(1).forEach(({ timestampMs }, index) => {
          expect(timestampMs).toBeGreaterThan(stamps[index]?.timestampMs ?? 0);
        });
        // Each run's first word is its description; runs do not speak across each other.
        const speakers = all.said().map((word) => (/^[hkf]/.test(word) ? word.slice(1) : 'described'));
        speakers.slice(1).forEach((speaker, index) => {
          if (speaker !== 'described' && speakers[index] !== 'described') expect(speaker).toBe(speakers[index]);
        });
        expect(all.runs.filter(({ isStarted, isClosed, isDead }) => isStarted && !isClosed && !isDead)).toEqual([]);
        expect(all.clock.pending()).toEqual([]);
      },
    ),
    { numRuns: 200 },
  );
});

describe('an encoder that this ffmpeg lacks', () => {
  test('gives way to the next one', async () => {
    const { picture, run, runs, clock, failed, notices } = world({ ways: ['libx264', 'h264_v4l2m2m'] });
    picture.start();
    await settle();
    await run(0).dies('FFMPEG_MISSING', { frames: 0 });
    await clock.advance(1_000);
    expect(runs.map(({ way }) => way)).toEqual(['libx264', 'h264_v4l2m2m']);
    expect([failed, notices]).toEqual([[], ['ENCODER_CHANGED']]);
    await picture.close();
  });

  test('is the end when it is the only one', async () => {
    const { picture, run, failed, clock } = world();
    picture.start();
    await settle();
    await run(0).dies('FFMPEG_MISSING', { frames: 0 });
    await clock.advance(10_000);
    expect(failed).toEqual(['FFMPEG_MISSING']);
    await picture.close();
  });
});

describe('renewal, when the wall clock was set', () => {
  test("another run of the same quality takes over; of the camera's own H.264 the one before ends first", async () => {
    const shared = await onAir();
    shared.picture.renew();
    await settle();
    shared.run(1).header();
    shared.run(1).key(100);
    shared.run(1).frame(133);
    expect(shared.run(1).quality).toEqual(asked);
    expect(shared.said()).toEqual(['2000000', 'h1', 'k1', '2000000', 'h2', 'k2', 'f2']);
    expect(shared.run(0).isClosed).toBe(true);
    await shared.picture.close();

    const copied = await onAir({ ways: ['copy', 'libx264'] });
    copied.picture.renew();
    await settle();
    expect(copied.runs.map(({ way, isClosed }) => [way, isClosed])).toEqual([
      ['copy', true],
      ['copy', false],
    ]);
    await copied.picture.close();
  });

  test('without a run, or after the end, there is nothing to renew', async () => {
    const { picture, runs, clock } = await onAir();
    await picture.close();
    picture.renew();
    await settle();
    expect(runs).toHaveLength(1);
    expect(clock.pending()).toEqual([]);
  });
});

describe('the end', () => {
  /** Settles when told. */
  function gate() {
    let open = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    return { open, opened };
  }

  test('waits for a run that was replaced and is not gone yet: it may still hold the camera', async () => {
    const { picture, run, setClosing } = await onAir();
    picture.change(smaller);
    await settle();
    const { open, opened } = gate();
    setClosing(opened);
    run(1).header();
    run(1).key(100);
    setClosing(Promise.resolve());
    let isClosed = false;
    const closed = picture.close().then(() => {
      isClosed = true;
    });
    await settle();
    expect(isClosed).toBe(false);
    open();
    await closed;
  });

  test('waits for a change that was being opened when its forerunner died', async () => {
    const { picture, run, clock, setOpening, openedTooLate } = await onAir();
    const { open, opened } = gate();
    setOpening(opened);
    picture.change(smaller);
    await settle();
    setOpening(Promise.resolve());
    await run(0).dies('ENCODER_FAILED');
    await clock.advance(200);
    const closed = picture.close();
    await settle();
    open();
    await closed;
    await settle();
    expect(openedTooLate()).toBe(0);
  });
});
