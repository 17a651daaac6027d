/**
 * The soak itself: cycles of coming and going, a storm of faults, calm, and quiet, until the time is over. Owns what was seen
 * and what was broken; the parts, the faults and the questions are others'.
 */
import { createRandom } from '../../device/simulator/timeline.ts';
import { errorText } from '../../shared/errors.ts';
import { descriptorsOf } from '../bench/process-use.ts';
import type { Bench } from '../bench/program.ts';
import { type ProcessSample, sampleOf } from './account.ts';
import { type ChurnCounts, churn, noChurn, smallStream } from './churn.ts';
import type { Collector } from './collector.ts';
import { type Crowd, type CrowdCounts, createCrowd } from './crowd.ts';
import type { Family } from './family.ts';
import { inject } from './injection.ts';
import {
  appThere,
  type Complaints,
  eventually,
  explained,
  glassesBack,
  inputsKnown,
  isLive,
  mustAskAgain,
  noOrphans,
  nothingRuns,
  oneStreamEach,
  quiet,
  truth,
} from './invariants.ts';
import { type FaultName, faultNames, mayRestartAt, pick, planStorm } from './plan.ts';
import type { SoakLogs } from './soak-logs.ts';
import type { SoakWorld } from './soak-world.ts';

export interface SoakLengths {
  churnMs: number;
  stormMs: number;
  /** With nobody there, before memory is looked at: the collector takes what is over. */
  idleMs: number;
  faults: number;
  /** Memory is: garbage is collected first. */
  isMeasured: boolean;
}

export const longCycle: SoakLengths = { churnMs: 6_000, stormMs: 20_000, idleMs: 8_000, faults: 5, isMeasured: true };
/** Each fault once, then over. */
export const shortCycle: SoakLengths = {
  ...{ churnMs: 4_000, stormMs: 36_000, idleMs: 2_000, faults: faultNames.length, isMeasured: false },
};

export interface Broken {
  invariant: string;
  words: string;
  /** From the begin of the soak. */
  atMs: number;
  cycle: number;
  phase: string;
  /** The last ones before it. */
  faults: string[];
}

export interface SoakFindings {
  broken: Broken[];
  cycles: number;
  faults: Partial<Record<FaultName, number>>;
  churn: ChurnCounts;
  /** Of streams asked for in calm. */
  startMs: number[];
  /** Of each node. */
  relays: ProcessSample[][];
  localStream: ProcessSample[];
  /** Streams without media, beside those that are watched over. */
  crowd: CrowdCounts;
  /** The same of each filling, before memory is measured. */
  filled: CrowdCounts[];
  /** Times that something was asked and held. */
  checks: number;
}

export const noFindings = (): SoakFindings => ({
  ...{
    broken: [],
    cycles: 0,
    faults: {},
    churn: noChurn(),
    startMs: [],
    relays: [],
    localStream: [],
    crowd: { ...noCrowd },
    filled: [],
    checks: 0,
  },
});

/** The relay's own, and a little for the way. */
const LIVE_WITHIN_MS = 25_500;
const BACK_WITHIN_MS = 45_000;
const TRUE_WITHIN_MS = 8_000;
const CLEAN_WITHIN_MS = 60_000;
const KEPT_FAULTS = 8;
const BELIEVED_MS = 1_000;
const PROGRESS_MS = 10_000;
/** Beside the users with agents. */
const CROWD_PEOPLE = 4;
/**
 * The relay remembers 500 streams that have ended (story-archive.ts), and 50 of them whole; then V8 compiles what is often
 * called: in a row of such crowds its heap grew by 0.6, 0.4, 0.3 and 0.1 MB for 3,000 streams each, and less from there on.
 */
export const FILL_STREAMS = 10_000;
const FILL_PEOPLE = 60;
/** A machine that is too slow for all of them measures what it has. */
const FILL_WITHIN_MS = 180_000;
const noCrowd: CrowdCounts = { streams: 0, refused: 0 };
/** The local Stream remembers an input for two minutes after its publisher has gone (ingest/inputs.ts). */
const SETTLING_MS = 180_000;
/**
 * HTTP servers keep a connection for the next request for 72 s (Fastify's default), and say so to the other end: how many there
 * are tells how much happened last.
 */
const IDLE_CONNECTIONS_MS = 80_000;
const COUNT_EVERY_MS = 600_000;
/** One and the same that stays wrong is said once a cycle, and no more than so many in all. */
const MAX_BROKEN = 100;

export interface SoakRunOptions {
  bench: Bench;
  world: SoakWorld;
  logs: SoakLogs;
  family: Family;
  collector: Collector;
  findings: SoakFindings;
  seed: number;
  /** The cycle that runs then is finished; 0: one. */
  totalMs: number;
  lengths: SoakLengths;
}

export interface SoakRun {
  /** Resolves at the end of the time; rejects when interrupted. */
  run(): Promise<void>;
  /** When all parts are closed: that nothing of them runs. */
  over(): Promise<void>;
  /** Something that must not be was seen by another. */
  report(invariant: string, words: string): void;
}

export function createSoakRun(options: SoakRunOptions): SoakRun {
  const { bench, world, logs, family, collector, findings, seed, totalMs, lengths } = options;
  const { clock, signal } = bench;
  const beganMs = clock.monotonicMs();
  const now = { cycle: 0, phase: 'begin', faults: [] as string[] };
  const sinceMs = () => clock.monotonicMs() - beganMs;
  const crowds: Crowd[] = world.nodes.map(() => createCrowd({ bench, apps: world.apps }));
  /** By pid, when what the process keeps up to a bound was full. */
  const filledMs = new Map<number | undefined, number>();
  let countedMs = Number.NEGATIVE_INFINITY;

  function report(invariant: string, words: string): void {
    const { cycle, phase } = now;
    const isSaid = findings.broken.some(
      (one) => one.invariant === invariant && one.words === words && one.cycle === cycle,
    );
    if (isSaid || findings.broken.length >= MAX_BROKEN) return;
    findings.broken.push({ invariant, words, atMs: Math.round(sinceMs()), cycle, phase, faults: [...now.faults] });
    logs.note(`BROKEN ${invariant}: ${words}`);
    bench.progress(`${place()}: BROKEN: ${invariant}: ${words}`);
  }
  const place = () => `${Math.floor(sinceMs() / 60_000)}:${String(Math.floor(sinceMs() / 1000) % 60).padStart(2, '0')}`;
  async function hold(invariant: string, withinMs: number, ask: () => Promise<Complaints> | Complaints): Promise<void> {
    const complaints = await eventually(clock, { ms: withinMs, signal }, ask);
    if (complaints.length === 0) findings.checks += 1;
    for (const words of complaints) report(invariant, words);
  }
  function enter(phase: string): void {
    now.phase = phase;
    logs.note(`cycle ${now.cycle}: ${phase}`);
  }

  /** What must hold at any moment at which the relay can be asked. */
  async function look(): Promise<void> {
    const wasDown = world.isNodeDown;
    try {
      for (const words of oneStreamEach(await world.streams())) report('one stream per user', words);
      findings.checks += 1;
    } catch (error) {
      // Away when it was asked, or while it was.
      if (!wasDown && !world.isNodeDown && !signal.aborted) report('the relay answers', errorText(error));
    }
  }

  async function storm(): Promise<void> {
    enter('storm');
    const { faults, stormMs: lengthMs } = lengths;
    const mayRestart = mayRestartAt(sinceMs(), totalMs);
    const hasRedis = world.killRedis !== undefined;
    const plan = planStorm({ seed, cycle: now.cycle, faults, lengthMs, mayRestart, hasRedis });
    const stormBeganMs = clock.monotonicMs();
    const under = plan.map(async (fault) => {
      await clock.sleep(fault.atMs, { signal });
      now.faults = [...now.faults, `${place()} ${fault.name}`].slice(-KEPT_FAULTS);
      findings.faults[fault.name] = (findings.faults[fault.name] ?? 0) + 1;
      logs.note(`fault ${JSON.stringify(fault)}`);
      try {
        await inject(bench, world, fault);
      } finally {
        logs.note(`fault ${fault.name} is over`);
      }
    });
    const ended = await Promise.allSettled(under);
    for (const one of ended)
      if (one.status === 'rejected' && !signal.aborted) report('a part comes back', errorText(one.reason));
    await clock.sleep(Math.max(0, stormBeganMs + lengthMs - clock.monotonicMs()), { signal });
    await world.stream.faultsOff();
  }

  /** Users with agents come and go meanwhile. */
  async function withChurn(during: () => Promise<void>): Promise<void> {
    const leave = new AbortController();
    const people = world.glasses.map(({ userId }, index) =>
      churn({
        ...{ bench, world, userId, counts: findings.churn },
        draw: { seed, index: 2_000_000 + now.cycle * 1_000 + index },
        signal: AbortSignal.any([signal, leave.signal]),
      }),
    );
    try {
      await during();
    } finally {
      leave.abort();
      await Promise.all(people);
    }
  }

  async function withCrowd(during: () => Promise<void>): Promise<void> {
    const leave = new AbortController();
    const endless = { people: CROWD_PEOPLE, streams: Number.POSITIVE_INFINITY, until: leave.signal };
    const quick = crowds[0]?.come({ ...endless, relay: () => world.relay }) ?? noCrowd;
    try {
      await during();
    } finally {
      leave.abort();
      const { streams, refused } = await quick;
      findings.crowd.streams += streams;
      findings.crowd.refused += refused;
    }
  }

  async function serve(userId: string, random: () => number): Promise<void> {
    const app = pick(world.apps, random());
    if (!app) return;
    await hold('an app that is started is in session', BACK_WITHIN_MS, () => appThere(world, app, userId));
    let askedMs = app.watch(userId, smallStream);
    await hold('a stream that is asked for in calm is live in time', LIVE_WITHIN_MS, () => {
      // A timer of the SDK from before would have ended this request unheard; the relay says so, and to ask again.
      if (mustAskAgain(app, userId, askedMs)) askedMs = app.watch(userId, smallStream);
      return isLive(app, userId, askedMs)
        ? []
        : [`${app.packageName} of ${userId} asked, and heard ${heard(app, userId)}`];
    });
    if (app.session(userId)?.last?.status === 'active') findings.startMs.push(clock.monotonicMs() - askedMs);
  }
  const heard = (app: SoakWorld['apps'][number], userId: string) => app.session(userId)?.last?.status ?? 'nothing';

  /** Once in the life of each process whose memory is measured: when none is restarted any more. */
  async function fill(): Promise<void> {
    const pids = [world.stream.pid, ...world.nodes.map(({ pid }) => pid)];
    if (!lengths.isMeasured || mayRestartAt(sinceMs(), totalMs) || pids.every((pid) => filledMs.has(pid))) return;
    enter('filling');
    const late = new AbortController();
    const timer = clock.after('soak-filling', FILL_WITHIN_MS, () => late.abort());
    const all = { people: FILL_PEOPLE, streams: FILL_STREAMS, until: late.signal };
    const come = world.nodes.map((node, index) => () => crowds[index]?.come({ ...all, relay: () => node }) ?? noCrowd);
    await withChurn(async () => {
      findings.filled = [...findings.filled, ...(await Promise.all(come.map((comes) => comes())))];
    });
    timer.cancel();
    await everybodyLeaves();
    for (const pid of pids) filledMs.set(pid, sinceMs());
  }

  async function calm(): Promise<void> {
    enter('calm');
    const random = createRandom(seed, 3_000_000 + now.cycle);
    // What the relay was told a moment ago of its provider it believes for a second.
    await clock.sleep(BELIEVED_MS, { signal });
    await hold('glasses come back', BACK_WITHIN_MS, () => glassesBack(world));
    await hold('no process outlives its parent', TRUE_WITHIN_MS, () => noOrphans(family));
    await Promise.all(world.glasses.map(({ userId }) => serve(userId, random)));
    await hold('apps hear the truth', TRUE_WITHIN_MS, () => truth(world));
    await hold('every stream is explained', TRUE_WITHIN_MS, () => explained(world));
    await hold('no live input without a stream', CLEAN_WITHIN_MS, () => inputsKnown(world));
  }

  async function everybodyLeaves(): Promise<void> {
    for (const app of world.apps) for (const { userId } of app.sessions()) app.unwatch(userId);
    for (const { userId } of world.glasses) await world.relay.ask('DELETE', `/api/users/${userId}/managed-stream`);
    await hold('nothing is left when everybody has gone', CLEAN_WITHIN_MS, () => quiet(world));
  }

  async function idle(): Promise<void> {
    enter('quiet');
    await everybodyLeaves();
    await hold('apps hear the truth', TRUE_WITHIN_MS, () => truth(world));
    await clock.sleep(lengths.idleMs, { signal });
    const relays = world.nodes.map(({ pid }, index) => {
      findings.relays[index] ??= [];
      return sample(findings.relays[index], `relay-${index + 1}`, pid);
    });
    await Promise.all([...relays, sample(findings.localStream, 'local-stream', world.stream.pid)]);
    await countHeld();
  }

  /** In the first quiet in which all are warm, each ten minutes, and in the last: all glasses and apps are there, and nothing else. */
  async function countHeld(): Promise<void> {
    const newest = [...findings.relays, findings.localStream].flatMap((samples) => samples.at(-1) ?? []);
    const isLast = sinceMs() + IDLE_CONNECTIONS_MS >= totalMs;
    const isDue = isLast || sinceMs() - countedMs >= COUNT_EVERY_MS;
    if (!isDue || !newest.every(({ isWarm }) => isWarm)) return;
    enter('counting');
    countedMs = sinceMs();
    const everyApp = world.apps.flatMap((app) => world.glasses.map(({ userId }) => ({ app, userId })));
    for (const { app, userId } of everyApp)
      await hold('an app that is started is in session', BACK_WITHIN_MS, () => appThere(world, app, userId));
    await clock.sleep(IDLE_CONNECTIONS_MS, { signal });
    for (const one of newest) one.heldDescriptors = await descriptorsOf(one.pid);
  }

  async function sample(into: ProcessSample[], part: string, pid: number | undefined): Promise<void> {
    if (pid === undefined) return;
    const isWarm = sinceMs() - (filledMs.get(pid) ?? Number.POSITIVE_INFINITY) >= SETTLING_MS;
    const collect = lengths.isMeasured ? (look: () => Promise<void>) => collector.collect(part, pid, look) : undefined;
    into.push(await sampleOf({ pid, atMs: sinceMs(), isWarm }, collect));
  }

  function progress(): void {
    const { cycles, faults, broken, checks, relays } = findings;
    const total = Object.values(faults).reduce((sum, count) => sum + count, 0);
    const newest = relays.flatMap((samples) => samples.at(-1) ?? []);
    const memory = newest
      .map(({ rssMb, descriptors }) => `, relay ${rssMb.toFixed(1)} MB, ${descriptors} fds`)
      .join('');
    const left = Math.max(0, Math.ceil((totalMs - sinceMs()) / 60_000));
    bench.progress(
      `${place()}, ${left} min left: cycle ${cycles + 1}, ${now.phase}; ${total} faults, ${checks} checks, ${broken.length} broken${memory}`,
    );
  }

  return {
    report,
    async over() {
      enter('closed');
      // Also when it was interrupted.
      const within = { ms: TRUE_WITHIN_MS, signal: new AbortController().signal };
      for (const words of await eventually(clock, within, () => nothingRuns(family)))
        report('nothing runs at the end', words);
    },
    async run() {
      const looking = clock.every('soak-look', 1_000, () => void look());
      const telling = clock.every('soak-progress', PROGRESS_MS, progress);
      try {
        await eventually(clock, { ms: BACK_WITHIN_MS, signal }, () => glassesBack(world));
        do {
          await fill();
          enter('coming and going');
          await withChurn(() =>
            withCrowd(async () => {
              await clock.sleep(lengths.churnMs, { signal });
              await storm();
            }),
          );
          await calm();
          await idle();
          findings.cycles += 1;
          now.cycle += 1;
        } while (sinceMs() < totalMs);
      } finally {
        looking.cancel();
        telling.cancel();
      }
    },
  };
}
