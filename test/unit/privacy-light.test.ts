import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Writable } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parsePrivacyLight } from '../../device/publishing/light-keeper.ts';
import { createPrivacyLight, type PrivacyLightOptions } from '../../device/publishing/privacy-light.ts';
import { type ChildExit, createChildSpawner, type SpawnChild } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import type { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { isRunning } from '../support/processes.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const led = parsePrivacyLight('led:white:camera');

/** A keeper with a lamp of its own, which answers when the clock says so. */
function fakeWorld(options: Partial<PrivacyLightOptions> = {}) {
  const clock = createTestClock();
  const state = {
    lamp: false,
    refuses: false,
    silent: false,
    cannotSpawn: false,
    answerMs: 0,
    alive: 0,
    onUnlit: () => {},
  };
  let die = () => {};
  const spawn: SpawnChild = (spec) => {
    if (state.cannotSpawn) throw new Error('spawn ENOMEM');
    state.alive += 1;
    let end = (_exit: ChildExit) => {};
    const exited = new Promise<ChildExit>((resolve) => {
      end = resolve;
    });
    let isGone = false;
    const exit = (code: number | null) => {
      if (isGone) return;
      isGone = true;
      state.alive -= 1;
      end({ end: 'exited', code, signal: null, lastLines: [], ms: 0 });
    };
    die = () => exit(null);
    const later = (act: () => void) => void clock.after('fake-keeper', state.answerMs, () => !isGone && act());
    const stdin = new Writable({
      write(chunk, _encoding, done) {
        const order = String(chunk).trim();
        later(() => {
          if (order === 'light' && !state.refuses) state.lamp = true;
          if (!state.silent) spec.onStdoutLine?.(state.lamp ? 'lit' : 'out');
        });
        done();
      },
    });
    const stop = () => {
      later(() => {
        state.lamp = false;
        state.onUnlit();
        exit(0);
      });
      return exited;
    };
    return { pid: 1, stdin, stdout: undefined, exited, progressed() {}, send() {}, stop, kill() {} };
  };
  const light = createPrivacyLight({ light: led, spawn, clock, log: silentLog(), ...options });
  return { clock, state, light, die: () => die() };
}
type World = ReturnType<typeof fakeWorld>;

function capture({ light }: Pick<World, 'light'>) {
  const causes: GlasscastError[] = [];
  const held = light.hold((cause) => causes.push(cause));
  held.catch(() => {});
  return { held, causes, release: async () => (await held)() };
}

describe('the privacy light', () => {
  it('is lit for the first and goes out after the last', async () => {
    const world = fakeWorld();
    const [first, second] = [capture(world), capture(world)];
    await world.clock.advance(0);
    await Promise.all([first.held, second.held]);
    expect(world).toMatchObject({ light: { isLit: true }, state: { lamp: true, alive: 1 } });
    await Promise.all([first.release(), first.release(), world.clock.advance(1)]);
    expect(world.state.lamp).toBe(true);
    await Promise.all([second.release(), world.clock.advance(1)]);
    expect(world).toMatchObject({ light: { isLit: false }, state: { lamp: false, alive: 0 } });
    expect(world.clock.pending()).toEqual([]);
  });

  it('that cannot be lit forbids the capture, and leaves nothing', async () => {
    const world = fakeWorld();
    world.state.refuses = true;
    const { held } = capture(world);
    await world.clock.advance(10);
    await expect(held).rejects.toMatchObject({ code: 'PRIVACY_LIGHT_FAILED' });
    expect([world.state.alive, world.clock.pending()]).toEqual([0, []]);
    world.state.refuses = false;
    const again = capture(world);
    await world.clock.advance(10);
    await again.held;
    expect(world.state.lamp).toBe(true);
  });

  it('whose keeper says nothing counts as not lit', async () => {
    const world = fakeWorld();
    world.state.silent = true;
    const { held } = capture(world);
    await world.clock.advance(8_000);
    await expect(held).rejects.toMatchObject({ message: expect.stringContaining('does not answer') });
    expect([world.state.alive, world.clock.pending()]).toEqual([0, []]);
  });

  it('whose keeper takes seconds to start on a slow board is waited for', async () => {
    const world = fakeWorld();
    world.state.answerMs = 7_000;
    const { held, causes, release } = capture(world);
    await world.clock.advance(7_000);
    await held;
    world.state.answerMs = 0;
    await world.clock.advance(1_000);
    expect([world.light.isLit, causes]).toEqual([true, []]);
    // Over a capture that may be in the dark it is not.
    world.state.answerMs = 5_000;
    world.die();
    await world.clock.advance(9_000);
    expect(causes.map(({ code }) => code)).toEqual(['PRIVACY_LIGHT_FAILED']);
    world.state.answerMs = 0;
    await Promise.all([release(), world.clock.advance(60_000)]);
  });

  it('whose keeper falls silent over a capture ends it within ten seconds', async () => {
    const world = fakeWorld();
    const { held, causes } = capture(world);
    await world.clock.advance(0);
    await held;
    world.state.silent = true;
    await world.clock.advance(10_000);
    expect(causes.map(({ code }) => code)).toEqual(['PRIVACY_LIGHT_FAILED']);
  });

  it('whose keeper died while the machine can start no other: the capture ends, and nothing is thrown', async () => {
    const world = fakeWorld();
    const { held, causes } = capture(world);
    await world.clock.advance(0);
    const release = await held;
    world.state.cannotSpawn = true;
    world.die();
    await world.clock.advance(3_000);
    expect(causes).toMatchObject([{ code: 'PRIVACY_LIGHT_FAILED', message: expect.stringContaining('ENOMEM') }]);
    expect(world.light.isLit).toBe(false);
    await release();
    await expect(world.light.hold(() => {})).rejects.toMatchObject({ code: 'PRIVACY_LIGHT_FAILED' });
    await world.light.close();
    expect(world.clock.pending()).toEqual([]);
  });

  it('that is not required lets the capture begin all the same', async () => {
    const world = fakeWorld({ isRequired: false });
    world.state.refuses = true;
    const { held, causes, release } = capture(world);
    await world.clock.advance(10);
    await held;
    await Promise.all([release(), world.clock.advance(1)]);
    expect([world.light.isLit, causes]).toEqual([false, []]);
  });

  it('that does not exist costs nothing', async () => {
    const spawn = vi.fn();
    const { light, clock } = fakeWorld({ light: undefined, spawn });
    await (await light.hold(() => {}))();
    expect([spawn.mock.calls, clock.pending(), light.isLit]).toEqual([[], [], false]);
  });

  it.each([
    ['is put out by somebody', ({ state }: World) => void Object.assign(state, { lamp: false })],
    ['loses its keeper', ({ die }: World) => die()],
  ])('that %s is lit again once, then ends the capture', async (_name, harm) => {
    const world = fakeWorld();
    const { causes, release } = capture(world);
    await world.clock.advance(0);
    harm(world);
    await world.clock.advance(1_000);
    expect([world.state.lamp, world.state.alive, causes]).toEqual([true, 1, []]);
    harm(world);
    await world.clock.advance(1_000);
    expect(causes.map(({ code }) => code)).toEqual(['PRIVACY_LIGHT_FAILED']);
    expect(world.light.isLit).toBe(false);
    await Promise.all([release(), world.clock.advance(1)]);
    expect([world.state.alive, world.clock.pending(), causes.length]).toEqual([0, [], 1]);
  });

  it('is lit again and again when that is seldom', async () => {
    const world = fakeWorld();
    const { causes } = capture(world);
    for (let hour = 0; hour < 3; hour += 1) {
      await world.clock.advance(100_000);
      world.state.lamp = false;
      await world.clock.advance(1_000);
      expect([world.state.lamp, causes]).toEqual([true, []]);
    }
  });

  it('closes while it is being lit, and while it is held', async () => {
    const early = fakeWorld();
    early.state.answerMs = 100;
    const { held } = capture(early);
    const closed = early.light.close();
    await early.clock.advance(300);
    await closed;
    await expect(held).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    await expect(early.light.hold(() => {})).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    expect([early.state.lamp, early.state.alive, early.clock.pending()]).toEqual([false, 0, []]);

    const late = fakeWorld();
    const { causes, release } = capture(late);
    await late.clock.advance(0);
    const closing = Promise.all([late.light.close(), late.light.close()]);
    await settle();
    expect([causes.map(({ code }) => code), late.state.lamp]).toEqual([['SHUTTING_DOWN'], true]);
    await Promise.all([release(), closing, late.clock.advance(1)]);
    expect([late.state.lamp, late.clock.pending()]).toEqual([false, []]);
  });

  it('does not wait for ever at its close for who does not let go', async () => {
    const world = fakeWorld();
    capture(world);
    await world.clock.advance(0);
    const closed = world.light.close();
    await world.clock.advance(2_000);
    await closed;
    expect([world.state.lamp, world.clock.pending()]).toEqual([false, []]);
  });

  it('is lit exactly while somebody holds it, and never put out over a capture, whatever happens', async () => {
    const steps = fc.oneof(
      { weight: 4, arbitrary: fc.constant({ kind: 'hold' as const }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat(9) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(1_500) }) },
      fc.record({ kind: fc.constant('slow' as const), ms: fc.nat(900) }),
      fc.constantFrom({ kind: 'die' as const }, { kind: 'unlit' as const }, { kind: 'refuse' as const }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { maxLength: 25 }), async (script) => {
        const world = fakeWorld();
        const { state, clock, light, die } = world;
        let deaths = 0;
        const captures = new Map<object, () => Promise<void>>();
        state.onUnlit = () => expect(captures.size).toBe(0);
        for (const step of script) {
          if (step.kind === 'hold') {
            const key = {};
            const begin = (release: () => Promise<void>) => {
              expect(state.lamp).toBe(true);
              captures.set(key, release);
            };
            light.hold(() => void captures.delete(key)).then(begin, () => {});
          }
          if (step.kind === 'release') {
            const [key, release] = [...captures][step.which] ?? [];
            if (key) captures.delete(key);
            void release?.();
          }
          if (step.kind === 'wait') await clock.advance(step.ms);
          if (step.kind === 'slow') state.answerMs = step.ms;
          // More in a row than it tries to put the light out would leave that on.
          if (step.kind === 'die' && deaths++ < 2) die();
          if (step.kind === 'unlit') state.lamp = false;
          if (step.kind === 'refuse') state.refuses = !state.refuses;
          expect(state.alive).toBeLessThanOrEqual(1);
          await settle();
        }
        await clock.advance(15_000);
        expect([state.lamp, light.isLit]).toEqual([captures.size > 0, captures.size > 0]);
        const closed = light.close();
        await clock.advance(15_000);
        await closed;
        expect([light.isLit, state.alive, clock.pending()]).toEqual([false, 0, []]);
      }),
      { numRuns: 150 },
    );
  });
});

describe('parsePrivacyLight', () => {
  it.each([
    ['led:white:camera', { kind: 'led', name: 'white:camera' }],
    ['gpio:gpiochip0/17', { kind: 'gpio', chip: 'gpiochip0', line: '17' }],
    ['gpio:/dev/gpiochip1/4', { kind: 'gpio', chip: 'gpiochip1', line: '4' }],
  ])('%s', (text, driver) => expect(parsePrivacyLight(text)).toEqual(driver));

  it('takes no path, no shell and no option for a name', () => {
    for (const text of [
      'led:..',
      'led:a/b',
      'led:',
      'led:$(x)',
      'gpio:0',
      'gpio:0/x',
      'gpio:-x/1',
      'gpio:a b/1',
      'x',
    ]) {
      expect(() => parsePrivacyLight(text)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
    }
  });
});

describe.runIf(process.platform === 'linux')('the keeper itself', () => {
  const clock = createSystemClock();
  const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'glasscast-light-'));
  });
  afterEach(async () => {
    await children.close();
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A LED as the kernel shows one. */
  function fakeLed() {
    const place = join(folder, 'class/leds/white:camera');
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, 'max_brightness'), '255\n');
    writeFileSync(join(place, 'brightness'), '0\n');
    writeFileSync(join(place, 'trigger'), '[heartbeat] none\n');
    const brightness = () => readFileSync(join(place, 'brightness'), 'utf8').trim();
    return { place, brightness, open: () => open({ light: led, sysRoot: folder }) };
  }
  const open = (options: Pick<PrivacyLightOptions, 'light' | 'sysRoot'>) =>
    createPrivacyLight({ ...options, spawn: children.spawn, clock, log: silentLog() });

  it('lights a LED to its full, free of its trigger, and puts it out', async () => {
    const { open, place, brightness } = fakeLed();
    const release = await open().hold(() => {});
    expect([brightness(), readFileSync(join(place, 'trigger'), 'utf8').trim()]).toEqual(['255', 'none']);
    await release();
    expect([brightness(), children.running()]).toEqual(['0', []]);
  });

  it('leaves a trigger alone that is none already', async () => {
    const { open, place, brightness } = fakeLed();
    writeFileSync(join(place, 'trigger'), '[none] heartbeat mmc0\n');
    const release = await open().hold(() => {});
    expect([brightness(), readFileSync(join(place, 'trigger'), 'utf8')]).toEqual(['255', '[none] heartbeat mmc0\n']);
    await release();
  });

  it('is deaf to signals while the light is lit', async () => {
    const { open, brightness } = fakeLed();
    const release = await open().hold(() => {});
    const { pid = 0 } = children.running()[0] ?? {};
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGABRT'] as const) process.kill(pid, signal);
    await release();
    expect(brightness()).toBe('0');
  });

  it('says why a LED cannot be lit', async () => {
    await expect(open({ light: led, sysRoot: folder }).hold(() => {})).rejects.toMatchObject({
      code: 'PRIVACY_LIGHT_FAILED',
      message: expect.stringMatching(/white:camera/),
    });
    const { place } = fakeLed();
    writeFileSync(join(place, 'max_brightness'), '0\n');
    await expect(open({ light: led, sysRoot: folder }).hold(() => {})).rejects.toMatchObject({
      code: 'PRIVACY_LIGHT_FAILED',
    });
    expect(children.running()).toEqual([]);
  });

  it('puts the light out when the program that holds it is killed', async () => {
    const { brightness } = fakeLed();
    const script = `
      import { createPrivacyLight } from './device/publishing/privacy-light.ts';
      import { createChildSpawner } from './shared/child-process.ts';
      import { createSystemClock } from './shared/clock.ts';
      import { silentLog } from './shared/log.ts';
      import { createRedactor } from './shared/secrets.ts';
      const [clock, log] = [createSystemClock(), silentLog()];
      const { spawn, running } = createChildSpawner({ clock, log, redactor: createRedactor() });
      const light = { kind: 'led', name: 'white:camera' };
      await createPrivacyLight({ light, spawn, clock, log, sysRoot: ${JSON.stringify(folder)} }).hold(() => {});
      console.log(running()[0].pid);`;
    const parent = children.spawn({
      name: 'holder',
      file: process.execPath,
      args: ['--import', 'tsx', '--input-type=module', '-e', script],
      stdout: 'raw',
      stopSignal: 'SIGKILL',
    });
    const [line] = parent.stdout ? await once(parent.stdout, 'data') : [];
    expect(brightness()).toBe('255');
    expect(isRunning(Number(String(line)))).toBe(true);
    expect(await parent.stop()).toMatchObject({ signal: 'SIGKILL' });
    await expect.poll(brightness, { timeout: 1_000, interval: 10 }).toBe('0');
    await expect.poll(() => isRunning(Number(String(line)))).toBe(false);
  });

  /** gpioset of one of libgpiod's two lines: holds the value while it lives, and knows only its own flags. */
  function fakeGpioset(version: 1 | 2) {
    const [value, pids] = [join(folder, 'value'), join(folder, 'pids')];
    const [hold, set] =
      version === 1
        ? ['--mode=signal gpiochip0 17=1', 'gpiochip0 17=0']
        : ['--chip gpiochip0 17=1', '--toggle 0 --chip gpiochip0 17=0'];
    const script = `#!/bin/sh
      [ "$1" = --version ] && echo "gpioset (libgpiod) v${version}.1" && exit
      [ "$*" = "${hold}" ] && echo 1 > ${value} && echo $$ > ${pids} && exec sleep 1000
      [ "$*" = "${set}" ] && echo 0 > ${value} && exit
      echo "unknown: $*" >&2; exit 1`;
    writeFileSync(join(folder, 'gpioset'), script);
    chmodSync(join(folder, 'gpioset'), 0o755);
    vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH}`);
    return { value: () => readFileSync(value, 'utf8').trim(), pid: () => Number(readFileSync(pids, 'utf8')) };
  }

  it.each([1, 2] as const)('holds a line by libgpiod %i, notices its loss, and lets go of it', async (version) => {
    const { value, pid } = fakeGpioset(version);
    const light = open({ light: parsePrivacyLight('gpio:gpiochip0/17') });
    const causes: GlasscastError[] = [];
    const release = await light.hold((cause) => causes.push(cause));
    const first = pid();
    expect([value(), isRunning(first)]).toEqual(['1', true]);
    process.kill(first, 'SIGKILL');
    await expect.poll(pid, { timeout: 3_000 }).not.toBe(first);
    const second = pid();
    expect([isRunning(second), causes]).toEqual([true, []]);
    await release();
    expect([value(), isRunning(second), children.running()]).toEqual(['0', false, []]);
  });

  it('says when there is no gpioset', async () => {
    await expect(open({ light: parsePrivacyLight('gpio:gpiochip0/17') }).hold(() => {})).rejects.toMatchObject({
      code: 'PRIVACY_LIGHT_FAILED',
      message: expect.stringMatching(/gpioset/),
    });
  });
});
