/** Reads Prometheus' text format, strictly: what does not parse fails the test. */

const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[0-9.eE+-]+|NaN|\+Inf|-Inf)$/;

/** By name with its labels, as written. @throws on a line that is none of the format's. */
export function seriesOf(text: string): Map<string, number> {
  const series = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || /^# (HELP|TYPE) [a-zA-Z_:]/.test(line)) continue;
    const [, name, labels = '', value] = SAMPLE.exec(line) ?? [];
    if (name === undefined) throw new Error(`not a line of the text format: ${line}`);
    if (series.has(name + labels)) throw new Error(`twice: ${name}${labels}`);
    series.set(name + labels, value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value));
  }
  return series;
}

/** The sum of those whose name is this and whose labels hold these. */
export function sumOf(series: Map<string, number>, name: string, labels: Record<string, string> = {}): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return [...series]
    .filter(([key]) => key.split('{')[0] === name && wanted.every((part) => key.includes(part)))
    .reduce((sum, [, value]) => sum + value, 0);
}
