/** `glasscast app`: which apps may connect, and starting and stopping them for a user. */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import * as z from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import { type Cli, collected, type Run, segment } from './commands.ts';
import { harmless } from './terminal.ts';

const app = z.looseObject({
  packageName: z.string(),
  publicUrl: z.string().optional(),
  appType: z.string(),
  permissions: z.array(z.looseObject({ type: z.string() })),
});
const appList = z.looseObject({ apps: z.array(app) });

export function addAppCommands(program: Command, run: Run): void {
  const apps = program.command('app').description('the apps that may connect');
  apps.command('list').description('the apps that are registered').action(run(list));
  apps.command('show <packageName>').description('one app in full').action(run(show));
  apps
    .command('add <packageName>')
    .description(
      'register an app; its key comes from GLASSCAST_APP_API_KEY, or is made and printed once; with its key: change it',
    )
    .requiredOption('--public-url <url>', 'where the relay calls the app: <url>/webhook')
    .option('--permission <type>', 'CAMERA, MICROPHONE, …; may be repeated (default: CAMERA)', collected)
    .option('--type <type>', 'standard, of which one runs at a time, or background (default)')
    .action(run(add));
  apps.command('remove <packageName>').description('the app may no longer connect').action(run(remove));
  apps
    .command('start <packageName> <user>')
    .description("start it for a user: calls the app's webhook")
    .action(run(start));
  apps.command('stop <packageName> <user>').description('stop it for a user').action(run(stop));
}

async function list({ api, terminal }: Cli): Promise<void> {
  const answer = await api.ask('GET', '/api/apps', appList);
  const rows = answer.apps.map(({ packageName, publicUrl, appType, permissions }) => [
    packageName,
    appType,
    permissions.map(({ type }) => harmless(type)).join(','),
    harmless(publicUrl) || 'built in',
  ]);
  terminal.result(answer, terminal.table(['APP', 'TYPE', 'PERMISSIONS', 'ADDRESS'], rows, 'No apps.'));
}

async function show({ api, terminal }: Cli, packageName: string): Promise<void> {
  const found = await api.ask('GET', `/api/apps/${segment(packageName)}`, app);
  const lines = Object.entries(found).map(([name, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return `${terminal.style('dim', name.padEnd(22))}${harmless(text)}`;
  });
  terminal.result(found, lines);
}

interface Registration {
  publicUrl: string;
  permission?: string[];
  type?: string;
}

async function add(cli: Cli, packageName: string, { publicUrl, permission, type }: Registration): Promise<void> {
  const { api, environment, terminal } = cli;
  const givenKey = environment.GLASSCAST_APP_API_KEY;
  // A new key would lock the app out.
  if (!givenKey && (await isRegistered(cli, packageName))) {
    const reason = `${packageName} is registered already; give its key in GLASSCAST_APP_API_KEY to change it, or remove it first`;
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  const apiKey = givenKey || randomBytes(32).toString('base64url');
  const registered = await api.ask('PUT', `/api/apps/${segment(packageName)}`, app, {
    publicUrl,
    apiKey,
    appType: type,
    permissions: permission?.map((each) => ({ type: each.toUpperCase() })),
  });
  const madeKey = givenKey ? {} : { apiKey };
  terminal.result({ ...registered, ...madeKey }, [
    `${packageName} is registered; the relay calls ${harmless(registered.publicUrl)}/webhook.`,
    ...(givenKey ? [] : [`API key: ${apiKey}`]),
  ]);
}

async function isRegistered({ api }: Cli, packageName: string): Promise<boolean> {
  const { apps } = await api.ask('GET', '/api/apps', appList);
  return apps.some((each) => each.packageName === packageName);
}

async function remove({ api, terminal }: Cli, packageName: string): Promise<void> {
  await api.ask('DELETE', `/api/apps/${segment(packageName)}`, z.unknown());
  terminal.result({ packageName, removed: true }, [`${packageName} is removed.`]);
}

async function start({ api, terminal }: Cli, packageName: string, userId: string): Promise<void> {
  const answer = await api.ask('POST', `/api/apps/${segment(packageName)}/start`, z.looseObject({}), { userId });
  terminal.result(answer, [`${packageName} runs for ${userId}.`]);
}

async function stop({ api, terminal }: Cli, packageName: string, userId: string): Promise<void> {
  const answer = await api.ask('POST', `/api/apps/${segment(packageName)}/stop`, z.looseObject({}), { userId });
  terminal.result(answer, [`${packageName} is stopped for ${userId}.`]);
}
