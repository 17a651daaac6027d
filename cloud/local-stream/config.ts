/**
 * Settings of the local Stream program: flags win over the environment, both over the defaults. One table is the parser's schema
 * and the help text. The only file here that sees the environment's names.
 */
import * as z from 'zod';
import { logLevels } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';
import { createSettings, yesNo } from '../../shared/settings.ts';

const port = z.coerce.number().int().min(0).max(65_535);
const count = z.coerce.number().int().min(1).max(100_000);
const seconds = z.coerce.number().min(0).max(86_400);

const schema = z.strictObject({
  dataDir: z.string().min(1).default('.glasscast/local-stream').describe('Folder for inputs, keys and recordings'),
  listenHost: z.string().min(1).default('127.0.0.1').describe('Address to listen on'),
  publicHost: z.string().min(1).default('127.0.0.1').describe('Host written into the URLs that are handed out'),
  httpPort: port.default(8788).describe('API and delivery; 0 takes a free one'),
  rtmpPort: port.default(1935).describe('Where publishers push to; 0 takes a free one'),
  webRtcPort: port.default(0).describe('UDP port of all viewers by WebRTC; 0 takes a free one for each'),
  rtmpsPort: port
    .optional()
    .describe('RTMP over TLS beside it, then named in the URLs; 0 takes a free one; default: none'),
  tlsCertFile: z
    .string()
    .min(1)
    .optional()
    .describe('PEM file of its certificate with the chain; read again when it changes'),
  tlsKeyFile: z.string().min(1).optional().describe("PEM file of the certificate's key"),
  maxPublishers: count.default(100).describe('Publishers at once'),
  maxRtmpConnections: count.default(2000).describe('RTMP connections at once, players included'),
  maxRtmpConnectionsPerAddress: count.default(500).describe('Of one address; IPv6 counts by /64'),
  maxPublisherBitrateBps: z.coerce
    .number()
    .int()
    .min(100_000)
    .max(1_000_000_000)
    .default(50_000_000)
    .describe('What one publisher may send over ten seconds; one that sends more is ended'),
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
  holdMarginMs: z.coerce
    .number()
    .int()
    .min(0)
    .max(60_000)
    .default(3_000)
    .describe('Added to every such wait, as the real one does'),
  readyDelayMs: z.coerce
    .number()
    .int()
    .min(0)
    .max(600_000)
    .default(500)
    .describe('From the end of a broadcast to ready'),
  storageLimitMinutes: z.coerce
    .number()
    .int()
    .min(1)
    .default(1000)
    .describe('Recordings kept; with nothing left no publisher is let in'),
  storageLimitBytes: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .describe('Recordings kept, in bytes; then recordings end and live streams go on; default: no limit'),
  minFreeBytes: z.coerce
    .number()
    .int()
    .min(0)
    .default(64 * 1024 * 1024)
    .describe('What recordings leave free on the disk'),
  apiRequestLimit: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .default(0)
    .describe('Calls of the API in five minutes, past which none is answered for the next five; 0: no limit'),
  outputPrivateTargets: yesNo
    .default(false)
    .describe('Let outputs push to addresses that are not on the public internet'),
  liveWebhookUrl: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('Where live events are told to; default: nowhere'),
  liveWebhookSecret: z
    .string()
    .min(8)
    .transform((secret) => new Secret(secret))
    .optional()
    .describe('Sent with them in cf-webhook-auth; without it none is sent'),
  adminPort: port
    .optional()
    .describe('On loopback, with the API token: GET /metrics, and where tests switch faults on; default: none'),
  ffmpegPath: z
    .string()
    .min(1)
    .optional()
    .describe('For thumbnails and WebRTC sound; default: FFMPEG_PATH, PATH, the bundled one'),
  logLevel: z.enum(logLevels).default('info').describe('debug, info, warn, error or silent'),
});

export type LocalStreamConfig = z.output<typeof schema>;

export const localStreamSettings = createSettings({
  schema,
  prefix: 'GLASSCAST_LOCAL_STREAM_',
  environmentOnly: ['apiToken', 'liveWebhookSecret'],
  aliases: { FFMPEG_PATH: 'ffmpegPath' },
  about: 'The local Stream: Cloudflare Stream Live on this machine.',
  usage: 'npm run local-stream',
});
