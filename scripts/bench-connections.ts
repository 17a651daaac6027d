/**
 * `npm run bench:connections`: ten thousand simulated glasses with live streams on one relay, beside a bare `ws` server
 * that holds as many sockets at the same rate of messages. What the process costs; then all are cut and come back. Measures only.
 */
import { type FleetPeer, startBareWs, startRelayPeer } from './bench/fleet-peers.ts';
import { goal, headline, rounded } from './bench/measuring.ts';
import { processUse, scheduledMs } from './bench/process-use.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { createFleet, type Fleet } from './fleet/fleet.ts';
import type { FleetFigures } from './fleet/fleet-figures.ts';

const SETTLE_MS = 3_000;
const STORM_PATIENCE_MS = 60_000;

const method = {
  fleet:
    'this process: glasses that speak the protocol over real sockets (scripts/fleet), timers and backoff of the agent',
  streams: 'one for each pair of glasses, unmanaged: keep-alives each 15 s and nothing else to look at',
  apps: 'each asks for the stream over a socket of its own and is away after that, so that both servers hold one socket for each session',
  cpuPercent:
    'time of all threads of the server on a processor (/proc/PID/task/*/schedstat) by the time of the window, while nothing but keep-alives and pings goes on',
  rssKbPerSession:
    'resident memory of the server after the window less that before the first socket, by the number of sessions',
  bare: 'the same fleet at a server of `ws` alone: acknowledges, gives START, asks each 15 s, pings each 10 s, checks nothing',
  keepAlives: 'keep-alives that came and were not acknowledged, and leases of 60 s that ran out at the glasses',
  storm:
    'all sockets destroyed in the same turn; each pair comes back by the agent’s own backoff (0.25 s, 1.7-fold, jitter); until the last one is acknowledged',
};

interface Held {
  idleRssMb: number;
  rssMb: number;
  rssKbPerSession: number;
  cpuPercent: number;
  connectSeconds: number;
  startSeconds: number;
  /** Before the storm, as the server counts. */
  acksMissed: number | undefined;
  storm: { isServed: boolean; seconds: number; cpuSeconds: number; reconnectMs: FleetFigures['reconnectMs'] };
  figures: FleetFigures;
}

async function hold(bench: Bench, name: string, peer: FleetPeer): Promise<Held> {
  const { clock, options, seconds, signal } = bench;
  const glasses = Number(options.glasses);
  const idleRssMb = (await processUse(peer.pid)).rssMb;
  const fleet = await createFleet(
    { clock, relay: peer.relay, glasses, streams: glasses, appsStay: 0, seed: Number(options.seed) },
    signal,
  );
  bench.defer(() => fleet.close());
  const connectSeconds = await timed(bench, () => fleet.connect(Number(options.rate)));
  bench.progress(`${name}: ${fleet.figures().connected} connected after ${connectSeconds} s`);
  const startSeconds = await timed(bench, () => fleet.startStreams(Number(options['start-rate'])));
  bench.progress(`${name}: ${fleet.streaming} streams after ${startSeconds} s`);
  await clock.sleep(SETTLE_MS, { signal });
  const before = await scheduledMs(peer.pid);
  const windowMs = await timed(bench, () => clock.sleep(seconds * 1000, { signal }), 1);
  const cpuPercent = rounded((((await scheduledMs(peer.pid)) - before) / windowMs) * 100);
  const { rssMb } = await processUse(peer.pid);
  bench.progress(`${name}: ${cpuPercent} % of a core, ${rounded(rssMb)} MB`);
  const acksMissed = await peer.acksMissed();
  const storm = await stormed(bench, name, fleet, peer);
  const figures = fleet.figures();
  await fleet.close();
  return {
    ...{ idleRssMb: rounded(idleRssMb), rssMb: rounded(rssMb), cpuPercent, connectSeconds, startSeconds },
    rssKbPerSession: rounded(((rssMb - idleRssMb) * 1024) / glasses),
    ...{ acksMissed, storm, figures },
  };
}

async function stormed(bench: Bench, name: string, fleet: Fleet, peer: FleetPeer): Promise<Held['storm']> {
  const before = await scheduledMs(peer.pid);
  let isServed = false;
  const seconds = await timed(bench, async () => {
    fleet.cutAll();
    isServed = await fleet.allBack(STORM_PATIENCE_MS);
  });
  bench.progress(`${name}: all cut, ${isServed ? 'all back' : 'not all back'} after ${seconds} s`);
  const cpuSeconds = rounded(((await scheduledMs(peer.pid)) - before) / 1000);
  // A lease that the storm cost would run out now.
  await bench.clock.sleep(Math.min(bench.seconds, 65) * 1000, { signal: bench.signal });
  return { isServed, seconds, cpuSeconds, reconnectMs: fleet.figures().reconnectMs };
}

async function timed(bench: Bench, work: () => Promise<void>, unitMs = 1000): Promise<number> {
  const beganMs = bench.clock.monotonicMs();
  await work();
  return rounded((bench.clock.monotonicMs() - beganMs) / unitMs);
}

/** What was promised whatever the machine. */
function broken(relay: Held, glasses: number): string[] {
  const { figures, storm } = relay;
  const { received, acked, leasesMissed } = figures.keepAlives;
  return [
    ...(figures.starts.active < glasses ? [`${glasses - figures.starts.active} streams did not start`] : []),
    ...(storm.isServed ? [] : ['not all came back after the storm']),
    ...(leasesMissed > 0 ? [`${leasesMissed} leases missed`] : []),
    ...(relay.acksMissed ? [`${relay.acksMissed} acknowledgements came too late for the relay`] : []),
    ...(acked < received ? [`${received - acked} keep-alives not acknowledged`] : []),
    ...(figures.starts.failed > 0 ? [`${figures.starts.failed} streams failed`] : []),
  ];
}

async function measure(bench: Bench): Promise<BenchReport> {
  const glasses = Number(bench.options.glasses);
  const barePeer = await startBareWs(bench);
  const bare = await hold(bench, 'bare ws', barePeer);
  await barePeer.stop();
  const relayPeer = await startRelayPeer(bench);
  const relay = await hold(bench, 'relay', relayPeer);
  await relayPeer.stop();
  const { received, acked, leasesMissed } = relay.figures.keepAlives;
  const cpu = goal('CPU of the relay', relay.cpuPercent, 10, '% of a core');
  const beyond = relay.rssKbPerSession - bare.rssKbPerSession;
  const memory = goal('memory of a session beyond bare ws', beyond, 25, 'kB');
  const back = goal('all back after a cut of all', relay.storm.isServed ? relay.storm.seconds : undefined, 20, 's');
  return {
    headline: [
      headline(cpu, { peer: bare.cpuPercent, peerName: 'bare ws' }),
      headline(memory, { peer: bare.rssKbPerSession, peerName: 'bare ws itself' }),
      headline(back, { peer: bare.storm.seconds, peerName: 'bare ws' }),
    ],
    goals: [
      cpu,
      memory,
      goal('keep-alives without their acknowledgement', received - acked, 0, 'keep-alives'),
      ...(relay.acksMissed === undefined
        ? []
        : [goal('acknowledgements that the relay missed', relay.acksMissed, 0, 'acknowledgements')]),
      back,
      goal('leases missed', leasesMissed, 0, 'leases'),
    ],
    glasses,
    relay,
    bare,
    method,
    broken: broken(relay, glasses),
  };
}

await runBench({
  name: 'bench:connections',
  about: 'Many glasses with live streams on one relay: CPU, memory, and how soon all are back after all were cut.',
  defaultRuns: 1,
  defaultSeconds: 60,
  options: [
    { name: 'glasses', default: '10000', help: 'simulated glasses, each with a stream' },
    { name: 'rate', default: '500', help: 'new connections each second' },
    { name: 'start-rate', default: '100', help: 'new streams each second' },
    { name: 'seed', default: '1', help: 'of what is left to chance' },
  ],
  measure,
});
