import { describe, expect, it } from 'vitest';
import { readConfig, relaySettings } from '../../cloud/config.ts';

describe('the relay’s settings', () => {
  it('have defaults', () => {
    expect(readConfig([], {})).toMatchObject({
      host: '127.0.0.1',
      port: 8787,
      dataDir: '.glasscast',
      keepRecordings: false,
      startDeadlineMs: 25_000,
      cloudflareApiBaseUrl: 'https://api.cloudflare.com/client/v4',
    });
  });

  it('come from flags before the environment', () => {
    const env = { GLASSCAST_PORT: '9000', GLASSCAST_KEEP_RECORDINGS: 'yes', GLASSCAST_HOST: '' };
    expect(readConfig(['--port', '0'], env)).toMatchObject({ port: 0, keepRecordings: true, host: '127.0.0.1' });
    expect(readConfig(['--help'], {})).toBe('help');
  });

  it.each<[RegExp, string[], Record<string, string>]>([
    [/GLASSCAST_PROT/, [], { GLASSCAST_PROT: '1' }],
    [/GLASSCAST_PORT/, [], { GLASSCAST_PORT: '70000' }],
    [/--keep-recordings/, ['--keep-recordings', 'perhaps'], {}],
    [/--start-deadline-ms/, ['--start-deadline-ms', '31000'], {}],
    [/--nonsense/, ['--nonsense', 'x'], {}],
    [/admin-token/, ['--admin-token', 'on-the-command-line'], {}],
    [/belong together/, ['--cloudflare-account-id', 'abc'], {}],
  ])('name what is wrong: %s', (message, args, env) => {
    expect(() => readConfig(args, env)).toThrow(message);
  });

  it('print no secret, and leave the other programs theirs', () => {
    const secret = 'a-very-secret-token';
    const env = {
      GLASSCAST_ADMIN_TOKEN: secret,
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: '1',
      GLASSCAST_AGENT_X: '1',
      PATH: '',
    };
    expect(JSON.stringify(readConfig([], env))).not.toContain(secret);
    const wrong = () => readConfig([], { GLASSCAST_ADMIN_TOKEN: 'short' });
    expect(wrong).toThrow(/GLASSCAST_ADMIN_TOKEN/);
    expect(wrong).not.toThrow(/short"/);
  });

  it('are all explained', () => {
    const help = relaySettings.help();
    for (const word of ['--port', '--apps-file', 'GLASSCAST_ADMIN_TOKEN', 'GLASSCAST_CLOUDFLARE_API_TOKEN', '8787']) {
      expect(help).toContain(word);
    }
    expect(help).not.toContain('--admin-token');
    expect(
      help
        .split('\n')
        .filter((line) => line.startsWith('  '))
        .every((line) => line.trim().split(/\s{2,}/).length > 1),
    ).toBe(true);
  });
});
