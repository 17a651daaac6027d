/** `glasscast device`: the glasses that are there, and letting new ones in by a one-time code. */
import type { Command } from 'commander';
import * as z from 'zod';
import { type Cli, type Run, segment, wholeNumber } from './commands.ts';
import { addRolloutCommands } from './rollouts.ts';
import { harmless, type Terminal } from './terminal.ts';

const sessions = z.looseObject({
  sessions: z.array(
    z.looseObject({
      userId: z.string(),
      connected: z.boolean(),
      modelName: z.string().optional(),
      wifiSsid: z.string().optional(),
      batteryLevel: z.number().optional(),
      charging: z.boolean().optional(),
      agent: z
        .looseObject({
          version: z.string(),
          canUpdate: z.boolean(),
          lastUpdate: z
            .looseObject({ version: z.string(), outcome: z.string(), reason: z.string().optional() })
            .optional(),
        })
        .optional(),
      update: z
        .looseObject({
          version: z.string(),
          state: z.string(),
          percent: z.number().optional(),
          reason: z.string().optional(),
        })
        .optional(),
      apps: z.array(z.looseObject({ packageName: z.string(), connected: z.boolean() })),
    }),
  ),
});
type Session = z.output<typeof sessions>['sessions'][number];
const newEnrolment = z.looseObject({ code: z.string(), expiresAt: z.string() });
const enrolments = z.looseObject({
  enrolments: z.array(
    z.looseObject({
      enrolmentId: z.string(),
      userId: z.string(),
      label: z.string().nullish(),
      expiresAt: z.string(),
    }),
  ),
});

export function addDeviceCommands(program: Command, run: Run): void {
  const device = program.command('device').description('glasses; "npm run agent" is the program that runs on them');
  device.command('list').description('users whose glasses are known, and how these are').action(run(list));
  device
    .command('enrol <email>')
    .description('a code that lets one pair of glasses in, once; alone on standard output')
    .option('--label <text>', 'what the glasses are called')
    .option('--minutes <n>', 'how long the code is good', wholeNumber)
    .action(run(enrol));
  device.command('codes').description('codes that were not used yet').action(run(codes));
  addRolloutCommands(device, run);
  device.command('cancel <enrolmentId>').description('such a code is good no more').action(run(cancel));
}

async function list({ api, terminal }: Cli): Promise<void> {
  const answer = await api.ask('GET', '/api/sessions', sessions);
  const rows = answer.sessions.map((session) => {
    const { userId, connected, modelName, wifiSsid, batteryLevel, charging, apps, agent } = session;
    return [
      harmless(userId),
      connected ? terminal.style('green', 'connected') : terminal.style('yellow', 'away'),
      harmless(modelName),
      harmless(agent?.version),
      updateText(session, terminal),
      batteryLevel === undefined ? '' : `${Math.round(batteryLevel)} %${charging ? ' charging' : ''}`,
      harmless(wifiSsid),
      apps.map((each) => harmless(each.packageName)).join(','),
    ];
  });
  const heads = ['USER', 'GLASSES', 'MODEL', 'VERSION', 'UPDATE', 'BATTERY', 'WIFI', 'APPS'];
  terminal.result(answer, terminal.table(heads, rows, 'No glasses are known.'));
}

const shortened = (text: string) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);

/** The update that is under way, else how the last one ended when it did not end well. */
function updateText({ agent, update }: Session, terminal: Terminal): string {
  const why = (reason: string | undefined) => (reason === undefined ? '' : ` (${shortened(harmless(reason))})`);
  if (update) {
    const { version, state, percent, reason } = update;
    const done = percent === undefined ? '' : ` ${Math.round(percent)} %`;
    const isBad = state === 'failed' || state === 'refused';
    return terminal.style(isBad ? 'red' : 'yellow', `${harmless(version)} ${harmless(state)}${done}${why(reason)}`);
  }
  if (agent?.lastUpdate && agent.lastUpdate.outcome !== 'installed') {
    const { version, outcome, reason } = agent.lastUpdate;
    return terminal.style('red', `${harmless(version)} ${harmless(outcome).replace('_', ' ')}${why(reason)}`);
  }
  return agent && !agent.canUpdate ? 'by flashing' : '';
}

async function enrol(
  { api, terminal }: Cli,
  email: string,
  { label, minutes }: { label?: string; minutes?: number },
): Promise<void> {
  const expiresInSeconds = minutes === undefined ? undefined : minutes * 60;
  const made = await api.ask('POST', '/api/enrolments', newEnrolment, { email, label, expiresInSeconds });
  terminal.result(made, [made.code]);
  terminal.note(
    `Good once, until ${made.expiresAt}. On the glasses: GLASSCAST_AGENT_ENROLMENT_CODE=${made.code} npm run agent`,
  );
}

async function codes({ api, terminal }: Cli): Promise<void> {
  const answer = await api.ask('GET', '/api/enrolments', enrolments);
  const rows = answer.enrolments.map(({ enrolmentId, userId, label, expiresAt }) => [
    enrolmentId,
    harmless(userId),
    harmless(label ?? ''),
    expiresAt,
  ]);
  terminal.result(answer, terminal.table(['ENROLMENT', 'USER', 'LABEL', 'GOOD UNTIL'], rows, 'No codes are waiting.'));
}

async function cancel({ api, terminal }: Cli, enrolmentId: string): Promise<void> {
  await api.ask('DELETE', `/api/enrolments/${segment(enrolmentId)}`, z.unknown());
  terminal.result({ enrolmentId, cancelled: true }, [`${enrolmentId} is cancelled.`]);
}
