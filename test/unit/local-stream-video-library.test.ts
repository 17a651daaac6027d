/** Videos of the account: what an edit changes for good, when they delete themselves, and whose storage they take. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { liveInputBody, newLiveInput } from '../../cloud/local-stream/api/live-input.ts';
import { openCatalogue } from '../../cloud/local-stream/catalogue.ts';
import { videoBody, videoJson } from '../../cloud/local-stream/recordings/video.ts';
import { createVideoLibrary } from '../../cloud/local-stream/recordings/video-library.ts';
import { silentLog } from '../../shared/log.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';
import { createTestClock } from '../support/test-clock.ts';

const DAY_MS = 86_400_000;

async function createWorld({ dataDir = temporaryFolder(), clock = createTestClock() } = {}) {
  const told: string[] = [];
  const catalogue = openCatalogue({ dataDir });
  const removed: string[] = [];
  const segment = {
    track: 'video' as const,
    number: 0,
    period: 0,
    startTicks: 0,
    durationTicks: 90_000,
    timescale: 1000,
  };
  const presentation = {
    ...{ startedMs: 0, periods: [], longestMs: 1000, isEnded: true },
    segments: { video: [{ ...segment, bytes: 9, wallMs: 0, startsWithKeyFrame: true }], audio: [] },
  };
  const library = createVideoLibrary({
    ...{ catalogue, clock, log: silentLog(), readyDelayMs: 0 },
    recordings: {
      read: async () => presentation,
      remove: async (uid: string) => void removed.push(uid),
    },
    onFinished: ({ uid }) => void told.push(uid),
  });
  const cutShort = await library.start();
  onTestFinished(async () => {
    await library.close();
    catalogue.close();
  });
  async function recorded(body: object = {}): Promise<string> {
    const { uid } = library.begin(newLiveInput(liveInputBody.parse(body), clock.now()), { width: 16, height: 9 });
    const ending = library.end(uid, Promise.resolve());
    await clock.advance(1);
    await ending;
    return uid;
  }
  const edit = (uid: string, body: object) => library.edit(uid, videoBody.parse(body));
  return { dataDir, clock, library, removed, recorded, edit, cutShort, told };
}

describe('videos', () => {
  it('keep what was edited over a restart', async () => {
    const { library, recorded, edit, dataDir, clock } = await createWorld();
    const uid = await recorded({ meta: { name: 'before' } });
    const edited = edit(uid, { meta: { name: 'after' }, creator: 'me', allowedOrigins: ['example.org'] });
    expect(edited).toMatchObject({ meta: { name: 'after' }, creator: 'me', allowedOrigins: ['example.org'] });
    expect(edit(uid, { uid: 'other' })).toEqual({ wrong: expect.stringMatching(/^uid/) });
    expect(edit('nobody', {})).toBeUndefined();
    expect(library.get(uid)).toEqual(edited);
    expect((await createWorld({ dataDir, clock })).library.get(uid)).toEqual(edited);
  });

  it('that a crash cut short are recordings after the start, which leaves to its caller whom to tell', async () => {
    const { library, dataDir, clock, recorded, told } = await createWorld();
    const whole = await recorded();
    const { uid } = library.begin(newLiveInput(liveInputBody.parse({}), clock.now()), { width: 16, height: 9 });
    const after = await createWorld({ dataDir, clock });
    expect(after.cutShort.map((video) => [video.uid, video.state])).toEqual([[uid, 'ready']]);
    expect([told, after.told]).toEqual([[whole], []]);
  });

  it('delete themselves on the day that was set, on the input’s day, or never', async () => {
    const { library, recorded, edit, clock, removed } = await createWorld();
    const [byInput, bySet, never] = [
      await recorded({ deleteRecordingAfterDays: 40 }),
      await recorded({ deleteRecordingAfterDays: 40 }),
      await recorded({ deleteRecordingAfterDays: 40 }),
    ];
    edit(bySet, { scheduledDeletion: new Date(clock.now() + 31 * DAY_MS).toISOString() });
    edit(never, { scheduledDeletion: null });
    for (let hour = 0; hour < 32 * 24; hour += 1) await clock.advance(3_600_000);
    expect(removed).toEqual([bySet]);
    for (let hour = 0; hour < 10 * 24; hour += 1) await clock.advance(3_600_000);
    expect(removed).toEqual([bySet, byInput]);
    expect(library.list().map(({ uid }) => uid)).toEqual([never]);
  });

  it('weigh on the storage of the account, and of their creator', async () => {
    const { library, recorded } = await createWorld();
    await recorded({ defaultCreator: 'me' });
    await recorded();
    expect([library.usage(), library.usage('me'), library.usage('nobody')]).toMatchObject([
      { minutes: 3, videoCount: 2 },
      { minutes: 2, videoCount: 1 },
      { minutes: 0, videoCount: 0 },
    ]);
  });

  it('are shown with every field of the real one, unset ones as null', async () => {
    const { library, recorded } = await createWorld();
    const video = library.get(await recorded());
    if (!video) throw new Error('it is gone');
    expect(videoJson(video, 'http://127.0.0.1:1')).toMatchObject({
      ...{ allowedOrigins: [], creator: null, scheduledDeletion: null, publicDetails: null, thumbnailTimestampPct: 0 },
      ...{ uploadExpiry: null, maxDurationSeconds: null, watermark: null, clippedFrom: null },
      preview: `http://127.0.0.1:1/${video.uid}/watch`,
    });
  });
});
