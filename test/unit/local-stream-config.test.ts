/** Flags and environment of the local Stream: defaults, precedence, and a precise error for everything else. */
import { describe, expect, it } from 'vitest';
import { localStreamSettings } from '../../cloud/local-stream/config.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';

const reject = (args: string[], env: NodeJS.ProcessEnv = {}): string => {
  try {
    localStreamSettings.read(args, env);
  } catch (error) {
    if (error instanceof GlasscastError && error.code === 'INVALID_CONFIG') return error.message;
  }
  throw new Error('it was accepted');
};

describe('the configuration', () => {
  it('has a default for everything', () => {
    expect(localStreamSettings.read([], {})).toEqual({
      dataDir: '.glasscast/local-stream',
      apiRequestLimit: 0,
      holdMarginMs: 3000,
      listenHost: '127.0.0.1',
      publicHost: '127.0.0.1',
      httpPort: 8788,
      rtmpPort: 1935,
      maxPublishers: 100,
      maxRtmpConnections: 2000,
      maxRtmpConnectionsPerAddress: 500,
      maxPublisherBitrateBps: 50_000_000,
      accountId: 'a1'.repeat(16),
      holdSeconds: 60,
      readyDelayMs: 500,
      storageLimitMinutes: 1000,
      minFreeBytes: 67_108_864,
      webRtcPort: 0,
      outputPrivateTargets: false,
      logLevel: 'info',
    });
  });
  it('flags win over the environment', () => {
    const env = {
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: '1',
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: '2',
      FFMPEG_PATH: '/f',
      PATH: '/bin',
    };
    expect(localStreamSettings.read(['--http-port', '0'], env)).toMatchObject({
      httpPort: 0,
      rtmpPort: 2,
      ffmpegPath: '/f',
    });
  });
  it('the token comes by environment only, and is a secret', () => {
    const config = localStreamSettings.read([], { GLASSCAST_LOCAL_STREAM_API_TOKEN: 'long-enough' });
    expect(config).toMatchObject({ apiToken: expect.any(Secret) });
    expect(JSON.stringify(config)).not.toContain('long-enough');
    expect(reject(['--api-token', 'long-enough'])).toContain('--api-token');
  });
  it.each([
    [['--http-port', '70000'], {}, '--http-port'],
    [['--account-id', 'xyz'], {}, '--account-id: must be 32 hex digits'],
    [['--log-level', 'loud'], {}, '--log-level'],
    [['--bogus', '1'], {}, '--bogus'],
    [['stray'], {}, 'stray'],
    [[], { GLASSCAST_LOCAL_STREAM_BOGUS: '1' }, 'GLASSCAST_LOCAL_STREAM_BOGUS'],
  ])('%j %j names %s', (args, env, named) => {
    expect(reject(args, env)).toContain(named);
  });
  it('a wrong token is not repeated', () => {
    expect(reject([], { GLASSCAST_LOCAL_STREAM_API_TOKEN: 'short' })).not.toContain('short,');
  });
  it('help names every setting', () => {
    expect(localStreamSettings.read(['--help'], {})).toBe('help');
    for (const flag of ['--data-dir', '--http-port', 'GLASSCAST_LOCAL_STREAM_API_TOKEN', '--hold-seconds']) {
      expect(localStreamSettings.help()).toContain(flag);
    }
  });
});
