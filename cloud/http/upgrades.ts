/**
 * The door for WebSockets: who may come in by which path. Glasses show a token before the upgrade, apps name themselves
 * in their first frame. Owns the sockets that are not yet anybody's; hands the others on.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { FromApp, ToApp } from '../../shared/protocol/app-messages.ts';
import {
  decodeFromApp,
  decodeFromGlasses,
  encodeToApp,
  encodeToGlasses,
  MAX_FRAME_BYTES,
} from '../../shared/protocol/dialects.ts';
import type { FromGlasses, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { Callers } from '../access/callers.ts';
import type { CoreTokens, TokenHolder } from '../access/core-tokens.ts';
import { bearerToken } from '../access/credentials.ts';
import type { Door } from '../access/door.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { AppClaim } from '../apps/app-lifecycle.ts';
import type { AppSession } from '../apps/app-session.ts';
import { wordsOf } from '../streams/stream-words.ts';
import type { BrowserGuard } from './browser-guard.ts';
import { appSocketLimits, closeCodes, createSocket, type Socket, type SocketLimits } from './socket.ts';

export interface UpgradesOptions {
  tokens: Pick<CoreTokens, 'verify' | 'watch'>;
  attempts: FailedAttempts;
  callers: Pick<Callers, 'addressOf'>;
  door: Pick<Door, 'handshake'>;
  browserGuard: Pick<BrowserGuard, 'checkOrigin'>;
  /** The session of a user, opened now when there is none. */
  glassesSession: (userId: string) => {
    attach(socket: Socket<ToGlasses>): void;
    detach(socket: Socket<ToGlasses>): void;
    receive(message: FromGlasses): void;
  };
  apps: {
    admit(claim: AppClaim, socket: Socket<ToApp>): Promise<AppSession>;
    lost(session: AppSession, socket: Socket<ToApp>, code: number): void;
  };
  clock: Clock;
  log: Log;
  limits?: Partial<SocketLimits>;
  /** For the first frame of an app. Default 5000. */
  initTimeoutMs?: number;
}

export interface Upgrades {
  /** For the HTTP server's `upgrade` event. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Nobody comes in any more; who is in stays. */
  shut(): void;
  /** Cuts what is still open after the sessions closed theirs. */
  close(): Promise<void>;
}

type ToAppErrorCode = Extract<ToApp, { type: 'tpa_connection_error' }>['code'];

/** Frames an app may send before it is let in. */
const MAX_EARLY_FRAMES = 50;

export function createUpgrades(options: UpgradesOptions): Upgrades {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES, perMessageDeflate: false });
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
      server.handleUpgrade(request, raw, head, take);
    };
    switch (url.pathname) {
      case '/glasses-ws': {
        const token = bearerToken(request.headers.authorization) ?? url.searchParams.get('token') ?? undefined;
        if (!token) throw new GlasscastError('MISSING_TOKEN');
        const holder = await attempts.guard(callers.addressOf(request), () => tokens.verify(token));
        admitted();
        upgraded((ws) => welcomeGlasses(ws, holder, options));
        return;
      }
      case '/app-ws':
        upgraded((ws) => welcomeApp(ws, request, options, admitted));
        return;
      default:
        throw new GlasscastError('ROUTE_NOT_FOUND');
    }
  }

  return {
    accept(request, raw, head) {
      // Without a listener a reset during the check of the token would end the process.
      raw.on('error', () => {});
      accept(request, raw, head).catch((thrown: unknown) => refuse(raw, asGlasscastError(thrown), options));
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
    onMessage: (message) => session.receive(message),
    onClose() {
      unwatch();
      session.detach(socket);
    },
  });
  const unwatch = options.tokens.watch(holder, () => socket.close(closeCodes.policy, 'Core token revoked or expired'));
  session.attach(socket);
}

/** An app's socket: anonymous until its first frame has been checked, then one app of one user for good. */
function welcomeApp(ws: WebSocket, request: IncomingMessage, options: UpgradesOptions, admitted: () => void): void {
  const { apps, attempts, callers, clock, log, initTimeoutMs = 5_000 } = options;
  const early: FromApp[] = [];
  const address = callers.addressOf(request);
  let session: AppSession | undefined;
  let isClaimed = false;
  const patience = clock.after('app-init', initTimeoutMs, () => socket.close(closeCodes.policy, 'No init in time'));

  async function admit(claim: AppClaim): Promise<void> {
    try {
      session = await attempts.guard(address, () => apps.admit(claim, socket));
      admitted();
      // Its end came while the claim was being checked, and found no session yet.
      if (!socket.isOpen) apps.lost(session, socket, 1006);
      for (const message of early.splice(0)) session.receive(message);
    } catch (thrown) {
      const { code, message } = asGlasscastError(thrown);
      log.info({ appId: claim.packageName, code }, 'app-refused');
      socket.send({ type: 'tpa_connection_error', code: connectionErrorCode(code), message });
      socket.close(closeCodes.policy, message);
    }
  }
  function receive(message: FromApp): void {
    if (session) {
      session.receive(message);
    } else if (isClaimed) {
      if (early.length < MAX_EARLY_FRAMES) early.push(message);
    } else if (message.type === 'tpa_connection_init') {
      isClaimed = true;
      patience.cancel();
      const { sessionId = headerText(request, 'x-session-id'), packageName, apiKey } = message;
      void admit({ sessionId, packageName, apiKey });
    } else if (message.type !== 'ping' && message.type !== 'pong') {
      throw new GlasscastError('MALFORMED_MESSAGE', { reason: 'the first message has to be tpa_connection_init' });
    }
  }

  const socket: Socket<ToApp> = createSocket<FromApp, ToApp>({
    ws,
    decode: decodeFromApp,
    encode: encodeToApp,
    complaint: (error) => appComplaint(error, session !== undefined),
    clock,
    log,
    limits: { ...appSocketLimits, ...options.limits },
    onMessage: receive,
    onClose(code) {
      patience.cancel();
      if (session) apps.lost(session, socket, code);
    },
  });
}

/** Once it is in, an app hears of a bad stream request as of any failed stream: its promise settles. */
function appComplaint(error: GlasscastError, isIn: boolean): ToApp {
  if (!isIn) return { type: 'tpa_connection_error', code: connectionErrorCode(error.code), message: error.message };
  if (error.details.type === 'managed_stream_request') return wordsOf.managed.failed(error);
  if (/^(rtmp_)?stream_request$/.test(String(error.details.type))) return wordsOf.unmanaged.failed(error);
  return { type: 'message_error', code: error.code, message: error.message };
}

function connectionErrorCode(code: ErrorCode): ToAppErrorCode {
  switch (code) {
    case 'PACKAGE_NOT_FOUND':
    case 'INVALID_API_KEY':
    case 'SESSION_NOT_FOUND':
    case 'APP_NOT_STARTED':
    case 'MALFORMED_MESSAGE':
    case 'PERMISSION_DENIED':
      return code;
    default:
      return 'INTERNAL_ERROR';
  }
}

function headerText(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : undefined;
}

/** An answer before the upgrade: plain HTTP with JSON. */
function refuse(raw: Duplex, error: GlasscastError, { clock, log }: UpgradesOptions): void {
  log.info({ code: error.code }, 'upgrade-refused');
  const timestamp = new Date(clock.now()).toISOString();
  const body = JSON.stringify({ type: 'connection_error', code: error.code, message: error.message, timestamp });
  raw.end(
    `HTTP/1.1 ${error.http} Refused\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => raw.destroy(),
  );
}
