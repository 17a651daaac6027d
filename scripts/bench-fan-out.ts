/**
 * `npm run bench:fan-out`: a thousand statuses a second from glasses to their apps through the relay, beside a server of
 * `ws` alone that passes the same frames on. Measures only.
 */
import { type FleetPeer, startBareWs, startRelayPeer } from './bench/fleet-peers.ts';
import { goal, headline, rounded } from './bench/measuring.ts';
import { scheduledMs } from './bench/process-use.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { createFleet } from './fleet/fleet.ts';
import type { FleetFigures, Spread } from './fleet/fleet-figures.ts';

const WARM_UP_MS = 3_000;
/** For what is still on its way. */
const REST_MS = 1_000;

const method = {
  fleet: 'this process: glasses and apps on real sockets (scripts/fleet); each stream has its app connected',
  latencyMs:
    'from just before a status is encoded at the glasses to the parsed message at the app, by the one clock of this process, whose own waiting is in it',
  statuses: 'snapshots with bitrate, frame rate and duration, evenly over all streams, sent each 10 ms',
  cpuPercent: 'time of all threads of the server on a processor by the time of the window',
  bare: 'the same fleet at a server of `ws` alone: parses each frame and writes it to the socket of the user’s app; the floor',
};

interface Passed {
  sent: number;
  delivered: number;
  latencyMs: Spread | undefined;
  cpuPercent: number;
  figures: FleetFigures;
}

async function pass(bench: Bench, name: string, peer: FleetPeer): Promise<Passed> {
  const { clock, options, seconds, signal } = bench;
  const glasses = Number(options.glasses);
  const streams = Math.min(glasses, Number(options.streams));
  const fleet = await createFleet({ clock, relay: peer.relay, glasses, streams, seed: Number(options.seed) }, signal);
  bench.defer(() => fleet.close());
  await fleet.connect(Number(options.rate));
  await fleet.startStreams(Number(options['start-rate']));
  bench.progress(`${name}: ${fleet.figures().connected} glasses, ${fleet.streaming} streams`);
  fleet.flood(Number(options.statuses));
  await clock.sleep(WARM_UP_MS, { signal });
  fleet.forgetStatuses();
  const before = await scheduledMs(peer.pid);
  const beganMs = clock.monotonicMs();
  await clock.sleep(seconds * 1000, { signal });
  const windowMs = clock.monotonicMs() - beganMs;
  const cpuPercent = rounded((((await scheduledMs(peer.pid)) - before) / windowMs) * 100);
  fleet.flood(0);
  await clock.sleep(REST_MS, { signal });
  const figures = fleet.figures();
  await fleet.close();
  const { delivered, latencyMs, sent } = figures.statuses;
  bench.progress(`${name}: ${delivered} of ${sent} delivered, p99 ${latencyMs?.p99} ms, ${cpuPercent} % of a core`);
  return { sent, delivered, latencyMs, cpuPercent, figures };
}

async function measure(bench: Bench): Promise<BenchReport> {
  const barePeer = await startBareWs(bench);
  const bare = await pass(bench, 'bare ws', barePeer);
  await barePeer.stop();
  const relayPeer = await startRelayPeer(bench);
  const relay = await pass(bench, 'relay', relayPeer);
  await relayPeer.stop();
  // Those on their way when the counting began were sent before it.
  const lost = Math.max(0, relay.sent - relay.delivered);
  const late = goal('status from the glasses to the app, p99', relay.latencyMs?.p99, 25);
  return {
    headline: [headline(late, { peer: bare.latencyMs?.p99, peerName: 'bare ws' })],
    goals: [late, goal('statuses that did not arrive', lost, 0, 'statuses')],
    statusesPerSecond: Number(bench.options.statuses),
    relay,
    bare,
    method,
    broken: [
      ...(lost > 0 ? [`${lost} statuses did not arrive`] : []),
      ...(relay.figures.starts.failed > 0 ? [`${relay.figures.starts.failed} streams failed`] : []),
    ],
  };
}

await runBench({
  name: 'bench:fan-out',
  about: 'Statuses from glasses to their apps through the relay: how late each arrives, beside bare ws.',
  defaultRuns: 1,
  defaultSeconds: 30,
  options: [
    { name: 'glasses', default: '1000', help: 'simulated glasses' },
    { name: 'streams', default: '1000', help: 'of them, those that stream and tell statuses, each to its app' },
    { name: 'statuses', default: '1000', help: 'statuses each second, over all streams' },
    { name: 'rate', default: '500', help: 'new connections each second' },
    { name: 'start-rate', default: '50', help: 'new streams each second' },
    { name: 'seed', default: '1', help: 'of what is left to chance' },
  ],
  measure,
});
