/**
 * What the fleet has seen, counted as it happens: connections, keep-alives, starts, statuses, errors. Keeps and sums up;
 * causes nothing.
 */
import { percentile, rounded } from '../bench/measuring.ts';

/** A start as its app and its glasses see it. Milliseconds from the app's request. */
export const startSteps = ['orderAtGlassesMs', 'firstStatusMs', 'activeMs'] as const;
export type StartStep = (typeof startSteps)[number];

export interface Spread {
  n: number;
  p50: number;
  p99: number;
  max: number;
}

export interface FleetFigures {
  glasses: number;
  connected: number;
  /** From the attempt to the relay's acknowledgement. */
  connectMs: Spread | undefined;
  connectAttemptsFailed: number;
  keepAlives: {
    received: number;
    acked: number;
    /** Came more than 5 s after they were due, as the glasses see it. */
    late: number;
    /** None came for 60 s: the glasses stop their stream by themselves. */
    leasesMissed: number;
  };
  /** `lost`: failed after it ran. */
  starts: { asked: number; active: number; failed: number; lost: number } & Partial<Record<StartStep, Spread>>;
  statuses: { sent: number; delivered: number; latencyMs: Spread | undefined };
  /** Losses of a connection that nobody here caused. */
  cutByRelay: number;
  /** From the loss to the next acknowledgement. */
  reconnectMs: Spread | undefined;
  apps: { connected: number; lost: number; webhooks: number };
  errors: Record<string, number>;
}

export interface FigureKeeper {
  connectMs: number[];
  reconnectMs: number[];
  latencyMs: number[];
  steps: Record<StartStep, number[]>;
  count: Record<Counter, number>;
  error(code: string): void;
  /** Latencies and counts of statuses begin anew. */
  forgetStatuses(): void;
  /** @param now what is so at this moment. */
  figures(now: { glasses: number; connected: number; appsConnected: number }): FleetFigures;
}

const counters = [
  ...([
    'connectAttemptsFailed',
    'received',
    'acked',
    'late',
    'leasesMissed',
    'asked',
    'active',
    'failed',
    'lost',
  ] as const),
  ...(['sent', 'delivered', 'cutByRelay', 'appsLost', 'webhooks'] as const),
];
type Counter = (typeof counters)[number];

export function createFigureKeeper(): FigureKeeper {
  const errors = new Map<string, number>();
  const keeper: FigureKeeper = {
    connectMs: [],
    reconnectMs: [],
    latencyMs: [],
    steps: { orderAtGlassesMs: [], firstStatusMs: [], activeMs: [] },
    count: Object.fromEntries(counters.map((name) => [name, 0])) as Record<Counter, number>,
    error: (code) => void errors.set(code, (errors.get(code) ?? 0) + 1),
    forgetStatuses() {
      keeper.latencyMs.length = 0;
      keeper.count.sent = 0;
      keeper.count.delivered = 0;
    },
    figures({ glasses, connected, appsConnected }) {
      const { count, steps } = keeper;
      const { asked, active, failed, lost, received, acked, late, leasesMissed, sent, delivered } = count;
      return {
        ...{ glasses, connected },
        connectMs: spread(keeper.connectMs),
        connectAttemptsFailed: count.connectAttemptsFailed,
        keepAlives: { received, acked, late, leasesMissed },
        starts: { asked, active, failed, lost, ...spreads(steps) },
        statuses: { sent, delivered, latencyMs: spread(keeper.latencyMs) },
        cutByRelay: count.cutByRelay,
        reconnectMs: spread(keeper.reconnectMs),
        apps: { connected: appsConnected, lost: count.appsLost, webhooks: count.webhooks },
        errors: Object.fromEntries([...errors].sort(([one], [other]) => one.localeCompare(other))),
      };
    },
  };
  return keeper;
}

/** Undefined without samples: a missing number must not look like a measured one. */
export function spread(samples: readonly number[]): Spread | undefined {
  if (samples.length === 0) return undefined;
  const at = (share: number) => rounded(percentile(samples, share));
  return { n: samples.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

function spreads(steps: FigureKeeper['steps']): Partial<Record<StartStep, Spread>> {
  return Object.fromEntries(
    startSteps.flatMap((name) => {
      const found = spread(steps[name]);
      return found ? [[name, found]] : [];
    }),
  );
}
