/** A relay among others, read by functions that the composition root gives: the cluster itself knows no metric. */
import type { Meters } from './meters.ts';

/** Each undefined: not known now. */
export interface ClusterReadings {
  isLeader: () => boolean;
  /** Reachable ones, this one with them. */
  nodes: () => number;
  ownedSessions: () => number;
  /** Sockets of apps that are here while their session is elsewhere. */
  relayedSockets?: (() => number | undefined) | undefined;
  isRedisUp?: (() => boolean | undefined) | undefined;
}

export function addClusterMetrics(meters: Meters, readings: ClusterReadings): void {
  const { isLeader, nodes, ownedSessions, relayedSockets, isRedisUp } = readings;
  meters.gauge('glasscast_cluster_leader', '1 when this node leads', {}, () => Number(isLeader()));
  meters.gauge('glasscast_cluster_nodes', 'Nodes that can be reached, this one with them', {}, nodes);
  meters.gauge('glasscast_cluster_owned_sessions', 'Sessions that this node owns', {}, ownedSessions);
  meters.gauge('glasscast_cluster_relayed_sockets', "Apps' sockets that this node passes on to other nodes", {}, () =>
    relayedSockets?.(),
  );
  meters.gauge('glasscast_redis_up', '1 while Redis answers; no value without Redis', {}, () => {
    const isUp = isRedisUp?.();
    return isUp === undefined ? undefined : Number(isUp);
  });
}
