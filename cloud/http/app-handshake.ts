/**
 * The handshake of an app: anonymous until its first frame (2.x, 3.x) or the headers of its upgrade (3.x) have been
 * checked, then one app of one user for good. Rules: protocol reference §1.5, as PROTOCOL.md says them.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { FromApp, ToApp } from '../../shared/protocol/app-messages.ts';
import { decodeFromApp, encodeToApp } from '../../shared/protocol/dialects.ts';
import type { Callers } from '../access/callers.ts';
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { AppClaim } from '../apps/app-lifecycle.ts';
import type { AppSession } from '../apps/app-session.ts';
import type { Place } from '../cluster/cluster.ts';
import { wordsOf } from '../streams/stream-words.ts';
import {
  appSocketLimits,
  closeCodes,
  createSocket,
  type FrameSocket,
  type Socket,
  type SocketLimits,
  type SocketMeter,
} from './socket.ts';

export interface AppHandshakeOptions {
  attempts: FailedAttempts;
  callers: Pick<Callers, 'addressOf'>;
  catalog: Pick<AppCatalog, 'verify'>;
  apps: {
    admit(claim: AppClaim, socket: Socket<ToApp>): Promise<AppSession>;
    lost(session: AppSession, socket: Socket<ToApp>, code: number): void;
  };
  /** Default: every session is here. */
  elsewhere?: AppsElsewhere | undefined;
  clock: Clock;
  log: Log;
  limits?: Partial<SocketLimits>;
  meters?: Readonly<Record<'glasses' | 'app', SocketMeter>> | undefined;
  /** For the first frame of an app. Default 5000. */
  initTimeoutMs?: number;
}

/** Sessions that another node has: its socket stays here, and what is said on it goes there. */
export interface AppsElsewhere {
  /** Of a session that is not known at all: here, where it is refused. Errors: STORE_UNAVAILABLE. */
  place(sessionId: string | undefined, packageName: string): Promise<Place>;
  /** It was here, and another node has taken it over. */
  hasLeft(sessionId: string | undefined, packageName: string): boolean;
  /** @throws GlasscastError NODE_UNREACHABLE, RATE_LIMITED */
  relay(nodeId: string, app: AppAtTheEdge): RelayedLine;
}

/** An app whose session another node has. */
export interface AppAtTheEdge {
  ws: FrameSocket;
  sessionId: string;
  packageName: string;
  address: string;
  identity: AppIdentity;
  /** What it has said already, in its order. */
  frames: readonly string[];
  /** The other node has let it in. */
  admitted(): void;
  /** The other node closes it, or cannot be reached any more. */
  close(code: number, reason: string): void;
}

export interface RelayedLine {
  frame(text: string): void;
  /** The app's socket has ended. */
  closed(code: number): void;
}

/** A socket of an app as it comes in. */
export interface AppArrival {
  /** Of the caller, as attempts are counted. */
  address: string;
  identity: AppIdentity;
  /** Called once the app has proven who it is. */
  admitted: () => void;
  /** Another node has the real socket, and has found that the session is here. */
  isRelayed?: boolean;
}

/** What an app says of itself in the headers of its upgrade; none of it is needed. */
export interface AppIdentity {
  packageName: string | undefined;
  apiKey: string | undefined;
  sessionId: string | undefined;
  userId: string | undefined;
}

type ConnectionErrorCode = Extract<ToApp, { type: 'tpa_connection_error' }>['code'];
type RejectionCode = Extract<ToApp, { type: 'reconnect_rejected' }>['code'];

/** Frames an app may send before it is let in. */
const MAX_EARLY_FRAMES = 50;

/**
 * Before the upgrade: a key in the headers has to be right.
 * @throws GlasscastError MISSING_HEADERS, PACKAGE_NOT_FOUND, INVALID_API_KEY, RATE_LIMITED.
 */
export async function checkAppHeaders(
  request: IncomingMessage,
  { attempts, callers, catalog }: AppHandshakeOptions,
): Promise<AppIdentity> {
  const identity = identityIn(request.headers);
  const { packageName, apiKey } = identity;
  if (packageName === undefined && apiKey === undefined) return identity;
  await attempts.guard(callers.addressOf(request), async () => {
    if (!packageName || !apiKey) throw new GlasscastError('MISSING_HEADERS');
    await catalog.verify(packageName, apiKey);
  });
  return identity;
}

/** A frame for another node, as it came. */
interface PassedOn {
  type: 'passed-on';
}

export function welcomeApp(
  ws: FrameSocket,
  { address, identity, admitted, isRelayed = false }: AppArrival,
  options: AppHandshakeOptions,
): void {
  const { apps, attempts, clock, elsewhere, log, initTimeoutMs = 5_000 } = options;
  const early: { message: FromApp; frame: string }[] = [];
  let session: AppSession | undefined;
  let line: RelayedLine | undefined;
  /** The present one, as it came. */
  let frame = '';
  let isClaimed = false;
  let mayReturn = true;
  // A 3.x app may name its session in a reconnect that is refused, and not in the init that follows.
  let { sessionId: namedSession } = identity;

  const awaitInit = (): Timer =>
    clock.after('app-init', initTimeoutMs, () => socket.close(closeCodes.policy, 'No init in time'));
  let patience = awaitInit();

  async function admit(claim: AppClaim): Promise<void> {
    isClaimed = true;
    patience.cancel();
    const claimed = frame;
    try {
      const { sessionId, packageName } = claim;
      const place = isRelayed || !elsewhere ? 'here' : await elsewhere.place(sessionId, packageName);
      if (place !== 'here') return passOn(place.nodeId, claim, claimed);
      session = await attempts.guard(address, () => apps.admit(claim, socket));
      admitted();
      if (socket.isOpen) for (const { message } of early.splice(0)) session.receive(message);
      // Its end came while the claim was being checked, and found no session yet.
      else apps.lost(session, socket, 1006);
    } catch (thrown) {
      const hasLeft = elsewhere?.hasLeft(claim.sessionId, claim.packageName);
      refuse(claim, hasLeft ? new GlasscastError('SESSION_MOVED') : asGlasscastError(thrown));
    }
  }
  function passOn(nodeId: string, { sessionId = '', packageName }: AppClaim, claimed: string): void {
    if (!socket.isOpen) return;
    const frames = [claimed, ...early.splice(0).map((one) => one.frame)];
    const close = (code: number, reason: string) => socket.close(code, reason);
    const said = { ...identity, sessionId: namedSession ?? sessionId };
    line = elsewhere?.relay(nodeId, { ws, sessionId, packageName, address, identity: said, frames, admitted, close });
  }
  function refuse({ isReturn, packageName }: Pick<AppClaim, 'isReturn' | 'packageName'>, error: GlasscastError): void {
    const { code, message } = error;
    const rejection = isReturn ? rejectionCode(code) : undefined;
    log.info({ appId: packageName, code }, 'app-refused');
    if (rejection === undefined) {
      socket.send({ type: 'tpa_connection_error', code: connectionErrorCode(code), message });
      socket.close(refusalCloseCode(error), message);
      return;
    }
    socket.send({ type: 'reconnect_rejected', code: rejection, message });
    if (rejection === 'SESSION_NOT_FOUND' && socket.isOpen) {
      isClaimed = false;
      early.length = 0;
      patience = awaitInit();
    } else {
      // The reason keeps the app from trying again.
      socket.close(closeCodes.done, 'App stopped: not running');
    }
  }
  function claimReturn(sessionId: string | undefined): void {
    const { packageName, apiKey, userId } = identity;
    namedSession = sessionId ?? namedSession;
    if (packageName && apiKey) void admit({ sessionId: namedSession, packageName, apiKey, userId, isReturn: true });
    // A reconnect shows no key of its own. Where a proxy drops the headers an init can still follow.
    else refuse({ packageName: packageName ?? '', isReturn: true }, new GlasscastError('SESSION_NOT_FOUND'));
  }
  function receive(message: FromApp | PassedOn): void {
    if (message.type === 'passed-on') {
      line?.frame(frame);
    } else if (session) {
      session.receive(message);
    } else if (message.type === 'ping') {
      socket.send({ type: 'pong' });
    } else if (isClaimed) {
      if (early.length < MAX_EARLY_FRAMES) early.push({ message, frame });
    } else if (message.type === 'tpa_connection_init') {
      const { sessionId = namedSession, packageName, apiKey } = message;
      void admit({ sessionId, packageName, apiKey, userId: identity.userId });
    } else if (message.type === 'reconnect' && mayReturn) {
      // Once: each gives the app new time for its init.
      mayReturn = false;
      patience.cancel();
      claimReturn(message.sessionId);
    } else if (message.type !== 'pong') {
      throw new GlasscastError('MALFORMED_MESSAGE', { reason: 'the first message has to be tpa_connection_init' });
    }
  }

  const socket: Socket<ToApp> = createSocket<FromApp | PassedOn, ToApp>({
    ws,
    decode(text) {
      // Of a session that is here it is needed no more.
      frame = session ? '' : text;
      // What it means is judged where its session is.
      return line ? { message: { type: 'passed-on' }, dialect: undefined } : decodeFromApp(text);
    },
    encode: encodeToApp,
    complaint: (error) => appComplaint(error, session !== undefined || line !== undefined),
    clock,
    log,
    limits: { ...appSocketLimits, ...options.limits },
    meter: options.meters?.app,
    about: () => (session ? { userId: session.userId, appId: session.packageName } : {}),
    onMessage: receive,
    onClose(code) {
      patience.cancel();
      line?.closed(code);
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

export function connectionErrorCode(code: ErrorCode): ConnectionErrorCode {
  switch (code) {
    case 'MISSING_HEADERS':
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

function rejectionCode(code: ErrorCode): RejectionCode | undefined {
  switch (code) {
    case 'APP_NOT_STARTED':
      return 'NOT_RUNNING';
    case 'APP_BOOT_TIMEOUT':
      return 'BOOT_TIMEOUT';
    case 'SESSION_NOT_FOUND':
      return code;
    default:
      return undefined;
  }
}

/** The SDK takes 1008 as final and comes back after the others. */
function refusalCloseCode({ code, fault, retryable }: GlasscastError): number {
  if (code === 'SHUTTING_DOWN') return closeCodes.restart;
  return retryable || fault === 'us' ? closeCodes.tryAgain : closeCodes.policy;
}

function identityIn(headers: IncomingHttpHeaders): AppIdentity {
  const text = (name: string) => {
    const value = headers[name];
    // As long as a frame of ours may say it.
    return typeof value === 'string' && value !== '' && value.length <= 500 ? value : undefined;
  };
  return {
    packageName: text('x-package-name'),
    apiKey: text('x-api-key'),
    sessionId: text('x-session-id'),
    userId: text('x-user-id')?.trim().toLowerCase(),
  };
}
