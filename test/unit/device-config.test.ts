import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { agentSettings, statusSocketPath, surroundingsOf } from '../../device/config.ts';

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
  [['--privacy-light', 'lamp'], env, '--privacy-light: expected led:NAME or gpio:CHIP/LINE'],
  [['--privacy-light-required', 'perhaps'], env, '--privacy-light-required'],
  [['--min-battery-percent', '101'], env, '--min-battery-percent'],
  [['--max-backlog-ms', '3600001'], env, '--max-backlog-ms'],
  [['--config-file', '/no/such/file'], env, '/no/such/file'],
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

test('light, bounds and places', () => {
  expect(agentSettings.read([], env)).toMatchObject({
    privacyLightRequired: true,
    governor: true,
    maxBacklogMs: 10_000,
    minBatteryPercent: 5,
    maxTemperatureC: 92,
    logFileMb: 10,
  });
  const args = [
    '--privacy-light',
    'gpio:gpiochip0/17',
    '--privacy-light-required',
    'no',
    '--max-backlog-ms',
    '3600000',
  ];
  expect(agentSettings.read(args, env)).toMatchObject({
    privacyLight: { kind: 'gpio', chip: 'gpiochip0', line: '17' },
    privacyLightRequired: false,
    maxBacklogMs: 3_600_000,
  });
});

test('a file of settings, and what came from it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-config-'));
  const file = join(folder, 'agent.json');
  writeFileSync(file, JSON.stringify({ privacyLight: 'led:cam', leaseMs: 5000, coreToken: 'in-the-file' }), {
    mode: 0o600,
  });
  const given = { GLASSCAST_AGENT_CONFIG_FILE: file };
  expect(agentSettings.read(['--lease-ms', '6000'], given)).toMatchObject({
    privacyLight: { kind: 'led', name: 'cam' },
    leaseMs: 6000,
  });
  expect(agentSettings.describe([], given).file).toMatchObject({ leaseMs: 5000, coreToken: '***' });
  rmSync(folder, { recursive: true });
});

test('the status socket is where agent and status both look', () => {
  const tokenFile = 'kept/token.json';
  const none = () => false;
  expect(statusSocketPath({ statusSocket: 'none', tokenFile }, { runtimeFolder: '/run/user/1' })).toBeUndefined();
  expect(statusSocketPath({ statusSocket: '/a', tokenFile }, { runtimeFolder: '/run/user/1' })).toBe('/a');
  expect(statusSocketPath({ tokenFile }, surroundingsOf({ XDG_RUNTIME_DIR: '/run/user/1' }))).toBe(
    '/run/user/1/glasscast-agent.sock',
  );
  expect(statusSocketPath({ tokenFile }, surroundingsOf({ XDG_RUNTIME_DIR: '' }), () => true)).toBe(
    '/run/glasscast/agent.sock',
  );
  expect(statusSocketPath({ tokenFile }, surroundingsOf({}), none)).toBe('kept/agent.sock');
});

test('how it was launched is told by launch alone, and is no setting', () => {
  const launch = (environment: Record<string, string>) => surroundingsOf(environment).launch;
  const said = { GLASSCAST_LAUNCH_PLACE: 'b', GLASSCAST_LAUNCH_FLASHED: '0.1.0', GLASSCAST_LAUNCH_MODE: 'trial' };
  expect(launch({ ...said, GLASSCAST_LAUNCH_RESTARTS: 'yes' })).toEqual({
    ...{ place: 'b', flashedVersion: '0.1.0', isTrial: true, isRestarted: true },
  });
  expect(launch({ GLASSCAST_LAUNCH_PLACE: 'flashed', GLASSCAST_LAUNCH_FLASHED: '' })).toEqual({
    ...{ place: 'flashed', flashedVersion: undefined, isTrial: false, isRestarted: false },
  });
  expect([launch({}), launch({ GLASSCAST_LAUNCH_PLACE: '../x' })]).toEqual([undefined, undefined]);
  expect(agentSettings.read([], { ...said, GLASSCAST_AGENT_CORE_TOKEN: 'x' })).toMatchObject({ updateTrialMs: 90_000 });
});
