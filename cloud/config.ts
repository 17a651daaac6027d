/**
 * Settings of the relay program: flags win over the environment, both over the defaults. One table is the parser's
 * schema and the help text. The only file here that knows the environment's names.
 */
import { z } from 'zod';
import { GlasscastError } from '../shared/errors.ts';
import { logLevels } from '../shared/log.ts';
import { Secret } from '../shared/secrets.ts';
import { createSettings } from '../shared/settings.ts';

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

export const relaySettings = createSettings({
  schema,
  prefix: 'GLASSCAST_',
  // They may share the environment.
  foreignPrefixes: ['GLASSCAST_LOCAL_STREAM_', 'GLASSCAST_AGENT_'],
  environmentOnly: ['adminToken', 'coreTokenSecret', 'cloudflareApiToken'],
  about: 'The relay: smart glasses to live video. GLASSCAST_LOCAL_STREAM_* are settings of its local Stream.',
  usage: 'npm run relay',
});

/** @throws GlasscastError INVALID_CONFIG */
export function readConfig(args: readonly string[], environment: NodeJS.ProcessEnv): RelayConfig | 'help' {
  const config = relaySettings.read(args, environment);
  if (config === 'help') return config;
  const { cloudflareAccountId, cloudflareApiToken } = config;
  if ((cloudflareAccountId === undefined) !== (cloudflareApiToken === undefined)) {
    const reason = '--cloudflare-account-id and GLASSCAST_CLOUDFLARE_API_TOKEN belong together';
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  return config;
}
