/**
 * Settings of the local Stream program: flags win over the environment, both over the defaults. One table is the parser's schema
 * and the help text. The only file here that sees the environment's names.
 */
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import { logLevels } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';

const port = z.coerce.number().int().min(0).max(65_535);
const seconds = z.coerce.number().min(0).max(86_400);

const schema = z.strictObject({
  dataDir: z.string().min(1).default('.glasscast/local-stream').describe('Folder for inputs, keys and recordings'),
  listenHost: z.string().min(1).default('127.0.0.1').describe('Address to listen on'),
  publicHost: z.string().min(1).default('127.0.0.1').describe('Host written into the URLs that are handed out'),
  httpPort: port.default(8788).describe('API and delivery; 0 takes a free one'),
  rtmpPort: port.default(1935).describe('Where publishers push to; 0 takes a free one'),
  accountId: z
    .string()
    .regex(/^[0-9a-f]{32}$/, 'must be 32 hex digits')
    .default('a1'.repeat(16))
    .describe('Account id in the API paths'),
  apiToken: z
    .string()
    .min(8)
    .transform((token) => new Secret(token))
    .optional()
    .describe('Bearer token of the API, by environment only; default: made at random and kept in the data folder'),
  holdSeconds: seconds.default(60).describe('How long a broadcast waits for its publisher when the input says nothing'),
  readyDelayMs: z.coerce
    .number()
    .int()
    .min(0)
    .max(600_000)
    .default(500)
    .describe('From the end of a broadcast to ready'),
  storageLimitMinutes: z.coerce.number().int().min(1).default(1000).describe('Limit that storage-usage tells'),
  ffmpegPath: z.string().min(1).optional().describe('For thumbnails; default: FFMPEG_PATH, PATH, the bundled one'),
  logLevel: z.enum(logLevels).default('info').describe('debug, info, warn, error or silent'),
});

export type LocalStreamConfig = z.output<typeof schema>;

type Key = keyof typeof schema.shape;
const keys = Object.keys(schema.shape) as Key[];
const ENV_PREFIX = 'GLASSCAST_LOCAL_STREAM_';
/** A secret among the arguments would stand in the process list. */
const ENV_ONLY: ReadonlySet<Key> = new Set(['apiToken']);

const flagOf = (key: Key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const envOf = (key: Key) => ENV_PREFIX + flagOf(key).replaceAll('-', '_').toUpperCase();

/**
 * @returns `help` when it was asked for.
 * @throws GlasscastError INVALID_CONFIG naming every key that is wrong or unknown, never a value.
 */
export function readConfig(args: readonly string[], env: NodeJS.ProcessEnv): LocalStreamConfig | 'help' {
  const flags = readFlags(args);
  if (flags.help) return 'help';
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith(ENV_PREFIX) && !keys.some((key) => envOf(key) === name),
  );
  if (unknown.length > 0) throw new GlasscastError('INVALID_CONFIG', { reason: `unknown ${unknown.join(', ')}` });
  const given: Record<string, unknown> = {};
  if (env.FFMPEG_PATH) given.ffmpegPath = env.FFMPEG_PATH;
  for (const key of keys) {
    const value = flags[flagOf(key)] ?? env[envOf(key)];
    if (value !== undefined && value !== '') given[key] = value;
  }
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map(({ path, message }) => `${path.map(String).join('.')}: ${message}`);
  throw new GlasscastError('INVALID_CONFIG', { reason: wrong.join('; ') });
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
    return `  ${name.padEnd(36)} ${field.description ?? ''}${fallback}`;
  });
  return [
    'The local Stream: Cloudflare Stream Live on this machine.',
    '',
    'Usage: npm run local-stream -- [flags]',
    '',
    ...lines,
    '',
    `Each flag may also be set as ${ENV_PREFIX}<FLAG_NAME>.`,
    '',
  ].join('\n');
}
