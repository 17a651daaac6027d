import { describe, expect, it } from 'vitest';
import { relaySettings } from '../../cloud/config.ts';

const readConfig = relaySettings.read;
/** An account, its token, and where a local Stream listens. */
const account = ['--cloudflare-account-id', 'abc'];
const token = { GLASSCAST_CLOUDFLARE_API_TOKEN: 'a-provider-token' };
const elsewhere = ['--cloudflare-api-base-url', 'http://10.0.0.7:8788/client/v4/'];

describe('the relay’s settings', () => {
  it('have defaults', () => {
    expect(readConfig([], {})).toMatchObject({
      host: '127.0.0.1',
      port: 8787,
      dataDir: '.glasscast',
      keepRecordings: false,
      startDeadlineMs: 25_000,
      provider: undefined,
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
    [/cloudflare lacks GLASSCAST_CLOUDFLARE_API_TOKEN/, account, {}],
    [/cloudflare lacks --cloudflare-account-id;/, [], token],
    [/lacks --cloudflare-account-id and GLASSCAST_CLOUDFLARE_API_TOKEN/, ['--provider', 'cloudflare'], {}],
    [/lacks --cloudflare-account-id and GLASSCAST_CLOUDFLARE_API_TOKEN/, elsewhere, {}],
    [/local lacks --cloudflare-api-base-url/, ['--provider', 'local', ...account], token],
    [/local lacks GLASSCAST_CLOUDFLARE_API_TOKEN/, ['--provider', 'local', ...account, ...elsewhere], {}],
    [/--provider/, ['--provider', 'other'], {}],
    [/GLASSCAST_REDIS_URL: redis:/, account, { ...token, GLASSCAST_REDIS_URL: 'http://10.0.0.5:6379' }],
    [/one provider for all.*npm run local-stream/, [], { GLASSCAST_REDIS_URL: 'redis://10.0.0.5:6379' }],
    [/--node-address/, [...account, '--host', '0.0.0.0'], { ...token, GLASSCAST_REDIS_URL: 'redis://10.0.0.5:6379' }],
    [/redis-url/, ['--redis-url', 'redis://on-the-command-line'], {}],
  ])('name what is wrong: %s', (message, args, env) => {
    expect(() => readConfig(args, env)).toThrow(message);
  });

  it('choose the provider: a local Stream of ours, one that runs elsewhere, or Cloudflare', () => {
    const providerOf = (args: string[], env: Record<string, string> = {}) => {
      const config = readConfig(args, env);
      return config === 'help' ? config : config.provider;
    };
    expect(providerOf(['--provider', 'local'])).toBeUndefined();
    expect(providerOf(account, token)).toMatchObject({
      kind: 'cloudflare',
      apiBaseUrl: 'https://api.cloudflare.com/client/v4',
      accountId: 'abc',
    });
    const local = { kind: 'local', apiBaseUrl: 'http://10.0.0.7:8788/client/v4', accountId: 'abc' };
    expect(providerOf(['--provider', 'local', ...account, ...elsewhere], token)).toMatchObject(local);
    // A double of Cloudflare, with Cloudflare's pace.
    expect(providerOf([...account, ...elsewhere], token)).toMatchObject({ ...local, kind: 'cloudflare' });
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
    const secrets = Object.fromEntries(
      relaySettings
        .list()
        .filter(({ flag }) => flag === undefined)
        .map(({ environmentName }) => [environmentName, secret]),
    );
    const effective = relaySettings.describe([...account], { ...env, ...secrets });
    expect(effective.environment).toMatchObject({
      adminToken: '***',
      coreTokenSecret: '***',
      cloudflareApiToken: '***',
    });
    expect(new Set(Object.values(effective.environment))).toEqual(new Set(['***']));
    expect(effective).toMatchObject({ flags: { cloudflareAccountId: 'abc' }, defaults: { port: 8787 } });
    expect(JSON.stringify(effective)).not.toContain(secret);
    const wrong = () => readConfig([], { GLASSCAST_ADMIN_TOKEN: 'short' });
    expect(wrong).toThrow(/GLASSCAST_ADMIN_TOKEN/);
    expect(wrong).not.toThrow(/short"/);
  });

  it('are all explained', () => {
    const help = relaySettings.help();
    for (const word of [
      '--port',
      '--apps-file',
      '--provider',
      'SIGTERM is a restart',
      'GLASSCAST_ADMIN_TOKEN',
      'GLASSCAST_CLOUDFLARE_API_TOKEN',
      '8787',
    ]) {
      expect(help).toContain(word);
    }
    expect(help).not.toContain('--admin-token');
    expect(
      help
        .split('\n')
        .filter((line) => line.startsWith('  -'))
        .every((line) => line.trim().split(/\s{2,}/).length > 1),
    ).toBe(true);
  });
});
