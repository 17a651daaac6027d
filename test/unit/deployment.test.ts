/** What stands in deploy/ and in the pages about it, against what there is: settings, flags, files, each other. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { relaySettings } from '../../cloud/config.ts';
import { localStreamSettings } from '../../cloud/local-stream/config.ts';

const root = resolve(import.meta.dirname, '../..');
const textOf = (file: string) => readFileSync(join(root, file), 'utf8');
const deployed = ['haproxy', 'redis', 'systemd'].flatMap((folder) =>
  readdirSync(join(root, 'deploy', folder)).map((file) => `deploy/${folder}/${file}`),
);
const pages = ['cloud/DEPLOYMENT.md', 'cloud/SCALING.md'];
const settings = [...relaySettings.list(), ...localStreamSettings.list()];
const matches = (text: string, pattern: RegExp) => [
  ...new Set([...text.matchAll(pattern)].map(([, found = '']) => found)),
];
/** Of an environment file, those that are commented out too. */
const namesIn = (file: string) => matches(textOf(file), /^(?:# )?([A-Z][A-Z_0-9]+)=/gm);

describe('deployment', () => {
  it('sets only settings that exist, secrets by environment, and each program its own', () => {
    const names = (list: { environmentName: string }[]) => list.map(({ environmentName }) => environmentName);
    const [relay, localStream] = [names(relaySettings.list()), names(localStreamSettings.list())];
    for (const file of ['deploy/systemd/relay.env', 'deploy/systemd/relay-1.env']) {
      expect(namesIn(file).length).toBeGreaterThan(2);
      expect(namesIn(file).filter((name) => !relay.includes(name))).toEqual([]);
    }
    expect(namesIn('deploy/systemd/local-stream.env').filter((name) => !localStream.includes(name))).toEqual([]);
    const units = deployed
      .filter((file) => file.endsWith('.service'))
      .map(textOf)
      .join('\n');
    const inUnits = matches(units, /\b(GLASSCAST_[A-Z_]+[A-Z])\b/g);
    expect(inUnits.filter((name) => ![...relay, ...localStream].includes(name))).toEqual([]);
  });

  it('holds no secret: what a reader has to fill in is empty or says so', () => {
    const secrets = new Set(settings.filter(({ isSecret }) => isSecret).map(({ environmentName }) => environmentName));
    const lines = deployed.filter((file) => file.endsWith('.env')).flatMap((file) => textOf(file).split('\n'));
    const filled = lines.filter((line) => {
      const [, name = '', value = ''] = /^(?:# )?([A-Z_0-9]+)=(.*)$/.exec(line) ?? [];
      return secrets.has(name) && value !== '' && !value.includes('PASSWORD');
    });
    expect(filled).toEqual([]);
    expect(textOf('deploy/redis/redis.conf')).toMatch(/^requirepass PASSWORD$/m);
  });

  it('gives HAProxy each variable that its configuration reads', () => {
    const used = matches(textOf('deploy/haproxy/haproxy.cfg'), /"\$\{([A-Z_0-9]+)\}"/g);
    expect(used.length).toBeGreaterThan(3);
    expect(used.filter((name) => !namesIn('deploy/haproxy/haproxy.env').includes(name))).toEqual([]);
    const presets = matches(textOf('deploy/haproxy/haproxy.cfg'), /presetenv ([A-Z_0-9]+) /g);
    expect(presets.toSorted()).toEqual(used.toSorted());
  });

  it.runIf(existsSync(join(root, 'cloud/health/readiness.ts')))(
    'lets HAProxy look for the words that readiness says',
    () => {
      const words = /http-check expect ! rstring "([^"]+)"/.exec(textOf('deploy/haproxy/haproxy.cfg'))?.[1] ?? 'none';
      expect(textOf('cloud/health/readiness.ts')).toContain(words);
    },
  );

  it('starts programs that exist, in units that are hardened', () => {
    const units = deployed.filter((file) => file.endsWith('.service'));
    expect(units).toHaveLength(2);
    for (const file of units) {
      const text = textOf(file);
      const program = /^ExecStart=\/usr\/bin\/node --import \.\/scripts\/typescript\.js (\S+)$/m.exec(text)?.[1] ?? '';
      expect(existsSync(join(root, program)), program).toBe(true);
      expect(text).toMatch(/^KillSignal=SIGTERM$/m);
      for (const line of [
        'NoNewPrivileges=yes',
        'ProtectSystem=strict',
        'CapabilityBoundingSet=',
        'UMask=0077',
        'PrivateDevices=yes',
      ]) {
        expect(text.split('\n'), `${file}: ${line}`).toContain(line);
      }
    }
  });
});

describe.each(pages)('%s', (page) => {
  const text = textOf(page);
  const npmScripts = Object.keys((JSON.parse(textOf('package.json')) as { scripts: object }).scripts);

  it('names only settings and flags that exist', () => {
    const known = new Set(settings.map(({ environmentName }) => environmentName));
    expect(matches(text, /\b(GLASSCAST_[A-Z_]+[A-Z])\b/g).filter((name) => !known.has(name))).toEqual([]);
    const foreign = ['--now', '--system', '--group', '--home', '--omit', '--signal', '--rdb'];
    const flags = new Set([...settings.map(({ flag }) => `--${flag}`), ...foreign]);
    expect(matches(text, /`[^`\n]*?(--[a-z][a-z-]*[a-z])\b/g).filter((flag) => !flags.has(flag))).toEqual([]);
  });

  it('names only files and commands that exist', () => {
    const files = matches(text, /`((?:deploy|test|scripts|cloud)\/[\w./@-]+\.\w+)`/g);
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
    const links = matches(text, /\]\((\w+\.md)\)/g);
    expect(links.filter((file) => !existsSync(join(root, 'cloud', file)))).toEqual([]);
    const commands = matches(text, /`npm run ([\w:-]+)/g);
    expect(commands.filter((command) => !npmScripts.includes(command))).toEqual([]);
  });
});

describe('cloud/DEPLOYMENT.md', () => {
  it('tells of every file in deploy/', () => {
    const page = textOf('cloud/DEPLOYMENT.md');
    const untold = deployed.filter((file) => !page.includes(file) && !page.includes(file.split('/').at(-1) ?? file));
    expect(untold).toEqual([]);
  });
});
