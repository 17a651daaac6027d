import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isGlasscastError } from '../../shared/errors.ts';
import { createSettings } from '../../shared/settings.ts';

const settings = createSettings({
  schema: z.strictObject({
    listenPort: z.coerce.number().int().min(0).max(65_535).default(8000).describe('Where to listen'),
    token: z.string().min(8).optional().describe('Opens the door'),
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
