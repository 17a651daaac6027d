import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { descendantsOf } from '../support/processes.ts';
import { startProgram } from '../support/program.ts';

const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'glasscast-program-'));
});
afterEach(async () => {
  await children.close();
  await rm(folder, { recursive: true, force: true });
});

/** The program as a user starts it, with free ports. */
const startRelay = (env: Record<string, string> = {}, args: string[] = []) =>
  startProgram(children, {
    file: 'cloud/main.ts',
    args,
    env: {
      GLASSCAST_PORT: '0',
      GLASSCAST_DATA_DIR: folder,
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: '0',
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: '0',
      ...env,
    },
  });

describe('the relay program', () => {
  it('starts with its own local Stream, brings it back when it dies, and ends clean', async () => {
    const { child, line, logged, until } = startRelay();
    const url = await line(/^Relay ready: (\S+)/);
    const adminToken = await line(/^Admin token: (\S+)/);
    const health = async () => (await (await fetch(`${url}/healthz`)).json()) as { provider: string };
    while ((await health()).provider !== 'ok') await clock.sleep(50);
    expect(await (await fetch(url)).text()).toContain('<html');
    const apps = await fetch(`${url}/api/apps`, { headers: { authorization: `Bearer ${adminToken}` } });
    expect(await apps.json()).toEqual({ apps: [] });

    const listening = () => logged.filter(({ msg }) => msg === 'local-stream-listening');
    const [first] = listening();
    for (const pid of descendantsOf(child.pid ?? 0)) process.kill(pid, 'SIGKILL');
    const second = await until(() => listening()[1]);
    expect([second.httpPort, second.rtmpPort]).toEqual([first?.httpPort, first?.rtmpPort]);

    const exit = await child.stop();
    expect([exit.end, exit.code]).toEqual(['stopped', 0]);
    await expect(fetch(`http://127.0.0.1:${first?.httpPort}/healthz`)).rejects.toThrow();
    expect(JSON.stringify(logged)).not.toContain(adminToken);
  });

  it('tells at its start which settings are in effect and whence, for its child too, and never a secret', async () => {
    const secrets = {
      GLASSCAST_ADMIN_TOKEN: 'very-secret-admin-token',
      GLASSCAST_CORE_TOKEN_SECRET: 'very-secret-signing-key',
      GLASSCAST_LOCAL_STREAM_API_TOKEN: 'very-secret-api-token',
    };
    const { child, line, lines, logged } = startRelay(secrets, ['--hold-seconds', '33']);
    await line(/^Relay ready: (\S+)/);
    const said = (msg: string) => logged.find((each) => each.msg === msg);
    expect(said('relay-config')).toMatchObject({
      flags: { holdSeconds: 33 },
      environment: { port: 0, dataDir: folder, adminToken: '***', coreTokenSecret: '***' },
      defaults: { host: '127.0.0.1', keepRecordings: false },
      provider: 'local, as a child',
    });
    expect(said('local-stream-config')).toMatchObject({ environment: { httpPort: 0, apiToken: '***' } });
    expect(await child.stop()).toMatchObject({ code: 0 });
    expect(JSON.stringify([logged, lines])).not.toContain('very-secret');
  });

  it('ends clean on a signal while it is still starting', async () => {
    const { child, lines, until, logged } = startRelay({ GLASSCAST_LOG_LEVEL: 'debug' });
    await until(() => logged.find(({ msg }) => msg === 'child-started'));
    const exit = await child.stop();
    expect([exit.code, exit.signal]).toEqual([0, null]);
    expect(lines).toEqual([]);
  });

  it('says in one line which port is taken, for itself and for its child', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = String(typeof address === 'object' ? address?.port : 0);
    for (const name of ['GLASSCAST_PORT', 'GLASSCAST_LOCAL_STREAM_RTMP_PORT']) {
      const exit = await startRelay({ [name]: port }).child.exited;
      expect(exit.code).toBe(1);
      const said = exit.lastLines.filter((text) => !text.startsWith('{')).at(-1);
      expect(said).toContain('The port is in use');
      expect(said).toContain(port);
    }
    server.close();
  });

  it('explains itself, and refuses settings it does not know', async () => {
    const help = startRelay({}, ['--help']);
    expect([(await help.child.exited).code, help.lines.join('\n')]).toEqual([
      0,
      expect.stringContaining('--apps-file'),
    ]);
    const wrong = await startRelay({ GLASSCAST_PROT: '1' }).child.exited;
    expect([wrong.code, wrong.lastLines.at(-1)]).toEqual([1, expect.stringContaining('unknown GLASSCAST_PROT')]);
    const noFile = await startRelay({ GLASSCAST_APPS_FILE: '/nowhere.json' }).child.exited;
    expect([noFile.code, noFile.lastLines.at(-1)]).toEqual([1, expect.stringContaining('apps file')]);
    const key = join(folder, 'private.pem');
    const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
    await writeFile(key, pem);
    const noKey = await startRelay({ GLASSCAST_RELEASE_KEYS: key }).child.exited;
    expect([noKey.code, noKey.lastLines.at(-1)]).toEqual([1, expect.stringContaining(`${key}: a public Ed25519 key`)]);
    expect(noKey.lastLines.join()).not.toContain(String(pem).split('\n')[1]);
  });
});
