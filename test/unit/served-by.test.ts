/** Every route of the relay, and which node of a cluster serves it: a new route without a decision fails here. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fastify from 'fastify';
import { expect, it } from 'vitest';
import { accessRoutes, enrolRoute } from '../../cloud/http/access-routes.ts';
import { registerConsolePage } from '../../cloud/http/console-page.ts';
import { createEventFeed } from '../../cloud/http/event-feed.ts';
import type { Routes } from '../../cloud/http/http.ts';
import { healthRoutes, metricsRoutes } from '../../cloud/http/metrics-routes.ts';
import { operatorRoutes } from '../../cloud/http/operator-routes.ts';
import { outputRoutes } from '../../cloud/http/output-routes.ts';
import { phoneRoutes } from '../../cloud/http/phone-routes.ts';
import { publicRoutes } from '../../cloud/http/public-routes.ts';
import { recordingRoutes } from '../../cloud/http/recording-routes.ts';
import { sdkRoutes } from '../../cloud/http/sdk-routes.ts';
import type { ServedBy } from '../../cloud/http/served-by.ts';
import { releaseDownload, updateRoutes } from '../../cloud/http/update-routes.ts';
import { uplinkRoutes } from '../../cloud/http/uplink-routes.ts';
import { webhookRoutes } from '../../cloud/http/webhook-routes.ts';
import { createTestClock } from '../support/test-clock.ts';

/** By the file in cloud/http. Parts that only a request needs are not there. */
const clock = createTestClock();
const none = {} as never;
const files: Record<string, readonly Routes[]> = {
  'access-routes.ts': [accessRoutes(none), enrolRoute(none)],
  'console-page.ts': [registerConsolePage],
  'metrics-routes.ts': [
    metricsRoutes({ ...({} as Parameters<typeof metricsRoutes>[0]), metricsToken: undefined }),
    healthRoutes(none),
  ],
  'operator-routes.ts': [
    operatorRoutes({ ...({} as Parameters<typeof operatorRoutes>[0]), clock, events: createEventFeed() }),
  ],
  'output-routes.ts': [outputRoutes({ ...({} as Parameters<typeof outputRoutes>[0]), clock })],
  'phone-routes.ts': [phoneRoutes(none)],
  'public-routes.ts': [publicRoutes(none)],
  'recording-routes.ts': [recordingRoutes(none)],
  'sdk-routes.ts': [sdkRoutes(none)],
  'update-routes.ts': [
    updateRoutes(none),
    releaseDownload({ ...({} as Parameters<typeof releaseDownload>[0]), clock }),
  ],
  'uplink-routes.ts': [uplinkRoutes({ ...({} as Parameters<typeof uplinkRoutes>[0]), clock })],
  'webhook-routes.ts': [
    webhookRoutes({ webhooks: { accepts: { live: true, recording: true } } as never, attempts: none }),
  ],
};

/** HEAD goes as GET does. */
const decisions: Record<ServedBy['by'], readonly string[]> = {
  here: [
    // The store has it, which all share; what changes is told to all.
    'GET /api/tokens',
    'POST /api/tokens',
    'DELETE /api/tokens/:tokenId',
    'GET /api/enrolments',
    'POST /api/enrolments',
    'DELETE /api/enrolments/:enrolmentId',
    'POST /api/enrol',
    'GET /api/apps',
    'GET /api/apps/:packageName',
    'PUT /api/apps/:packageName',
    'DELETE /api/apps/:packageName',
    'GET /api/public/permissions/:packageName',
    // The provider has it.
    'GET /api/recordings',
    'DELETE /api/recordings/:uid',
    // The folder of releases is shared.
    'GET /api/agent-releases',
    'PUT /api/agent-releases/:version',
    'GET /api/agent-releases/:version',
    // About this node, or the same from all.
    'GET /healthz',
    'GET /readyz',
    'GET /metrics',
    'POST /api/uplink-probe',
    'GET /',
    'GET /console.css',
    'GET /console.js',
    'ALL /api/auth/exchange-user-token',
    'ALL /api/app-communication/discover-users',
    'ALL /api/tts',
    // Shared by its feed.
    'GET /api/events',
  ],
  owner: [
    'POST /api/users/:userId/managed-stream',
    'DELETE /api/users/:userId/managed-stream',
    'POST /api/users/:userId/managed-stream/outputs',
    'DELETE /api/users/:userId/managed-stream/outputs/:outputId',
    'POST /apps/:packageName/start',
    'POST /apps/:packageName/stop',
    'POST /api/apps/:packageName/start',
    'POST /api/apps/:packageName/stop',
    'GET /appsettings/user/:packageName',
    'GET /api/sdk/simple-storage/:userId',
    'PUT /api/sdk/simple-storage/:userId',
    'DELETE /api/sdk/simple-storage/:userId',
    'GET /api/sdk/simple-storage/:userId/:key',
    'PUT /api/sdk/simple-storage/:userId/:key',
    'DELETE /api/sdk/simple-storage/:userId/:key',
  ],
  stream: [
    'GET /api/streams/:streamId',
    'DELETE /api/streams/:streamId',
    'DELETE /api/streams/:streamId/viewers/:packageName',
    'GET /api/streams/:streamId/timeline',
    'GET /api/streams/:streamId/explain',
    'POST /api/streams/:streamId/outputs',
    'GET /api/streams/:streamId/outputs',
    'DELETE /api/streams/:streamId/outputs/:outputId',
  ],
  all: ['GET /api/sessions', 'GET /api/streams', 'GET /api/streams/history'],
  each: ['POST /webhooks/cloudflare/live', 'POST /webhooks/cloudflare/recording'],
  leader: [
    'DELETE /api/agent-releases/:version',
    'GET /api/rollouts',
    'POST /api/rollouts',
    'POST /api/rollouts/:rolloutId/pause',
    'POST /api/rollouts/:rolloutId/resume',
    'POST /api/rollouts/:rolloutId/cancel',
    'POST /api/users/:userId/agent-rollback',
  ],
};

async function routesOf(files: readonly Routes[]): Promise<string[]> {
  const found: string[] = [];
  const server = fastify();
  server.addHook('onRoute', ({ config, method, url }) => {
    const served = config?.servedBy?.by ?? 'here';
    const methods = [method].flat().filter((one) => one !== 'HEAD');
    const said = methods.length > 2 ? ['ALL'] : methods;
    for (const one of said) found.push(`${served}: ${one} ${url}`);
  });
  for (const add of files) add(server);
  await server.ready();
  await server.close();
  return [...new Set(found)];
}

it('is decided for every route, and as it is decided here', async () => {
  const decided = Object.entries(decisions).flatMap(([by, routes]) => routes.map((route) => `${by}: ${route}`));
  expect((await routesOf(Object.values(files).flat())).sort()).toEqual(decided.sort());
});

it('is asked of every file with routes', () => {
  const withRoutes = readdirSync(join(import.meta.dirname, '../../cloud/http')).filter((file) =>
    /-(routes|page)\.ts$/.test(file),
  );
  expect(withRoutes.filter((file) => !(file in files))).toEqual([]);
});
