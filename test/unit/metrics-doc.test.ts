/** What is written about metrics against the registry: the operators' table, the dashboard, the alerts. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createRelayMetrics, type RelayMetrics } from '../../cloud/metrics/relay-metrics.ts';
import { seriesOf } from '../support/metrics-text.ts';
import { createTestClock } from '../support/test-clock.ts';

const textOf = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');

function relayMetrics(): RelayMetrics {
  return createRelayMetrics({
    clock: createTestClock(),
    loop: { lag: () => ({ p50Ms: 0, p99Ms: 1, maxMs: 2 }), worstMs: () => 2 },
    readings: {
      sessions: () => ({ connected: 1, away: 0 }),
      apps: () => ({ connected: 1, away: 0 }),
      streams: () => [],
      provider: () => 'ok',
      isReady: async () => true,
      cluster: {
        isLeader: () => true,
        nodes: () => 2,
        ownedSessions: () => 3,
        relayedSockets: () => 4,
        isRedisUp: () => true,
      },
    },
  });
}
const metrics = relayMetrics();
const known = new Map(metrics.about().map((about) => [about.name, about]));
metrics.close();

/** Of others: of Prometheus itself. */
const FOREIGN = new Set(['up']);
const SUFFIX = /_(bucket|sum|count)$/;

interface Mention {
  name: string;
  labels: string[];
}
function mentions(expression: string): Mention[] {
  return [...expression.matchAll(/\b(glasscast_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?/g)].map(
    ([, name = '', inside = '']) => ({
      name,
      labels: [...inside.matchAll(/([a-z_]+)\s*(?:=|!=|=~|!~)\s*"/g)].map(([, label = '']) => label),
    }),
  );
}
/** What does not exist, in words. */
function wrong({ name, labels }: Mention): string[] {
  if (FOREIGN.has(name)) return [];
  const about = known.get(name) ?? known.get(name.replace(SUFFIX, ''));
  if (!about) return [`no metric ${name}`];
  if (SUFFIX.test(name) && !known.has(name) && about.kind !== 'histogram') return [`${about.name} is no histogram`];
  if (about.kind === 'histogram' && !SUFFIX.test(name)) return [`${name} is a histogram: _bucket, _sum or _count`];
  const fitting = new Set([...about.labels, 'instance', 'job', 'le']);
  return labels.filter((label) => !fitting.has(label)).map((label) => `${name} has no label ${label}`);
}

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { h: number; w: number; x: number; y: number };
  datasource?: { uid: string };
  targets?: { expr: string; refId: string }[];
}
interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  panels: Panel[];
  templating: { list: { name: string; type: string; query: unknown }[] };
}
const dashboard = JSON.parse(textOf('deploy/grafana/glasscast.json')) as Dashboard;
const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
const rules = textOf('deploy/prometheus/alerts.yml');
/** `expr:` on its line, or a block below it that is indented further. */
const alertExpressions = [...rules.matchAll(/^ {8}expr: (?:\|\n((?: {10}.*\n)+)|(.+)\n)/gm)].map(
  ([, block = '', line = '']) => block + line,
);

describe('the metrics', () => {
  it('are named as Prometheus wants it, and explained', () => {
    for (const { name, kind, help } of known.values()) {
      expect(name).toMatch(/^glasscast_[a-z][a-z0-9_]*[a-z0-9]$/);
      expect(help.length, name).toBeGreaterThan(10);
      if (kind === 'counter') expect(name).toMatch(/_total$/);
      if (kind === 'histogram') expect(name).toMatch(/_seconds$/);
    }
  });

  it('have no label that could name somebody', () => {
    const labels = new Set([...known.values()].flatMap((about) => about.labels));
    expect([...labels].sort()).toEqual([
      ...['again', 'cause', 'close', 'code', 'direction', 'event', 'kind', 'method', 'mode', 'operation', 'origin'],
      ...['outcome', 'peer', 'route', 'stat', 'state', 'status', 'step'],
    ]);
  });

  it('are told in the text format, all of them once they have a value', async () => {
    const fresh = relayMetrics();
    const series = seriesOf(await fresh.text());
    const gauges = [...known.values()].filter(({ kind }) => kind === 'gauge').map(({ name }) => name);
    const told = new Set([...series.keys()].map((key) => key.split('{')[0]));
    fresh.close();
    // Where the system does not tell of descriptors there is no value.
    expect(gauges.filter((name) => !told.has(name) && name !== 'glasscast_process_open_descriptors')).toEqual([]);
  });

  it('stand in the page for operators, each with its labels', () => {
    const rows = [...known.values()].map(({ name, kind, labels, help }) => {
      const with_ = labels.map((label) => `\`${label}\``).join(', ');
      return `| \`${name}\` | ${kind} | ${with_} | ${help} |`;
    });
    const written = textOf('cloud/OPERATIONS.md')
      .split('\n')
      .filter((line) => line.startsWith('| `glasscast_'));
    expect(written).toEqual(rows);
  });
});

describe('the dashboard', () => {
  it('asks only for metrics and labels that exist', () => {
    expect(expressions.length).toBeGreaterThan(30);
    expect(expressions.flatMap(mentions).flatMap(wrong)).toEqual([]);
  });

  it('shows every metric', () => {
    const shown = new Set(
      expressions.flatMap(mentions).map(({ name }) => (known.has(name) ? name : name.replace(SUFFIX, ''))),
    );
    expect([...known.keys()].filter((name) => !shown.has(name))).toEqual([]);
  });

  it('can be imported anywhere: one variable for the data source, panels that do not overlap', () => {
    expect(dashboard).toMatchObject({ uid: 'glasscast', title: 'Glasscast', schemaVersion: 39 });
    const variables = dashboard.templating.list.map(({ name, type }) => [name, type]);
    expect(variables).toEqual([
      ['datasource', 'datasource'],
      ['instance', 'query'],
    ]);
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const taken = new Set<string>();
    for (const { title, type, gridPos, datasource, targets = [] } of dashboard.panels) {
      expect(title).not.toBe('');
      if (type === 'row') continue;
      expect(datasource?.uid, title).toBe('$' + '{datasource}');
      expect(targets.length, title).toBeGreaterThan(0);
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(taken.has(`${x} ${y}`), title).toBe(false);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });
});

describe('the alerts', () => {
  it('ask only for metrics and labels that exist, and say what is wrong', () => {
    const names = [...rules.matchAll(/^ {6}- alert: (\w+)$/gm)];
    expect(names.length).toBeGreaterThan(10);
    expect(alertExpressions.length).toBe(names.length);
    expect([...rules.matchAll(/^ {10}summary: /gm)].length).toBe(names.length);
    expect(alertExpressions.flatMap(mentions).flatMap(wrong)).toEqual([]);
  });

  it('and the scrape stand on settings that exist', () => {
    expect(textOf('deploy/prometheus/scrape.yml')).toContain('GLASSCAST_METRICS_TOKEN');
  });
});
