/**
 * The door for WebSockets: who may come in by which path. Glasses show a token before the upgrade; apps have a handshake
 * of their own. Refusals are HTTP with JSON, before the upgrade.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { type Clock, nextTurn } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import { decodeFromGlasses, encodeToGlasses, MAX_FRAME_BYTES } from '../../shared/protocol/dialects.ts';
import type { FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { CoreTokens, TokenHolder } from '../access/core-tokens.ts';
import { bearerToken } from '../access/credentials.ts';
import type { Door } from '../access/door.ts';
import { type AppHandshakeOptions, checkAppHeaders, connectionErrorCode, welcomeApp } from './app-handshake.ts';
import type { BrowserGuard } from './browser-guard.ts';
import { closeCodes, createSocket, type Socket } from './socket.ts';

export interface UpgradesOptions extends AppHandshakeOptions {
  tokens: Pick<CoreTokens, 'verify' | 'watch'>;
  door: Pick<Door, 'handshake'>;
  browserGuard: Pick<BrowserGuard, 'checkOrigin'>;
  /** The session of a user comes here from wherever it is. Errors: STORE_UNAVAILABLE. Default: all are here. */
  take?: (userId: string) => Promise<void>;
  /** The user's session may have been asked for elsewhere in the moment that it came. Default: it is here. */
  isHere?: (userId: string) => boolean;
  /** The session of a user, opened now when there is none. */
  glassesSession: (userId: string) => {
    attach(socket: Socket<ToGlasses>): void;
    detach(socket: Socket<ToGlasses>): void;
    receive(message: FromGlasses): void;
  };
  /** The glasses of a user have connected. */
  glassesBack: (userId: string) => void;
}

export interface Upgrades {
  /** For the HTTP server's `upgrade` event. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Nobody comes in any more; who is in stays. */
  shut(): void;
  /** Cuts what is still open after the sessions closed theirs. */
  close(): Promise<void>;
}

const APP_PATH = '/app-ws';

/** Of glasses that come in, each turn of the event loop: who is in already is to be heard in between. */
const TURN_MS = 10;

/** One for all sockets: made where the request is known, it would keep the request for as long as the socket lives. */
const ignored = (): void => {};

export function createUpgrades(options: UpgradesOptions): Upgrades {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES, perMessageDeflate: false });
  const arrivals = createArrivals(options.clock);
  let isShut = false;

  async function accept(request: IncomingMessage, raw: Duplex, head: Buffer): Promise<void> {
    const address = request.url ?? '/';
    if (!URL.canParse(address, 'ws://relay')) throw new GlasscastError('ROUTE_NOT_FOUND');
    const url = new URL(address, 'ws://relay');
    const { attempts, browserGuard, callers, door, tokens } = options;
    browserGuard.checkOrigin(request.headers.origin, request.headers.host);
    const admitted = door.handshake(request);
    const upgraded = (take: (ws: WebSocket) => void) => {
      if (isShut) throw new GlasscastError('SHUTTING_DOWN');
      // What is said at once goes out at once: one call of the system in place of three.
      raw.cork();
      server.handleUpgrade(request, raw, head, take);
      raw.uncork();
    };
    switch (url.pathname) {
      case '/glasses-ws': {
        const token = bearerToken(request.headers.authorization) ?? url.searchParams.get('token') ?? undefined;
        if (!token) throw new GlasscastError('MISSING_TOKEN');
        const holder = await attempts.guard(callers.addressOf(request), () => tokens.verify(token));
        admitted();
        await options.take?.(holder.userId);
        await arrivals(() => {
          if (options.isHere?.(holder.userId) === false) throw new GlasscastError('SESSION_MOVED');
          // Who has given up meanwhile is not taken in, only to be lost again.
          if (raw.destroyed || raw.readableEnded) raw.destroy();
          else upgraded((ws) => welcomeGlasses(ws, holder, options));
        });
        return;
      }
      case APP_PATH: {
        const identity = await checkAppHeaders(request, options);
        const address = options.callers.addressOf(request);
        upgraded((ws) => welcomeApp(ws, { address, identity, admitted }, options));
        return;
      }
      default:
        throw new GlasscastError('ROUTE_NOT_FOUND');
    }
  }

  return {
    accept(request, raw, head) {
      // Without a listener a reset during the check of the token would end the process.
      raw.on('error', ignored);
      accept(request, raw, head).catch((thrown: unknown) => refuse(request, raw, asGlasscastError(thrown), options));
    },
    shut() {
      isShut = true;
    },
    async close() {
      isShut = true;
      const open = [...server.clients];
      const closed = open.map((ws) => new Promise<void>((resolve) => ws.once('close', () => resolve())));
      for (const ws of open) if (ws.readyState === 1) ws.close(closeCodes.restart, 'Relay restarting');
      const cut = options.clock.after('sockets-close', 1_000, () => {
        for (const ws of open) ws.terminate();
      });
      await Promise.all(closed);
      cut.cancel();
      server.close();
    },
  };
}

/** Lets those who come in wait for their turn, in their order. */
function createArrivals(clock: Pick<Clock, 'monotonicMs'>): (welcome: () => void) => Promise<void> {
  const waiting: (() => void)[] = [];
  let isServing = false;

  async function serve(): Promise<void> {
    isServing = true;
    while (waiting.length > 0) {
      await nextTurn();
      const untilMs = clock.monotonicMs() + TURN_MS;
      do waiting.shift()?.();
      while (waiting.length > 0 && clock.monotonicMs() < untilMs);
    }
    isServing = false;
  }
  return (welcome) =>
    new Promise((resolve, reject) => {
      waiting.push(() => {
        try {
          welcome();
          resolve();
        } catch (error) {
          reject(error);
        }
      });
      if (!isServing) void serve();
    });
}

function welcomeGlasses(ws: WebSocket, holder: TokenHolder, options: UpgradesOptions): void {
  const session = options.glassesSession(holder.userId);
  const socket: Socket<ToGlasses> = createSocket<FromGlasses, ToGlasses>({
    ws,
    decode: decodeFromGlasses,
    encode: encodeToGlasses,
    complaint: ({ code, message }) => ({ type: 'connection_error', code, message }),
    clock: options.clock,
    log: options.log,
    ...(options.limits ? { limits: options.limits } : {}),
    meter: options.meters?.glasses,
    about: () => ({ userId: holder.userId }),
    onMessage: (message) => session.receive(message),
    onClose() {
      unwatch();
      session.detach(socket);
    },
  });
  const unwatch = options.tokens.watch(holder, () => socket.close(closeCodes.policy, 'Core token revoked or expired'));
  session.attach(socket);
  // After the acknowledgement, which waits for no app.
  options.glassesBack(holder.userId);
}

/** An answer before the upgrade: plain HTTP with JSON. */
function refuse(
  request: IncomingMessage,
  raw: Duplex,
  error: GlasscastError,
  { clock, log }: Pick<UpgradesOptions, 'clock' | 'log'>,
): void {
  // A flood is not to fill the log.
  log[error.code === 'RATE_LIMITED' ? 'debug' : 'info']({ code: error.code }, 'upgrade-refused');
  const { message } = error;
  const isApp = request.url?.split('?')[0] === APP_PATH;
  const words = isApp
    ? { type: 'tpa_connection_error', code: connectionErrorCode(error.code), message }
    : { type: 'connection_error', code: error.code, message };
  const body = JSON.stringify({ ...words, timestamp: new Date(clock.now()).toISOString() });
  // To somebody without the right key an app that does not exist is as good as one that does.
  const status = error.code === 'PACKAGE_NOT_FOUND' ? 401 : error.http;
  raw.end(
    `HTTP/1.1 ${status} Refused\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => raw.destroy(),
  );
}
