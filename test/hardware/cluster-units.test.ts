/**
 * The units, settings and configurations of deploy/ in a Debian that boots: Redis, two relay nodes, the local Stream and HAProxy with
 * TLS as systemd runs them, hardened, and glasses that stream through all of it.
 */
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/bench/free-port.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { canBootDebian, type DebianRoot, openDebianRoot } from '../support/debian-root.ts';
import { startProgram } from '../support/program.ts';
import { testCertificate, testCertificateKey } from '../support/test-certificate.ts';

const USER = 'ada@example.com';
const ADMIN_TOKEN = 'an-admin-token-for-tests';
const STREAM_TOKEN = 'a-token-of-the-local-stream';
const project = resolve(import.meta.dirname, '../..');
const deployFile = (file: string) => join(project, 'deploy', file);

interface Ports {
  redis: number;
  http: number;
  rtmp: number;
  relay: number;
  nodes: readonly [number, number];
}

/** As the page says it is done, with addresses of this machine in place of those of the page. */
function configure(root: DebianRoot, ports: Ports): void {
  const put = (path: string, text: string, mode = 0o600) => {
    const file = join(root.folder, path);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, text, { mode });
    chmodSync(file, mode);
  };
  const filled = (file: string, values: Record<string, string>) =>
    Object.entries(values).reduce(
      (text, [name, value]) => {
        const line = new RegExp(`^(# )?${name}=.*$`, 'm');
        expect(text, `${file} has ${name}`).toMatch(line);
        return text.replace(line, `${name}=${value}`);
      },
      readFileSync(deployFile(file), 'utf8'),
    );

  const redis = readFileSync(deployFile('redis/redis.conf'), 'utf8');
  const here = redis.replace(/^bind .*$/m, 'bind 127.0.0.1').replace('PASSWORD', 'a-password');
  put('etc/redis/glasscast.conf', `${here}\nport ${ports.redis}\n`, 0o644);
  put(
    'etc/glasscast/relay.env',
    filled('systemd/relay.env', {
      GLASSCAST_PUBLIC_URL: `wss://127.0.0.1:${ports.relay}`,
      GLASSCAST_TRUSTED_PROXIES: '127.0.0.1',
      GLASSCAST_ADMIN_TOKEN: ADMIN_TOKEN,
      GLASSCAST_REDIS_URL: `redis://:a-password@127.0.0.1:${ports.redis}`,
      GLASSCAST_CLOUDFLARE_ACCOUNT_ID: 'a1'.repeat(16),
      GLASSCAST_CLOUDFLARE_API_TOKEN: STREAM_TOKEN,
      GLASSCAST_PROVIDER: 'local',
      GLASSCAST_CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${ports.http}/client/v4`,
    }),
  );
  for (const [index, port] of ports.nodes.entries()) {
    put(
      `etc/glasscast/relay-${index + 1}.env`,
      filled('systemd/relay-1.env', {
        GLASSCAST_HOST: '127.0.0.1',
        GLASSCAST_PORT: String(port),
        GLASSCAST_NODE_ADDRESS: `http://127.0.0.1:${port}`,
      }),
    );
  }
  put(
    'etc/glasscast/local-stream.env',
    filled('systemd/local-stream.env', {
      GLASSCAST_LOCAL_STREAM_LISTEN_HOST: '127.0.0.1',
      GLASSCAST_LOCAL_STREAM_PUBLIC_HOST: '127.0.0.1',
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: String(ports.http),
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: String(ports.rtmp),
      GLASSCAST_LOCAL_STREAM_API_TOKEN: STREAM_TOKEN,
    }),
  );
  put(
    'etc/default/haproxy',
    filled('haproxy/haproxy.env', {
      RELAY_BIND: `127.0.0.1:${ports.relay}`,
      RELAY_NODE_1: `127.0.0.1:${ports.nodes[0]}`,
      RELAY_NODE_2: `127.0.0.1:${ports.nodes[1]}`,
    }),
    0o644,
  );
  put('etc/haproxy/relay.pem', testCertificate + testCertificateKey);
  // A machine of tests may not let anybody open as many files.
  const haproxy = readFileSync(deployFile('haproxy/haproxy.cfg'), 'utf8');
  put('etc/haproxy/haproxy.cfg', haproxy.replace('maxconn 50000', 'maxconn 200'), 0o644);
  for (const unit of ['glasscast-relay@.service', 'glasscast-local-stream.service']) {
    copyFileSync(deployFile(`systemd/${unit}`), join(root.folder, 'etc/systemd/system', unit));
  }
}

function ask<T>(port: number, method: string, path: string, body?: object): Promise<T> {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, ...(body ? { 'content-type': 'application/json' } : {}) };
  return new Promise((resolve, reject) => {
    const asking = request(
      { host: '127.0.0.1', port, method, path, headers, ca: testCertificate, agent: false },
      (response) => {
        let text = '';
        response.on('data', (bytes) => {
          text += bytes;
        });
        response.on('end', () => {
          if ((response.statusCode ?? 500) < 300) resolve(JSON.parse(text || '{}') as T);
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        });
      },
    );
    asking.on('error', reject);
    asking.end(body && JSON.stringify(body));
  });
}

describe.runIf(canBootDebian())('a cluster under systemd', () => {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  let root: DebianRoot;
  let ports: Ports;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'glasscast-units-'));
    const [redis, http, rtmp, relay, first, second] = [
      ...[await freePort(), await freePort(), await freePort()],
      ...[await freePort(), await freePort(), await freePort()],
    ] as [number, number, number, number, number, number];
    ports = { redis, http, rtmp, relay, nodes: [first, second] };
    const parts = ['cloud', 'shared', 'device', 'scripts', 'package.json', 'tsconfig.json', 'node_modules'];
    root = await openDebianRoot({
      packages: ['redis-server', 'haproxy'],
      disabled: ['redis-server.service', 'haproxy.service'],
      binds: {
        '/usr/bin/node': process.execPath,
        ...Object.fromEntries(parts.map((part) => [`/opt/glasscast/${part}`, realpathSync(join(project, part))])),
      },
    });
    configure(root, ports);
  });
  afterAll(async () => {
    await children.close();
    await root?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const isActive = async (unit: string) => (await root.run(`systemctl is-active ${unit}`)).output;
  const journal = async (unit: string) => (await root.run(`journalctl -u ${unit} -o cat | tail -20`)).output;
  const rest = <T>(method: string, path: string, body?: object) => ask<T>(ports.relay, method, path, body);
  const streams = async () =>
    (await rest<{ streams: { streamId: string; state: string }[] }>('GET', '/api/streams')).streams;

  it('starts as the page says, and answers through HAProxy by TLS', async () => {
    await root.must('useradd --system --home-dir /var/lib/glasscast --shell /usr/sbin/nologin glasscast');
    await root.must('echo "include /etc/redis/glasscast.conf" >> /etc/redis/redis.conf && systemctl daemon-reload');
    await root.must('systemctl start redis-server');
    for (const unit of ['glasscast-local-stream', 'glasscast-relay@1', 'glasscast-relay@2', 'haproxy']) {
      const { code } = await root.run(`systemctl start ${unit}`);
      expect(code, `${unit}: ${await journal(unit)}`).toBe(0);
    }
    const answers = () =>
      rest('GET', '/api/streams').then(
        () => 'yes',
        (error: Error) => error.message,
      );
    await expect
      .poll(answers, { timeout: 60_000 })
      .toBe('yes')
      .catch(async (error) => {
        throw new Error(
          `${error}\n${await journal('glasscast-relay@1')}\n${await journal('haproxy')}\n${await journal('glasscast-local-stream')}`,
        );
      });
  });

  it('keeps a stream while one node is killed, comes back, and the other is restarted', async () => {
    const { coreToken } = await rest<{ coreToken: string }>('POST', '/api/tokens', { email: USER });
    const certificateFile = join(folder, 'ca.pem');
    writeFileSync(certificateFile, testCertificate);
    startProgram(children, {
      file: 'device/main.ts',
      env: {
        GLASSCAST_AGENT_RELAY_URL: `wss://127.0.0.1:${ports.relay}/glasses-ws`,
        GLASSCAST_AGENT_CORE_TOKEN: coreToken,
        NODE_EXTRA_CA_CERTS: certificateFile,
      },
    });
    const areGlassesHere = async () => {
      const { sessions } = await rest<{ sessions: { userId: string; connected: boolean }[] }>('GET', '/api/sessions');
      return sessions.some(({ userId, connected }) => userId === USER && connected);
    };
    await expect.poll(areGlassesHere, { timeout: 30_000 }).toBe(true);
    await rest('POST', `/api/users/${USER}/managed-stream`, { video: { width: 320, height: 240, frameRate: 10 } });
    await expect.poll(async () => (await streams()).map(({ state }) => state), { timeout: 30_000 }).toEqual(['active']);
    const [before] = await streams();

    async function goesOn(what: string): Promise<void> {
      const now = async () => (await streams().catch(() => [])).map(({ streamId, state }) => ({ streamId, state }));
      await expect
        .poll(now, { timeout: 20_000, message: what })
        .toEqual([{ streamId: before?.streamId, state: 'active' }]);
      await expect.poll(areGlassesHere, { timeout: 20_000 }).toBe(true);
    }
    for (const node of ['1', '2']) {
      await root.must(`systemctl kill --signal=SIGKILL glasscast-relay@${node}`);
      await goesOn(`node ${node} killed`);
      await expect.poll(() => isActive(`glasscast-relay@${node}`), { timeout: 20_000 }).toBe('active');
      await goesOn(`node ${node} back`);
    }
    await root.must('systemctl restart glasscast-relay@1');
    await goesOn('node 1 restarted');
    await rest('DELETE', `/api/users/${USER}/managed-stream`);
  });

  it('ends in order', async () => {
    await root.must('systemctl stop haproxy glasscast-relay@1 glasscast-relay@2 glasscast-local-stream');
    for (const unit of ['glasscast-relay@1', 'glasscast-relay@2', 'glasscast-local-stream']) {
      expect((await root.must(`systemctl show --value -p Result ${unit}`)).trim(), await journal(unit)).toBe('success');
    }
  });
});
