import { expect, test } from 'vitest';
import { agentSettings } from '../../device/config.ts';

const env = { GLASSCAST_AGENT_CORE_TOKEN: 'a-core-token' };

test('defaults, and the token as a secret', () => {
  const config = agentSettings.read([], env);
  expect(config).toMatchObject({ source: 'test-pattern', relayUrl: 'ws://127.0.0.1:8787/glasses-ws', leaseMs: 60_000 });
  expect(JSON.stringify(config)).not.toContain('a-core-token');
});

test('flags win over the environment, and FFMPEG_PATH is heard', () => {
  const more = { ...env, GLASSCAST_AGENT_SOURCE: 'file:/a', GLASSCAST_AGENT_LEASE_MS: '5000', FFMPEG_PATH: '/f' };
  expect(agentSettings.read(['--source', 'file:/b'], more)).toMatchObject({
    source: 'file:/b',
    leaseMs: 5000,
    ffmpegPath: '/f',
  });
  expect(agentSettings.read(['--ffmpeg-path', '/g'], more)).toMatchObject({ ffmpegPath: '/g' });
});

test.each([
  [[], { ...env, GLASSCAST_AGENT_COLOR: 'x' }, 'unknown GLASSCAST_AGENT_COLOR'],
  [['--core-token', 'x'], env, '--core-token'],
  [['--enrolment-code', 'x'], env, '--enrolment-code'],
  [['--relay-url', 'http://x'], env, '--relay-url'],
  [['--lease-ms', 'soon'], env, '--lease-ms'],
  [['--push-mode', 'fast'], env, '--push-mode'],
  [['extra'], env, 'extra'],
])('%j with %j is refused: %s', (args, given, text) => {
  expect(() => agentSettings.read(args, given)).toThrow(
    expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringContaining(text) }),
  );
});

test('other programs’ settings are none of ours', () => {
  expect(agentSettings.read([], { ...env, GLASSCAST_PORT: '1' })).toMatchObject({ logLevel: 'info' });
});

test('help needs no token and names every flag', () => {
  expect(agentSettings.read(['--help'], {})).toBe('help');
  for (const flag of ['--relay-url', 'GLASSCAST_AGENT_CORE_TOKEN', '--source', '--max-backlog-ms']) {
    expect(agentSettings.help()).toContain(flag);
  }
});
