import { describe, expect, it } from 'vitest';
import { flashedAlone, type Placed, type SlotState } from '../../device/updates/slot-state.ts';
import { createUpdater, TRIAL_FAILED_EXIT_CODE, type UpdaterOptions } from '../../device/updates/updater.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { AgentUpdateStatus } from '../../shared/protocol/releases.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const RUNNING: Placed = { place: 'a', version: '0.2.0' };
const TRIAL_MS = 90_000;

/** An updater among fakes. Downloads end when the test says so. */
function world(more: Partial<Pick<UpdaterOptions, 'isTrial' | 'hindrance'>> = {}) {
  const clock = createTestClock();
  const told: AgentUpdateStatus[] = [];
  const done: string[] = [];
  const disk: {
    failure: Error | undefined;
    isRecorded: boolean;
    inSlot: string | undefined;
    back: Placed | undefined;
  } = {
    ...{ failure: undefined, isRecorded: true, inSlot: undefined },
    back: { place: 'flashed', version: '0.1.0' },
  };
  const state: SlotState = { ...flashedAlone('0.1.0'), last: { version: '0.2.0', outcome: 'installed' } };
  const device = { isIdle: true };
  const downloads: {
    version: string;
    finish: () => void;
    fail: (error: Error) => void;
    percent: (now: number) => void;
  }[] = [];
  const act = (name: string) => {
    if (disk.failure) throw disk.failure;
    done.push(name);
  };
  const updater = createUpdater({
    ...{
      clock,
      log: silentLog(),
      running: RUNNING,
      architecture: 'arm64',
      trialMs: TRIAL_MS,
      isTrial: false,
      hindrance: undefined,
    },
    ...more,
    send: (message) => {
      if (message.type === 'agent_update_status') told.push(message);
    },
    slots: {
      state: () => state,
      free: () => 'b',
      unfitness: ({ version }) => (version === disk.inSlot ? undefined : 'not whole'),
      rollbackTarget: () => disk.back,
      install: () => act('install'),
      mark: (_running, { place, version }) => act(`mark ${place} ${version}`),
      confirm() {
        act('confirm');
        return disk.isRecorded;
      },
      fail: (reason) => act(`fail ${reason}`),
    },
    download: {
      fetchRelease: (version, signal, onPercent) =>
        new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
          const finish = () => resolve({ headLine: 'head', code: Buffer.alloc(1) });
          downloads.push({ version, finish, fail: reject, percent: onPercent });
        }),
      discard: async () => void done.push('discard'),
    },
    isIdle: () => device.isIdle,
    announce: () => void done.push('announce'),
    end: (exitCode) => void done.push(`end ${exitCode}`),
  });
  const last = () => downloads.at(-1);
  return { clock, told, done, disk, device, downloads, updater, last, state };
}

describe('an update', () => {
  it('is loaded, installed, marked, told and switched to; the agent ends with 0', async () => {
    const { updater, last, told, done, clock } = world();
    updater.update('0.3.0');
    await settle();
    for (const percent of [1, 12, 13, 25, 100]) last()?.percent(percent);
    last()?.finish();
    await settle();
    expect(done).toEqual(['install', 'discard', 'mark b 0.3.0', 'end 0']);
    expect(told.map(({ state, percent }) => [state, percent])).toEqual([
      ...[0, 12, 25, 100].map((percent) => ['downloading', percent]),
      ['switching', undefined],
    ]);
    updater.update('0.4.0');
    await updater.close();
    expect([told.length, clock.pending()]).toEqual([5, []]);
  });

  it('to the version that runs is nothing; to an older one it is refused', async () => {
    const { updater, told, downloads } = world();
    updater.update('0.2.0');
    updater.update('0.1.9');
    await settle();
    expect(told).toEqual([
      {
        type: 'agent_update_status',
        version: '0.1.9',
        state: 'refused',
        reason: expect.stringMatching(/0\.2\.0 runs, which is newer/),
      },
    ]);
    expect(downloads).toEqual([]);
  });

  it('that lies in its slot already is not fetched again', async () => {
    const { updater, disk, downloads, done } = world();
    disk.inSlot = '0.3.0';
    updater.update('0.3.0');
    await settle();
    expect([downloads, done]).toEqual([[], ['mark b 0.3.0', 'end 0']]);
  });

  it('waits for the end of a stream before every step, and lets one that begins have the uplink', async () => {
    const { updater, device, downloads, last, told, done, clock } = world();
    device.isIdle = false;
    updater.update('0.3.0');
    await clock.advance(60_000);
    expect([downloads.length, told.map(({ state }) => state)]).toEqual([0, ['waiting']]);
    device.isIdle = true;
    await clock.advance(1_000);
    last()?.percent(40);
    device.isIdle = false;
    await clock.advance(10_000);
    expect(told.at(-1)).toMatchObject({ state: 'waiting', percent: 40 });
    device.isIdle = true;
    await clock.advance(1_000);
    expect(downloads).toHaveLength(2);
    device.isIdle = false;
    last()?.finish();
    await clock.advance(400);
    expect(done).toEqual([]);
    device.isIdle = true;
    await clock.advance(1_000);
    expect(done.at(-1)).toBe('end 0');
  });

  it('gives way to a newer order; the same one again changes nothing', async () => {
    const { updater, downloads, told, done } = world();
    updater.update('0.3.0');
    await settle();
    updater.update('0.3.0');
    updater.update('0.4.0');
    await settle();
    expect(downloads.map(({ version }) => version)).toEqual(['0.3.0', '0.4.0']);
    updater.update('0.2.0');
    await settle();
    downloads[1]?.finish();
    await settle();
    expect([done, told.filter(({ state }) => state === 'refused')]).toEqual([[], []]);
  });

  it.each([
    [
      'is not to be had',
      new GlasscastError('RELEASE_REFUSED', { reason: 'the relay has no release 0.3.0' }),
      undefined,
      /has no release/,
    ],
    [
      'cannot be kept',
      undefined,
      Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', syscall: 'write' }),
      /the disk is full/,
    ],
    [
      'cannot be marked',
      undefined,
      Object.assign(new Error('EROFS'), { code: 'EROFS', syscall: 'open' }),
      /takes no writing/,
    ],
  ])('that %s is refused with the reason, and may be ordered again', async (_name, ofDownload, ofDisk, reason) => {
    const { updater, last, told, disk, done } = world();
    updater.update('0.3.0');
    await settle();
    disk.failure = ofDisk;
    if (ofDownload) last()?.fail(ofDownload);
    else last()?.finish();
    await settle();
    expect(told.at(-1)).toMatchObject({ version: '0.3.0', state: 'refused', reason: expect.stringMatching(reason) });
    disk.failure = undefined;
    updater.update('0.3.0');
    await settle();
    last()?.finish();
    await settle();
    expect(done.at(-1)).toBe('end 0');
  });

  it('where none can be carried out is refused with why, and told beforehand', async () => {
    const { updater, told } = world({ hindrance: 'no release key is trusted here' });
    updater.update('0.3.0');
    updater.rollBack();
    expect(told.map(({ state, reason }) => [state, reason])).toEqual([
      ['refused', 'no release key is trusted here'],
      ['refused', 'no release key is trusted here'],
    ]);
    expect(updater.facts()).toMatchObject({ version: '0.2.0', architecture: 'arm64', canUpdate: false });
  });

  it('ends with the agent, and keeps what has come', async () => {
    const { updater, done, told, clock } = world();
    updater.update('0.3.0');
    await settle();
    await updater.close();
    expect([done, told.map(({ state }) => state), clock.pending()]).toEqual([[], ['downloading'], []]);
  });
});

describe('a roll-back', () => {
  it('goes to the version of before by the same way, when no stream runs', async () => {
    const { updater, done, device, clock } = world();
    device.isIdle = false;
    updater.rollBack();
    await clock.advance(5_000);
    expect(done).toEqual([]);
    device.isIdle = true;
    await clock.advance(1_000);
    expect(done).toEqual(['mark flashed 0.1.0', 'end 0']);
  });

  it('is refused where nothing older is', async () => {
    const { updater, disk, told } = world();
    disk.back = undefined;
    updater.rollBack();
    await settle();
    expect(told).toMatchObject([{ state: 'refused', reason: expect.stringMatching(/no version to go back to/) }]);
  });
});

describe('a version on trial', () => {
  const trial = () => world({ isTrial: true });

  it('is confirmed by the relay’s word and a working encoder, in any order, and says hello again', () => {
    for (const words of [['onAccepted', 'onEncoderProven'] as const, ['onEncoderProven', 'onAccepted'] as const]) {
      const { updater, done, clock } = trial();
      updater[words[0]]();
      expect(done).toEqual([]);
      expect(updater.facts()).toEqual({ version: '0.2.0', architecture: 'arm64', canUpdate: true, onTrial: true });
      updater[words[1]]();
      updater.onAccepted();
      expect(done).toEqual(['confirm', 'announce']);
      expect(updater.facts()).not.toHaveProperty('onTrial');
      expect(updater.facts()).toMatchObject({ lastUpdate: { outcome: 'installed' } });
      expect(clock.pending()).toEqual([]);
    }
  });

  it.each([
    ['the relay was not reached', 'onEncoderProven'],
    ['no video encoder works', 'onAccepted'],
  ] as const)('ends with its own exit code when %s in time', async (reason, word) => {
    const { updater, done, clock } = trial();
    updater[word]();
    await clock.advance(TRIAL_MS - 1);
    expect(done).toEqual([]);
    await clock.advance(1);
    expect(done).toEqual([`fail ${reason} within 90 s`, `end ${TRIAL_FAILED_EXIT_CODE}`]);
    updater.onAccepted();
    updater.onEncoderProven();
    expect(done).toHaveLength(2);
  });

  it('tries again to write down that it has proven itself, and fails when that cannot be done', async () => {
    const { updater, done, disk, clock } = trial();
    disk.failure = new Error('ENOSPC');
    updater.onAccepted();
    updater.onEncoderProven();
    await clock.advance(5_000);
    disk.failure = undefined;
    await clock.advance(1_000);
    expect(done).toEqual(['confirm', 'announce']);

    const full = trial();
    full.disk.failure = new Error('ENOSPC');
    full.updater.onAccepted();
    full.updater.onEncoderProven();
    await full.clock.advance(TRIAL_MS);
    expect(full.done).toEqual([`end ${TRIAL_FAILED_EXIT_CODE}`]);
  });

  it('whose record is gone does not go on as if it were confirmed', () => {
    const { updater, done, disk } = trial();
    disk.isRecorded = false;
    updater.onAccepted();
    updater.onEncoderProven();
    expect(done).toEqual(['confirm', 'fail the record of its trial is gone', `end ${TRIAL_FAILED_EXIT_CODE}`]);
  });

  it('takes an update when it is over, and a roll-back at once', async () => {
    const { updater, done, downloads } = trial();
    updater.update('0.3.0');
    updater.onAccepted();
    await settle();
    expect(downloads).toEqual([]);
    updater.onEncoderProven();
    await settle();
    expect(downloads.map(({ version }) => version)).toEqual(['0.3.0']);

    const back = trial();
    back.updater.rollBack();
    expect(back.done).toEqual(['fail the relay has ordered it back', `end ${TRIAL_FAILED_EXIT_CODE}`]);
    expect(done).toEqual(['confirm', 'announce']);
  });
});
