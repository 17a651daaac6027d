/**
 * One app as many users run it: one webhook, and for each user a socket on /app-ws with the requests of `@mentra/sdk` as they go
 * over the wire. Notes what each hears and when; decides nothing. The socket comes back as the app's manner says.
 */
import type { Clock } from '../../shared/clock.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createAppSocket, createWebhook } from './app-socket.ts';
import type { ViewerEvent } from './served.ts';

/** One user's app. */
export interface Viewer {
  readonly userId: string;
  readonly packageName: string;
  /** Oldest first. */
  readonly events: readonly ViewerEvent[];
  /** Asks for a managed stream; resolves with its id when it is live. @throws GlasscastError INTERNAL with the relay's code and words */
  live(settings: object, timeoutMs?: number): Promise<string>;
  /** Resolves when the relay has said that it is over, for this app. */
  stop(): Promise<void>;
  /** Resolves when it has been let in. */
  accepted(): Promise<void>;
}

export interface CrowdApp {
  readonly packageName: string;
  readonly apiKey: string;
  /** Where the relay reaches its webhook. */
  listen(): Promise<string>;
  viewer(userId: string): Viewer;
  close(): Promise<void>;
}

export interface CrowdAppOptions {
  clock: Clock;
  packageName: string;
  /** The wait before attempt n (from 1) to come back after a loss; undefined: no further attempt. */
  retryMs: (attempt: number) => number | undefined;
}

/** As `@mentra/sdk` 2.1 comes back: 1 and 3 s after the loss, then it leaves it to the webhook. */
export const sdkPatience = (attempt: number): number | undefined => [1_000, 2_000][attempt - 1];
export const eagerness = (): number => 100;

const LIVE_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 20_000;
const ACCEPT_TIMEOUT_MS = 30_000;

export function createCrowdApp({ clock, packageName, retryMs }: CrowdAppOptions): CrowdApp {
  const apiKey = crypto.randomUUID();
  const viewers = new Map<string, ReturnType<typeof createViewer>>();
  const webhook = createWebhook((invitation) => viewers.get(invitation.userId)?.invite(invitation));
  return {
    ...{ packageName, apiKey, listen: webhook.listen },
    viewer(userId) {
      const made = createViewer({ clock, packageName, retryMs }, { userId, apiKey });
      viewers.set(userId, made);
      return made;
    },
    async close() {
      for (const viewer of viewers.values()) viewer.close();
      await webhook.close();
    },
  };
}

function createViewer(
  { clock, packageName, retryMs }: CrowdAppOptions,
  { userId, apiKey }: { userId: string; apiKey: string },
) {
  const notes = createViewerNotes(clock);
  const onLost = () => notes.add({ kind: 'lost' });
  const socket = createAppSocket({ clock, packageName, apiKey, retryMs, onMessage: notes.take, onLost });
  return {
    ...{ userId, packageName, events: notes.events, invite: socket.invite, close: socket.close },
    async live(settings: object, timeoutMs = LIVE_TIMEOUT_MS) {
      const sinceMs = clock.monotonicMs();
      socket.send({ type: 'managed_stream_request', packageName, ...settings });
      return notes.live(sinceMs, timeoutMs);
    },
    async stop() {
      const sinceMs = clock.monotonicMs();
      socket.send({ type: 'managed_stream_stop', packageName });
      await notes.next(
        ({ word, atMs }) => word === 'stopped' && atMs >= sinceMs,
        STOP_TIMEOUT_MS,
        `no end of ${userId}`,
      );
    },
    async accepted() {
      await notes.next(
        ({ kind }) => kind === 'accepted',
        ACCEPT_TIMEOUT_MS,
        `${packageName} of ${userId} was not let in`,
      );
    },
  };
}

/** What one app heard, and who waits for it. */
export function createViewerNotes(clock: Clock) {
  const events: ViewerEvent[] = [];
  const waiting = new Set<() => void>();
  function add(event: Omit<ViewerEvent, 'atMs'>): void {
    events.push({ ...event, atMs: clock.monotonicMs() });
    for (const look of [...waiting]) look();
  }
  /** The first that fits, of old and new ones. */
  function next(fits: (event: ViewerEvent) => boolean, timeoutMs: number, otherwise: string): Promise<ViewerEvent> {
    let look = () => {};
    const found = new Promise<ViewerEvent>((resolve) => {
      look = () => {
        const match = events.find(fits);
        if (match) resolve(match);
      };
      waiting.add(look);
      look();
    });
    const late = () => new GlasscastError('START_TIMEOUT', { reason: otherwise });
    return withTimeout(clock, 'viewer-waits', timeoutMs, found, late).finally(() => waiting.delete(look));
  }
  return {
    ...{ events, add, next },
    /** A message of the relay to the app. */
    take(message: { type?: string; status?: string; streamId?: string; stats?: object; errorCode?: string }): void {
      if (message.type === 'tpa_connection_ack') add({ kind: 'accepted' });
      if (message.type !== 'managed_stream_status' || message.status === undefined) return;
      const { status: word, streamId, errorCode } = message;
      add({ kind: message.stats ? 'device' : 'told', word, streamId, errorCode });
    },
    async live(sinceMs: number, timeoutMs: number): Promise<string> {
      const isAnswer = ({ word = '', atMs }: ViewerEvent) => atMs >= sinceMs && ['active', 'error'].includes(word);
      const { word, streamId, errorCode } = await next(isAnswer, timeoutMs, 'no stream within the time');
      if (word === 'active' && streamId !== undefined) return streamId;
      throw new GlasscastError('INTERNAL', { reason: errorCode ?? 'the stream failed' });
    },
  };
}
