/**
 * Settings of the agent program: flags win over the environment, both over the defaults. One table is the parser's schema
 * and the help text. The only file here that knows the environment's names.
 */
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { GlasscastError } from '../shared/errors.ts';
import { logLevels } from '../shared/log.ts';
import { Secret } from '../shared/secrets.ts';

const milliseconds = z.coerce.number().int().min(100).max(3_600_000);

const schema = z.strictObject({
  relayUrl: z
    .url({ protocol: /^wss?$/ })
    .default('ws://127.0.0.1:8787/glasses-ws')
    .describe('Where the relay takes glasses, with path'),
  coreToken: z
    .string({ error: 'is missing; the relay gives one to each user' })
    .min(1, 'is missing; the relay gives one to each user')
    .transform((text) => new Secret(text))
    .describe('Core token of the user whose glasses these are'),
  source: z.string().min(1).default('test-pattern').describe('Picture: test-pattern, file:PATH or v4l2:/dev/videoN'),
  microphone: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Sound: beep, silence, alsa:NAME or pulse:NAME; default: beep with the test pattern, silence with a camera',
    ),
  modelName: z.string().min(1).max(100).optional().describe('Model the relay and apps read; default: by source'),
  ffmpegPath: z
    .string()
    .min(1)
    .optional()
    .describe('This ffmpeg and no other; default: FFMPEG_PATH, then PATH, then the bundled one'),
  pushMode: z
    .enum(['backfill', 'live'])
    .default('backfill')
    .describe('After an outage: send what was missed, or go on with the present'),
  maxBacklogMs: milliseconds.default(10_000).describe('How much media waits for the ingest during an outage'),
  caFile: z.string().min(1).optional().describe('PEM file of certificates to trust for rtmps instead of the system’s'),
  leaseMs: milliseconds.default(60_000).describe('How long to publish without a keep-alive from the relay'),
  logLevel: z.enum(logLevels).default('info').describe('debug, info, warn, error or silent'),
});

export type AgentConfig = z.output<typeof schema>;

type Key = keyof typeof schema.shape;
const keys = Object.keys(schema.shape) as Key[];
const PREFIX = 'GLASSCAST_AGENT_';
/** A secret among the arguments would stand in the process list. */
const ENV_ONLY: ReadonlySet<Key> = new Set(['coreToken']);

const flagOf = (key: Key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const envOf = (key: Key) => PREFIX + flagOf(key).replaceAll('-', '_').toUpperCase();

/**
 * @returns `help` when it was asked for.
 * @throws GlasscastError INVALID_CONFIG naming every key that is wrong or unknown, never a secret's value.
 */
export function readConfig(args: readonly string[], env: Record<string, string | undefined>): AgentConfig | 'help' {
  const flags = readFlags(args);
  if (flags.help) return 'help';
  const known = new Set(keys.map(envOf));
  const unknown = Object.keys(env).filter((name) => name.startsWith(PREFIX) && !known.has(name));
  if (unknown.length > 0) throw new GlasscastError('INVALID_CONFIG', { reason: `unknown ${unknown.join(', ')}` });
  // The name that other programs know as well.
  const given: Record<string, unknown> = env.FFMPEG_PATH ? { ffmpegPath: env.FFMPEG_PATH } : {};
  for (const key of keys) {
    const value = flags[flagOf(key)] ?? env[envOf(key)];
    if (value !== undefined && value !== '') given[key] = value;
  }
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map(({ path, message }) => `${nameOf(path[0])} ${message}`);
  throw new GlasscastError('INVALID_CONFIG', { reason: wrong.join('; ') });
}

function nameOf(key: PropertyKey | undefined): string {
  const known = keys.find((name) => name === key);
  if (!known) return String(key);
  return ENV_ONLY.has(known) ? envOf(known) : `--${flagOf(known)}`;
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
    return `  ${name.padEnd(28)} ${field.description ?? ''}${fallback}`;
  });
  return [
    'The agent: publishes what the glasses see when the relay asks. With a test pattern it is the simulator.',
    '',
    'Usage: npm run agent -- [flags]',
    '',
    ...lines,
    '',
    `Each flag may also be set as ${PREFIX}<FLAG_NAME>.`,
    '',
  ].join('\n');
}
