/** A cluster of relay programs on a real Redis and one local Stream, behind a proxy that leads apps and glasses to one of them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocalStream } from '../../cloud/local-stream/server.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { type Program, startProgram } from './program.ts';
import { startRedis } from './redis.ts';
import { createGlasses, createScriptedApp } from './relay-world.ts';
import { createSdkApp, type SdkLine } from './sdk-app-process.ts';
import { startSocketProxy } from './socket-proxy.ts';

const ADMIN_TOKEN = 'an-admin-token-for-tests';

export interface ClusterNode {
  program: Program;
  url: string;
  rest<Result = Record<string, unknown>>(
    method: string,
    path: string,
    body?: object,
  ): Promise<Result & { status: number }>;
  kill(): Promise<unknown>;
}

export async function createRelayCluster() {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = silentLog();
  const children = createChildSpawner({ clock, log, redactor });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-cluster-'));
  const redis = await startRedis({ spawn: children.spawn, clock });
  const localStream = createLocalStream({
    ...{ clock, log, redactor, spawn: children.spawn, dataDir: join(folder, 'stream'), readyDelayMs: 50 },
  });
  const provider = await localStream.start();
  const [appProxy, glassesProxy] = [await startSocketProxy(), await startSocketProxy()];
  const closers: (() => unknown)[] = [];
  let nodes = 0;

  async function startNode(env: Record<string, string> = {}): Promise<ClusterNode> {
    nodes += 1;
    const program = startProgram(children, {
      file: 'cloud/main.ts',
      env: {
        GLASSCAST_PORT: '0',
        GLASSCAST_DATA_DIR: join(folder, `node-${nodes}`),
        GLASSCAST_REDIS_URL: redis.url,
        GLASSCAST_ADMIN_TOKEN: ADMIN_TOKEN,
        GLASSCAST_PUBLIC_URL: appProxy.url,
        GLASSCAST_PROVIDER: 'local',
        GLASSCAST_CLOUDFLARE_API_BASE_URL: provider.apiBaseUrl,
        GLASSCAST_CLOUDFLARE_ACCOUNT_ID: provider.accountId,
        GLASSCAST_CLOUDFLARE_API_TOKEN: provider.apiToken.reveal(),
        GLASSCAST_LOG_LEVEL: 'debug',
        ...env,
      },
    });
    const url = await program.line(/^Relay ready: (\S+)/);
    async function rest<Result>(method: string, path: string, body?: object): Promise<Result & { status: number }> {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${ADMIN_TOKEN}`,
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      const text = await response.text();
      return { ...(text ? (JSON.parse(text) as object) : {}), status: response.status } as Result & { status: number };
    }
    async function kill() {
      process.kill(program.child.pid ?? 0, 'SIGKILL');
      await program.child.exited;
    }
    return { program, url, rest, kill };
  }
  const wsUrlOf = ({ url }: ClusterNode) => url.replace('http', 'ws');

  return {
    ...{ clock, redis, startNode, appProxy },
    /** Where apps come in from now on. */
    leadApps(node: ClusterNode) {
      appProxy.target = wsUrlOf(node);
    },
    /** Where glasses come in from now on. */
    leadGlasses(node: ClusterNode) {
      glassesProxy.target = wsUrlOf(node);
    },
    async glasses(node: ClusterNode, email: string) {
      const { coreToken } = await node.rest<{ coreToken: string }>('POST', '/api/tokens', { email });
      const glasses = await createGlasses(`${glassesProxy.url}/glasses-ws?token=${coreToken}`, coreToken, children.spawn);
      closers.push(glasses.close);
      // The proxy is there at once, the relay a little later.
      await glasses.inbox.take('acknowledgement', ({ type }) => type === 'connection_ack');
      return glasses;
    },
    /** Of the real SDK, registered at this node. */
    async sdkApp(node: ClusterNode, line: SdkLine) {
      const app = await createSdkApp(children.spawn, `com.example.app-${line.split('.')[0]}`, line);
      const { publicUrl, apiKey } = app;
      await node.rest('PUT', `/api/apps/${app.packageName}`, { publicUrl, apiKey, appType: 'background' });
      closers.push(app.close);
      return app;
    },
    async scriptedApp(node: ClusterNode, packageName: string) {
      const app = await createScriptedApp(packageName);
      closers.push(app.close);
      await node.rest('PUT', `/api/apps/${packageName}`, { publicUrl: app.publicUrl, apiKey: app.apiKey });
      return app;
    },
    async close() {
      for (const close of closers.reverse()) await close();
      await appProxy.close();
      await glassesProxy.close();
      await children.close();
      await localStream.close();
      await redis.close();
      await rm(folder, { recursive: true, force: true });
      return clock.pending();
    },
  };
}
export type RelayCluster = Awaited<ReturnType<typeof createRelayCluster>>;
