/**
 * Settings of the agent program: flags win over the environment, both over the defaults. One table is the parser's schema
 * and the help text. The only file here that knows the environment's names.
 */
import { z } from 'zod';
import { logLevels } from '../shared/log.ts';
import { Secret } from '../shared/secrets.ts';
import { createSettings } from '../shared/settings.ts';

const secret = z
  .string()
  .min(1)
  .transform((text) => new Secret(text));
const milliseconds = z.coerce.number().int().min(100).max(3_600_000);

const schema = z.strictObject({
  relayUrl: z
    .url({ protocol: /^wss?$/ })
    .default('ws://127.0.0.1:8787/glasses-ws')
    .describe('Where the relay takes glasses, with path'),
  coreToken: secret.optional().describe('Core token of the user whose glasses these are; default: the kept one'),
  enrolmentCode: secret.optional().describe('One-time code that gives a core token, which is then kept'),
  tokenFile: z
    .string()
    .min(1)
    .default('.glasscast/agent-token.json')
    .describe('Where the agent keeps the core token that a code gave'),
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

export const agentSettings = createSettings({
  schema,
  prefix: 'GLASSCAST_AGENT_',
  environmentOnly: ['coreToken', 'enrolmentCode'],
  // The name that other programs know as well.
  aliases: { FFMPEG_PATH: 'ffmpegPath' },
  about: 'The agent: publishes what the glasses see when the relay asks. With a test pattern it is the simulator.',
  usage: 'npm run agent',
});
