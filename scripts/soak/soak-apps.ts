/**
 * One app of the soak for all of its users: a webhook server and a socket per user, which comes back as the SDK's does and
 * remembers what it heard last. Asks and leaves when it is told to; judges nothing.
 */
import { WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { createWebhook, type Invitation } from '../bench/app-socket.ts';

export interface HeardStatus {
  status: string;
  streamId?: string;
  errorCode?: string;
  message?: string;
  /** `Clock.monotonicMs` */
  atMs: number;
}

export interface AppSessionView {
  userId: string;
  packageName: string;
  /** The relay has acknowledged the socket that is open now. */
  isIn: boolean;
  /** Of managed streams, in this session. */
  last: HeardStatus | undefined;
}

export interface SoakApp {
  readonly packageName: string;
  readonly apiKey: string;
  /** Where it is registered; the webhook server listens there again after `setWebhook(false)`. */
  readonly publicUrl: string;
  sessions(): AppSessionView[];
  session(userId: string): AppSessionView | undefined;
  /** Asks for a managed stream; gives the moment. */
  watch(userId: string, settings: object): number;
  unwatch(userId: string): void;
  /** The line breaks; the app comes back. */
  cut(userId: string): void;
  /** Ends the session, as an app that is done. */
  leave(userId: string): void;
  setWebhook(isUp: boolean): Promise<void>;
  close(): Promise<void>;
}

interface Session {
  userId: string;
  sessionId: string;
  url: string;
  socket: WebSocket | undefined;
  isIn: boolean;
  /** It will not come back by itself. */
  isOver: boolean;
  attempts: number;
  last: HeardStatus | undefined;
}

/** As the SDK: at once, then with growing pauses. */
const RETRY_MS = [200, 500, 1000, 2000, 4000, 8000, 8000, 8000, 8000, 8000];

export async function startSoakApp(options: {
  clock: Clock;
  packageName: string;
  note: (words: string) => void;
}): Promise<SoakApp> {
  const { clock, packageName, note } = options;
  const apiKey = crypto.randomUUID();
  const sessions = new Map<string, Session>();
  const webhook = createWebhook(invited);
  let isOver = false;

  function invited({ sessionId, userId, websocketUrl }: Invitation): void {
    const before = sessions.get(userId);
    // The same session goes on: what was heard in it still counts. One that was over begins anew under its old id.
    const last = before && !before.isOver && before.sessionId === sessionId ? before.last : undefined;
    end(before);
    const session: Session = {
      ...{ userId, sessionId, url: websocketUrl, socket: undefined, isIn: false, isOver: false, attempts: 0, last },
    };
    sessions.set(userId, session);
    open(session);
  }
  function end(session: Session | undefined): void {
    if (!session) return;
    session.isOver = true;
    session.isIn = false;
    session.socket?.terminate();
  }
  function open(session: Session): void {
    if (session.isOver || isOver) return;
    const { sessionId } = session;
    const socket = new WebSocket(session.url, { perMessageDeflate: false });
    session.socket = socket;
    socket.on('error', () => {});
    socket.on('open', () =>
      socket.send(JSON.stringify({ type: 'tpa_connection_init', sessionId, packageName, apiKey })),
    );
    socket.on('message', (data) => take(session, JSON.parse(String(data))));
    socket.on('close', (code, reason) => closed(session, socket, code, String(reason)));
  }
  function closed(session: Session, socket: WebSocket, code: number, reason: string): void {
    if (session.socket !== socket) return;
    session.isIn = false;
    const waitMs = RETRY_MS[session.attempts];
    session.attempts += 1;
    // 1000, 1001 and 1008 are the end for the SDK as well.
    if ([1000, 1001, 1008].includes(code) || waitMs === undefined) session.isOver = true;
    if (!session.isOver) clock.after('soak-app-retry', waitMs ?? 0, () => open(session));
    note(`app ${packageName} of ${session.userId}: socket closed ${code} ${reason}`);
  }
  function take(session: Session, message: Record<string, unknown>): void {
    if (message.type === 'tpa_connection_ack') {
      session.isIn = true;
      session.attempts = 0;
    }
    if (message.type !== 'managed_stream_status' || typeof message.status !== 'string') return;
    const { status, streamId, errorCode, message: words } = message as Record<string, string>;
    session.last = {
      status: status ?? '',
      ...{ atMs: clock.monotonicMs() },
      ...(streamId ? { streamId } : {}),
      ...(errorCode ? { errorCode } : {}),
      ...(words ? { message: words } : {}),
    };
    note(`app ${packageName} of ${session.userId}: ${status} ${streamId ?? ''} ${errorCode ?? ''}`);
  }
  function say(userId: string, message: object): void {
    const { socket } = sessions.get(userId) ?? {};
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }
  const viewOf = ({ userId, isIn, last }: Session): AppSessionView => ({ userId, packageName, isIn, last });

  let isListening = true;
  const publicUrl = await webhook.listen();
  return {
    ...{ packageName, apiKey, publicUrl },
    sessions: () => [...sessions.values()].filter((session) => !session.isOver).map(viewOf),
    session(userId) {
      const found = sessions.get(userId);
      return found && !found.isOver ? viewOf(found) : undefined;
    },
    watch(userId, settings) {
      say(userId, { type: 'managed_stream_request', packageName, ...settings });
      return clock.monotonicMs();
    },
    unwatch: (userId) => say(userId, { type: 'managed_stream_stop', packageName }),
    cut(userId) {
      const session = sessions.get(userId);
      // Its own 'close' comes a turn later.
      if (session) session.isIn = false;
      session?.socket?.terminate();
    },
    leave(userId) {
      const session = sessions.get(userId);
      if (!session) return;
      session.isOver = true;
      session.isIn = false;
      session.socket?.close(1000);
    },
    async setWebhook(isUp) {
      if (isUp === isListening) return;
      isListening = isUp;
      await (isUp ? webhook.listen() : webhook.close());
    },
    async close() {
      isOver = true;
      for (const session of sessions.values()) end(session);
      await webhook.close();
    },
  };
}
