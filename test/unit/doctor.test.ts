import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  bad,
  type Check,
  checkOf,
  diagnose,
  diagnosisText,
  diskCheck,
  isWell,
  lightCheck,
  nodeCheck,
  ok,
  timeSyncCheck,
  unknown,
} from '../../device/runtime/doctor.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

const look = async (check: Check) => check.look();

describe('the doctor', () => {
  it('looks at one thing after the other, and tells each as it is known', async () => {
    const told: string[] = [];
    const checks: Check[] = [
      checkOf('one', true, async () => 'fine'),
      { name: 'two', isNeeded: false, look: async () => bad('broken', 'mend it') },
      checkOf('three', true, async () => {
        throw new GlasscastError('CAMERA_BUSY');
      }),
      { name: 'four', isNeeded: true, look: async () => unknown('not tried') },
    ];
    const all = await diagnose(checks, (one) => told.push(diagnosisText(one, false)));
    expect(told.join('\n').split('\n')).toEqual([
      '✓ one             fine',
      '✗ two             broken',
      '                  → mend it',
      '✗ three           The camera is used by another program',
      '– four            not tried',
    ]);
    expect(isWell(all)).toBe(false);
    expect(isWell(all.filter(({ name }) => name !== 'three'))).toBe(true);
  });

  it('has colours when asked for, and lets nobody else send any', () => {
    const one = { ...ok('a\u001b[31m\nb'), name: 'x', isNeeded: true };
    expect(diagnosisText(one, false)).toBe('✓ x               a [31m b');
    expect(diagnosisText(one, true).startsWith('\u001b[32m✓\u001b[0m x')).toBe(true);
  });

  it.each([
    ['18.20.1', 'bad'],
    ['20.0.0', 'ok'],
    ['22.1.0', 'ok'],
  ])('takes Node %s for %s', async (version, state) => {
    expect(await look(nodeCheck(version))).toMatchObject({ state });
  });

  it('blinks the light, unless there is none or the agent holds it', async () => {
    let blinks = 0;
    const blink = async () => {
      blinks += 1;
    };
    const isFree = async () => false;
    const broken = async () => {
      throw new GlasscastError('PRIVACY_LIGHT_FAILED', { reason: 'no LED' });
    };
    expect(await look(lightCheck({ blink, isRequired: true, isInUse: isFree }))).toMatchObject({ state: 'ok' });
    expect(await look(lightCheck({ blink, isRequired: true, isInUse: async () => true }))).toMatchObject({
      state: 'unknown',
      text: expect.stringContaining('agent is running'),
    });
    expect(await look(lightCheck({ blink: broken, isRequired: true, isInUse: isFree }))).toMatchObject({
      state: 'bad',
      text: expect.stringContaining('no LED'),
    });
    const none = lightCheck({ blink: undefined, isRequired: true, isInUse: isFree });
    expect([await look(none), none.isNeeded, blinks]).toMatchObject([{ state: 'unknown' }, false, 1]);
  });
});

describe('the doctor on this machine', () => {
  const clock = createSystemClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'glasscast-doctor-'));
  });
  afterEach(async () => {
    await children.close();
    rmSync(folder, { recursive: true, force: true });
    expect(clock.pending()).toEqual([]);
  });

  it('counts the room for a backlog, also of a folder to come', async () => {
    expect(await look(diskCheck(join(folder, 'to/come'), 1))).toMatchObject({
      state: 'ok',
      text: expect.stringContaining(`free in ${folder} for`),
    });
    expect(await look(diskCheck(folder, 1e9))).toMatchObject({ state: 'bad', next: expect.any(String) });
    expect(await look(diskCheck(undefined, 1))).toMatchObject({ state: 'unknown' });
  });

  it.each([
    ['console.log("yes")', 'ok'],
    ['console.log("no")', 'bad'],
    ['console.error("no bus"); process.exitCode = 1', 'unknown'],
  ])('asks %s whether the clock is set: %s', async (script, state) => {
    const spawn: typeof children.spawn = (spec) => children.spawn({ ...spec, args: ['-e', script] });
    expect(await look(timeSyncCheck({ spawn, clock }, process.execPath))).toMatchObject({ state });
  });

  it('cannot ask where there is no timedatectl', async () => {
    expect(await look(timeSyncCheck({ spawn: children.spawn, clock }, ''))).toMatchObject({ state: 'unknown' });
  });
});
