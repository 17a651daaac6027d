/** The two servers that the benchmarks of many sockets put side by side, each as a process: the relay and bare `ws`. */
import { join } from 'node:path';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { FleetRelay } from '../fleet/fleet.ts';
import { countsIn } from '../fleet/fleet-report.ts';
import { createFleetTokens } from '../fleet/fleet-tokens.ts';
import type { BareWsReady } from './bare-ws-program.ts';
import type { Bench } from './program.ts';
import { startRelayProcess } from './relay-process.ts';
import { plainEnv, plainNodeArgs, startStreamProcess } from './stream-process.ts';

export interface FleetPeer {
  pid: number;
  relay: FleetRelay;
  /** Keep-alives whose answer did not come in time, as this server counts; undefined: it does not. */
  acksMissed(): Promise<number | undefined>;
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 20_000;
/** An app that is away for as long as a bench lasts keeps its stream. */
const APP_GRACE_MS = 3_600_000;

export async function startRelayPeer(bench: Bench): Promise<FleetPeer> {
  const stream = await startStreamProcess(bench, { dataDir: join(bench.folder, 'stream') });
  const secret = new Secret(crypto.randomUUID());
  const relay = await startRelayProcess(bench, stream, join(bench.folder, 'relay'), {
    coreTokenSecret: secret,
    appGraceMs: APP_GRACE_MS,
  });
  const url = relay.url.replace('http', 'ws');
  return {
    pid: relay.pid,
    relay: {
      glassesUrl: `${url}/glasses-ws`,
      tokenOf: createFleetTokens({ clock: bench.clock, secret }),
      registerApp: relay.registerApp,
    },
    async acksMissed() {
      const metrics = await relay.metrics();
      return metrics === undefined ? undefined : countsIn(metrics)?.acksMissed;
    },
    async stop() {
      await relay.stop();
      await stream.stop();
    },
  };
}

export async function startBareWs(bench: Bench): Promise<FleetPeer> {
  let onReady: (ready: BareWsReady) => void = () => {};
  const ready = new Promise<BareWsReady>((resolve) => {
    onReady = resolve;
  });
  const child = bench.spawn({
    name: 'bare-ws',
    file: process.execPath,
    args: plainNodeArgs('scripts/bench/bare-ws-program.ts'),
    env: plainEnv(),
    ipc: true,
    onMessage: (message) => onReady(message as BareWsReady),
    onStderrLine: bench.note,
  });
  const silent = () => new GlasscastError('CHILD_START_FAILED', { reason: 'bare ws did not become ready' });
  const died = child.exited.then((): never => {
    throw silent();
  });
  died.catch(() => {});
  const { port } = await withTimeout(bench.clock, 'bare-ws', START_TIMEOUT_MS, Promise.race([ready, died]), silent);
  const url = `ws://127.0.0.1:${port}`;
  return {
    pid: child.pid ?? 0,
    // It takes any token; the user's name is one that it can find the app by.
    relay: { glassesUrl: `${url}/glasses-ws`, appUrl: `${url}/app-ws`, tokenOf: (userId) => userId },
    acksMissed: async () => undefined,
    async stop() {
      await child.stop();
    },
  };
}
