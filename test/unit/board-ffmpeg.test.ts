import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { findBoardFfmpeg } from '../../device/encoding/board-ffmpeg.ts';
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
