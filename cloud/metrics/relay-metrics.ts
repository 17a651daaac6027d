/**
 * The metrics of one relay: what they are called, what they mean, and what moves them. Watches the relay's parts from
 * outside and decides nothing. No label ever holds a user, a stream, an app or an address.
 */
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, errorKinds } from '../../shared/errors.ts';
import { streamStates } from '../../shared/stream.ts';
import type { LoopWatch } from '../health/loop-watch.ts';
import { addClusterMetrics, type ClusterReadings } from './cluster-metrics.ts';
import { createMeters, type Meters, type MetricAbout } from './meters.ts';
import {
  type CallEnd,
  providerOperations,
  type StoreKind,
  type StoreOperation,
  storeKinds,
  storeOperations,
  webhookOperations,
  webhookOutcomes,
} from './observed-parts.ts';
import { addProcessMetrics } from './process-metrics.ts';
import { addSocketMetrics, type SocketMeters } from './socket-metrics.ts';
import {
  interruptionCauses,
  type StreamWatch,
  type StreamWitness,
  startSteps,
  streamOutcomes,
} from './stream-watch.ts';

/** How many are there now. */
export interface Presence {
  connected: number;
  away: number;
}

export interface RelayReadings {
  sessions: () => Presence;
  apps: () => Presence;
  streams: () => ReturnType<StreamWatch['states']>;
  /** As `ProviderHealth.state`. */
  provider: () => string;
  isReady: () => Promise<boolean>;
  cluster?: ClusterReadings | undefined;
}

export interface RelayMetrics {
  text(): Promise<string>;
  readonly contentType: string;
  about(): readonly MetricAbout[];
  readonly streams: StreamWitness;
  readonly sockets: SocketMeters;
  glassesCame(isReturn: boolean): void;
  storeCall(kind: StoreKind, operation: StoreOperation, end: CallEnd): void;
  providerCall(operation: string, end: CallEnd): void;
  webhookCall(
    operation: (typeof webhookOperations)[number],
    ms: number,
    outcome: (typeof webhookOutcomes)[number],
  ): void;
  playbackProof(outcome: 'proven' | 'given_up', ms: number | undefined): void;
  /** @param route its pattern. */
  request(about: { method: string; route: string; status: number; ms: number }): void;
  close(): void;
}

const codes = [...Object.keys(errorKinds), 'none'];
const kinds = ['managed', 'unmanaged'] as const;
const codeOf = (code: ErrorCode | undefined) => code ?? 'none';

const STEP_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30];
const CALL_BUCKETS = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 90];
const STORE_BUCKETS = [0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2];
const OUTAGE_BUCKETS = [0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 120];
const PRESENCE = ['connected', 'away'] as const;
/** More routes than there are, and a bound for what has none. */
const MAX_ROUTES = 200;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

export function createRelayMetrics(options: {
  clock: Pick<Clock, 'monotonicMs'>;
  loop: Pick<LoopWatch, 'lag' | 'worstMs'>;
  readings: RelayReadings;
}): RelayMetrics {
  const meters = createMeters();
  const { clock, loop, readings } = options;
  addPresence(meters, readings);
  const stopLooking = addProcessMetrics(meters, loop);
  const sockets = addSocketMetrics(meters, clock);
  if (readings.cluster) addClusterMetrics(meters, readings.cluster);
  const arrivals = meters.counter(
    'glasscast_glasses_connects_total',
    'Glasses that connected, for the first time or again',
    {
      again: ['yes', 'no'],
    },
  );
  let ready: number | undefined;
  meters.gauge('glasscast_ready', '1 when the relay may take new work, as /readyz says', {}, () => ready);
  return {
    async text() {
      ready = Number(await readings.isReady());
      return meters.text();
    },
    contentType: meters.contentType,
    about: meters.about,
    streams: streamMetrics(meters),
    sockets,
    glassesCame: (isReturn) => arrivals({ again: isReturn ? 'yes' : 'no' }).add(),
    ...callMetrics(meters),
    close: stopLooking,
  };
}

function addPresence(meters: Meters, { sessions, apps, streams, provider }: RelayReadings): void {
  const presence = (read: () => Presence) => () => {
    const found = read();
    return PRESENCE.map((state) => ({ labels: { state }, value: found[state] }));
  };
  meters.gauge(
    'glasscast_sessions',
    'Users with a session, by whether their glasses are connected',
    { state: PRESENCE },
    presence(sessions),
  );
  meters.gauge(
    'glasscast_apps',
    'Sessions of apps, by whether their sockets are connected',
    { state: PRESENCE },
    presence(apps),
  );
  meters.gauge('glasscast_streams', 'Streams that are not over, by state', { kind: kinds, state: streamStates }, () => {
    const now = streams();
    return kinds.flatMap((kind) =>
      streamStates.map((state) => ({
        labels: { kind, state },
        value: now.filter((stream) => stream.kind === kind && stream.state === state).length,
      })),
    );
  });
  meters.gauge(
    'glasscast_provider_state',
    'The provider as the relay knows it: 1 for the state it is in',
    { state: ['unknown', 'ok', ...codes] },
    () => [{ labels: { state: provider() }, value: 1 }],
  );
}

function streamMetrics(meters: Meters): StreamWitness {
  const steps = meters.histogram(
    'glasscast_stream_start_step_seconds',
    'Each step of a start: live input made, START sent, glasses publish, first picture proven',
    { kind: kinds, step: startSteps },
    STEP_BUCKETS,
  );
  const starts = meters.histogram(
    'glasscast_stream_start_seconds',
    'From the request to the first proven picture',
    { kind: kinds },
    STEP_BUCKETS,
  );
  const begun = meters.counter('glasscast_streams_begun_total', 'Streams that were asked for, or taken over', {
    ...{ kind: kinds, origin: ['asked', 'taken_over'] },
  });
  const moved = meters.counter(
    'glasscast_streams_moved_total',
    'Streams that another relay of the cluster goes on with',
    {
      kind: kinds,
    },
  );
  const ended = meters.counter('glasscast_streams_ended_total', 'Streams that are over, by how they ended', {
    ...{ kind: kinds, outcome: streamOutcomes, code: codes },
  });
  const interruptions = meters.counter(
    'glasscast_stream_interruptions_total',
    'Pictures that were lost: stalls, and reconnects of the glasses',
    {
      ...{ kind: kinds, cause: interruptionCauses },
    },
  );
  const outages = meters.histogram(
    'glasscast_stream_outage_seconds',
    'How long a picture was lost that came back',
    { kind: kinds },
    OUTAGE_BUCKETS,
  );
  return {
    began: ({ kind }, isTakenUp) => begun({ kind, origin: isTakenUp ? 'taken_over' : 'asked' }).add(),
    reached({ kind }, step, { fromMs, untilMs }) {
      steps({ kind, step }).observe((untilMs - fromMs) / 1000);
      if (step === 'first_picture') starts({ kind }).observe(untilMs / 1000);
    },
    interrupted: ({ kind }, cause) => interruptions({ kind, cause }).add(),
    restored: ({ kind }, afterMs) => outages({ kind }).observe(afterMs / 1000),
    moved: ({ kind }) => moved({ kind }).add(),
    ended: ({ kind }, outcome, code) => ended({ kind, outcome, code: codeOf(code) }).add(),
  };
}

function callMetrics(
  meters: Meters,
): Pick<RelayMetrics, 'storeCall' | 'providerCall' | 'webhookCall' | 'playbackProof' | 'request'> {
  const store = meters.histogram(
    'glasscast_store_call_seconds',
    'Calls of the store',
    { kind: storeKinds, operation: storeOperations },
    STORE_BUCKETS,
  );
  const storeFailures = meters.counter('glasscast_store_failures_total', 'Calls of the store that failed', {
    ...{ kind: storeKinds, operation: storeOperations, code: codes },
  });
  const provider = meters.histogram(
    'glasscast_provider_call_seconds',
    "Calls of the provider's API, with their repetitions",
    { operation: providerOperations },
    CALL_BUCKETS,
  );
  const providerEnds = meters.counter(
    'glasscast_provider_calls_total',
    "Calls of the provider's API by how they ended",
    {
      ...{ operation: providerOperations, code: codes },
    },
  );
  const webhooks = meters.counter('glasscast_webhooks_total', 'Calls to the servers of apps', {
    ...{ operation: webhookOperations, outcome: webhookOutcomes },
  });
  const webhookSeconds = meters.histogram(
    'glasscast_webhook_seconds',
    'How long servers of apps took; the answer to a start waits for what the app does first',
    { operation: webhookOperations },
    CALL_BUCKETS,
  );
  const proofs = meters.counter(
    'glasscast_playback_proofs_total',
    'Whether a picture that was expected was seen at the delivery host',
    {
      ...{ outcome: ['proven', 'given_up'] },
    },
  );
  const proofSeconds = meters.histogram(
    'glasscast_playback_proof_seconds',
    'From the moment when media was expected to the proof',
    {},
    STEP_BUCKETS,
  );
  const requests = meters.histogram(
    'glasscast_http_request_seconds',
    'HTTP requests by the pattern of their route',
    { route: MAX_ROUTES, method: METHODS, status: ['2xx', '3xx', '4xx', '5xx'] },
    CALL_BUCKETS,
  );
  return {
    storeCall(kind, operation, { ms, code }) {
      store({ kind, operation }).observe(ms / 1000);
      if (code !== undefined) storeFailures({ kind, operation, code }).add();
    },
    providerCall(operation, { ms, code }) {
      provider({ operation }).observe(ms / 1000);
      providerEnds({ operation, code: codeOf(code) }).add();
    },
    webhookCall(operation, ms, outcome) {
      webhooks({ operation, outcome }).add();
      webhookSeconds({ operation }).observe(ms / 1000);
    },
    playbackProof(outcome, ms) {
      proofs({ outcome }).add();
      if (outcome === 'proven' && ms !== undefined) proofSeconds({}).observe(ms / 1000);
    },
    request: ({ method, route, status, ms }) =>
      requests({ route, method, status: `${Math.floor(status / 100)}xx` }).observe(ms / 1000),
  };
}
