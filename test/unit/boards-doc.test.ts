/** The pages of device/boards/ hold to the code: flags, encoders, limits, the doctor's lines, links, and the sections of each page. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { agentSettings } from '../../device/config.ts';
import { videoEncoders } from '../../device/encoding/video-encoders.ts';
import { defaultBatteryLimits, defaultHeatLimits } from '../../device/publishing/power-limits.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = join(root, 'device/boards');
const files = readdirSync(folder).filter((file) => file.endsWith('.md'));
const textOf = (file: string) => readFileSync(join(folder, file), 'utf8');
const boards = files.filter((file) => file !== 'README.md');

const SECTIONS = [
  'Boards and images',
  'Camera',
  'Microphone',
  'Light',
  'Encoder',
  'Power and heat',
  'Flash, update, undo',
  'When it does not work',
  'Not supported',
  'What was tested',
];

const headingsOf = (text: string) => [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => title);
const anchorOf = (title: string) =>
  title
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');

/** Text of one section, without its heading. */
function section(text: string, title: string): string {
  const [, rest = ''] = text.split(new RegExp(`^## ${title}$`, 'm'));
  return rest.split(/^## /m)[0] ?? '';
}

/** What stands in code: words between backticks, lines of blocks. Comments of blocks are prose. */
function commandsOf(text: string): string[] {
  const blocks = [...text.replaceAll('\\\n', ' ').matchAll(/^```\w*\n([\s\S]*?)^```/gm)].flatMap(([, body = '']) =>
    body.split('\n'),
  );
  const spans = [...text.replace(/^```\w*\n[\s\S]*?^```/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span);
  return [...blocks.map((line) => line.replace(/(^|\s)#.*$/, '')), ...spans].map((line) => line.trim()).filter(Boolean);
}

/** Whose flags are not ours to know. */
const OTHERS =
  /^(sudo )?(rpicam-vid|v4l2-ctl|dpkg|apt|systemctl|journalctl|modprobe|adb|fuser|timedatectl|vcgencmd|uname) /;
/** Of rpicam-vid, named alone. */
const OF_RPICAM = ['--codec', '--libav-format'];
/** Of `glasscast flash`, named alone. */
const OF_FLASH = ['--ssh', '--image', '--adb', '--undo', '--dry-run', '--set', '--glibc'];
const IS_GLASSCAST = /\bglasscast (?!-)/;
const nameOfKey = (key: string) => `GLASSCAST_AGENT_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
const flagsOf = (command: string) => [...command.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([flag]) => flag);

const agentFlags = new Set([
  '--help',
  '--json',
  ...agentSettings.list().flatMap(({ flag }) => (flag === undefined ? [] : [`--${flag}`])),
]);
const agentNames = new Set(agentSettings.list().map(({ environmentName }) => environmentName));

/** As far as the command is there: its own words. */
const flashSources = ['scripts/cli', 'scripts/flash'].flatMap((place) => {
  const names = existsSync(join(root, place)) ? readdirSync(join(root, place)) : [];
  return names.filter((name) => /flash/.test(name) && name.endsWith('.ts')).map((name) => join(root, place, name));
});
const flashText = flashSources.map((file) => readFileSync(file, 'utf8')).join('\n');

describe.each(files)('%s', (file) => {
  const text = textOf(file);
  const commands = commandsOf(text);

  test('names only flags and settings of the agent that exist', () => {
    const ours = commands.filter((each) => !OTHERS.test(each) && !IS_GLASSCAST.test(each));
    const known = (flag: string) => [...agentFlags, ...OF_RPICAM, ...OF_FLASH].includes(flag);
    expect(ours.flatMap(flagsOf).filter((flag) => !known(flag))).toEqual([]);
    const names = [...text.matchAll(/GLASSCAST_AGENT_\w+/g)].map(([name]) => name);
    expect(names.filter((name) => !agentNames.has(name))).toEqual([]);
    const keys = [...text.matchAll(/--set (\w+)=/g)].map(([, key = '']) => nameOfKey(key));
    expect(keys.filter((name) => !agentNames.has(name))).toEqual([]);
  });

  test.skipIf(flashText === '')('names only flags of flash that exist', () => {
    const flashes = commands.filter((each) => /\bglasscast flash\b/.test(each));
    const flags = flashes.flatMap(flagsOf);
    const relays = flashes.flatMap((each) => /--relay-url (\S+)/.exec(each)?.[1] ?? []);
    expect(relays.filter((url) => !/^https?:/.test(url))).toEqual([]);
    const wanted = [...new Set([...flags, ...OF_FLASH.filter((flag) => text.includes(flag))])];
    expect(wanted.filter((flag) => flag !== '--help' && !new RegExp(`${flag}\\b`).test(flashText))).toEqual([]);
  });

  test('links inside the project resolve', () => {
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    const inside = links.filter((target) => !/^https:\/\//.test(target));
    const broken = inside.filter((target) => {
      const [path = '', anchor] = target.split('#');
      const place = path === '' ? join(folder, file) : join(dirname(join(folder, file)), path);
      if (!existsSync(place)) return true;
      return anchor !== undefined && !headingsOf(readFileSync(place, 'utf8')).map(anchorOf).includes(anchor);
    });
    expect(broken).toEqual([]);
  });
});

describe.each(boards)('%s, a page of a board family', (file) => {
  const text = textOf(file);

  test('has every section, in order, with something in it', () => {
    expect([...text.matchAll(/^## (.+)$/gm)].map(([, title]) => title)).toEqual(SECTIONS);
    for (const title of SECTIONS) expect(section(text, title).trim(), title).not.toBe('');
  });

  test('names as encoders only those of the table, and as not supported none of them', () => {
    const known = videoEncoders.map(({ name }) => name);
    const named = (part: string) =>
      [...part.matchAll(/`((?:h264_|libx264|libopenh264)\w*)`/g)].map(([, name = '']) => name);
    const lacking = section(text, 'Not supported');
    const ours = text.replace(lacking, '').replace(section(text, 'What was tested'), '');
    expect(named(ours).filter((name) => !known.includes(name))).toEqual([]);
    expect(named(ours)).not.toEqual([]);
    const columns = lacking.split('\n').filter((line) => /^- `h264_/.test(line));
    expect(columns.flatMap((line) => named(line.split(':')[0] ?? '')).filter((name) => known.includes(name))).toEqual(
      [],
    );
  });

  test('says that no real board was tried', () => {
    expect(section(text, 'What was tested')).toMatch(/^- Not at all: any /m);
  });

  test('is in the table of all', () => {
    expect(textOf('README.md')).toMatch(new RegExp(`^\\| \\[[^\\]]+\\]\\(${file}\\) \\|`, 'm'));
  });
});

describe('what holds for all boards', () => {
  const text = textOf('README.md');
  const power = section(text, 'Power and heat');

  test('the limits are those of the code', () => {
    const { warnC, halfC, quarterC, criticalC, criticalMs, recoverByC } = defaultHeatLimits;
    const { halfPercent, quarterPercent, stopPercent, recoverByPercent } = defaultBatteryLimits;
    const heat = [`${warnC} °C`, `${halfC} °C`, `${quarterC} °C`, `${criticalC} °C for ${criticalMs / 1000} s`];
    const battery = [
      `${halfPercent} % battery`,
      `${quarterPercent} % battery`,
      `${stopPercent} % battery, not charging`,
    ];
    const rows = [...power.matchAll(/^\| (\d[^|]+?) \|/gm)].map(([, reading]) => reading);
    expect(rows).toEqual([...heat, ...battery]);
    expect(power).toContain(`${recoverByC} °C below, or ${recoverByPercent} % above`);
  });

  test('the lines of the doctor are told as it tells them', () => {
    const sources = [
      'device/runtime/doctor.ts',
      'device/runtime/capture-checks.ts',
      'device/runtime/relay-checks.ts',
      'device/needs.ts',
    ];
    const code = sources.map((source) => readFileSync(join(root, source), 'utf8')).join('\n');
    const lines = [...section(text, 'When it does not work').matchAll(/\*\*([^*]+)\*\*/g)].map(([, line = '']) => line);
    expect(lines.length).toBeGreaterThan(8);
    expect(lines.filter((line) => !code.includes(`'${line}'`))).toEqual([]);
  });

  test('every folder and file of the project that is named exists, or is of the bench', () => {
    const paths = files.flatMap((file) => [...textOf(file).matchAll(/`((?:test|scripts|device|shared)\/[\w./-]+)`/g)]);
    const missing = paths.map(([, path = '']) => path).filter((path) => !existsSync(join(root, path)));
    expect(missing.filter((path) => relative('test/hardware', path) !== '')).toEqual([]);
  });
});
