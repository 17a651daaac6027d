import { describe, expect, it } from 'vitest';
import { createIngestSource } from '../../cloud/provider/ingest-source.ts';
import { type CreateLiveInput, type LiveInput, providerProfiles } from '../../cloud/provider/live-inputs.ts';
import { createProviderHealth } from '../../cloud/provider/provider-health.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const KEY = 'a-long-stream-key';
const input: LiveInput = {
  uid: 'uid-1',
  publishUrl: new Secret(`rtmp://127.0.0.1/live/${KEY}`),
  urls: { hlsUrl: 'http://x/h', dashUrl: 'http://x/d' },
  ingestState: 'never-connected',
  ingestStateSinceMs: undefined,
};

function world(
  create: (asked: CreateLiveInput) => Promise<LiveInput>,
  admit: () => Promise<void> | void = () => {},
  keepsRecordings = false,
) {
  const did: string[] = [];
  const redactor = createRedactor();
  const source = createIngestSource({
    inputs: { create },
    cleanup: {
      intend: async (id) => void did.push(`intend ${id}`),
      created: async (id, uid) => void did.push(`created ${id} ${uid}`),
      refused: async (id) => void did.push(`refused ${id}`),
      discard: (id) => void did.push(`discard ${id}`),
    },
    admit,
    redactor,
    profile: providerProfiles.local,
    keepsRecordings,
    holdSeconds: 120,
    deleteRecordingAfterDays: 30,
  });
  return { did, redactor, source };
}

describe('the source of ingests', () => {
  it('notes the intent before and the outcome after, and masks the key while the stream lasts', async () => {
    const { did, redactor, source } = world(async () => input);
    expect(await source.provision('m1', 'ada@example.com')).toMatchObject({
      urls: input.urls,
      keyFrameIntervalMs: 1000,
    });
    expect([did, redactor.redact(`key ${KEY}`)]).toEqual([['intend m1', 'created m1 uid-1'], 'key ***']);
    source.discard('m1');
    expect([did.at(-1), redactor.redact(KEY)]).toEqual(['discard m1', KEY]);
  });

  it.each([true, false])('names the user to the provider only where recordings stay: %s', async (keepsRecordings) => {
    const asked: CreateLiveInput[] = [];
    const create = async (one: CreateLiveInput) => {
      asked.push(one);
      return input;
    };
    const { source } = world(create, undefined, keepsRecordings);
    const { playback } = await source.provision('m1', 'ada@example.com');
    expect(asked.map(({ userId }) => userId)).toEqual([keepsRecordings ? 'ada@example.com' : undefined]);
    const { publishUrl, ...rest } = { ...input, publishUrl: input.publishUrl.reveal() };
    const adopted = source.adopt('m1', { publishUrl, urls: rest.urls, liveInputUid: input.uid });
    expect([playback?.flvUrl, adopted.playback]).toEqual(['http://x/uid-1/live.flv', playback]);
    // At an address of an app's own choice nobody can look.
    expect(source.adopt('s1', { publishUrl })).not.toHaveProperty('playback');
  });

  it('makes nothing for a stream that ended while the provider was asked for room', async () => {
    let admitIt = () => {};
    const { did, source } = world(
      async () => input,
      () =>
        new Promise<void>((resolve) => {
          admitIt = resolve;
        }),
    );
    const making = source.provision('m1', 'ada@example.com');
    source.discard('m1');
    admitIt();
    await expect(making).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    expect(did).toEqual(['discard m1']);
  });

  it('takes up an ingest that is there, and masks its key', () => {
    const { redactor, source } = world(async () => input);
    const saved = { publishUrl: `rtmp://h/live/${KEY}`, liveInputUid: 'uid-1', keyFrameIntervalMs: 2000 };
    expect(source.adopt('m1', saved)).toMatchObject({ liveInputUid: 'uid-1', keyFrameIntervalMs: 2000 });
    expect(redactor.redact(KEY)).toBe('***');
    source.discard('m1');
    expect(redactor.redact(KEY)).toBe(KEY);
  });

  it('lets go of what was discarded while it was being made', async () => {
    let give = (_input: LiveInput) => {};
    const { did, redactor, source } = world(
      () =>
        new Promise((resolve) => {
          give = resolve;
        }),
    );
    const making = source.provision('m1', 'ada@example.com');
    await settle();
    source.discard('m1');
    give(input);
    await making;
    expect(did).toEqual(['intend m1', 'discard m1', 'created m1 uid-1']);
    expect(redactor.redact(KEY)).toBe(KEY);
  });

  it.each([
    ['PROVIDER_UNAUTHORIZED', 'refused m1'],
    ['PROVIDER_REJECTED', 'refused m1'],
    ['PROVIDER_SUBSCRIPTION_MISSING', 'refused m1'],
    ['PROVIDER_UNREACHABLE', 'created m1 undefined'],
    ['PROVIDER_ECHO_MISMATCH', 'created m1 undefined'],
  ] as const)('after %s knows whether something may have been made', async (code, last) => {
    const { did, source } = world(() => Promise.reject(new GlasscastError(code)));
    await expect(source.provision('m1', 'ada@example.com')).rejects.toMatchObject({ code });
    expect(did.at(-1)).toBe(last);
  });
});

describe('what is known of the provider', () => {
  function healthWorld() {
    const clock = createTestClock();
    const usage = { totalStorageMinutes: 1, totalStorageMinutesLimit: 100, videoCount: 0 };
    const provider = { usage, fails: undefined as GlasscastError | undefined, asked: 0, hangs: false };
    const storageUsage = () => {
      provider.asked += 1;
      if (provider.hangs) return new Promise<never>(() => {});
      return provider.fails ? Promise.reject(provider.fails) : Promise.resolve({ ...usage });
    };
    const health = createProviderHealth({ inputs: { storageUsage }, clock, log: silentLog() });
    return { clock, usage, provider, health };
  }

  it('refuses nobody while unknown, and everybody when storage is full', async () => {
    const { clock, usage, provider, health } = healthWorld();
    provider.fails = new GlasscastError('PROVIDER_UNREACHABLE');
    expect(health.state()).toBe('unknown');
    await health.admit();
    health.start();
    await settle();
    expect(health.state()).toBe('PROVIDER_UNREACHABLE');
    await health.admit();
    provider.fails = undefined;
    await clock.advance(60_000);
    expect([health.state(), await health.isFull()]).toEqual(['ok', false]);
    usage.totalStorageMinutes = 100;
    await clock.advance(60_000);
    await expect(health.admit()).rejects.toMatchObject({ code: 'PROVIDER_STORAGE_FULL' });
    expect([health.state(), await health.isFull()]).toEqual(['PROVIDER_STORAGE_FULL', true]);
    provider.fails = new GlasscastError('PROVIDER_UNREACHABLE');
    await clock.advance(1);
    expect(await health.isFull()).toBeUndefined();
    await health.close();
    expect(clock.pending()).toEqual([]);
  });

  it('asks once more before a start when it is a near thing, and waits 2 s at most', async () => {
    const { clock, usage, provider, health } = healthWorld();
    health.start();
    await settle();
    await clock.advance(30_000);
    await health.admit();
    expect(provider.asked).toBe(1);
    usage.totalStorageMinutes = 50;
    await clock.advance(30_000);
    await clock.advance(6_000);
    usage.totalStorageMinutes = 100;
    await expect(health.admit()).rejects.toMatchObject({ code: 'PROVIDER_STORAGE_FULL' });
    await expect(health.admit()).rejects.toMatchObject({ code: 'PROVIDER_STORAGE_FULL' });
    expect(provider.asked).toBe(3);
    // Somebody has made room: who tries a second later is let in, and many at once ask once.
    usage.totalStorageMinutes = 60;
    await clock.advance(1_001);
    await Promise.all(Array.from({ length: 20 }, () => health.admit()));
    expect(provider.asked).toBe(4);
    await clock.advance(6_000);
    provider.hangs = true;
    const late = health.admit();
    await clock.advance(2_000);
    await late;
    expect(provider.asked).toBe(5);
    expect(clock.pending()).toEqual(['provider-health']);
  });

  it('refuses nobody for storage that was full, when the provider answers with an error now', async () => {
    const { clock, usage, provider, health } = healthWorld();
    usage.totalStorageMinutes = 100;
    expect(await health.isFull()).toBe(true);
    await clock.advance(1_001);
    provider.fails = new GlasscastError('PROVIDER_UNREACHABLE');
    await health.admit();
    expect(health.state()).toBe('PROVIDER_UNREACHABLE');
    provider.fails = undefined;
    await expect(health.admit()).rejects.toMatchObject({ code: 'PROVIDER_STORAGE_FULL' });
  });
});
