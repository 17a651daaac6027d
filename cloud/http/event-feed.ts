/** News for operators: sessions and streams as they change, to any number of listeners. Keeps nothing. */
import type { TimelineEntry } from '../streams/stream-story.ts';
import type { StreamSnapshot } from '../streams/stream-views.ts';
import type { DeviceView } from '../updates/rollouts.ts';

/** A user's session as operators see it. */
export interface SessionView {
  userId: string;
  /** The glasses are there. */
  connected: boolean;
  modelName?: string;
  wifiConnected?: boolean;
  wifiSsid?: string;
  batteryLevel?: number;
  charging?: boolean;
  apps: { packageName: string; connected: boolean }[];
  /** The agent there, as it told last. */
  agent?: DeviceView['agent'];
  /** The update of it that is under way, or that failed. */
  update?: DeviceView['update'];
}

export type RelayEvent =
  | { type: 'session'; session: SessionView }
  | { type: 'session-ended'; userId: string }
  | { type: 'stream'; stream: StreamSnapshot }
  | { type: 'stream-entry'; streamId: string; entry: TimelineEntry };

export interface EventFeed {
  publish(event: RelayEvent): void;
  /** Somebody listens: what costs something to tell is told to nobody else. */
  isHeard(): boolean;
  /** Returns the way to stop listening. @param missed something may have gone by unheard: the whole has to be asked for. */
  listen(take: (event: RelayEvent) => void, missed?: () => void): () => void;
}

export function createEventFeed(): EventFeed {
  const listeners = new Set<(event: RelayEvent) => void>();
  return {
    publish(event) {
      for (const take of listeners) take(event);
    },
    isHeard: () => listeners.size > 0,
    listen(take) {
      listeners.add(take);
      return () => void listeners.delete(take);
    },
  };
}
