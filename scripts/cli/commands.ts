/**
 * What every command of `glasscast` is given, and the few forms of arguments that they share. Owns the words that say what
 * to do after a refusal.
 */
import { InvalidArgumentError } from 'commander';
import type { Clock } from '../../shared/clock.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { RelayApi } from './relay-api.ts';
import type { Terminal } from './terminal.ts';

/** Made for one command from its options. */
export interface Cli {
  api: RelayApi;
  /** `http://HOST:PORT` */
  relayUrl: string;
  terminal: Terminal;
  clock: Clock;
  environment: NodeJS.ProcessEnv;
}

/** Makes a command's action from its work, which gets the arguments in order and then the options. */
export type Run = <Args extends unknown[]>(
  work: (cli: Cli, ...args: Args) => Promise<void>,
) => (...given: unknown[]) => Promise<void>;

export function wholeNumber(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a whole number.');
}

export function collected(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** One path segment. */
export const segment = encodeURIComponent;

/** What to do next, by what was refused. */
export const nextSteps: Partial<Record<ErrorCode, string>> = {
  RELAY_UNREACHABLE: 'Start it with "glasscast relay", or name it with --relay-url or GLASSCAST_URL.',
  ADMIN_TOKEN_REQUIRED:
    'Set GLASSCAST_ADMIN_TOKEN to what the relay printed at its first start; "glasscast token reset-admin" makes a new one.',
  GLASSES_NOT_CONNECTED: '"glasscast device list" shows who is there.',
  PACKAGE_NOT_FOUND: '"glasscast app list" shows the apps; "glasscast app add" registers one.',
  RELEASE_NOT_FOUND: '"glasscast release list" shows what is published; "glasscast release publish" adds to it.',
  RELEASE_IN_USE: 'See "glasscast device updates" and "glasscast device update-cancel".',
  ROLLOUT_ACTIVE: 'See "glasscast device updates" and "glasscast device update-cancel".',
  ROLLOUT_NOT_FOUND: '"glasscast device updates" shows them.',
  ROLLOUT_PAUSED: '"glasscast device update-resume" goes on, "glasscast device update-cancel" ends it.',
  STREAM_NOT_FOUND: '"glasscast streams list" shows what runs.',
  APP_UNREACHABLE: '"glasscast app show" tells the address that the relay calls.',
  ROUTE_NOT_FOUND: 'This relay may be older than this command line.',
};
