/** Which benchmarks `npm run bench` runs, in this order: what each measures beside what, how long it takes, and its short form. */
export interface ListedBenchmark {
  /** Of `--only`; its program is scripts/bench-NAME.ts. */
  name: string;
  /** For --help. */
  about: string;
  /** Roughly, on two cores. */
  minutes: number;
  /** Arguments of the short form, and how long that takes. */
  quick: readonly string[];
  quickMinutes: number;
}

export const benchmarks: readonly ListedBenchmark[] = [
  {
    name: 'start',
    about: 'from an app’s request to a picture that is proven playable; beside plain ffmpeg',
    minutes: 2,
    quick: ['--runs', '2'],
    quickMinutes: 0.6,
  },
  {
    name: 'latency',
    about: 'glass to glass by every way to watch; beside nginx-rtmp and plain ffmpeg',
    minutes: 7,
    quick: ['--runs', '1', '--seconds', '5'],
    quickMinutes: 2,
  },
  {
    name: 'recovery',
    about:
      'the ingest is killed under a stream: what is lost, how soon it is back; beside plain ffmpeg under a supervisor',
    minutes: 2.5,
    quick: ['--runs', '1', '--seconds', '3'],
    quickMinutes: 0.8,
  },
  {
    name: 'uplink',
    about: 'an uplink that becomes narrow, an address that changes (needs root); beside plain ffmpeg',
    minutes: 5,
    quick: ['--only', 'squeeze', '--seconds', '5', '--watch', '20'],
    quickMinutes: 2.2,
  },
  {
    name: 'fan-out',
    about: 'one status to many apps: how late the last one hears it; beside bare ws',
    minutes: 3,
    quick: ['--seconds', '5'],
    quickMinutes: 1,
  },
  {
    name: 'connections',
    about: 'ten thousand glasses on one relay: CPU, memory, keep-alives, everybody back at once; beside bare ws',
    minutes: 8,
    quick: ['--glasses', '500', '--seconds', '10'],
    quickMinutes: 1.5,
  },
  {
    name: 'agent',
    about: 'what the agent costs while it streams; beside plain ffmpeg',
    minutes: 10,
    quick: ['--runs', '1', '--seconds', '5', '--warm-up', '40'],
    quickMinutes: 2,
  },
  {
    name: 'ingest',
    about: 'what a publisher and its viewers cost the ingest; beside nginx-rtmp and bare node-media-server',
    minutes: 19,
    quick: ['--runs', '1', '--seconds', '2'],
    quickMinutes: 3,
  },
  {
    name: 'nodes',
    about: 'a cluster under live streams: nodes and Redis killed (needs redis-server); beside one node',
    minutes: 5,
    quick: ['--streams', '4', '--seconds', '5'],
    quickMinutes: 2,
  },
];

/** Those named, in the order of the list; all when none is. @throws Error naming what is not in it */
export function chosen(only: readonly string[]): ListedBenchmark[] {
  const unknown = only.filter((name) => !benchmarks.some((one) => one.name === name));
  if (unknown.length > 0) {
    const known = benchmarks.map(({ name }) => name).join(', ');
    throw new Error(`--only: there is no benchmark ${unknown.join(', ')}; there are ${known}`);
  }
  return benchmarks.filter(({ name }) => only.length === 0 || only.includes(name));
}
