import { describe, expect, it } from 'vitest';
import { createCleanup } from '../../cloud/provider/cleanup.ts';
import type { LiveInputSummary } from '../../cloud/provider/live-inputs.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createLog, silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const gone = () => new GlasscastError('LIVE_INPUT_NOT_FOUND');
const listed = (uid: string, streamId: string | undefined, createdAtMs = 1_700_000_000_000): LiveInputSummary => ({
  uid,
  streamId,
  createdAtMs,
});

function world({ keepRecordings = false, lateRecordingLooksMs = [] as number[] } = {}) {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const done: string[] = [];
  const provider = {
    videos: ['video-1', 'video-2'],
    outputs: ['output-1'],
    inputs: [] as LiveInputSummary[],
    fails: undefined as GlasscastError | undefined,
    liveUntilMs: 0,
  };
  const did = async (what: string) => {
    if (provider.fails) throw provider.fails;
    done.push(what);
  };
  const inputs = {
    setEnabled: (uid: string, enabled: boolean) => did(`${uid} enabled ${enabled}`),
    delete: (uid: string) => did(`delete ${uid}`),
    list: async () => provider.inputs,
    videos: async () => provider.videos.map((uid) => ({ uid, state: 'ready' })),
    async deleteVideo(uid: string) {
      if (clock.monotonicMs() < provider.liveUntilMs) throw new GlasscastError('PROVIDER_CONFLICT');
      await did(`delete ${uid}`);
      provider.videos = provider.videos.filter((video) => video !== uid);
    },
    outputs: async () =>
      provider.outputs.map((uid) => ({ uid, url: '', streamKey: new Secret('x'), enabled: true, state: undefined })),
    deleteOutput: (_uid: string, output: string) => did(`delete ${output}`),
  };
  const rules = { keepRecordings, lateRecordingLooksMs, random: () => 0 };
  const make = (log = silentLog()) => createCleanup({ inputs, store, clock, log, ...rules });
  return { clock, store, done, provider, inputs, make, cleanup: make() };
}

describe('deletion', () => {
  it('goes by the order of the contract, and strikes the entry out at the end (defect 11)', async () => {
    const { cleanup, store, done, clock } = world();
    await cleanup.intend('m1');
    expect(await store.ledger.all()).toMatchObject([{ streamId: 'm1', doomed: false }]);
    await cleanup.created('m1', 'uid-1');
    await settle();
    expect([done, (await store.ledger.all())[0]?.liveInputUid]).toEqual([[], 'uid-1']);
    cleanup.discard('m1');
    await settle();
    expect(done).toEqual([
      'uid-1 enabled false',
      'delete video-1',
      'delete video-2',
      'delete output-1',
      'delete uid-1',
    ]);
    expect([await store.ledger.all(), cleanup.pending(), clock.pending()]).toEqual([[], [], []]);
  });

  it('does not believe a refusal when an earlier process may have made the input', async () => {
    const { cleanup, store, make, done, provider } = world();
    await cleanup.intend('m1');
    await cleanup.close(0);
    const next = make();
    await next.lead(new Set(['m1']));
    await next.intend('m1');
    provider.inputs = [{ uid: 'uid-of-m1', streamId: 'm1', createdAtMs: undefined }];
    await next.refused('m1');
    next.discard('m1');
    await settle();
    expect([done.at(-1), await store.ledger.all()]).toEqual(['delete uid-of-m1', []]);
    await next.close(0);
  });

  it('keeps recordings when it is to', async () => {
    const { cleanup, done } = world({ keepRecordings: true });
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    await settle();
    expect(done.filter((what) => what.includes('video'))).toEqual([]);
    expect(done.at(-1)).toBe('delete uid-1');
  });

  it('waits out a recording that is still live, then starts over', async () => {
    const { cleanup, done, provider, clock, store } = world();
    provider.liveUntilMs = 20_000;
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    await clock.advance(19_000);
    expect(done.filter((what) => what.startsWith('delete'))).toEqual([]);
    expect(await store.ledger.all()).toMatchObject([{ doomed: true }]);
    await clock.advance(60_000);
    expect([done.at(-1), await store.ledger.all()]).toEqual(['delete uid-1', []]);
  });

  it('ends by its deletion a broadcast that goes on though it was switched off', async () => {
    const { cleanup, done, inputs, provider, clock, store } = world();
    const { delete: remove } = inputs;
    provider.liveUntilMs = Number.POSITIVE_INFINITY;
    inputs.setEnabled = () => Promise.reject(new GlasscastError('PROVIDER_ECHO_MISMATCH'));
    inputs.delete = (uid) => {
      provider.liveUntilMs = Math.min(provider.liveUntilMs, clock.monotonicMs() + 5_000);
      return remove(uid);
    };
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    await clock.advance(60_000);
    expect(done).toContain('delete video-2');
    expect([provider.videos, await store.ledger.all()]).toEqual([[], []]);
  });

  it('repeats until the provider answers, and takes what is gone for done', async () => {
    const { cleanup, provider, clock, inputs } = world();
    provider.fails = new GlasscastError('PROVIDER_UNREACHABLE');
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    await clock.advance(600_000);
    expect(cleanup.pending()).toEqual(['m1']);
    provider.fails = undefined;
    inputs.delete = () => Promise.reject(gone());
    inputs.setEnabled = () => Promise.reject(gone());
    await clock.advance(60_000);
    expect(cleanup.pending()).toEqual([]);
  });

  it('says once what fails the same way for hours, and nothing when it is closed meanwhile', async () => {
    const { make, provider, clock } = world();
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const cleanup = make(createLog({ program: 'test', level: 'info', redactor: createRedactor(), destination }));
    const said = () => lines.splice(0).map((line) => (JSON.parse(line) as { code?: string }).code);
    provider.fails = new GlasscastError('PROVIDER_UNREACHABLE');
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    await clock.advance(1_800_000);
    expect(said()).toEqual(['PROVIDER_UNREACHABLE']);
    provider.fails = new GlasscastError('PROVIDER_UNAUTHORIZED');
    await clock.advance(2 * 3_600_000);
    expect(said().length).toBeLessThan(5);
    const closing = cleanup.close(0);
    await clock.advance(120_000);
    await closing;
    expect([said(), clock.pending()]).toEqual([[], []]);
  });

  it('waits for a creation that is under way', async () => {
    const { cleanup, done } = world();
    await cleanup.intend('m1');
    cleanup.discard('m1');
    await settle();
    expect([done, cleanup.pending()]).toEqual([[], ['m1']]);
    await cleanup.created('m1', 'uid-1');
    await settle();
    expect(done.at(-1)).toBe('delete uid-1');
  });

  it('finds by its mark an input whose creation was never answered', async () => {
    const { cleanup, done, provider } = world();
    provider.inputs = [listed('theirs', undefined), listed('ours', 'm1')];
    await cleanup.intend('m1');
    await cleanup.created('m1', undefined);
    cleanup.discard('m1');
    await settle();
    expect([done.at(0), done.at(-1)]).toEqual(['ours enabled false', 'delete ours']);
  });

  it('keeps looking for a minute for a creation that may still be at work', async () => {
    const { cleanup, done, provider, clock, store } = world();
    await cleanup.intend('m1');
    await cleanup.created('m1', undefined);
    cleanup.discard('m1');
    await clock.advance(20_000);
    expect(await store.ledger.all()).toMatchObject([{ streamId: 'm1' }]);
    provider.inputs = [listed('late', 'm1')];
    await clock.advance(40_000);
    expect([done.at(-1), await store.ledger.all()]).toEqual(['delete late', []]);
    await cleanup.intend('m2');
    await cleanup.created('m2', undefined);
    cleanup.discard('m2');
    await clock.advance(180_000);
    expect([await store.ledger.all(), cleanup.pending(), clock.pending()]).toEqual([[], [], []]);
  });

  it('forgets an intent that could not be written', async () => {
    const { cleanup, store, clock } = world();
    store.ledger.put = () => Promise.reject(new Error('disk full'));
    await expect(cleanup.intend('m1')).rejects.toThrow('disk full');
    cleanup.discard('m1');
    await clock.advance(1_000);
    expect([cleanup.pending(), clock.pending()]).toEqual([[], []]);
  });

  it('asks for nothing when the provider refused outright', async () => {
    const { cleanup, done, store } = world();
    await cleanup.intend('m1');
    await cleanup.refused('m1');
    cleanup.discard('m1');
    await settle();
    expect([done, await store.ledger.all()]).toEqual([[], []]);
  });
});

describe('a recording that comes to light late', () => {
  const looks = { lateRecordingLooksMs: [60_000, 300_000, 900_000] };

  async function removed(options = looks) {
    const made = world(options);
    await made.cleanup.intend('m1');
    await made.cleanup.created('m1', 'uid-1');
    made.cleanup.discard('m1');
    await settle();
    return made;
  }

  it('is looked for three times after the input is gone', async () => {
    const { done, provider, clock, store, cleanup } = await removed();
    expect(done.at(-1)).toBe('delete uid-1');
    expect(await store.ledger.all()).toMatchObject([{ liveInputUid: 'uid-1', doomed: true }]);
    await clock.advance(299_000);
    provider.videos = ['late'];
    await clock.advance(1_000);
    expect(done.at(-1)).toBe('delete late');
    await clock.advance(599_000);
    expect(cleanup.pending()).toEqual(['m1']);
    await clock.advance(1_000);
    expect([await store.ledger.all(), cleanup.pending(), clock.pending()]).toEqual([[], [], []]);
  });

  it('is looked for at once when the provider tells of it', async () => {
    const { done, provider, cleanup } = await removed();
    provider.videos = ['late'];
    cleanup.lookAgain('uid-1');
    cleanup.lookAgain('somebody-else');
    await settle();
    expect(done.at(-1)).toBe('delete late');
  });

  it('is not lost when it is told of while the last look or the deletion is under way', async () => {
    const { cleanup, clock, done, inputs, provider, store } = world();
    inputs.delete = async (uid) => {
      done.push(`delete ${uid}`);
      if (provider.videos.length > 0 || done.includes('delete late')) return;
      provider.videos = ['late'];
      cleanup.lookAgain(uid);
    };
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    await clock.advance(1);
    expect([provider.videos, done.includes('delete late'), await store.ledger.all()]).toEqual([[], true, []]);
  });

  it('does not hold up the close, and is the next process’s business', async () => {
    const { done, provider, clock, store, cleanup, make } = await removed();
    const closing = cleanup.close(3_000);
    await clock.advance(0);
    await closing;
    provider.videos = ['late'];
    const next = make();
    await next.lead(new Set());
    await clock.advance(900_000);
    expect([done.at(-1), await store.ledger.all()]).toEqual(['delete late', []]);
    await next.close(0);
    expect(clock.pending()).toEqual([]);
  });
});

describe('a disk that is full', () => {
  it('loses nothing: the uid is written later, the deletion goes on', async () => {
    const { cleanup, store, done, clock } = world();
    await cleanup.intend('m1');
    const { put } = store.ledger;
    const remove = store.ledger.delete;
    store.ledger.put = () => Promise.reject(new Error('disk full'));
    await cleanup.created('m1', 'uid-1');
    await cleanup.intend('m2').catch(() => {});
    store.ledger.put = put;
    await clock.advance(60_000);
    expect(await store.ledger.all()).toMatchObject([{ streamId: 'm1', liveInputUid: 'uid-1' }]);
    store.ledger.put = () => Promise.reject(new Error('disk full'));
    store.ledger.delete = () => Promise.reject(new Error('disk full'));
    cleanup.discard('m1');
    await settle();
    expect(done.at(-1)).toBe('delete uid-1');
    expect(cleanup.pending()).toEqual(['m1']);
    store.ledger.put = put;
    store.ledger.delete = remove;
    await clock.advance(60_000);
    expect([await store.ledger.all(), cleanup.pending(), clock.pending()]).toEqual([[], [], []]);
  });
});

describe('strays', () => {
  it('are found by their mark at the start and every 15 min, once they are older than 10 min', async () => {
    const { cleanup, done, provider, clock, store } = world();
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    await cleanup.intend('m2');
    provider.inputs = [
      listed('uid-1', 'm1'),
      listed('twin-of-1', 'm1', clock.now() - 600_000),
      listed('awaited', 'm2', clock.now() - 700_000),
      listed('young', 'm3'),
      listed('theirs', undefined, 0),
    ];
    await cleanup.lead(new Set());
    await settle();
    const deleted = () => done.filter((what) => /^delete (?!video|output)/.test(what));
    expect(deleted()).toEqual(['delete twin-of-1']);
    provider.inputs = provider.inputs.filter(({ uid }) => uid !== 'twin-of-1');
    await clock.advance(15 * 60_000);
    expect(deleted()).toEqual(['delete twin-of-1', 'delete young']);
    expect((await store.ledger.all()).map(({ streamId }) => streamId)).toEqual(['m1', 'm2']);
    await cleanup.created('m2', 'awaited');
    const closing = cleanup.close(0);
    await clock.advance(100);
    await closing;
    expect(clock.pending()).toEqual([]);
  });

  it('wait until the provider answers', async () => {
    const { cleanup, done, provider, clock, inputs } = world();
    const { list } = inputs;
    inputs.list = () => Promise.reject(new GlasscastError('PROVIDER_UNREACHABLE'));
    provider.inputs = [listed('stray', 'm1', 0)];
    await cleanup.lead(new Set());
    await settle();
    inputs.list = list;
    await clock.advance(15 * 60_000);
    expect(done.at(-1)).toBe('delete stray');
    await cleanup.close(0);
  });
});

describe('another process', () => {
  it('leaves alone what belongs to streams that go on', async () => {
    const { cleanup, make, done, provider, clock, store } = world();
    for (const id of ['m1', 'm2', 'm3']) await cleanup.intend(id);
    await cleanup.created('m1', 'uid-1');
    await cleanup.created('m2', 'uid-2');
    provider.inputs = [listed('uid-1', 'm1'), listed('uid-2', 'm2'), listed('uid-3', 'm3')];
    const next = make();
    await next.lead(new Set(['m1', 'm3']));
    await settle();
    expect(done.at(-1)).toBe('delete uid-2');
    // Its creation was cut short: it is made again by the same key.
    await next.intend('m3');
    await next.created('m3', 'uid-3');
    expect((await store.ledger.all()).map(({ liveInputUid }) => liveInputUid)).toEqual(['uid-1', 'uid-3']);
    next.discard('m1');
    await settle();
    expect(done.at(-1)).toBe('delete uid-1');
    await next.close(0);
    expect(clock.pending()).toEqual([]);
  });

  it('removes what was left behind, whatever state it was in', async () => {
    const { cleanup, make, done, provider, clock, store } = world();
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    await cleanup.intend('m2');
    provider.inputs = [listed('uid-2', 'm2')];
    const closing = cleanup.close(0);
    await clock.advance(100);
    await closing;
    const next = make();
    await next.lead(new Set());
    await settle();
    expect(done.filter((what) => what.startsWith('delete uid'))).toEqual(['delete uid-1', 'delete uid-2']);
    expect(await store.ledger.all()).toEqual([]);
  });

  it('waits at the close for a creation that is under way', async () => {
    const { cleanup, clock, store, done } = world();
    await cleanup.intend('m1');
    cleanup.discard('m1');
    const closing = cleanup.close(1_000);
    await clock.advance(500);
    await cleanup.created('m1', 'uid-1');
    await clock.advance(200);
    await closing;
    expect([done.at(-1), await store.ledger.all()]).toEqual(['delete uid-1', []]);
  });

  it('leaves no timer when it is closed in the middle of its start', async () => {
    const { cleanup, clock } = world();
    const starting = cleanup.lead(new Set());
    await Promise.all([cleanup.close(0), starting]);
    expect(clock.pending()).toEqual([]);
  });

  it('minds no store that is closed under a deletion', async () => {
    const { cleanup, clock, store, inputs } = world();
    let answer = () => {};
    inputs.delete = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    const closing = cleanup.close(100);
    await clock.advance(200);
    await closing;
    await store.close();
    answer();
    // An unhandled rejection would fail the run.
    await settle();
    expect(clock.pending()).toEqual([]);
  });

  it('gets what could not be deleted before the close', async () => {
    const { cleanup, provider, clock, store } = world();
    provider.fails = new GlasscastError('PROVIDER_UNREACHABLE');
    await cleanup.intend('m1');
    await cleanup.created('m1', 'uid-1');
    cleanup.discard('m1');
    const closing = cleanup.close(1_000);
    await clock.advance(1_200);
    await closing;
    expect([await store.ledger.all(), clock.pending()]).toMatchObject([[{ streamId: 'm1', doomed: true }], []]);
  });
});
