/**
 * The fleet's apps: one server for the webhooks of a few packages, and a WebSocket for each user whom the relay sends.
 * Ask for a stream once they are let in, listen, come back after a loss as the SDK does. What is heard goes to the figures.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { FigureKeeper } from './fleet-figures.ts';

export interface FleetAppsOptions {
  clock: Clock;
  figures: FigureKeeper;
  /** How many; users are spread over them. */
  packages: number;
  /** Where the relay reaches the webhooks. */
  host: string;
  /** `request`: what is asked for once the app is in; undefined: it only listens. */
  wanted: (userId: string) => StreamWish | undefined;
  /** The stream of a user is running, or will not run. */
  onAnswer: (userId: string, outcome: 'active' | string) => void;
}

/** `unmanaged` streams go to an address that nobody looks at; `managed` ones need media. */
export type StreamWish = 'managed' | 'unmanaged';

export interface FleetPackage {
  packageName: string;
  apiKey: string;
  publicUrl: string;
}

export interface FleetApps {
  start(): Promise<FleetPackage[]>;
  readonly connected: number;
  packageOf(userNumber: number): string;
  /** Without the relay's webhook: for a server that knows none. */
  join(visit: AppVisit): void;
  /** START has reached the glasses: one step of the start. */
  started(userId: string): void;
  /** Its connection is lost without a farewell; it comes back. */
  cut(userId: string): void;
  /** Its connection ends for good, without a farewell: the relay keeps what it asked for as long as it waits. */
  abandon(userId: string): void;
  stopStream(userId: string): void;
  close(): Promise<void>;
}

export interface AppVisit {
  userId: string;
  packageName: string;
  apiKey: string;
  sessionId: string;
  url: string;
}

interface AppFrame {
  type?: string;
  status?: string;
  streamId?: string;
  errorCode?: string;
  code?: string;
  stats?: { duration?: number };
}

interface AppSocket {
  visit: AppVisit;
  socket: WebSocket | undefined;
  isIn: boolean;
  askedMs: number | undefined;
  isAnswered: boolean;
  /** Was live, and no error has come since. */
  isRunning: boolean;
  attempt: number;
  retry: Timer | undefined;
}

/** The SDK waits 1 s, then 2, 4, …; after five attempts it gives up. */
const FIRST_RETRY_MS = 1_000;
const MAX_ATTEMPTS = 5;

export function createFleetApps(options: FleetAppsOptions): FleetApps {
  return new Apps(options);
}

class Apps implements FleetApps {
  readonly #options: FleetAppsOptions;
  readonly #byUser = new Map<string, AppSocket>();
  /** Monotonic, of the order at the glasses, by user: `duration` counts from here. It may come before the app. */
  readonly #startedMs = new Map<string, number>();
  readonly #server = createServer((request, response) => void this.#webhook(request, response));
  #packages: FleetPackage[] = [];
  #isClosed = false;

  constructor(options: FleetAppsOptions) {
    this.#options = options;
  }

  get connected(): number {
    return [...this.#byUser.values()].filter(({ isIn }) => isIn).length;
  }

  async start(): Promise<FleetPackage[]> {
    const { host, packages } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      // Thousands of webhooks at once are what a fleet is for.
      this.#server.listen({ port: 0, host, backlog: 4096 }, resolve);
    });
    const { port } = this.#server.address() as AddressInfo;
    const publicUrl = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    this.#packages = Array.from({ length: packages }, (_, index) => {
      const packageName = `com.example.fleet${index + 1}`;
      return { packageName, apiKey: `fleet-key-${crypto.randomUUID()}`, publicUrl: `${publicUrl}/${packageName}` };
    });
    return this.#packages;
  }

  packageOf(userNumber: number): string {
    return this.#packages[userNumber % this.#packages.length]?.packageName ?? '';
  }

  join(visit: AppVisit): void {
    this.#byUser.get(visit.userId)?.socket?.terminate();
    const app: AppSocket = {
      ...{ visit, socket: undefined, isIn: false, askedMs: undefined },
      ...{ isAnswered: false, isRunning: false, attempt: 0, retry: undefined },
    };
    this.#byUser.set(visit.userId, app);
    this.#open(app);
  }

  started(userId: string): void {
    const { askedMs } = this.#byUser.get(userId) ?? {};
    const nowMs = this.#options.clock.monotonicMs();
    if (askedMs !== undefined && !this.#startedMs.has(userId)) {
      this.#options.figures.steps.orderAtGlassesMs.push(nowMs - askedMs);
    }
    this.#startedMs.set(userId, nowMs);
  }

  cut(userId: string): void {
    this.#byUser.get(userId)?.socket?.terminate();
  }

  abandon(userId: string): void {
    const app = this.#byUser.get(userId);
    this.#byUser.delete(userId);
    app?.retry?.cancel();
    app?.socket?.terminate();
  }

  stopStream(userId: string): void {
    const app = this.#byUser.get(userId);
    const kind = this.#options.wanted(userId);
    if (!app?.isIn || !kind) return;
    say(app, kind === 'managed' ? { type: 'managed_stream_stop' } : { type: 'stream_stop' });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { retry, socket } of this.#byUser.values()) {
      retry?.cancel();
      socket?.terminate();
    }
    this.#byUser.clear();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #webhook(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>;
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"success"}');
      this.#options.figures.count.webhooks += 1;
      const app = this.#packages.find(({ packageName }) => request.url === `/${packageName}/webhook`);
      const { sessionId, type, userId, websocketUrl: url } = body;
      if (type !== 'session_request' || !app || !sessionId || !userId || !url || this.#isClosed) return;
      this.join({ userId, sessionId, url, packageName: app.packageName, apiKey: app.apiKey });
    } catch {
      this.#options.figures.error('webhook not understood');
      if (!response.headersSent) response.writeHead(400).end();
    }
  }

  #open(app: AppSocket): void {
    const { sessionId, packageName, apiKey, url } = app.visit;
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: 10_000 });
    app.socket = socket;
    socket.on('open', () => say(app, { type: 'tpa_connection_init', sessionId, packageName, apiKey }));
    socket.on('message', (data) => this.#take(app, JSON.parse(String(data)) as AppFrame));
    socket.on('error', (error) => this.#options.figures.error(`app: ${'code' in error ? error.code : error.message}`));
    socket.on('close', (code) => {
      if (app.socket === socket) this.#lost(app, code);
    });
  }

  #lost(app: AppSocket, code: number): void {
    const { clock, figures } = this.#options;
    app.socket = undefined;
    if (app.isIn) figures.count.appsLost += 1;
    app.isIn = false;
    const isCurrent = this.#byUser.get(app.visit.userId) === app;
    if (this.#isClosed || !isCurrent || code === 1000 || code === 1008) return;
    if (app.attempt >= MAX_ATTEMPTS) {
      figures.error('app gave up');
      return;
    }
    app.retry = clock.after('app-retry', FIRST_RETRY_MS * 2 ** app.attempt, () => this.#open(app));
    app.attempt += 1;
  }

  #take(app: AppSocket, frame: AppFrame): void {
    switch (frame.type) {
      case 'tpa_connection_ack':
      case 'reconnect_ack':
        this.#letIn(app);
        return;
      case 'rtmp_stream_status':
      case 'stream_status':
      case 'managed_stream_status':
        this.#status(app, frame);
        return;
      case 'tpa_connection_error':
        this.#options.figures.error(`app: ${frame.code}`);
        return;
      default:
    }
  }

  #letIn(app: AppSocket): void {
    const { clock, figures, wanted } = this.#options;
    app.isIn = true;
    app.attempt = 0;
    const wish = wanted(app.visit.userId);
    if (!wish || app.askedMs !== undefined) return;
    app.askedMs = clock.monotonicMs();
    figures.count.asked += 1;
    // Discard: nobody looks at an address of an app's own choice.
    const publishUrl = `rtmp://127.0.0.1:9/fleet/${app.visit.userId}`;
    say(
      app,
      wish === 'managed' ? { type: 'managed_stream_request' } : { type: 'rtmp_stream_request', rtmpUrl: publishUrl },
    );
  }

  #status(app: AppSocket, { status = '', errorCode, stats }: AppFrame): void {
    const { clock, figures, onAnswer } = this.#options;
    const nowMs = clock.monotonicMs();
    const startedMs = this.#startedMs.get(app.visit.userId);
    if (stats?.duration !== undefined && startedMs !== undefined) {
      figures.count.delivered += 1;
      figures.latencyMs.push(nowMs - startedMs - stats.duration * 1000);
      return;
    }
    if (app.isAnswered && app.isRunning && (status === 'error' || status === 'timeout')) {
      app.isRunning = false;
      figures.count.lost += 1;
      figures.error(errorCode ?? status);
    }
    if (app.askedMs === undefined || app.isAnswered) return;
    const isFirst = figures.steps.firstStatusMs;
    if (status !== 'active' && status !== 'error' && status !== 'timeout') {
      isFirst.push(nowMs - app.askedMs);
      return;
    }
    app.isAnswered = true;
    app.isRunning = status === 'active';
    if (app.isRunning) {
      figures.count.active += 1;
      figures.steps.activeMs.push(nowMs - app.askedMs);
      onAnswer(app.visit.userId, 'active');
    } else {
      figures.count.failed += 1;
      figures.error(errorCode ?? status);
      onAnswer(app.visit.userId, errorCode ?? status);
    }
  }
}

function say({ socket }: AppSocket, frame: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame), () => {});
}
