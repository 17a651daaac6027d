/** `glasscast device update…` and `rollback`: which version runs on which glasses, and how a roll-out goes. */
import { type Command, InvalidArgumentError } from 'commander';
import * as z from 'zod';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import { type Cli, type Run, segment, wholeNumber } from './commands.ts';
import { harmless, type Style, type Terminal } from './terminal.ts';

const rollout = z.looseObject({
  rolloutId: z.string(),
  version: z.string(),
  state: z.string(),
  stages: z.array(z.number()),
  stage: z.number(),
  users: z.array(z.string()).optional(),
  createdAt: z.string(),
  nextStageAt: z.string().optional(),
  reason: z.string().optional(),
  devices: z.looseObject({
    ...{ done: z.number(), underWay: z.number(), failed: z.number() },
    ...{ skipped: z.number(), away: z.number(), later: z.number() },
  }),
  underWay: z.array(
    z.looseObject({
      userId: z.string(),
      state: z.string(),
      percent: z.number().optional(),
      reason: z.string().optional(),
    }),
  ),
  failures: z.array(z.looseObject({ userId: z.string(), outcome: z.string(), reason: z.string().optional() })),
  skipped: z.array(z.looseObject({ userId: z.string(), reason: z.string() })),
  unseen: z.array(z.string()).optional(),
});
type Rollout = z.output<typeof rollout>;
const rolloutList = z.looseObject({ rollouts: z.array(rollout) });

const LOOK_MS = 1_000;

export function addRolloutCommands(device: Command, run: Run): void {
  device
    .command('update <version> [emails...]')
    .description('roll a published version out: by stages to all glasses, or at once to those of these users')
    .option('--stages <list>', 'per cent of the users, one after another (default: 5,25,100)', percents)
    .option('--soak-minutes <n>', 'without a failure before the next stage opens (default: 10)', wholeNumber)
    .option('--max-failures <n>', 'so many pause it (default: 1)', wholeNumber)
    .option('--watch', 'show how it goes, until it is done or paused')
    .action(run(update));
  device
    .command('updates')
    .description('roll-outs, how far they are, and why they are paused')
    .option('--watch', 'the newest one as it goes, until it is done or paused')
    .action(run(updates));
  device
    .command('update-pause [rolloutId]')
    .description('no new orders; by default the newest roll-out')
    .action(run((cli: Cli, id?: string) => turn(cli, 'pause', id)));
  device
    .command('update-resume [rolloutId]')
    .description('go on; glasses that failed are left out')
    .option('--retry', 'order those that failed again')
    .action(run((cli: Cli, id: string | undefined, { retry }: { retry?: true }) => turn(cli, 'resume', id, retry)));
  device
    .command('update-cancel [rolloutId]')
    .description('it is over; what was installed stays')
    .action(run((cli: Cli, id?: string) => turn(cli, 'cancel', id)));
  device
    .command('rollback <email>')
    .description(
      'back to the version of before, or the one that was flashed; the newest roll-out leaves these glasses alone',
    )
    .action(run(rollback));
}

interface Asked {
  stages?: number[];
  soakMinutes?: number;
  maxFailures?: number;
  watch?: true;
}

async function update(cli: Cli, version: string, emails: string[], asked: Asked): Promise<void> {
  const { stages, soakMinutes, maxFailures, watch } = asked;
  const begun = await cli.api.ask('POST', '/api/rollouts', rollout, {
    ...{ version, stages, maxFailures },
    soakSeconds: soakMinutes === undefined ? undefined : soakMinutes * 60,
    ...(emails.length > 0 ? { users: emails } : {}),
  });
  if (watch) {
    await follow(cli, begun);
    return;
  }
  cli.terminal.result(begun, [
    `${begun.rolloutId} rolls ${version} out: ${progressOf(begun)}.`,
    ...detailsOf(begun, cli.terminal),
    '"glasscast device updates --watch" shows how it goes.',
  ]);
}

async function updates(cli: Cli, { watch }: { watch?: true }): Promise<void> {
  const answer = await cli.api.ask('GET', '/api/rollouts', rolloutList);
  const [newest] = answer.rollouts;
  if (watch && newest) {
    await follow(cli, newest);
    return;
  }
  const { terminal } = cli;
  const rows = answer.rollouts.map((each) => [
    ...[each.rolloutId, each.version, terminal.style(styleOf(each.state), each.state), stageOf(each)],
    ...[progressOf(each), each.createdAt],
  ]);
  const table = terminal.table(['ROLLOUT', 'VERSION', 'STATE', 'STAGE', 'GLASSES', 'SINCE'], rows, 'No roll-outs.');
  terminal.result(answer, [...table, ...(newest ? detailsOf(newest, terminal) : [])]);
}

async function turn(cli: Cli, verb: 'pause' | 'resume' | 'cancel', id?: string, retry?: true): Promise<void> {
  const rolloutId = id ?? (await newestOf(cli)).rolloutId;
  const body = retry ? { retryFailed: true } : undefined;
  const turned = await cli.api.ask('POST', `/api/rollouts/${segment(rolloutId)}/${verb}`, rollout, body);
  cli.terminal.result(turned, [`${rolloutId} to ${turned.version} is ${turned.state}: ${progressOf(turned)}.`]);
}

async function newestOf({ api }: Cli): Promise<Rollout> {
  const [newest] = (await api.ask('GET', '/api/rollouts', rolloutList)).rollouts;
  if (!newest) throw new GlasscastError('ROLLOUT_NOT_FOUND', { reason: 'there was none yet' });
  return newest;
}

async function rollback({ api, terminal }: Cli, user: string): Promise<void> {
  const answer = await api.ask('POST', `/api/users/${segment(user)}/agent-rollback`, z.looseObject({}));
  terminal.result(answer, [
    `${user} is sent back; "glasscast device list" shows the version once they have come back.`,
  ]);
  const [newest] = (await api.ask('GET', '/api/rollouts', rolloutList)).rollouts;
  if (newest?.state !== 'running') return;
  terminal.note(
    `${newest.rolloutId} to ${newest.version} goes on for others; "glasscast device update-pause" stops it.`,
  );
}

/**
 * A line whenever something has changed, over restarts of the relay. Ctrl-C ends this process, and not the roll-out.
 * @throws GlasscastError ROLLOUT_PAUSED, ROLLOUT_OVER
 */
async function follow(cli: Cli, first: Rollout): Promise<void> {
  const { api, clock, terminal } = cli;
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  process.once('SIGINT', stop);
  const told = new Set<string>();
  let lastLine = '';
  let now = first;
  let isAway = false;
  try {
    for (;;) {
      const line = `${now.rolloutId}  ${now.version}  ${terminal.style(styleOf(now.state), now.state)}  ${now.users ? '' : 'stage '}${stageOf(now)}  ${progressOf(now)}`;
      if (line !== lastLine) terminal.line(now, line);
      lastLine = line;
      for (const left of leftOutOf(now)) if (!told.has(left)) terminal.note(left);
      for (const left of leftOutOf(now)) told.add(left);
      if (now.state !== 'running') return requireDone(now);
      terminal.passing(momentOf(now));
      await clock.sleep(LOOK_MS, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) break;
      const seen = await lookAgain(api, now.rolloutId);
      if (!seen && !isAway) terminal.note('The relay is away; waiting for it …');
      isAway = !seen;
      now = seen ?? now;
    }
  } finally {
    terminal.passing('');
    process.off('SIGINT', stop);
  }
  terminal.note(`${now.rolloutId} goes on; "glasscast device updates --watch" looks again.`);
  // By the signal itself, so that a shell does not take it for done.
  process.kill(process.pid, 'SIGINT');
}

/** @returns undefined: the relay is away for a moment */
async function lookAgain(api: Cli['api'], rolloutId: string): Promise<Rollout | undefined> {
  try {
    const { rollouts } = await api.ask('GET', '/api/rollouts', rolloutList);
    const found = rollouts.find((each) => each.rolloutId === rolloutId);
    if (!found) throw new GlasscastError('ROLLOUT_NOT_FOUND', { reason: rolloutId });
    return found;
  } catch (error) {
    if (isGlasscastError(error) && ['RELAY_UNREACHABLE', 'SHUTTING_DOWN'].includes(error.code)) return undefined;
    throw error;
  }
}

function requireDone({ rolloutId, state, reason }: Rollout): void {
  if (state === 'paused') throw new GlasscastError('ROLLOUT_PAUSED', { reason });
  if (state !== 'done') throw new GlasscastError('ROLLOUT_OVER', { reason: `${rolloutId} is ${state}` });
}

function stageOf({ stage, stages, users }: Rollout): string {
  return users
    ? `${users.length} user${users.length === 1 ? '' : 's'}`
    : `${stage}/${stages.length} (${stages[stage - 1]} %)`;
}

function progressOf({ devices }: Rollout): string {
  const { done, underWay, failed, skipped, away, later } = devices;
  const words: [number, string][] = [
    ...([
      [underWay, 'under way'],
      [failed, 'failed'],
      [skipped, 'left out'],
      [away, 'away'],
    ] as [number, string][]),
    [later, 'in later stages'],
  ];
  return [`${done} done`, ...words.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`)].join(
    ', ',
  );
}

function detailsOf(each: Rollout, terminal: Terminal): string[] {
  const why = (userId: string, word: string, reason?: string) =>
    `  ${harmless(userId)}  ${word}${reason === undefined ? '' : `  ${harmless(reason)}`}`;
  return [
    ...(each.reason === undefined ? [] : [`${each.state}: ${harmless(each.reason)}`]),
    ...(each.nextStageAt === undefined ? [] : [`Without a failure the next stage opens at ${each.nextStageAt}.`]),
    ...each.underWay.map((one) => why(one.userId, standingOf(one), one.reason)),
    ...each.failures.map(({ userId, outcome, reason }) =>
      why(userId, terminal.style('red', outcome.replace('_', ' ')), reason),
    ),
    ...leftOutOf(each),
  ];
}

/** Who gets nothing, or nothing yet, and why. */
function leftOutOf({ skipped, unseen = [] }: Rollout): string[] {
  return [
    ...skipped.map(({ userId, reason }) => `  ${harmless(userId)}  left out  ${harmless(reason)}`),
    ...unseen.map((userId) => `  ${harmless(userId)}  away  no agent was ever here for this user`),
  ];
}

/** What goes on while no line changes. */
function momentOf({ underWay: [first], nextStageAt, state }: Rollout): string {
  if (first) return `${harmless(first.userId)} ${standingOf(first)}`;
  return state === 'running' && nextStageAt ? `Without a failure it goes on at ${nextStageAt}.` : '';
}

function standingOf({ state, percent }: Rollout['underWay'][number]): string {
  return percent === undefined ? harmless(state) : `${harmless(state)} ${Math.round(percent)} %`;
}

function styleOf(state: string): Style {
  if (state === 'done') return 'green';
  return state === 'paused' ? 'red' : 'yellow';
}

function percents(text: string): number[] {
  const list = text.split(',').map((part) => Number(part.trim().replace(/%$/, '')));
  if (text.trim() !== '' && list.every((percent) => percent > 0 && percent <= 100)) return list;
  throw new InvalidArgumentError('Give per cents, as 5,25,100.');
}
