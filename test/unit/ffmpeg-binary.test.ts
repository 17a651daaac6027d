import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg, findFfmpeg, knowsFpsMode } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

const clock = createSystemClock();
const { spawn } = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-ffmpeg-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** An ffmpeg that is a shell script: answers the three questions with these texts. */
function fake(name: string, { version = 'ffmpeg version 6.1 Copyright', encoders = '', devices = '' }): string {
  const file = join(folder, name);
  const say = (text: string) => `printf '%s\\n' '${text}'`;
  writeFileSync(
    file,
    `#!/bin/sh\ncase "$2" in\n-version) ${say(version)};;\n-encoders) ${say(encoders)};;\n-devices) ${say(devices)}; exit 1;;\nesac\n`,
  );
  chmodSync(file, 0o755);
  return file;
}
const bothEncoders = ' V....D libx264              H.264\n A....D aac                  AAC';

test('takes the one on PATH and reads its version, encoders and devices', async () => {
  fake('ffmpeg', {
    encoders: bothEncoders,
    devices: ' DE alsa            out\n D  lavfi           in\n  E sdl,sdl2        out',
  });
  const found = await findFfmpeg({ spawn, clock, searchPath: folder });
  expect(found).toMatchObject({ origin: 'PATH', version: '6.1', file: join(folder, 'ffmpeg'), hasFpsMode: true });
  expect([...found.encoders].sort()).toEqual(['aac', 'libx264']);
  expect([...found.inputs].sort()).toEqual(['alsa', 'lavfi']);
  expect(found.reason).toBe('ffmpeg 6.1 from PATH');
});

test('passes over one that cannot encode and says so', async () => {
  const poor = fake('poor/ffmpeg'.replace('/', '-'), { encoders: ' A....D aac                  AAC' });
  const good = fake('good', { encoders: bothEncoders });
  const empty = mkdtempSync(join(folder, 'empty-'));
  const found = await findFfmpeg({ spawn, clock, searchPath: empty, bundledFile: () => good });
  expect(found.origin).toBe('bundled');
  expect(found.reason).toBe('ffmpeg 6.1 from bundled (no ffmpeg on PATH)');
  await expect(findFfmpeg({ spawn, clock, searchPath: empty, bundledFile: () => poor })).rejects.toMatchObject({
    code: 'FFMPEG_MISSING',
    message: expect.stringContaining('lacks libx264'),
  });
});

test('an explicit file that does not work is an error, never replaced', async () => {
  const missing = join(folder, 'not-here');
  await expect(findFfmpeg({ spawn, clock, explicitFile: missing })).rejects.toMatchObject({
    code: 'FFMPEG_MISSING',
    message: expect.stringContaining(missing),
  });
  const stranger = fake('stranger', { version: 'hello' });
  await expect(findFfmpeg({ spawn, clock, explicitFile: stranger })).rejects.toThrow('does not answer like ffmpeg');
});

test('the bundled one works here', async () => {
  const file = bundledFfmpeg();
  expect(file).toBeDefined();
  const found = await findFfmpeg({ spawn, clock, explicitFile: file });
  expect(found.encoders.has('libx264') && found.encoders.has('aac')).toBe(true);
  expect(found.inputs.has('lavfi') && found.inputs.has('v4l2') && found.inputs.has('alsa')).toBe(true);
  expect(found.hasFpsMode).toBe(false);
});

test.each([
  ['4.1', false],
  ['5.0.3', false],
  ['5.1.9-0+deb12u1', true],
  ['n7.1', true],
  ['8.0', true],
  ['N-47683-g0e8eb07980-static', false],
  ['N-118000-gabc', true],
  ['weird', false],
])('-fps_mode in %s: %s', (version, expected) => expect(knowsFpsMode(version)).toBe(expected));
