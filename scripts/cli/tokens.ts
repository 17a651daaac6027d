/** `glasscast token`: core tokens of glasses and phones, and a new admin token. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import * as z from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import { type Cli, type Run, segment, wholeNumber } from './commands.ts';
import { harmless } from './terminal.ts';

const newToken = z.looseObject({
  tokenId: z.string(),
  userId: z.string(),
  coreToken: z.string(),
  expiresAt: z.string().nullish(),
});
const issued = z.looseObject({
  tokens: z.array(
    z.looseObject({
      tokenId: z.string(),
      userId: z.string(),
      label: z.string().nullish(),
      issuedAt: z.string(),
      expiresAt: z.string().nullish(),
      revokedAt: z.string().nullish(),
    }),
  ),
});

const DAY_SECONDS = 24 * 3600;

export function addTokenCommands(program: Command, run: Run): void {
  const token = program.command('token').description('core tokens of glasses and phones; the admin token');
  token.command('list').description('tokens that were issued').action(run(list));
  token
    .command('create <email>')
    .description('a core token for the glasses of this user, alone on standard output')
    .option('--label <text>', 'what it is for')
    .option('--days <n>', 'how long it is good', wholeNumber)
    .addOption(new Option('--forever', 'it never expires').conflicts('days'))
    .action(run(create));
  token
    .command('revoke <tokenId>')
    .description('from now on it opens nothing, and what it opened is cut')
    .action(run(revoke));
  token
    .command('reset-admin')
    .description('a new admin token in place of the one that was made at the first start; the relay has to be stopped')
    .option('--data-dir <folder>', "the relay's; default: GLASSCAST_DATA_DIR or .glasscast")
    .action(run(resetAdmin));
}

async function list({ api, terminal }: Cli): Promise<void> {
  const answer = await api.ask('GET', '/api/tokens', issued);
  const rows = answer.tokens.map(({ tokenId, userId, label, issuedAt, expiresAt, revokedAt }) => {
    const until = revokedAt ? terminal.style('red', `revoked ${revokedAt}`) : (expiresAt ?? 'never');
    return [tokenId, harmless(userId), harmless(label ?? ''), issuedAt, until];
  });
  terminal.result(answer, terminal.table(['TOKEN', 'USER', 'LABEL', 'ISSUED', 'EXPIRES'], rows, 'No tokens.'));
}

interface Asked {
  label?: string;
  days?: number;
  forever?: true;
}

async function create({ api, terminal }: Cli, email: string, { label, days, forever }: Asked): Promise<void> {
  const lifetimeSeconds = forever ? null : days === undefined ? undefined : days * DAY_SECONDS;
  const made = await api.ask('POST', '/api/tokens', newToken, { email, label, lifetimeSeconds });
  terminal.result(made, [made.coreToken]);
  terminal.note(
    `${made.tokenId} for ${made.userId}, ${made.expiresAt ? `good until ${made.expiresAt}` : 'for ever'}; not shown again.`,
  );
}

async function revoke({ api, terminal }: Cli, tokenId: string): Promise<void> {
  await api.ask('DELETE', `/api/tokens/${segment(tokenId)}`, z.unknown());
  terminal.result({ tokenId, revoked: true }, [`${tokenId} is revoked.`]);
}

async function resetAdmin({ environment, terminal }: Cli, { dataDir }: { dataDir?: string }): Promise<void> {
  const file = join(dataDir ?? (environment.GLASSCAST_DATA_DIR || '.glasscast'), 'relay.db');
  if (!existsSync(file)) {
    throw new GlasscastError('INVALID_CONFIG', { reason: `no relay has used this folder, there is no ${file}` });
  }
  // The one command with a database: the others start without it.
  const { createSqliteStore } = await import('../../cloud/store/sqlite-store.ts');
  const { resetAdminToken } = await import('../../cloud/access/credentials.ts');
  const store = createSqliteStore({ file });
  try {
    const adminToken = (await resetAdminToken(store)).reveal();
    terminal.result({ adminToken }, [adminToken]);
    terminal.note('Not shown again. A relay that is given GLASSCAST_ADMIN_TOKEN takes that one and no other.');
  } finally {
    await store.close();
  }
}
