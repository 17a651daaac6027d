/**
 * Counters, histograms and gauges of one relay, in a registry of their own. Every label has a bounded set of values: what
 * is none of them is told as `other`, so that no name, id or address ever becomes a series. The only place that knows
 * prom-client. Counting is one addition: the registry reads the sums when it is asked for its text.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Its values; a number: whatever comes, as long as it is one of the first so many (routes, which are known late). */
type Bound = readonly string[] | number;
type Labels<Name extends string> = Readonly<Record<Name, Bound>>;
type Values<Name extends string> = Readonly<Record<Name, string>>;

/** How often something has happened. */
export interface Tally {
  add(by?: number): void;
}

export interface Spread {
  /** In the unit that the metric's name ends in. */
  observe(value: number): void;
}

export interface Reading<Name extends string> {
  labels: Values<Name>;
  value: number;
}

export interface MetricAbout {
  name: string;
  kind: 'counter' | 'histogram' | 'gauge';
  help: string;
  labels: readonly string[];
}

export interface Meters {
  /** The answer gives the sum of those labels: kept by who counts often. */
  counter<Name extends string>(name: string, help: string, labels: Labels<Name>): (values: Values<Name>) => Tally;
  histogram<Name extends string>(
    name: string,
    help: string,
    labels: Labels<Name>,
    buckets: readonly number[],
  ): (values: Values<Name>) => Spread;
  /** @param read when the text is asked for; undefined, or what it throws, leaves the metric without a value. */
  gauge<Name extends string>(
    name: string,
    help: string,
    labels: Labels<Name>,
    read: () => number | readonly Reading<Name>[] | undefined,
  ): void;
  /** Prometheus' text format 0.0.4. */
  text(): Promise<string>;
  readonly contentType: string;
  /** All of them, for the page of operators. */
  about(): readonly MetricAbout[];
}

export const OTHER = 'other';

export function createMeters(): Meters {
  const registry = new Registry();
  const about: MetricAbout[] = [];

  function note(kind: MetricAbout['kind'], name: string, help: string, labels: Labels<string>) {
    const labelNames = Object.keys(labels);
    about.push({ name, kind, help, labels: labelNames });
    return { name, help, labelNames, registers: [registry] };
  }

  return {
    counter(name, help, labels) {
      const sums = new Map<string, { values: Values<string>; sum: number; add(by?: number): void }>();
      const bound = boundTo(labels);
      new Counter({
        ...note('counter', name, help, labels),
        collect() {
          this.reset();
          for (const { values, sum } of sums.values()) this.inc(values, sum);
        },
      });
      return (given) => {
        const values = bound(given);
        const key = Object.values(values).join('\n');
        const known = sums.get(key);
        if (known) return known;
        const made = {
          values,
          sum: 0,
          add(by = 1) {
            made.sum += by;
          },
        };
        sums.set(key, made);
        return made;
      };
    },
    histogram(name, help, labels, buckets) {
      const bound = boundTo(labels);
      const histogram = new Histogram({ ...note('histogram', name, help, labels), buckets: [...buckets] });
      return (given) => histogram.labels(bound(given));
    },
    gauge(name, help, labels, read) {
      const bound = boundTo(labels);
      new Gauge({
        ...note('gauge', name, help, labels),
        collect() {
          this.reset();
          const found = readingsOf(read);
          for (const { labels: given, value } of found) this.set(bound(given), value);
          // Without labels a reset leaves a 0, which nobody has measured.
          if (found.length === 0 && Object.keys(labels).length === 0) this.remove();
        },
      });
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
    about: () => about,
  };
}

function readingsOf<Name extends string>(
  read: () => number | readonly Reading<Name>[] | undefined,
): readonly Reading<Name>[] {
  try {
    const found = read();
    if (found === undefined) return [];
    return typeof found === 'number' ? [{ labels: {} as Values<Name>, value: found }] : found;
  } catch {
    return [];
  }
}

function boundTo<Name extends string>(labels: Labels<Name>): (given: Values<Name>) => Values<Name> {
  const names = Object.keys(labels) as Name[];
  const seen = new Map<Name, Set<string>>(
    names.map((name) => {
      const bound: Bound = labels[name];
      return [name, new Set(typeof bound === 'number' ? [] : bound)];
    }),
  );
  function fit(name: Name, value: string): string {
    const known = seen.get(name);
    if (known?.has(value)) return value;
    const bound: Bound = labels[name];
    if (typeof bound !== 'number' || !known || known.size >= bound) return OTHER;
    known.add(value);
    return value;
  }
  return (given) => Object.fromEntries(names.map((name) => [name, fit(name, String(given[name]))])) as Values<Name>;
}
