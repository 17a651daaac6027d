/** From a publisher's arrival to the recording: hold window, new and continued videos, crash, full disk. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type LiveInput, liveInputBody, newLiveInput } from '../../cloud/local-stream/api/live-input.ts';
import { type Catalogue, openCatalogue } from '../../cloud/local-stream/catalogue.ts';
import { createBroadcasts } from '../../cloud/local-stream/packaging/broadcasts.ts';
import { createViewers } from '../../cloud/local-stream/playback/viewers.ts';
import { createRecordings, readTimeline } from '../../cloud/local-stream/recordings/recordings.ts';
import { createVideoLibrary } from '../../cloud/local-stream/recordings/video-library.ts';
import { silentLog } from '../../shared/log.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

const opened: Catalogue[] = [];
afterEach(() => {
  for (const catalogue of opened.splice(0)) catalogue.close();
});

function createWorld({
  dataDir = temporaryFolder(),
  timeoutSeconds = 10 as number | null,
  preferLowLatency = false,
} = {}) {
  const clock = createTestClock();
  const log = silentLog();
  const catalogue = openCatalogue({ dataDir });
  opened.push(catalogue);
  const folder = join(dataDir, 'videos');
  const recordings = createRecordings({ folder, log });
  const library = createVideoLibrary({ catalogue, recordings, clock, log, readyDelayMs: 500 });
  const recording = { mode: 'automatic', timeoutSeconds };
  const body = liveInputBody.parse({ recording, deleteRecordingAfterDays: 30, preferLowLatency });
  let input: LiveInput | undefined = newLiveInput(body, clock.now());
  const { uid } = input;
  const ends: Promise<void>[] = [];
  const over: string[] = [];
  const broadcasts = createBroadcasts({
    clock,
    log,
    input: (asked) => (asked === uid ? input : undefined),
    beginVideo: library.begin,
    beginRecording: recordings.begin,
    endVideo(videoUid, written) {
      const end = library.end(videoUid, written);
      ends.push(end);
      return end;
    },
    onEnded: (inputUid) => void over.push(inputUid),
    defaultHoldMs: 60_000,
    holdMarginMs: 3000,
    partTargetMs: 210,
  });
  /** All files are written and every ready delay has passed. */
  async function finished(): Promise<void> {
    let isDone = false;
    const done = Promise.all(ends).then(() => {
      isDone = true;
    });
    // Writes end in their own time; the delay after them needs the clock to move.
    while (!isDone) await clock.advance(100);
    await done;
  }
  onTestFinished(async () => {
    broadcasts.close();
    await finished();
  });
  return {
    ...{ clock, library, recordings, broadcasts, folder, dataDir, uid, finished, over },
    change(changes: Partial<LiveInput> | undefined) {
      input = input && changes && { ...input, ...changes };
      broadcasts.reconsider(uid);
    },
    recording: (mode: 'off' | 'automatic') => ({ recording: { ...body.recording, mode } as LiveInput['recording'] }),
    publish: (publicationId: string) => broadcasts.published({ inputUid: uid, publicationId }),
    leave: (publicationId: string) => broadcasts.unpublished({ inputUid: uid, publicationId }),
    send(publicationId: string, fromMs: number, untilMs: number, { headers = true } = {}) {
      const all = [...(headers ? [tags.videoConfig(), tags.audioConfig()] : []), ...stretch({ fromMs, untilMs })];
      for (const tag of all) broadcasts.tag(uid, publicationId, tag);
    },
    listed: () =>
      broadcasts
        .onAir(uid)
        ?.window.presentation()
        .segments.video.map(({ number }) => number),
  };
}

describe('one broadcast', () => {
  it('has a video from its first segment on, and none without pictures', async () => {
    const { publish, send, leave, broadcasts, library, uid, clock } = createWorld();
    publish('p1');
    expect(broadcasts.onAir(uid)).toBeUndefined();
    leave('p1');
    await clock.advance(13_000);
    expect(library.list()).toEqual([]);
    publish('p2');
    send('p2', 0, 1100);
    expect(library.list()).toMatchObject([{ state: 'live-inprogress', width: 640, height: 360 }]);
    expect(broadcasts.onAir(uid)).toMatchObject({ isLive: true, videoUid: library.list()[0]?.uid });
    broadcasts.close();
  });
  it('is held for its time and three seconds, frozen, and then over', async () => {
    const world = createWorld();
    const { publish, send, leave, broadcasts, library, listed, uid, clock, finished, recordings, over } = world;
    publish('p1');
    send('p1', 0, 3100);
    leave('p1');
    expect(broadcasts.onAir(uid)?.isLive).toBe(false);
    await clock.advance(12_999);
    expect(listed()).toEqual([0, 1, 2]);
    expect(over).toEqual([]);
    await clock.advance(1);
    expect(broadcasts.onAir(uid)).toBeUndefined();
    expect(over).toEqual([uid]);
    await finished();
    const [video] = library.list();
    // The picture that was open when the publisher left is in the recording.
    expect(video).toMatchObject({ state: 'ready', durationMs: 3120 });
    expect((await recordings.read(video?.uid ?? ''))?.segments.video).toHaveLength(4);
    expect(clock.pending()).toEqual([]);
  });
  it('has parts where the input prefers low latency; the recording has the same bytes, whole', async () => {
    const plain = createWorld();
    plain.publish('p1');
    plain.send('p1', 0, 2100);
    expect(plain.broadcasts.onAir(plain.uid)?.window.lowLatency()).toBeUndefined();
    plain.broadcasts.close();
    const { publish, send, broadcasts, uid, finished, recordings, library } = createWorld({ preferLowLatency: true });
    publish('p1');
    send('p1', 0, 2100);
    const window = broadcasts.onAir(uid)?.window;
    expect(window?.lowLatency()?.parts.video.parts.length).toBeGreaterThan(8);
    const [live, part] = [window?.media('video-1.m4s'), window?.media('video-1.2.m4s')];
    expect(live?.includes(part ?? 'nothing')).toBe(true);
    broadcasts.close();
    // Who waits for more is told.
    expect(window?.isClosed()).toBe(true);
    await finished();
    const videoUid = library.list()[0]?.uid ?? '';
    expect((await recordings.media(videoUid, 'video-1.m4s'))?.equals(live ?? Buffer.alloc(0))).toBe(true);
    expect(await recordings.media(videoUid, 'video-1.2.m4s')).toBeUndefined();
  });
  it('is held for the default time when the input names none', async () => {
    const { publish, send, leave, broadcasts, uid, clock } = createWorld({ timeoutSeconds: null });
    publish('p1');
    send('p1', 0, 1100);
    leave('p1');
    await clock.advance(62_999);
    expect(broadcasts.onAir(uid)).toBeDefined();
    await clock.advance(1);
    expect(broadcasts.onAir(uid)).toBeUndefined();
  });
  it('is held for weeks when the input wants that: a timer that overflows would fire at once', async () => {
    const { publish, send, leave, broadcasts, uid, clock } = createWorld({ timeoutSeconds: 90 * 86_400 });
    const after = vi.spyOn(clock, 'after');
    publish('p1');
    send('p1', 0, 1100);
    leave('p1');
    expect(after.mock.lastCall?.[1]).toBeLessThan(2 ** 31);
    await clock.advance(20 * 86_400_000);
    expect(broadcasts.onAir(uid)).toBeDefined();
  });
  it('goes on when the publisher returns in time: same video, no discontinuity on the same timeline', async () => {
    const { publish, send, leave, broadcasts, library, listed, uid, clock } = createWorld();
    publish('p1');
    send('p1', 0, 2100);
    leave('p1');
    await clock.advance(5000);
    publish('p2');
    send('p2', 2120, 5100);
    expect(listed()).toEqual([0, 1, 2, 3]);
    expect(
      new Set(
        broadcasts
          .onAir(uid)
          ?.window.presentation()
          .periods.map(({ index }) => index),
      ),
    ).toEqual(new Set([0]));
    await clock.advance(60_000);
    expect(broadcasts.onAir(uid)?.isLive).toBe(true);
    expect(library.list()).toHaveLength(1);
    broadcasts.close();
  });
  it('what the lost publisher left open is listed only together with new media', async () => {
    const { publish, send, leave, listed, library, recordings, change, finished, clock } = createWorld();
    publish('p1');
    send('p1', 0, 2500);
    leave('p1');
    expect(listed()).toEqual([0, 1]);
    await clock.advance(5000);
    publish('p2');
    expect(listed()).toEqual([0, 1]);
    send('p2', 100_000, 100_900);
    expect(listed()).toEqual([0, 1]);
    send('p2', 101_000, 101_100, { headers: false });
    expect(listed()).toEqual([0, 1, 2, 3]);
    // Lost again, for good: nothing of either is missing.
    leave('p2');
    publish('p3');
    send('p3', 0, 500);
    change({ enabled: false });
    await finished();
    const recorded = await recordings.read(library.list()[0]?.uid ?? '');
    expect(recorded?.segments.video.map(({ number }) => number)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(recorded?.periods.map(({ index }) => index)).toEqual([0, 1, 2]);
  });
  it('another video when it returns too late', async () => {
    const { publish, send, leave, library, clock, finished, broadcasts } = createWorld();
    publish('p1');
    send('p1', 0, 2100);
    leave('p1');
    await clock.advance(13_000);
    await finished();
    publish('p2');
    send('p2', 15_000, 17_100);
    expect(library.list().map(({ state }) => state)).toEqual(['live-inprogress', 'ready']);
    broadcasts.close();
  });
  it('what comes late from a publisher that was replaced changes nothing', () => {
    const { publish, send, leave, listed, broadcasts, uid } = createWorld();
    publish('p1');
    send('p1', 0, 1100);
    leave('p1');
    publish('p2');
    leave('p1');
    send('p1', 1120, 4000, { headers: false });
    expect(broadcasts.onAir(uid)?.isLive).toBe(true);
    expect(listed()).toEqual([0]);
    broadcasts.close();
  });
});

describe('settings', () => {
  it('switched off or deleted, it ends at once', async () => {
    for (const change of [{ enabled: false }, undefined]) {
      const world = createWorld();
      world.publish('p1');
      world.send('p1', 0, 2100);
      world.change(change);
      expect(world.broadcasts.onAir(world.uid)).toBeUndefined();
      await world.finished();
      expect(world.library.list()).toMatchObject([{ state: 'ready' }]);
    }
  });
  it('not recorded, it does not play; recorded again, it goes on as another video without new headers', async () => {
    const { publish, send, change, recording, listed, library, broadcasts, uid } = createWorld();
    publish('p1');
    send('p1', 0, 2100);
    change(recording('off'));
    send('p1', 2120, 4000, { headers: false });
    expect(listed()).toBeUndefined();
    expect(broadcasts.isTakenOff(uid)).toBe(true);
    change(recording('automatic'));
    send('p1', 4000, 6100, { headers: false });
    expect(broadcasts.isTakenOff(uid)).toBe(false);
    expect(listed()).toEqual([0, 1]);
    expect(library.list()).toHaveLength(2);
    broadcasts.close();
  });
});

describe('recordings', () => {
  it('a killed process leaves what was written whole, and the next one makes it ready', async () => {
    const before = createWorld();
    before.publish('p1');
    before.send('p1', 0, 4100);
    const [video] = before.library.list();
    const folder = join(before.folder, video?.uid ?? '');
    // Writes are in flight: wait for the fourth segment's line, then let the process be gone.
    const written = async () => (await before.recordings.read(video?.uid ?? ''))?.segments.video.length;
    while ((await written()) !== 4) await before.clock.advance(1);
    appendFileSync(join(folder, 'timeline.jsonl'), '{"segment":{"track":"vid');
    for (const catalogue of opened.splice(0)) catalogue.close();

    const after = createWorld({ dataDir: before.dataDir });
    await after.library.start();
    expect(after.library.list()).toMatchObject([{ uid: video?.uid, state: 'ready', durationMs: 4000 }]);
    await after.clock.advance(30 * 86_400_000);
    while (after.library.list().length > 0) await after.clock.advance(1);
    expect(readdirSync(after.folder)).toEqual([]);
    await after.library.close();
  });
  it('one that is deleted while it is still being written is gone, and stays gone', async () => {
    const { publish, send, library, change, folder, finished } = createWorld();
    publish('p1');
    send('p1', 0, 60_000);
    const uid = library.list()[0]?.uid ?? '';
    change({ enabled: false });
    expect(library.get(uid)?.state).toBe('inprogress');
    expect(await Promise.all([library.remove(uid), library.remove(uid)])).toEqual([true, true]);
    await finished();
    expect(existsSync(join(folder, uid))).toBe(false);
    expect(library.list()).toEqual([]);
    expect(await library.remove(uid)).toBeUndefined();
  });
  it('one whose files cannot be removed is still known, so that it can be deleted later', async () => {
    const { publish, send, library, change, folder, finished, clock } = createWorld();
    publish('p1');
    send('p1', 0, 2100);
    const uid = library.list()[0]?.uid ?? '';
    change({ enabled: false });
    await finished();
    const video = library.get(uid);
    const failing = createVideoLibrary({
      catalogue: { videos: () => (video ? [{ ...video, deleteAfterDays: 0 }] : []), saveVideo() {}, removeVideo() {} },
      recordings: { read: async () => undefined, remove: () => Promise.reject(new Error('EBUSY')) },
      ...{ clock, log: silentLog(), readyDelayMs: 0 },
    });
    await failing.start();
    await expect(failing.remove(uid)).rejects.toThrow('EBUSY');
    expect(failing.get(uid)).toBeDefined();
    // The sweep meets the same and goes on.
    await clock.advance(3_600_000);
    await failing.close();
    expect(existsSync(join(folder, uid))).toBe(true);
  });
  it('one whose time has come goes by the clock; a clock that was set back only makes it later', async () => {
    const { publish, send, library, change, finished, clock, folder, recordings } = createWorld();
    publish('p1');
    send('p1', 0, 2100);
    const uid = library.list()[0]?.uid ?? '';
    change({ enabled: false });
    await finished();
    const video = library.get(uid);
    let shiftMs = -400 * 86_400_000;
    const removed: string[] = [];
    const later = createVideoLibrary({
      catalogue: {
        videos: () => (video ? [video] : []),
        saveVideo() {},
        removeVideo: (gone) => void removed.push(gone),
      },
      ...{ recordings, log: silentLog(), readyDelayMs: 0, clock: { ...clock, now: () => clock.now() + shiftMs } },
    });
    await later.start();
    await clock.advance(31 * 86_400_000);
    expect([later.list().length, existsSync(join(folder, uid))]).toEqual([1, true]);
    shiftMs = 0;
    await clock.advance(3_600_000);
    while (removed.length === 0) await clock.advance(1);
    expect([later.list().length, existsSync(join(folder, uid))]).toEqual([0, false]);
    await later.close();
  });
  it('what a full disk did not let the catalogue keep is kept when there is room again', async () => {
    const { clock, folder } = createWorld();
    const saved: string[] = [];
    let isFull = true;
    const library = createVideoLibrary({
      catalogue: {
        videos: () => [],
        saveVideo(video) {
          if (isFull) throw new Error('SQLITE_FULL');
          saved.push(`${video.uid} ${video.state}`);
        },
        removeVideo() {},
      },
      recordings: createRecordings({ folder, log: silentLog() }),
      ...{ clock, log: silentLog(), readyDelayMs: 0 },
    });
    await library.start();
    const input = newLiveInput(liveInputBody.parse({}), clock.now());
    const [one, two] = [0, 1].map(() => library.begin(input, { width: 2, height: 2 }).uid);
    const ending = [one, two].map((uid) => library.end(String(uid), Promise.resolve()));
    while (library.list().some(({ state }) => state !== 'error')) await clock.advance(1);
    await Promise.all(ending);
    expect(saved).toEqual([]);
    isFull = false;
    await library.remove(String(one));
    expect(saved).toEqual([`${two} error`]);
    await clock.advance(3_600_000);
    expect(saved).toHaveLength(1);
    await library.close();
  });
  it('a timeline that holds nonsense ends there', () => {
    const period = '{"period":{"index":0,"wallMs":1}}';
    const segment = '{"segment":{"track":"video","number":0,"durationTicks":90000,"timescale":90000}}';
    for (const nonsense of ['null', '7', '{"segment":{"track":"smell"}}', '{"segment":null}', '\0\0', '{}']) {
      const read = readTimeline([period, segment, nonsense, segment].join('\n'));
      expect(read?.segments.video).toHaveLength(1);
    }
  });
  it('a disk that takes nothing ends the recording, not the stream', async () => {
    const { publish, send, leave, listed, library, folder, finished, clock } = createWorld();
    mkdirSync(join(folder, '..'), { recursive: true });
    writeFileSync(folder, 'in the way');
    publish('p1');
    send('p1', 0, 2100);
    expect(listed()).toEqual([0, 1]);
    await clock.advance(10);
    send('p1', 2120, 5100, { headers: false });
    expect(listed()).toHaveLength(4);
    leave('p1');
    await clock.advance(13_000);
    await finished();
    expect(library.list()).toMatchObject([{ state: 'error', errorCode: 'ERR_DURATION_TOO_SHORT' }]);
  });
  it('live lists eight segments and holds some more; the recording has all', async () => {
    const { publish, send, listed, broadcasts, uid, library, finished, change, recordings } = createWorld();
    publish('p1');
    send('p1', 0, 30_100);
    expect(listed()).toEqual([22, 23, 24, 25, 26, 27, 28, 29]);
    const window = broadcasts.onAir(uid)?.window;
    expect(window?.media('video-14.m4s')).toBeDefined();
    expect(window?.media('video-13.m4s')).toBeUndefined();
    expect(window?.media('video-init-0.mp4')).toBeDefined();
    change({ enabled: false });
    await finished();
    const [video] = library.list();
    expect((await recordings.read(video?.uid ?? ''))?.segments.video).toHaveLength(31);
    expect(await recordings.media(video?.uid ?? '', 'video-13.m4s')).toBeDefined();
    expect(await recordings.media(video?.uid ?? '', '../../catalogue.db')).toBeUndefined();
  });
  it('a timeline without a picture is nothing to play', () => {
    expect(readTimeline('')).toBeUndefined();
    expect(readTimeline('{"period":{"index":0,"wallMs":1}}\n')).toBeUndefined();
  });
});

describe('viewers', () => {
  it('are counted while they ask', async () => {
    const clock = createTestClock();
    const viewers = createViewers({ clock });
    viewers.seen('v', 'one');
    viewers.seen('v', 'one');
    await clock.advance(10_000);
    viewers.seen('v', 'two');
    expect(viewers.count('v')).toBe(2);
    await clock.advance(6000);
    expect(viewers.count('v')).toBe(1);
    expect(viewers.count('other')).toBe(0);
  });
  it('of one video cannot crowd out those of another for longer than they stay', async () => {
    const clock = createTestClock();
    const viewers = createViewers({ clock });
    for (let viewer = 0; viewer < 20_000; viewer += 1) viewers.seen('v', `${viewer}`);
    expect(viewers.count('v')).toBe(10_000);
    await clock.advance(15_001);
    viewers.seen('other', 'one');
    expect([viewers.count('v'), viewers.count('other')]).toEqual([0, 1]);
  });
});
