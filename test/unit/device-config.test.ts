import { expect, test } from 'vitest';
import { helpText, readConfig } from '../../device/config.ts';

const env = { GLASSCAST_AGENT_CORE_TOKEN: 'a-core-token' };

test('defaults, and the token as a secret', () => {
  const config = readConfig([], env);
  expect(config).toMatchObject({ source: 'test-pattern', relayUrl: 'ws://127.0.0.1:8787/glasses-ws', leaseMs: 60_000 });
  expect(JSON.stringify(config)).not.toContain('a-core-token');
});

test('flags win over the environment, and FFMPEG_PATH is heard', () => {
  const more = { ...env, GLASSCAST_AGENT_SOURCE: 'file:/a', GLASSCAST_AGENT_LEASE_MS: '5000', FFMPEG_PATH: '/f' };
  expect(readConfig(['--source', 'file:/b'], more)).toMatchObject({
    source: 'file:/b',
    leaseMs: 5000,
    ffmpegPath: '/f',
  });
  expect(readConfig(['--ffmpeg-path', '/g'], more)).toMatchObject({ ffmpegPath: '/g' });
});

test.each([
  [[], {}, 'GLASSCAST_AGENT_CORE_TOKEN is missing'],
  [[], { ...env, GLASSCAST_AGENT_COLOR: 'x' }, 'unknown GLASSCAST_AGENT_COLOR'],
  [['--core-token', 'x'], env, '--core-token'],
  [['--relay-url', 'http://x'], env, '--relay-url'],
  [['--lease-ms', 'soon'], env, '--lease-ms'],
  [['--push-mode', 'fast'], env, '--push-mode'],
  [['extra'], env, 'extra'],
])('%j with %j is refused: %s', (args, given, text) => {
  expect(() => readConfig(args, given)).toThrow(
    expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringContaining(text) }),
  );
});

test('other programs’ settings are none of ours', () => {
  expect(readConfig([], { ...env, GLASSCAST_PORT: '1' })).toMatchObject({ logLevel: 'info' });
});

test('help needs no token and names every flag', () => {
  expect(readConfig(['--help'], {})).toBe('help');
  for (const flag of ['--relay-url', 'GLASSCAST_AGENT_CORE_TOKEN', '--source', '--max-backlog-ms']) {
    expect(helpText()).toContain(flag);
  }
});
