/** The figures of a fleet as text for people, and whether all was well. Pure. */
import type { FleetFigures, Spread } from './fleet-figures.ts';

/** What a simulation was asked for, and what came of it. */
export interface FleetReport {
  scenario: string;
  seed: number;
  seconds: number;
  /** Ended by Ctrl-C. */
  wasInterrupted: boolean;
  /** Every pair of glasses that was wanted was connected at the end. */
  areAllThere: boolean;
  /** As the relay's own counters say; undefined: it tells none. */
  relay: RelayCounts | undefined;
  figures: FleetFigures;
}

/** Of keep-alives, as the relay counts. */
export interface RelayCounts {
  acksMissed: number;
}

/** From the text of the relay's `/metrics`; undefined: it does not count them. */
export function countsIn(metrics: string): RelayCounts | undefined {
  const [, missed] = /^glasscast_keep_alives_total\{event="missed"\} (\S+)$/m.exec(metrics) ?? [];
  return missed === undefined ? undefined : { acksMissed: Number(missed) };
}

/** What was not as it should be; empty: all was well. */
export function troubles({ areAllThere, figures, relay, wasInterrupted }: FleetReport): string[] {
  const { cutByRelay, glasses, keepAlives, starts } = figures;
  const away = glasses - figures.connected;
  const unheard = starts.asked - starts.active - starts.failed;
  return [
    ...(areAllThere || wasInterrupted ? [] : [`${away} of ${glasses} glasses are not connected`]),
    ...(starts.failed > 0 ? [`${starts.failed} streams failed`] : []),
    ...(starts.lost > 0 ? [`${starts.lost} streams failed after they ran`] : []),
    ...(unheard > 0 && !wasInterrupted ? [`${unheard} streams did not start`] : []),
    ...(keepAlives.leasesMissed > 0 ? [`${keepAlives.leasesMissed} streams had no keep-alive for 60 s`] : []),
    ...(cutByRelay > 0 ? [`the relay cut ${cutByRelay} connections`] : []),
    ...(relay && relay.acksMissed > 0 ? [`the relay missed ${relay.acksMissed} acknowledgements`] : []),
  ];
}

export function reportText(report: FleetReport): string {
  const { figures, relay, scenario, seconds, seed } = report;
  const { apps, keepAlives, starts, statuses } = figures;
  const rows: [string, string][] = [
    ['Scenario', `${scenario}, seed ${seed}, ${seconds} s${report.wasInterrupted ? ', interrupted' : ''}`],
    ['Glasses', `${figures.connected} of ${figures.glasses} connected`],
    ['Time to connect', spreadText(figures.connectMs)],
    ['Attempts that failed', String(figures.connectAttemptsFailed)],
    ['Reconnected', spreadText(figures.reconnectMs)],
    ['Apps', `${apps.connected} connected, ${apps.webhooks} webhooks, ${apps.lost} connections lost`],
    ['Streams', `${starts.active} of ${starts.asked} started, ${starts.failed} failed, ${starts.lost} lost later`],
    ['  order at the glasses', spreadText(starts.orderAtGlassesMs)],
    ['  first status', spreadText(starts.firstStatusMs)],
    ['  active', spreadText(starts.activeMs)],
    ['Keep-alives', `${keepAlives.received} received, ${keepAlives.acked} acknowledged, ${keepAlives.late} late`],
    ['Leases missed', String(keepAlives.leasesMissed)],
    ...(relay ? [['Missed, says the relay', String(relay.acksMissed)] satisfies [string, string]] : []),
    ['Statuses', `${statuses.sent} sent, ${statuses.delivered} delivered`],
    ['  to the app', spreadText(statuses.latencyMs)],
    ...Object.entries(figures.errors).map(([code, count]): [string, string] => [`Error ${code}`, String(count)]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  const lines = rows.map(([name, text]) => `${name.padEnd(width)}${text}`);
  const wrong = troubles(report);
  return [...lines, '', wrong.length === 0 ? 'All was well.' : `Not as it should be: ${wrong.join('; ')}.`].join('\n');
}

function spreadText(spread: Spread | undefined): string {
  if (!spread) return 'none';
  const { max, n, p50, p99 } = spread;
  return `${n} times: median ${timeText(p50)}, p99 ${timeText(p99)}, longest ${timeText(max)}`;
}

const timeText = (ms: number) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
