/**
 * Events of all nodes for whoever listens at any of them. A node sends its own to those nodes that have listeners, and to
 * nobody else. When a node comes or goes, listeners are told that they may have missed something.
 */
import * as z from 'zod';
import type { Log } from '../../shared/log.ts';
import { createEventFeed, type EventFeed, type RelayEvent } from '../http/event-feed.ts';
import type { Mesh } from './cluster.ts';

const EVENT = 'event';
const WANTED = 'events-wanted';

/** What is in it was checked where it was made. */
const event = z.looseObject({ type: z.enum(['session', 'session-ended', 'stream', 'stream-entry']) });
const wish = z.object({ areWanted: z.boolean() });

export function createSharedEvents({ mesh, log }: { mesh: Mesh; log: Log }): EventFeed {
  const own = createEventFeed();
  /** Nodes where somebody listens. */
  const wanting = new Set<string>();
  const listeners = new Set<() => void>();
  const tellOfWish = (nodeId: string) => mesh.tell(nodeId, WANTED, { areWanted: listeners.size > 0 });

  mesh.answer(WANTED, (body, from) => {
    const parsed = wish.safeParse(body);
    if (!parsed.success) log.warn({ subject: WANTED }, 'mesh-message-malformed');
    else if (parsed.data.areWanted) wanting.add(from);
    else wanting.delete(from);
  });
  mesh.answer(EVENT, (body) => {
    const parsed = event.safeParse(body);
    if (parsed.success) own.publish(parsed.data as unknown as RelayEvent);
    else log.warn({ subject: EVENT }, 'mesh-message-malformed');
  });
  mesh.onFound((nodeId) => {
    if (listeners.size > 0) tellOfWish(nodeId);
    for (const missed of [...listeners]) missed();
  });
  mesh.onLost((nodeId) => {
    wanting.delete(nodeId);
    for (const missed of [...listeners]) missed();
  });

  return {
    publish(news) {
      own.publish(news);
      for (const nodeId of wanting) mesh.tell(nodeId, EVENT, news);
    },
    isHeard: () => wanting.size > 0 || own.isHeard(),
    listen(take, missed = () => {}) {
      const unlisten = own.listen(take);
      // Of its own, though two may pass the same function.
      const listener = () => missed();
      listeners.add(listener);
      if (listeners.size === 1) for (const nodeId of mesh.others()) tellOfWish(nodeId);
      return () => {
        unlisten();
        if (!listeners.delete(listener)) return;
        if (listeners.size === 0) for (const nodeId of mesh.others()) tellOfWish(nodeId);
      };
    },
  };
}
