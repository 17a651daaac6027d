import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { isGlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import { createSettings, yesNo } from '../../shared/settings.ts';

const secret = z
  .string()
  .min(8)
  .transform((text) => new Secret(text));
const settings = createSettings({
  schema: z.strictObject({
    listenPort: z.coerce.number().int().min(0).max(65_535).default(8000).describe('Where to listen'),
    token: secret.optional().describe('Opens the door'),
    peerUrl: z.string().optional().describe('Address of a peer'),
    tool: z.string().optional().describe('Path of the tool'),
  }),
  prefix: 'TEST_',
  foreignPrefixes: ['TEST_OTHER_'],
  environmentOnly: ['token'],
  aliases: { TOOL_PATH: 'tool' },
  about: 'A test.',
  usage: 'npm run test',
});

describe('settings', () => {
  it('flag, then environment, then alias, then default', () => {
    expect(settings.read([], {})).toEqual({ listenPort: 8000 });
    expect(settings.read([], { TEST_LISTEN_PORT: '1', TOOL_PATH: '/a' })).toEqual({ listenPort: 1, tool: '/a' });
    expect(settings.read(['--listen-port=2'], { TEST_LISTEN_PORT: '1', TEST_TOOL: '/b', TOOL_PATH: '/a' })).toEqual({
      listenPort: 2,
      tool: '/b',
    });
  });

  it.each([
    [['--listen-port', 'x'], {}, '--listen-port: '],
    [[], { TEST_LISTEN_PORT: 'x' }, 'TEST_LISTEN_PORT: '],
    [['--token', 'x'], {}, "'--token'"],
    [[], { TEST_COLOR: 'red' }, 'unknown TEST_COLOR'],
  ])('names what is wrong by the name it was given under: %j %j', (args, environment, text) => {
    expect(() => settings.read(args, environment)).toThrow(text);
  });

  it('leaves other programs’ names alone and never repeats a secret', () => {
    expect(settings.read([], { TEST_OTHER_X: '1', PATH: '/bin' })).toEqual({ listenPort: 8000 });
    expect(() => settings.read([], { TEST_TOKEN: 'hunter2' })).toThrow(/TEST_TOKEN: (?!.*hunter2)/);
  });

  it('knows help and nothing else without a value', () => {
    expect(settings.read(['-h'], { TEST_COLOR: 'red' })).toBe('help');
    expect(settings.help()).toContain('--listen-port  Where to listen (default 8000)');
    expect(settings.help()).toContain('TEST_TOKEN');
  });

  it('gives an account of what is in effect and where it came from', () => {
    const environment = { TEST_TOKEN: 'hunter2hunter2', TEST_PEER_URL: 'https://ada:pass@peer/x', TEST_TOOL: '' };
    expect(settings.describe(['--listen-port', '2'], environment)).toEqual({
      flags: { listenPort: 2 },
      environment: { token: '***', peerUrl: 'https://***@peer/x' },
      defaults: {},
    });
    expect(settings.describe([], { TOOL_PATH: '/a' })).toEqual({
      flags: {},
      environment: { tool: '/a' },
      defaults: { listenPort: 8000 },
    });
    expect(() => settings.describe([], { TEST_LISTEN_PORT: 'x' })).toThrow('TEST_LISTEN_PORT');
    expect(settings.describe(['--help'], {})).toEqual({ flags: {}, environment: {}, defaults: {} });
  });

  it('never gives a secret away, whatever it is', () => {
    const given = fc.string({ minLength: 8 }).filter((text) => !/^[\s*]*$/.test(text) && !'listenPort'.includes(text));
    fc.assert(
      fc.property(given, fc.stringMatching(/^[\w!?@:#]{8,20}$/), (token, password) => {
        const account = settings.describe([], { TEST_TOKEN: token, TEST_PEER_URL: `https://ada:${password}@peer` });
        expect(account.environment).toEqual({ token: '***', peerUrl: 'https://***@peer' });
        expect([JSON.stringify(account), inspect(account, { depth: 9 })].join()).not.toContain(token);
      }),
    );
  });

  it('gives values or INVALID_CONFIG for any arguments', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (args) => {
        try {
          settings.read(args, {});
        } catch (error) {
          expect(isGlasscastError(error) && error.code).toBe('INVALID_CONFIG');
        }
      }),
    );
  });
});

describe('a settings file', () => {
  const filed = createSettings({
    schema: z.strictObject({
      configFile: z.string().optional().describe('A file of these'),
      listenPort: z.coerce.number().int().default(8000).describe('Where to listen'),
      isLoud: yesNo.default(false).describe('Says more'),
      token: secret.optional().describe('Opens the door'),
      peerUrl: z.string().optional().describe('Address of a peer'),
      place: z.string().optional().describe('A folder that other programs read from the environment'),
    }),
    prefix: 'TEST_',
    environmentOnly: ['token', 'place'],
    open: ['place'],
    fileKey: 'configFile',
    about: 'A test.',
    usage: 'npm run test',
  });
  let folder = '';
  let file = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'glasscast-settings-'));
    file = join(folder, 'test.json');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const keep = (content: unknown, mode = 0o600) => {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
    chmodSync(file, mode);
  };
  const read = (args: string[] = [], environment = {}) => filed.read(['--config-file', file, ...args], environment);

  it('counts less than flags and environment, and more than the defaults', () => {
    keep({ listenPort: 1, isLoud: true, peerUrl: 'https://ada:pass@peer/x' }, 0o644);
    expect(read()).toEqual({ configFile: file, listenPort: 1, isLoud: true, peerUrl: 'https://ada:pass@peer/x' });
    expect(read(['--listen-port', '3'], { TEST_IS_LOUD: 'no' })).toMatchObject({ listenPort: 3, isLoud: false });
    expect(filed.read([], { TEST_CONFIG_FILE: file, TEST_LISTEN_PORT: '2' })).toMatchObject({ listenPort: 2 });
    expect(filed.describe(['--listen-port', '3'], { TEST_CONFIG_FILE: file })).toEqual({
      flags: { listenPort: 3 },
      environment: { configFile: file },
      file: { isLoud: true, peerUrl: 'https://***@peer/x' },
      defaults: {},
    });
    expect(filed.help()).toContain('--config-file');
  });

  it('may hold a secret when it is its owner’s alone', () => {
    keep({ token: 'hunter2hunter2' });
    const { token } = read() as { token: Secret };
    expect(token.reveal()).toBe('hunter2hunter2');
    expect(filed.describe(['--config-file', file], {}).file).toEqual({ token: '***' });
    for (const mode of [0o640, 0o604]) {
      chmodSync(file, mode);
      expect(() => read()).toThrow(new RegExp(`token in ${file}: .*mode ${mode.toString(8)}.*chmod 600`));
      expect(() => read()).not.toThrow('hunter2');
    }
  });

  it('may tell others what has no flag and is no secret', () => {
    keep({ place: '/srv' }, 0o644);
    expect(read()).toMatchObject({ place: '/srv' });
    expect(() => read(['--place', '/tmp'])).toThrow('place');
    const secrets = filed.list().filter(({ isSecret }) => isSecret);
    expect(secrets.map(({ environmentName }) => environmentName)).toEqual(['TEST_TOKEN']);
  });

  it.each([
    ['a key that is not known', { colour: 'hunter2', listenPort: 1 }, 'unknown colour in FILE'],
    ['a number that is none', { listenPort: 'hunter2' }, 'listenPort in FILE: '],
    ['a switch for a number', { listenPort: true }, 'listenPort in FILE: '],
    ['a number for a text', { peerUrl: 7 }, 'peerUrl in FILE: '],
    ['a switch for a text', { peerUrl: true }, 'peerUrl in FILE: '],
    ['a list', { peerUrl: ['hunter2'] }, 'peerUrl in FILE: must be text'],
    ['nothing', { listenPort: null }, 'listenPort in FILE: must be text'],
    ['another file', { configFile: 'hunter2' }, 'configFile in FILE: '],
    ['a name of every object', '{"__proto__": "hunter2"}', 'unknown __proto__ in FILE'],
    ['a secret that is too short', { token: 'hunter2' }, 'token in FILE: '],
    ['no JSON', 'hunter2', 'FILE: is not valid JSON'],
    ['no object', ['hunter2'], 'FILE: is not a JSON object'],
  ])('with %s is refused by key and file, never by value', (_name, content, text) => {
    keep(content);
    expect(() => read()).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
    expect(() => read()).toThrow(text.replace('FILE', file));
    expect(() => read()).not.toThrow('hunter2');
  });

  it('that is missing or a folder is said to be so', () => {
    expect(() => read()).toThrow(`${file}: cannot be read (ENOENT)`);
    expect(() => filed.read(['--config-file', folder], {})).toThrow(`${folder}: cannot be read (EISDIR)`);
  });

  it('gives values or INVALID_CONFIG whatever it holds', () => {
    const content = fc.oneof(
      fc.string(),
      fc.json(),
      fc.dictionary(fc.constantFrom('listenPort', 'isLoud', 'token'), fc.jsonValue()),
    );
    fc.assert(
      fc.property(content, (given) => {
        keep(given);
        try {
          read();
        } catch (error) {
          expect(isGlasscastError(error) && error.code).toBe('INVALID_CONFIG');
        }
      }),
    );
  });
});
