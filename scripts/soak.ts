/**
 * `npm run soak`: the whole product for minutes or hours under people who come and go and random faults, by a seed. Says what
 * did not hold, and whether memory or descriptors grow. Exit code 1 when something was broken.
 */
import { setMaxListeners } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText, GlasscastError } from '../shared/errors.ts';
import { goal, summary } from './bench/measuring.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { growthOf, MB_PER_HOUR, SPARE_DESCRIPTORS, type Trend, trendOf, trendWords } from './soak/account.ts';
import { COMPILE_ONCE, createCollector, KEEP_CODE } from './soak/collector.ts';
import { watchFamily } from './soak/family.ts';
import { createSoakLogs, type SoakLogs } from './soak/soak-logs.ts';
import {
  createSoakRun,
  FILL_STREAMS,
  longCycle,
  noFindings,
  type SoakFindings,
  type SoakRun,
  shortCycle,
} from './soak/soak-run.ts';
import { type SoakWorld, startSoakWorld } from './soak/soak-world.ts';

const method = {
  parts:
    'relay (cloud/main.ts), local Stream and agents (bundled, as flashed; 320x180, 10 a second) as processes of their own; apps by WebSocket as the SDK speaks',
  crowd:
    'beside the users with agents, people whose glasses push nothing come and go as quickly as the relay lets them; they are counted, not judged',
  cycle:
    'people come and go, then faults while they do, by the seed; then calm: what must hold is asked; then everybody leaves, and it is quiet',
  faults:
    'each kind once before one comes again; those that end relay or local Stream in the first sixth of each hour, or of the whole',
  memory:
    'RSS from /proc/PID/stat at the end of each quiet, the least seen half a second after each of four times that its inspector was asked to collect garbage (found: before that); of the process that was warm for longest; course[] has all that could be compared',
  descriptors:
    'in /proc/PID/fd, with all glasses and apps connected and 80 s after the last request, when HTTP keeps no connection any more: in the first quiet that counts, each 10 minutes, and at the end',
  warm: `after the last restart, ${FILL_STREAMS} streams without media fill what is kept up to a bound (500 stories of ended streams, 50 of them whole, caches, compiled code); counted from 3 minutes after that, which is longer than the local Stream remembers an input whose publisher has gone`,
  code: 'relay and local Stream keep compiled code and, unless --optimized, compile each function once, at its first call (V8: --no-flush-bytecode --no-opt --always-sparkplug): what grows then is data',
  malloc: 'MALLOC_ARENA_MAX=2 and MALLOC_TRIM_THRESHOLD_=131072, as the units of deploy/systemd start them',
  slope:
    'least squares over these, per hour; broken when the goal is passed by more than two standard errors and by more than two pages of V8 (256 kB each) within the time measured, so that noise is no finding',
  live: 'from the request to `active` at the app, in calm; the relay’s own deadline is 25 s',
};

/** As relay, SQLite and the system say it. */
const AWAY = {
  store: /store of the relay cannot be|STORE_UNAVAILABLE|disk is full|disk I\/O|ENOSPC/,
  node: /NODE_UNREACHABLE|relay node that has this session/,
};

/** @throws GlasscastError INVALID_CONFIG naming the option */
function numberOf(options: Bench['options'], name: string, least: number): number {
  const value = Number(options[name]);
  if (Number.isFinite(value) && value >= least) return value;
  throw new GlasscastError('INVALID_CONFIG', {
    reason: `--${name} must be a number from ${least} on, not "${options[name]}"`,
  });
}

async function measure(bench: Bench): Promise<BenchReport> {
  const { clock, options } = bench;
  const seed = numberOf(options, 'seed', 0);
  const minutes = options.hours ? numberOf(options, 'hours', 0) * 60 : numberOf(options, 'minutes', 0);
  const [users, nodes] = [numberOf(options, 'users', 1), numberOf(options, 'nodes', 1)];
  const findings = noFindings();
  const held: { report?: SoakRun['report']; world?: SoakWorld } = {};
  const logs = createSoakLogs({
    folder: join(bench.folder, 'logs'),
    nowText: () => new Date(clock.now()).toISOString(),
    isExpected: (part, line) =>
      /^relay/.test(part) &&
      (['store', 'node'] as const).some((what) => held.world?.isAway(what) && AWAY[what].test(line)),
    onTrouble: (part, line) => held.report?.('no error is logged', `${part}: ${line}`),
  });
  // Whatever waits listens there: people, faults, questions.
  setMaxListeners(0, bench.signal);
  bench.progress(`seed ${seed}, ${options.short ? 'one cycle' : `${minutes} minutes`}; Ctrl-C ends it with a report`);
  const family = watchFamily({ clock, pid: process.pid });
  bench.defer(family.close);
  const collector = createCollector({ clock });
  const world = await startSoakWorld({
    ...{
      bench,
      logs,
      collector,
      users,
      nodes,
      redisUrl: options.redis || undefined,
      v8Flags: v8FlagsOf(options),
    },
    onDeath: (words) => held.report?.('no process dies by itself', words),
  });
  held.world = world;
  const lengths = options.short ? shortCycle : longCycle;
  const totalMs = options.short ? 0 : minutes * 60_000;
  const run = createSoakRun({ bench, world, logs, family, collector, findings, seed, lengths, totalMs });
  held.report = run.report;
  try {
    await run.run();
  } catch (error) {
    // What was found until then is reported all the same.
    if (!bench.signal.aborted) run.report('the soak comes to its end', errorText(error));
  } finally {
    await world.close();
  }
  await run.over();
  family.close();
  return reportOf(bench, findings, { seed, minutes, kept: await keptLogs(bench, logs, findings, seed) });
}

/** What is not measured runs as in production. */
function v8FlagsOf({ short, optimized }: Bench['options']): string[] {
  if (short) return [];
  return optimized ? KEEP_CODE : [...KEEP_CODE, ...COMPILE_ONCE];
}

async function keptLogs(
  bench: Bench,
  logs: SoakLogs,
  findings: SoakFindings,
  seed: number,
): Promise<string | undefined> {
  await logs.close();
  if (findings.broken.length === 0 && !bench.options.logs) return undefined;
  const folder = bench.options.logs || join(tmpdir(), `glasscast-soak-${seed}-${process.pid}`);
  return logs.keep(folder);
}

function reportOf(
  bench: Bench,
  findings: SoakFindings,
  { seed, minutes, kept }: { seed: number; minutes: number; kept: string | undefined },
): BenchReport {
  const { broken, cycles, faults, churn, startMs, checks } = findings;
  const isShort = Boolean(bench.options.short);
  const relayName = (index: number) => (findings.relays.length > 1 ? `relay ${index + 1}` : 'relay');
  const trends: Record<string, Trend> = Object.fromEntries([
    ...findings.relays.map((samples, index) => [relayName(index), trendOf(samples)] as const),
    ['local Stream', trendOf(findings.localStream)],
  ]);
  const parts = isShort ? [] : Object.entries(trends);
  const grown = parts.flatMap(([name, trend]) => growthOf(trend).map((words) => `the ${name} grows: ${words}`));
  const wrong = [...broken.map(({ invariant, words }) => `${invariant}: ${words}`), ...grown];
  for (const one of broken) {
    const at = `cycle ${one.cycle}, ${one.phase}, ${Math.round(one.atMs / 1000)} s`;
    bench.progress(`seed ${seed}, ${at}: ${one.invariant}: ${one.words}; before it: ${one.faults.join(', ')}`);
  }
  if (kept) bench.progress(`logs: ${kept}`);
  const memoryWords = parts.map(([name, trend]) => `, ${name} ${trendWords(trend)}`).join('');
  bench.progress(`${cycles} cycles, ${checks} checks, ${wrong.length} broken${memoryWords}`);
  return {
    goals: [
      goal('invariants broken', broken.length, 0, 'invariants'),
      ...parts.flatMap(([name, { rssMbPerHour, descriptorGrowth }]) => [
        goal(`RSS of the ${name}, slope`, rssMbPerHour, MB_PER_HOUR, 'MB/h'),
        goal(`descriptors of the ${name}, growth`, descriptorGrowth, SPARE_DESCRIPTORS, 'descriptors'),
      ]),
    ],
    ...{ seed, minutes, cycles, checks, faults, churn, isInterrupted: bench.signal.aborted },
    streamsInCalm: summary(startMs),
    ...{ found: broken, crowd: findings.crowd, filled: findings.filled, memory: trends },
    ...(kept ? { logs: kept } : {}),
    broken: wrong,
    method,
  };
}

// Several processes open theirs: each takes a free port.
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --inspect-port=0`.trim();

// As deploy/systemd starts relay and local Stream.
process.env.MALLOC_ARENA_MAX ??= '2';
process.env.MALLOC_TRIM_THRESHOLD_ ??= '131072';

await runBench({
  name: 'soak',
  about:
    'The whole product under people who come and go and random faults: what must hold is asked throughout; memory and descriptors are watched.',
  defaultRuns: 1,
  defaultSeconds: 1,
  hasRuns: false,
  reportsInterruption: true,
  options: [
    { name: 'minutes', default: '20', help: 'how long; the cycle that runs then is finished' },
    { name: 'hours', default: '', help: 'how long, in hours' },
    { name: 'seed', default: '1', help: 'of people and faults: the same seed, the same faults' },
    { name: 'users', default: '3', help: 'users with glasses' },
    { name: 'nodes', default: '1', help: 'relay processes; several share a Redis' },
    {
      name: 'redis',
      default: '',
      help: 'that Redis, e.g. redis://127.0.0.1:6379; default: one of its own, which is killed now and then',
    },
    {
      name: 'logs',
      default: '',
      help: 'keep all logs in this folder; those of a soak that broke something are always kept',
    },
    {
      name: 'optimized',
      default: '',
      isFlag: true,
      help: "with V8's optimizing compiler, as production runs: its code grows for an hour and more, so use --hours",
    },
    { name: 'short', default: '', isFlag: true, help: 'one cycle with each fault once, and no figures: for tests' },
  ],
  measure,
});
