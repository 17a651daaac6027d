/**
 * A user's session as it comes to this node and goes from it: what a restart of the relay does for everybody, for one
 * user. Puts the parts in order and holds no rule of theirs.
 */
import type { Log } from '../../shared/log.ts';
import type { AppLifecycle } from '../apps/app-lifecycle.ts';
import type { SessionRegistry } from '../glasses/session-registry.ts';
import { closeCodes } from '../http/socket.ts';
import type { Cleanup } from '../provider/cleanup.ts';
import type { Store } from '../store/store.ts';
import type { StreamHistory } from '../streams/stream-history.ts';
import type { StreamPeers, StreamRegistry } from '../streams/stream-registry.ts';
import { takeOver } from '../streams/take-over.ts';
import type { Rollouts } from '../updates/rollouts.ts';
import type { Carrier } from './cluster.ts';

export interface CarrierOptions {
  store: Pick<Store, 'ledger' | 'streams'>;
  cleanup: Pick<Cleanup, 'adopt' | 'release'>;
  streams: Pick<StreamRegistry, 'resume' | 'handOver'>;
  apps: Pick<AppLifecycle, 'resume' | 'handOver' | 'session'>;
  sessions: Pick<SessionRegistry, 'open' | 'leave'>;
  rollouts: Pick<Rollouts, 'agentGone'>;
  history: Pick<StreamHistory, 'release'>;
  /** Somebody who watches streams and is no app, e.g. the operator. */
  builtIn?: (appId: string) => ReturnType<StreamPeers['viewer']>;
  /** The user is owned here now, if only because somebody asked. */
  onAdopted?: (userId: string) => void;
  /** Everybody goes, because this node ends. */
  isEnding: () => boolean;
  log: Log;
}

export function createCarrier(options: CarrierOptions): Carrier {
  const { store, cleanup, streams, apps, sessions, rollouts, history, builtIn, isEnding, log, onAdopted } = options;
  const carrier: Carrier = {
    async adopt(userId) {
      try {
        // Apps first: a stream looks for its viewers among them.
        await apps.resume(userId);
        await takeOver(userId, {
          ...{ store, cleanup, streams, log },
          peers: {
            viewer: (_, appId) => builtIn?.(appId) ?? apps.session(userId, appId),
            glasses: () => sessions.open(userId, true),
          },
        });
      } catch (error) {
        // Half of it would go on here, and all of it where it is taken up next.
        await carrier.handOver(userId, { isLost: true });
        throw error;
      }
      onAdopted?.(userId);
    },
    async handOver(userId, why) {
      // In one go, so that nothing that comes in between finds one part and misses another.
      const streamsSaved = streams.handOver(userId, why);
      cleanup.release(userId);
      const appsSaved = apps.handOver(userId, why);
      // Another node asked for it: the glasses are there, and whoever is here still is what they left behind.
      const isReplaced = !why.isLost && !isEnding();
      const [code, reason] = isReplaced
        ? ([closeCodes.replaced, 'Replaced by a newer connection'] as const)
        : ([closeCodes.restart, 'Relay restarting'] as const);
      sessions.leave(userId, code, reason);
      rollouts.agentGone(userId);
      await streamsSaved;
      // Before the next owner reads it.
      await history.release(userId, why);
      // What was taken away can be written no more.
      if (!why.isLost) await appsSaved;
    },
  };
  return carrier;
}
