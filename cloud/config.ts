/**
 * Settings of the relay program: flags win over the environment, both over the defaults. One table is the parser's
 * schema and the help text. The only file here that knows the environment's names.
 */
import * as z from 'zod';
import { GlasscastError } from '../shared/errors.ts';
import { logLevels } from '../shared/log.ts';
import { Secret } from '../shared/secrets.ts';
import { createSettings, type Settings, yesNo } from '../shared/settings.ts';
import type { RelayProvider, WebhookSecrets } from './relay.ts';

const port = z.coerce.number().int().min(0).max(65_535);
const secret = (minChars: number) =>
  z
    .string()
    .min(minChars)
    .transform((text) => new Secret(text));
const commaList = z.string().transform((text) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean),
);
const milliseconds = z.coerce.number().int().min(100).max(3_600_000);

const CLOUDFLARE_API = 'https://api.cloudflare.com/client/v4';

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
  redisUrl: secret(8)
    .optional()
    .describe('Redis that several relays share, e.g. redis://:PASSWORD@10.0.0.5:6379; default: one relay by itself'),
  redisPrefix: z
    .string()
    .min(1)
    .max(100)
    .regex(/^[^\s*?{}[\]]+$/, 'no spaces, and none of * ? { } [ ]')
    .default('glasscast:')
    .describe('Begins every key in Redis, so that clusters can share one'),
  nodeAddress: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('Where the other relays reach this one, e.g. http://10.0.0.7:8787; default: the address it listens on'),
  logLevel: z.enum(logLevels).default('info').describe('debug, info, warn, error or silent'),
  adminToken: secret(16)
    .optional()
    .describe('Bearer token of the operator REST; default: made and printed at the first start, its hash kept'),
  coreTokenSecret: secret(16)
    .optional()
    .describe('Signs the tokens of glasses (HS256); default: made once and kept in the data folder'),
  acceptForeignTokens: yesNo
    .default(false)
    .describe('Take core tokens without id or expiry, as MentraOS issues them; they cannot be revoked'),
  trustedProxies: commaList
    .optional()
    .describe('Addresses and networks whose X-Forwarded-For is believed, e.g. 127.0.0.1,10.0.0.0/8'),
  maxConnections: z.coerce
    .number()
    .int()
    .min(100)
    .max(1_000_000)
    .default(50_000)
    .describe('TCP connections in all; each is an open file as well (LimitNOFILE)'),
  handshakesPerSecond: z.coerce
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(10)
    .describe('WebSockets that one address may open each second, ten times that at once; more where many share one'),
  allowedHosts: commaList
    .optional()
    .describe('Names besides the one in --public-url that operators reach the relay by, e.g. relay.lan'),
  appsFile: z
    .string()
    .min(1)
    .optional()
    .describe('JSON file of apps: packageName to {publicUrl, apiKey, permissions, …}'),
  provider: z
    .enum(['cloudflare', 'local'])
    .optional()
    .describe('cloudflare or local; default: cloudflare when an account is named, else a local Stream as our child'),
  cloudflareAccountId: z.string().min(1).max(64).optional().describe('Account at Cloudflare, or of a local Stream'),
  cloudflareApiToken: secret(8).optional().describe('API token with Stream Edit, or the token of that local Stream'),
  cloudflareApiBaseUrl: z
    .url({ protocol: /^https?$/ })
    .default(CLOUDFLARE_API)
    .describe('Base of the Stream API; of a local Stream that runs elsewhere: http://HOST:8788/client/v4'),
  cloudflareLiveWebhookSecret: secret(8)
    .optional()
    .describe('Secret of the notification webhook for live inputs; opens POST /webhooks/cloudflare/live'),
  cloudflareVodWebhookSecret: secret(8)
    .optional()
    .describe('Secret that PUT /stream/webhook answered; opens POST /webhooks/cloudflare/recording'),
  releasesFolder: z
    .string()
    .min(1)
    .optional()
    .describe('Folder of the agent’s releases; default: releases in the data folder'),
  releaseKeys: commaList
    .optional()
    .describe('Files with public keys (PEM): only releases signed by one of them are taken; default: glasses decide'),
  restreamPrivateTargets: yesNo
    .default(false)
    .describe('Let apps restream to addresses that are not on the public internet'),
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
  metricsToken: secret(16)
    .optional()
    .describe('Bearer token that opens GET /metrics and nothing else; default: the admin token alone does'),
  otlpEndpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('Collector of traces, by OTLP over HTTP, e.g. http://127.0.0.1:4318; default: no traces'),
  otlpHeaders: secret(3).optional().describe('What the collector wants to see: name=value,name=value'),
  sessionGraceMs: milliseconds.default(60_000).describe('For glasses to come back before their session ends'),
});

type Values = z.output<typeof schema>;

export type RelayConfig = Omit<Values, 'provider' | `cloudflare${string}`> & {
  /** Undefined: a local Stream as our child. */
  provider: RelayProvider | undefined;
  webhookSecrets: WebhookSecrets;
};

const settings = createSettings({
  schema,
  prefix: 'GLASSCAST_',
  // They may share the environment: the other programs' settings, and those of the command line.
  foreignPrefixes: ['GLASSCAST_LOCAL_STREAM_', 'GLASSCAST_AGENT_', 'GLASSCAST_URL', 'GLASSCAST_APP_API_KEY'],
  environmentOnly: [
    'adminToken',
    'coreTokenSecret',
    'redisUrl',
    'metricsToken',
    'otlpHeaders',
    'cloudflareApiToken',
    'cloudflareLiveWebhookSecret',
    'cloudflareVodWebhookSecret',
  ],
  about: 'The relay: smart glasses to live video. GLASSCAST_LOCAL_STREAM_* are settings of its local Stream.',
  usage: 'npm run relay',
  notes: [
    'SIGINT (Ctrl-C) ends every stream and cleans up at the provider. SIGTERM is a restart: streams stay as they are for',
    'the next process on the same data folder; glasses and apps are told to come back (close code 1012). A second signal',
    'does not wait.',
    '',
    'With a Redis (GLASSCAST_REDIS_URL) several relays are one: each signal hands the streams of this one over to the',
    'others, and SIGINT ends them only when it is the last one. They need one provider, named by all alike.',
  ].join('\n'),
});

export const relaySettings: Settings<RelayConfig> = {
  ...settings,
  read(args, environment) {
    const values = settings.read(args, environment);
    if (values === 'help') return values;
    const { provider, cloudflareAccountId, cloudflareApiToken, cloudflareApiBaseUrl, ...others } = values;
    const { cloudflareLiveWebhookSecret: live, cloudflareVodWebhookSecret: recording, ...rest } = others;
    const chosen = chosenProvider(values);
    requireReachable(values, chosen);
    return { ...rest, provider: chosen, webhookSecrets: { live, recording } };
  },
};

/** @throws GlasscastError INVALID_CONFIG when several relays would not be one */
function requireReachable({ host, nodeAddress, redisUrl }: Values, provider: RelayProvider | undefined): void {
  if (redisUrl === undefined) return;
  if (!/^rediss?:\/\/./.test(redisUrl.reveal())) {
    throw new GlasscastError('INVALID_CONFIG', {
      reason: 'GLASSCAST_REDIS_URL: redis://HOST:PORT or rediss://… is wanted',
    });
  }
  if (provider === undefined) {
    const reason =
      'relays that share a Redis need one provider for all: name a Cloudflare account, or start one local Stream by ' +
      '`npm run local-stream` and name it by --provider local, --cloudflare-api-base-url, --cloudflare-account-id and ' +
      'GLASSCAST_CLOUDFLARE_API_TOKEN';
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  if (nodeAddress === undefined && ['0.0.0.0', '::'].includes(host)) {
    const reason = `--host ${host} is no address that other relays could reach this one by: name one by --node-address`;
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
}

/** @throws GlasscastError INVALID_CONFIG when only half of a provider is named */
function chosenProvider(values: Values): RelayProvider | undefined {
  const { provider, cloudflareAccountId: accountId, cloudflareApiToken: apiToken, cloudflareApiBaseUrl } = values;
  const isElsewhere = cloudflareApiBaseUrl !== CLOUDFLARE_API;
  const named = [accountId !== undefined, apiToken !== undefined, isElsewhere];
  if (provider !== 'cloudflare' && !named.includes(true)) return undefined;
  const kind = provider ?? 'cloudflare';
  const missing = [
    ...(accountId === undefined ? ['--cloudflare-account-id'] : []),
    ...(apiToken === undefined ? ['GLASSCAST_CLOUDFLARE_API_TOKEN'] : []),
    ...(kind === 'local' && !isElsewhere ? ["--cloudflare-api-base-url with the local Stream's address"] : []),
  ];
  if (accountId === undefined || apiToken === undefined || missing.length > 0) {
    const reason = `the provider ${kind} lacks ${missing.join(' and ')}; name all of it, or nothing for a local Stream as our child`;
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  return { kind, apiBaseUrl: cloudflareApiBaseUrl.replace(/\/+$/, ''), accountId, apiToken };
}
