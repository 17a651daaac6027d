import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ffmpegEnvironment, findBoardFfmpeg } from '../../device/encoding/board-ffmpeg.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

const clock = createSystemClock();
const log = silentLog();
const { spawn } = createChildSpawner({ clock, log, redactor: createRedactor() });
const folder = mkdtempSync(join(tmpdir(), 'glasscast-board-ffmpeg-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const packaged = bundledFfmpeg() ?? '';
const aac = ' A....D aac                  AAC';
const x264 = ' V....D libx264              H.264';
const boardEncoder = ' V....D h264_v4l2m2m         V4L2';
const inputs = ' D  lavfi           in\n D  video4linux2,v4l2 in\n DE alsa            both';

/** A board with this ffmpeg on its PATH; it lists these and encodes by the real one, or not at all. */
function board({
  encoders,
  devices = inputs,
  works = false,
}: {
  encoders: string[];
  devices?: string;
  works?: boolean;
}) {
  const path = mkdtempSync(join(folder, 'bin-'));
  mkdirSync(path, { recursive: true });
  const list = encoders.join('\n');
  // Speaks of a hardware encoder, encodes by libx264 in its place.
  const encode = `for word; do shift; [ "$word" = h264_v4l2m2m ] && word=libx264; [ "$word" = 578 ] && word=baseline
    set -- "$@" "$word"; done; exec ${packaged} "$@"`;
  writeFileSync(
    join(path, 'ffmpeg'),
    `#!/bin/sh
case "$2" in
-version) echo 'ffmpeg version 4.4 Copyright'; exit;;
-encoders) printf '%s\\n' '${list}'; exit;;
-devices) printf '%s\\n' '${devices}'; exit;;
esac
${works ? encode : 'echo no device >&2; exit 1'}
`,
  );
  chmodSync(join(path, 'ffmpeg'), 0o755);
  return { spawn, clock, log, searchPath: path, packagedFfmpeg: packaged };
}

test("a board's own ffmpeg with libx264 wins", async () => {
  expect(await findBoardFfmpeg(board({ encoders: [aac, x264] }))).toMatchObject({ origin: 'PATH' });
});

test('with hardware alone it wins when that encodes', async () => {
  expect(await findBoardFfmpeg(board({ encoders: [aac, boardEncoder], works: true }))).toMatchObject({
    origin: 'PATH',
  });
});

test('with hardware that does not work it loses, and the reason says so', async () => {
  const found = await findBoardFfmpeg(board({ encoders: [aac, boardEncoder] }));
  expect(found).toMatchObject({ origin: 'bundled', file: packaged });
  expect(found.reason).toMatch(/has no H.264 encoder that works \(h264_v4l2m2m: /);
});

test('without AAC, or without what a camera and a microphone need, it loses', async () => {
  expect((await findBoardFfmpeg(board({ encoders: [x264] }))).reason).toContain('lacks aac');
  const deaf = await findBoardFfmpeg(board({ encoders: [aac, x264], devices: ' D  lavfi  in\n D  v4l2  in' }));
  expect([deaf.origin, deaf.reason]).toEqual(['bundled', expect.stringContaining('lacks alsa')]);
});

test('where there is nothing better an encoder that may work later is taken', async () => {
  const packagedFfmpeg = join(folder, 'missing');
  const found = await findBoardFfmpeg({ ...board({ encoders: [aac, boardEncoder] }), packagedFfmpeg });
  expect(found).toMatchObject({ origin: 'PATH' });
});

test('a wish is followed without being judged', async () => {
  const { searchPath, ...rest } = board({ encoders: [aac, boardEncoder] });
  const ffmpegPath = join(searchPath, 'ffmpeg');
  expect(await findBoardFfmpeg({ ...rest, ffmpegPath })).toMatchObject({ origin: 'FFMPEG_PATH', file: ffmpegPath });
});

test("the packaged one knows cards by the package's own ALSA configuration; a board's own has the board's", async () => {
  const file = join(mkdtempSync(join(folder, 'home-')), 'ffmpeg');
  symlinkSync(packaged, file);
  const environmentOf = ffmpegEnvironment(file);
  expect(environmentOf(file)).toEqual({});
  copyFileSync(new URL('../../scripts/package/files/alsa.conf', import.meta.url), join(file, '../alsa.conf'));
  expect(environmentOf('/usr/bin/ffmpeg')).toEqual({});
  const own = createChildSpawner({ clock, log, redactor: createRedactor(), environmentOf });
  const records = async (microphone: string) => {
    const args = ['-v', 'error', '-f', 'alsa', '-i', microphone, '-t', '0.05', '-f', 'null', '-'];
    const { code, lastLines } = await own.spawn({ name: 'ffmpeg', file, args }).exited;
    return { code, said: lastLines.join('\n') };
  };
  // No card has this number.
  for (const microphone of ['hw:31', 'hw:31,0', 'plughw:31,0', 'plughw:CARD=Nowhere,DEV=1']) {
    const { code, said } = await records(microphone);
    expect([code, said]).toEqual([1, expect.stringMatching(/cannot open audio device \S+ \(No such (file|device)/)]);
    expect(said).not.toMatch(/Unknown PCM|shared library/);
  }
  expect(await records('plug:null')).toEqual({ code: 0, said: '' });
});
