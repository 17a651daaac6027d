import { describe, expect, it } from 'vitest';
import {
  bitsPerSecond,
  bytes,
  clockTime,
  dayAndTime,
  duration,
  latency,
  namedNumber,
  recordingState,
  spoken,
  stateName,
} from '../../cloud/console/formatting.ts';
import { addressProblem, outputAddress } from '../../cloud/console/output-address.ts';
import { type PressedKey, shortcutOf, shortcuts } from '../../cloud/console/shortcuts.ts';
import { type Situation, situationWords } from '../../cloud/console/situation-words.ts';
import { enrolCommands, shellWord, snippetsOf } from '../../cloud/console/snippets.ts';

const noon = new Date(2026, 10, 28, 12, 3, 4).getTime();

describe('numbers and times', () => {
  it.each([
    [bitsPerSecond(1_880_000), '1.88 Mbit/s'],
    [bitsPerSecond(999), '999 bit/s'],
    [bitsPerSecond(999_999), '1.00 Mbit/s'],
    [bytes(0), '0 B'],
    [bytes(45_000), '45.0 kB'],
    [bytes(123_456_789), '123 MB'],
    [duration(7.9), '0:07'],
    [duration(3723), '1:02:03'],
    [duration(-1), '0:00'],
    [latency(4), '≈ 10 ms'],
    [latency(186), '≈ 190 ms'],
    [latency(2360), '≈ 2.4 s'],
    [spoken(45), '45 s'],
    [spoken(300), '5 min'],
    [clockTime(noon), '12:03:04'],
    [dayAndTime(noon, noon + 1000), 'Today, 12:03'],
    [dayAndTime(noon, noon + 86_400_000), '28 Nov, 12:03'],
    [dayAndTime(noon, noon + 366 * 86_400_000), '28 Nov 2026, 12:03'],
    [namedNumber('interruptedMs', 2400), 'interrupted 2.4 s'],
    [namedNumber('videoBitrateBps', 900_000), 'video bitrate 900 kbit/s'],
    [namedNumber('attempt', 3), 'attempt 3'],
    [stateName('active'), 'Live'],
    [stateName('toString'), 'toString'],
    [recordingState('live-inprogress'), 'Being recorded'],
    [recordingState('brand-new'), 'brand-new'],
  ])('%j is %j', (shown, wanted) => {
    expect(shown).toBe(wanted);
  });
});

describe('what stands over the picture', () => {
  const stream = { streamId: 'm1', userId: 'a@x', state: 'active' as const, stateSinceMs: noon };
  const there = { userId: 'a@x', connected: true, awaySinceMs: undefined };
  const away = { userId: 'a@x', connected: false, awaySinceMs: noon };
  const words = (situation: Partial<Situation>) =>
    situationWords({ session: there, stream, player: { isPlaying: true, hasLastPicture: true }, ...situation });

  it('says since when the glasses are away, and that the picture is the last one', () => {
    expect(words({ session: away })).toEqual({
      banner: 'The glasses are away since 12:03:04; waiting for them. The picture is the last one.',
      placeholder: '',
      title: '',
    });
    expect(words({ session: { ...away, awaySinceMs: undefined } }).banner).toContain('The glasses are away; waiting');
  });
  it('says why the picture stopped', () => {
    const interrupted = { ...stream, state: 'interrupted' as const, message: 'The ingest cannot be reached' };
    expect(words({ stream: interrupted }).banner).toBe(
      'The picture stopped at 12:03:04. The ingest cannot be reached. Waiting for the next; this is the last one.',
    );
  });
  it('names no time that nobody knows', () => {
    const interrupted = { ...stream, state: 'interrupted' as const, stateSinceMs: undefined };
    expect(words({ stream: interrupted }).banner).toBe(
      'The picture has stopped. Waiting for the next; this is the last one.',
    );
  });
  it('speaks of no last picture where there is none, and covers none that is there', () => {
    const player = { isPlaying: false, hasLastPicture: false };
    expect(words({ session: away, player }).banner).toBe('The glasses are away since 12:03:04; waiting for them.');
    expect(words({ player: { ...player, hasLastPicture: true } })).toEqual({ banner: '', placeholder: '', title: '' });
    expect(words({ player: { ...player, hasLastPicture: true, message: 'The broadcast is interrupted' } }).banner).toBe(
      'No new picture arrives: The broadcast is interrupted. This is the last one.',
    );
  });
  it('says nothing over a picture that moves', () => {
    expect(words({})).toEqual({ banner: '', placeholder: '', title: '' });
  });
  it('says what is next where there is no picture', () => {
    const placeholder = (situation: Partial<Situation>) =>
      words({ player: { isPlaying: false, hasLastPicture: false }, ...situation }).placeholder;
    expect(placeholder({ stream: undefined })).toContain('Press Go live');
    expect(placeholder({ stream: undefined, session: away })).toContain('away since 12:03:04');
    expect(placeholder({ stream: { ...stream, state: 'failed', message: 'The camera was not found' } })).toBe(
      'The camera was not found. Press Go live to try again.',
    );
    expect(
      words({ session: away, stream: { ...stream, state: 'failed', message: 'The camera was not found' } }),
    ).toMatchObject({ title: 'The stream failed', placeholder: expect.stringContaining('when they are back') });
    expect(placeholder({})).toContain('on its way');
    expect(placeholder({ player: { isPlaying: false, hasLastPicture: false, message: 'Trying HLS' } })).toBe(
      'Live, but no picture yet: Trying HLS. Trying again …',
    );
    expect(placeholder({ stream: { ...stream, state: 'starting' } })).toContain('starting their camera');
    expect(placeholder({ session: away, stream: { ...stream, state: 'starting' } })).toContain('the start waits');
  });
});

describe('snippets', () => {
  const facts = {
    ...{ origin: 'https://relay.example', userId: `o'neil "x"@example.com` },
    video: { width: 640, height: 360, frameRate: 15, bitrate: 500_000 },
    playback: { hlsUrl: 'https://play/1/video.m3u8?a=1&b=2', previewUrl: 'https://play/1/iframe?a=1&b="2"' },
  };
  const code = (id: string) => snippetsOf(facts).find((snippet) => snippet.id === id)?.code ?? '';

  it('carry the real values, quoted for where they go', () => {
    expect(code('page')).toContain('src="https://play/1/iframe?a=1&amp;b=&quot;2&quot;"');
    expect(code('player')).toContain("ffplay -fflags nobuffer 'https://play/1/video.m3u8?a=1&b=2'");
    expect(code('operator')).toContain(
      "'https://relay.example/api/users/o'\\''neil%20%22x%22%40example.com/managed-stream'",
    );
    expect(code('operator')).toContain('{"video":{"width":640,"height":360,"frameRate":15,"bitrate":500000}}');
    expect(code('app')).toContain('video: { width: 640, height: 360, frameRate: 15, bitrate: 500000 }');
  });
  it('hold no secret: tokens come from the environment', () => {
    expect(code('operator')).toContain('$GLASSCAST_ADMIN_TOKEN');
    expect(
      snippetsOf(facts)
        .map((snippet) => snippet.code)
        .join(),
    ).not.toMatch(/Bearer (?!\$)/);
  });
  it('say where an address will stand before there is one', () => {
    const before = snippetsOf({ ...facts, playback: undefined });
    expect(before.find(({ id }) => id === 'player')?.code).toContain('ADDRESS-APPEARS-WHEN-LIVE');
  });
  it('let glasses in with a code, over TLS where the page has it', () => {
    expect(enrolCommands('https://relay.example', 'BCDFG-23456').simulate).toBe(
      'GLASSCAST_AGENT_ENROLMENT_CODE=BCDFG-23456 npm run glasses -- --relay-url wss://relay.example/glasses-ws',
    );
    expect(enrolCommands('http://127.0.0.1:8787', undefined).agent).toContain('CODE=CODE npm run agent');
  });
  it.each([
    ['plain-1.2:3/x', 'plain-1.2:3/x'],
    ['', "''"],
    ['$(rm -rf /)', "'$(rm -rf /)'"],
  ])('%j for a shell is %s', (text, quoted) => {
    expect(shellWord(text)).toBe(quoted);
  });
});

describe('the address of an output', () => {
  it.each([
    ['rtmps://a.example/live2/', '/key', 'rtmps://a.example/live2/key'],
    [' rtmp://a.example/app ', ' key ', 'rtmp://a.example/app/key'],
    ['rtmp://a.example/app/key', '', 'rtmp://a.example/app/key'],
  ])('%j and %j make %j', (server, key, address) => {
    expect(outputAddress(server, key)).toBe(address);
    expect(addressProblem(address)).toBeUndefined();
  });
  it.each(['', 'https://a.example/x', 'rtmp://a.example', 'rtmp:///key'])('%j is none', (address) => {
    expect(addressProblem(address)).toMatch(/rtmp/);
  });
});

describe('keys', () => {
  const press = (key: string, focus: PressedKey['focus'] = 'page', isModified = false) =>
    shortcutOf({ key, isModified, focus });
  it('mean what the list says', () => {
    for (const { keys, name } of shortcuts) for (const key of keys) expect(press(key)).toBe(name);
    expect(press('M')).toBe('mute');
    expect(press('x')).toBeUndefined();
  });
  it('are left to what has the focus: text, dialogs, buttons their space and arrows', () => {
    for (const key of ['m', ' ', '?'])
      expect([press(key, 'text'), press(key, 'dialog')]).toEqual([undefined, undefined]);
    expect([press(' ', 'control'), press('ArrowDown', 'control'), press('m', 'control')]).toEqual([
      undefined,
      undefined,
      'mute',
    ]);
    expect([press(' ', 'glasses'), press('ArrowDown', 'glasses')]).toEqual([undefined, 'next']);
    expect(press('f', 'page', true)).toBeUndefined();
  });
});
