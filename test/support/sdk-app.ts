/**
 * The real MentraOS SDK, unmodified, as a process of its own (its `stop()` ends the process it runs in). One process
 * serves many users. Arguments: SDK line, packageName, apiKey, port.
 * Parent → child: {id, user, call, options}, or {user, onSession}. Child → parent: {ready}, {id, value | error}, and of a
 * user {user, event, …}.
 */
import { createServer } from 'node:http';
import type { AppSession } from '@mentra/sdk';
import type { OnSession, SdkLine } from './sdk-app-process.ts';

const [line = '', packageName = '', apiKey = '', port = ''] = process.argv.slice(2);
const say = (message: object) => process.send?.(message);
const { AppServer } = await sdkOf(line as SdkLine);

/** As far as a test calls them, both lines have the same surface. */
async function sdkOf(wanted: SdkLine): Promise<typeof import('@mentra/sdk')> {
  if (wanted === '2.1.29') return import('@mentra/sdk');
  // It imports hono's parts for Bun, which look at this as they load; nothing here uses them.
  Object.assign(globalThis, { Bun: {} });
  return (await import('mentra-sdk-3')) as unknown as typeof import('@mentra/sdk');
}

class App extends AppServer {
  readonly sessions = new Map<string, AppSession>();
  readonly manners = new Map<string, OnSession>();

  protected override async onSession(session: AppSession, sessionId: string, user: string): Promise<void> {
    this.sessions.set(user, session);
    session.camera.onManagedStreamStatus((status) => say({ user, event: 'managed-status', status }));
    session.camera.onStreamStatus((status) => say({ user, event: 'stream-status', status }));
    session.events.onError(({ message }) => say({ user, event: 'error', message }));
    session.events.onConnected(() => say({ user, event: 'connected' }));
    session.events.onDisconnected((info) =>
      say({ user, event: 'disconnected', ...(typeof info === 'string' ? { reason: info } : info) }),
    );
    say({ user, event: 'session', sessionId });
    const manner = this.manners.get(user);
    if (manner === 'throw') throw new Error('onSession throws, as asked');
    if (manner === 'await-stream') {
      const stream = await session.camera.startManagedStream();
      say({ user, event: 'stream', stream });
    }
  }

  protected override async onStop(sessionId: string, user: string, reason: string): Promise<void> {
    say({ user, event: 'stopped', reason });
    await super.onStop(sessionId, user, reason);
  }
}

/** What comes on the stream is told as the event `data`. */
function listen({ events, userId: user }: AppSession, stream: string): void {
  events.on(stream, (data: unknown) => say({ user, event: 'data', stream, data }));
}

/** @param path from the session, e.g. `camera.startManagedStream`. A property is read, a function called. */
async function call(session: AppSession | undefined, path: string, args: unknown[]): Promise<unknown> {
  if (!session) throw new Error('no session yet');
  if (path === 'events.on') return listen(session, String(args[0]));
  let owner: unknown;
  let found: unknown = session;
  for (const name of path.split('.')) {
    owner = found;
    found = (owner as Record<string, unknown>)[name];
  }
  return typeof found === 'function' ? await found.apply(owner, args) : found;
}

const app = new App({ packageName, apiKey, port: Number(port), publicDir: false });

type Order = { id: number; user: string; call: string; args: unknown[] } | { user: string; onSession: OnSession };
process.on('message', (order: Order) => {
  if ('onSession' in order) {
    app.manners.set(order.user, order.onSession);
    return;
  }
  call(app.sessions.get(order.user), order.call, order.args).then(
    (value) => say({ id: order.id, value: value ?? null }),
    (error: unknown) => say({ id: order.id, error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));

/** 3.x is a fetch function that its user puts behind a server; its `start()` only asks the npm registry for news. */
function serve(fetchFunction: (request: Request) => Promise<Response>): Promise<void> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = 'GET', url = '/' } = request;
    const headers = { 'content-type': request.headers['content-type'] ?? 'text/plain' };
    const body = chunks.length > 0 ? { body: Buffer.concat(chunks) } : {};
    const answer = await fetchFunction(new Request(`http://127.0.0.1:${port}${url}`, { method, headers, ...body }));
    response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text());
  });
  return new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
}

if ('fetch' in app) await serve((app as unknown as { fetch: (request: Request) => Promise<Response> }).fetch);
else await app.start();
say({ ready: true });
