/** Several relays on one Redis and one local Stream, with glasses and apps on real sockets at any of them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocalStream } from '../../cloud/local-stream/server.ts';
import { createRelay, type RelayOptions } from '../../cloud/relay.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { type Program, startProgram } from './program.ts';
import { startRedis } from './redis.ts';
import { createGlasses, createScriptedApp, type Frame } from './relay-world.ts';

const ADMIN_TOKEN = 'an-admin-token-for-tests';

export interface RelayNode {
  readonly url: string;
  readonly wsUrl: string;
  rest<Result = Frame>(method: string, path: string, body?: object): Promise<Result & { httpStatus: number }>;
  /** As by the signal of this name. */
  end(how: 'SIGTERM' | 'SIGINT'): Promise<void>;
}

export async function createRelayClusterWorld(overrides: Partial<RelayOptions> = {}) {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const logLines: string[] = [];
  const destination = { write: (line: string) => void logLines.push(line) };
  const log = createLog({ program: 'test', level: 'debug', redactor, destination });
  const children = createChildSpawner({ clock, log, redactor });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-cluster-'));
  const redis = await startRedis({ spawn: children.spawn, clock, password: 'a-password-of-redis' });
  const localStream = createLocalStream({
    ...{ clock, log, redactor, spawn: children.spawn, dataDir: join(folder, 'stream') },
    readyDelayMs: 50,
  });
  const provider = await localStream.start();
  const closers: (() => Promise<unknown> | unknown)[] = [];

  function nodeAt(url: string, end: RelayNode['end']): RelayNode {
    return {
      ...{ url, end, wsUrl: url.replace('http', 'ws') },
      async rest<Result>(method: string, path: string, body?: object) {
        const response = await fetch(url + path, {
          method,
          headers: { authorization: `Bearer ${ADMIN_TOKEN}`, ...(body ? { 'content-type': 'application/json' } : {}) },
          ...(body ? { body: JSON.stringify(body) } : {}),
        });
        const text = await response.text();
        return { httpStatus: response.status, ...(text ? (JSON.parse(text) as object) : {}) } as Result & {
          httpStatus: number;
        };
      },
    };
  }
  return {
    ...{ clock, redis, logLines, provider },
    /** One more relay in this process. @param own what only this one is given */
    async relay(own: Partial<RelayOptions> = {}): Promise<RelayNode & { madeAdminToken: Secret | undefined }> {
      const relay = createRelay({
        ...{ clock, log, redactor, adminToken: new Secret(ADMIN_TOKEN), dataDir: ':memory:' },
        ...{ redisUrl: new Secret(redis.url), provider: { kind: 'local', ...provider }, appGraceMs: 3_000 },
        ...overrides,
        ...own,
      });
      closers.push(() => relay.close({ keepStreams: true }));
      const { url, madeAdminToken } = await relay.start();
      return { ...nodeAt(url, (how) => relay.close({ keepStreams: how === 'SIGTERM' })), madeAdminToken };
    },
    /** One that is a program of its own, and can be killed. */
    async program(): Promise<RelayNode & { program: Program }> {
      const program = startProgram(children, {
        file: 'cloud/main.ts',
        args: ['--port', '0', '--data-dir', join(folder, 'program')],
        env: {
          GLASSCAST_ADMIN_TOKEN: ADMIN_TOKEN,
          GLASSCAST_REDIS_URL: redis.url,
          GLASSCAST_PROVIDER: 'local',
          GLASSCAST_CLOUDFLARE_ACCOUNT_ID: provider.accountId,
          GLASSCAST_CLOUDFLARE_API_TOKEN: provider.apiToken.reveal(),
          GLASSCAST_CLOUDFLARE_API_BASE_URL: provider.apiBaseUrl,
        },
      });
      const died = program.child.exited.then(({ lastLines }) => Promise.reject(new Error(lastLines.join('\n'))));
      died.catch(() => {});
      const url = await Promise.race([program.line(/^Relay ready: (\S+)/), died]);
      const end: RelayNode['end'] = async (how) => {
        process.kill(program.child.pid ?? 0, how);
        await program.child.exited;
      };
      return { ...nodeAt(url, end), program };
    },
    async glasses(email: string, at: RelayNode) {
      const { coreToken } = await at.rest<{ coreToken: string }>('POST', '/api/tokens', { email });
      const glasses = await createGlasses(`${at.wsUrl}/glasses-ws`, coreToken, children.spawn);
      closers.push(glasses.close);
      return glasses;
    },
    async app(packageName: string, at: RelayNode) {
      const app = await createScriptedApp(packageName);
      closers.push(app.close);
      await at.rest('PUT', `/api/apps/${packageName}`, { publicUrl: app.publicUrl, apiKey: app.apiKey });
      return app;
    },
    async liveInputs(): Promise<string[]> {
      const response = await fetch(`${provider.apiBaseUrl}/accounts/${provider.accountId}/stream/live_inputs`, {
        headers: { authorization: `Bearer ${provider.apiToken.reveal()}` },
      });
      return ((await response.json()) as { result: { uid: string }[] }).result.map(({ uid }) => uid);
    },
    async close() {
      for (const close of closers.reverse()) await close();
      await localStream.close();
      await redis.close();
      await children.close();
      await rm(folder, { recursive: true, force: true });
      return clock.pending();
    },
  };
}
export type RelayClusterWorld = Awaited<ReturnType<typeof createRelayClusterWorld>>;
