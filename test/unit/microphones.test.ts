import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  checkMicrophoneAccess,
  listMicrophones,
  parseAlsaDevices,
  parseAlsaStream,
  parsePulseSources,
} from '../../device/capture/microphones.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createFakeCameras, type FakeCameras } from '../support/fake-cameras.ts';

const pcm = `00-00: ALC257 Analog : ALC257 Analog : playback 1 : capture 1
00-03: HDMI 0 : HDMI 0 : playback 1
01-00: USB Audio : USB Audio : capture 1
`;
const cards = ` 0 [PCH            ]: HDA-Intel - HDA Intel PCH
                      HDA Intel PCH at 0xf7f10000 irq 145
 1 [Webcam         ]: USB-Audio - HD Pro Webcam C920
                      HD Pro Webcam C920 at usb-0000:00:14.0-1, high speed
`;
const stream = `HD Pro Webcam C920 at usb-0000:00:14.0-1, high speed : USB Audio

Capture:
  Status: Stop
  Interface 3
    Altset 1
    Format: S16_LE
    Channels: 2
    Endpoint: 0x82 (2 IN) (ASYNC)
    Rates: 16000, 32000
`;
const short = `0\tglasses.monitor\tmodule-null-sink.c\ts16le 1ch 48000Hz\tIDLE
1\talsa_input.usb-webcam.analog\tmodule-alsa-card.c\ts16le 2ch 32000Hz\tSUSPENDED
2\tbluez_source.glasses\tmodule-bluez5-device.c\ts16le 1ch 16000Hz\tRUNNING
`;

const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
let fakes: FakeCameras;
beforeEach(() => {
  fakes = createFakeCameras();
});
afterEach(() => fakes.dispose());

const list = (alsaFolder = '/no/such/folder') =>
  listMicrophones({ spawn: children.spawn, clock, programs: fakes.folders.programs, alsaFolder });
/** Of one node, of all that begin so. */
const refuses =
  (refused: string, code = 'EACCES') =>
  async (node: string) => {
    if (node.startsWith(refused)) throw Object.assign(new Error(code), { code });
  };
const fakePactl = (byDefault: string, info: string) =>
  fakes.program(
    'pactl',
    `case "$1" in list) printf '%s' '${short}';; get-default-source) ${byDefault};; info) ${info};; esac`,
  );

describe('listMicrophones', () => {
  test('ALSA: capture devices, named by card; USB tells its format', async () => {
    const folder = fakes.folders.names;
    mkdirSync(join(folder, 'card1'));
    writeFileSync(join(folder, 'pcm'), pcm);
    writeFileSync(join(folder, 'cards'), cards);
    writeFileSync(join(folder, 'card1', 'stream0'), stream);
    expect(await list(folder)).toEqual([
      {
        ...{ source: 'alsa:plughw:0,0', name: 'HDA Intel PCH: ALC257 Analog', sampleSpec: undefined },
        ...{ isDefault: false, isMonitor: false },
      },
      {
        ...{
          source: 'alsa:plughw:1,0',
          name: 'HD Pro Webcam C920: USB Audio',
          sampleSpec: 'S16_LE 2ch 16000, 32000Hz',
        },
        ...{ isDefault: false, isMonitor: false },
      },
    ]);
  });

  test('ALSA: one that this user may not open is listed with the cause', async () => {
    const folder = fakes.folders.names;
    writeFileSync(join(folder, 'pcm'), pcm);
    writeFileSync(join(folder, 'cards'), cards);
    const search = { spawn: children.spawn, clock, programs: '/no/such/folder', alsaFolder: folder };
    const found = await listMicrophones({ ...search, askAccess: refuses('/dev/snd/pcmC1D0c') });
    expect(found.map(({ source, cause }) => [source, cause?.code])).toEqual([
      ['alsa:plughw:0,0', undefined],
      ['alsa:plughw:1,0', 'CAPTURE_FORBIDDEN'],
    ]);
  });

  test.each([
    ['pactl 15 and later', 'echo bluez_source.glasses', 'exit 1'],
    ['before', 'echo "No valid command" >&2; exit 1', 'echo "Default Source: bluez_source.glasses"'],
  ])('PulseAudio, %s: the default first, monitors last', async (_, byDefault, info) => {
    fakePactl(byDefault, info);
    expect((await list()).map(({ source, isDefault, isMonitor }) => [source, isDefault, isMonitor])).toEqual([
      ['pulse:bluez_source.glasses', true, false],
      ['pulse:alsa_input.usb-webcam.analog', false, false],
      ['pulse:glasses.monitor', false, true],
    ]);
  });

  test('nothing installed, or no server', async () => {
    expect(await list()).toEqual([]);
    fakes.program('pactl', 'echo "Connection failure: Connection refused" >&2; exit 1');
    expect(await list()).toEqual([]);
  });
});

describe('checkMicrophoneAccess', () => {
  const ask = (name: string, askAccess: (node: string) => Promise<void>) => {
    writeFileSync(join(fakes.folders.names, 'pcm'), pcm);
    writeFileSync(join(fakes.folders.names, 'cards'), cards);
    return checkMicrophoneAccess({ kind: 'alsa', name }, { alsaFolder: fakes.folders.names, askAccess });
  };

  test.each(['plughw:1,0', 'plughw:1,0,0', 'hw:1', 'plughw:CARD=Webcam,DEV=0', 'hw:Webcam'])(
    '%s is there, but not for this user',
    async (name) => {
      await expect(ask(name, refuses('/dev/snd/pcmC1D0c'))).rejects.toMatchObject({
        ...{ code: 'CAPTURE_FORBIDDEN', message: expect.stringContaining(`groups video and audio: alsa:${name}`) },
      });
    },
  );

  test('what may be opened, is not there or is none of ALSA’s hardware is left to ALSA', async () => {
    await ask('plughw:0,0', refuses('/dev/snd/pcmC1D0c'));
    await ask('plughw:1,0', refuses('/dev/snd/pcmC1D0c', 'ENOENT'));
    for (const name of ['plughw:7,0', 'hw:0,3', 'default']) await ask(name, refuses(''));
    await checkMicrophoneAccess({ kind: 'pulse', name: 'hw:1,0' });
  });
});

test('parsers survive arbitrary text', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc
      .tuple(fc.constantFrom(pcm, cards, short, stream), fc.nat(300), fc.string({ maxLength: 8 }))
      .map(([known, at, put]) => known.slice(0, at) + put + known.slice(at + 2)),
  );
  fc.assert(
    fc.property(text, text, (one, other) => {
      for (const { source } of parsePulseSources(one.split('\n')))
        expect(source.length).toBeGreaterThan('pulse:'.length);
      for (const { card, device } of parseAlsaDevices(one.split('\n'), other.split('\n'))) {
        expect(card >= 0 && device >= 0).toBe(true);
      }
      parseAlsaStream(one);
    }),
  );
});
