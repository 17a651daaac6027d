/**
 * Settings of the relay program: flags win over the environment, both over the defaults. One table is the parser's
 * schema and the help text. The only file here that knows the environment's names.
 */
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { GlasscastError } from '../shared/errors.ts';
import { logLevels } from '../shared/log.ts';
import { Secret } from '../shared/secrets.ts';

const port = z.coerce.number().int().min(0).max(65_535);
const secret = (minChars: number) =>
  z
    .string()
    .min(minChars)
    .transform((text) => new Secret(text));
const yesNo = z.enum(['true', 'false', '1', '0', 'yes', 'no']).transform((word) => ['true', '1', 'yes'].includes(word));
const milliseconds = z.coerce.number().int().min(100).max(3_600_000);

const schema = z.strictObject({
  host: z.string().min(1).default('127.0.0.1').describe('Address to listen on; 0.0.0.0 for every interface'),
  port: port.default(8787).describe('Glasses, apps, operator REST and console; 0 takes a free one'),
  publicUrl: z
    .url({ protocol: /^(https?|wss?)$/ })
    .optional()
    .describe(
      'Where apps reach the relay from their hosts, e.g. wss://relay.example; default: the address it listens on',
    ),
  dataDir: z.string().min(1).default('.glasscast').describe('Folder for the database and for the local Stream'),
  logLevel: z.enum(logLevels).default('info').describe('debug, info, warn, error or silent'),
  adminToken: secret(16)
    .optional()
    .describe('Bearer token of the operator REST; default: made at each start and printed'),
  coreTokenSecret: secret(16)
    .optional()
    .describe('Signs the tokens of glasses (HS256); default: made once and kept in the data folder'),
  appsFile: z
    .string()
    .min(1)
    .optional()
    .describe('JSON file of apps: packageName to {publicUrl, apiKey, permissions, …}'),
  cloudflareAccountId: z.string().min(1).max(64).optional().describe('Cloudflare account; default: the local Stream'),
  cloudflareApiToken: secret(8).optional().describe('Cloudflare API token with Stream Edit'),
  cloudflareApiBaseUrl: z
    .url({ protocol: /^https?$/ })
    .default('https://api.cloudflare.com/client/v4')
    .describe('Base of the Cloudflare API'),
  keepRecordings: yesNo.default(false).describe('Leave recordings at the provider when a stream ends'),
  deleteRecordingAfterDays: z.coerce
    .number()
    .int()
    .min(30)
    .max(1096)
    .default(30)
    .describe('The provider’s own last line of clean-up; not set when recordings are kept'),
  holdSeconds: z.coerce
    .number()
    .int()
    .min(1)
    .max(86_400)
    .default(120)
    .describe('How long a broadcast waits for glasses that lost their uplink'),
  startDeadlineMs: milliseconds.max(29_000).default(25_000).describe('For the first picture; the SDK gives up at 30 s'),
  sessionGraceMs: milliseconds.default(60_000).describe('For glasses to come back before their session ends'),
});

export type RelayConfig = z.output<typeof schema>;

type Key = keyof typeof schema.shape;
const keys = Object.keys(schema.shape) as Key[];
const PREFIX = 'GLASSCAST_';
/** Settings of the other programs, which may share the environment. */
const OTHERS = ['GLASSCAST_LOCAL_STREAM_', 'GLASSCAST_AGENT_'];
/** A secret among the arguments would stand in the process list. */
const ENV_ONLY: ReadonlySet<Key> = new Set(['adminToken', 'coreTokenSecret', 'cloudflareApiToken']);

const flagOf = (key: Key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const envOf = (key: Key) => PREFIX + flagOf(key).replaceAll('-', '_').toUpperCase();

/**
 * @returns `help` when it was asked for.
 * @throws GlasscastError INVALID_CONFIG naming every key that is wrong or unknown, never a value.
 */
export function readConfig(args: readonly string[], env: Record<string, string | undefined>): RelayConfig | 'help' {
  const flags = readFlags(args);
  if (flags.help) return 'help';
  const known = new Set(keys.map(envOf));
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith(PREFIX) && !known.has(name) && !OTHERS.some((other) => name.startsWith(other)),
  );
  if (unknown.length > 0) throw new GlasscastError('INVALID_CONFIG', { reason: `unknown ${unknown.join(', ')}` });
  const given: Record<string, unknown> = {};
  for (const key of keys) {
    const value = flags[flagOf(key)] ?? env[envOf(key)];
    if (value !== undefined && value !== '') given[key] = value;
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    const wrong = parsed.error.issues.map(({ path, message }) => `${envName(path[0])}: ${message}`);
    throw new GlasscastError('INVALID_CONFIG', { reason: wrong.join('; ') });
  }
  const { cloudflareAccountId, cloudflareApiToken } = parsed.data;
  if ((cloudflareAccountId === undefined) !== (cloudflareApiToken === undefined)) {
    const reason = `${envOf('cloudflareAccountId')} and ${envOf('cloudflareApiToken')} belong together`;
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  return parsed.data;
}

function envName(key: PropertyKey | undefined): string {
  const known = keys.find((name) => name === key);
  return known ? envOf(known) : String(key);
}

function readFlags(args: readonly string[]): Record<string, string | boolean | undefined> {
  const flagKeys = keys.filter((key) => !ENV_ONLY.has(key));
  const options = Object.fromEntries(flagKeys.map((key) => [flagOf(key), { type: 'string' as const }]));
  try {
    const { values } = parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean', short: 'h' } } });
    return values as Record<string, string | boolean | undefined>;
  } catch (error) {
    // Its message quotes the argument's name, which is what is wrong.
    throw new GlasscastError('INVALID_CONFIG', { reason: error instanceof Error ? error.message : 'bad arguments' });
  }
}

/** The text of --help. */
export function helpText(): string {
  const lines = keys.map((key) => {
    const field: z.ZodType = schema.shape[key];
    const fallback = field instanceof z.ZodDefault ? ` (default ${String(field.def.defaultValue)})` : '';
    const name = ENV_ONLY.has(key) ? envOf(key) : `--${flagOf(key)}`;
    return `  ${name.padEnd(34)} ${field.description ?? ''}${fallback}`;
  });
  return [
    'The relay: smart glasses to live video.',
    '',
    'Usage: npm run relay -- [flags]',
    '',
    ...lines,
    '',
    `Each flag may also be set as ${PREFIX}<FLAG_NAME>. Settings of the local Stream: GLASSCAST_LOCAL_STREAM_*.`,
    '',
  ].join('\n');
}
