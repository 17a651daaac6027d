import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isGlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import { createSettings } from '../../shared/settings.ts';

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
