/** A relay world with apps of the real SDK, both lines, and users who have scripted glasses. One world serves a test file. */
import type { RelayOptions } from '../../cloud/relay.ts';
import { type ChildSpawner, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createRelayWorld, type RelayWorld } from './relay-world.ts';
import { createSdkApp, type SdkApp, type SdkAppOfUser, type SdkLine } from './sdk-app-process.ts';
import { type SocketProxy, startSocketProxy } from './socket-proxy.ts';

export type Glasses = Awaited<ReturnType<RelayWorld['glasses']>>;

export interface SdkWorld {
  relay: RelayWorld;
  /** Between the apps and the relay. */
  proxy: SocketProxy;
  children: ChildSpawner;
  /** An app of this line, one process for all of its users. */
  app(line: SdkLine, name: string): Promise<SdkApp>;
  /** Starts the app for a user, and waits for its `onSession`. */
  start(line: SdkLine, name: string, user: string): Promise<SdkAppOfUser>;
  /** A new user with glasses, and the first app in session. */
  meet(line: SdkLine): Promise<{ user: string; glasses: Glasses; app: SdkAppOfUser }>;
  newUser(): string;
  /** What `/api/streams` says of the user's stream. */
  stream(user: string): Promise<{ state: string; streamId: string; viewers: string[] } | undefined>;
  /** Ends it all. @returns what should not be there: inputs and videos left at the provider, timers left here. */
  close(): Promise<string[]>;
}

export async function createSdkWorld(options: Partial<RelayOptions> = {}): Promise<SdkWorld> {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const proxy = await startSocketProxy();
  const relay = await createRelayWorld({ publicUrl: proxy.url, appGraceMs: 5_000, ...options });
  proxy.target = relay.wsUrl;
  const apps = new Map<string, Promise<SdkApp>>();
  let users = 0;

  async function makeApp(line: SdkLine, packageName: string): Promise<SdkApp> {
    const app = await createSdkApp(children.spawn, packageName, line);
    const { publicUrl, apiKey } = app;
    await relay.rest('PUT', `/api/apps/${packageName}`, { publicUrl, apiKey, appType: 'background' });
    return app;
  }
  const world: SdkWorld = {
    ...{ relay, proxy, children },
    app(line, name) {
      const packageName = `com.example.${name}-${line.split('.')[0]}`;
      const app = apps.get(packageName) ?? makeApp(line, packageName);
      apps.set(packageName, app);
      return app;
    },
    async start(line, name, user) {
      const app = (await world.app(line, name)).of(user);
      await relay.rest('POST', `/api/apps/${app.packageName}/start`, { userId: user });
      await app.next('session');
      return app;
    },
    // With hyphens, which an id taken apart would not survive.
    newUser() {
      users += 1;
      return `ada-lovelace-${users}@example.com`;
    },
    async meet(line) {
      const user = world.newUser();
      const glasses = await relay.glasses(user);
      return { user, glasses, app: await world.start(line, 'first', user) };
    },
    async stream(user) {
      const { streams } = await relay.rest<{
        streams: { userId: string; state: string; streamId: string; viewers: string[] }[];
      }>('GET', '/api/streams');
      return streams.find(({ userId }) => userId === user);
    },
    async close() {
      const deadlineMs = relay.clock.monotonicMs() + 20_000;
      while ((await relay.leftovers()).length > 0 && relay.clock.monotonicMs() < deadlineMs)
        await relay.clock.sleep(100);
      const leftovers = await relay.leftovers();
      const pending = await relay.close();
      await children.close();
      await proxy.close();
      return [...leftovers, ...pending];
    },
  };
  return world;
}
