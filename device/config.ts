/**
 * Settings of the agent program: flags win over the environment, that over the file of settings, and all over the defaults.
 * One table is the parser's schema and the help text. The only file here that knows the environment's names.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { logLevels } from '../shared/log.ts';
import { releaseVersion } from '../shared/release.ts';
import { Secret } from '../shared/secrets.ts';
import { createSettings, yesNo } from '../shared/settings.ts';
import { parsePrivacyLight } from './publishing/light-keeper.ts';
import type { LaunchFacts } from './updates/agent-updates.ts';

const secret = z
  .string()
  .min(1)
  .transform((text) => new Secret(text));
const milliseconds = z.coerce.number().int().min(100).max(3_600_000);

const path = z.string().min(1);
const privacyLight = z.string().transform((text, context) => {
  try {
    return parsePrivacyLight(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'expected led:NAME or gpio:CHIP/LINE' });
    return z.NEVER;
  }
});

const schema = z.strictObject({
  configFile: path
    .optional()
    .describe('JSON file of these settings, as relayUrl and so on; with a secret in it, its owner’s alone'),
  relayUrl: z
    .url({ protocol: /^wss?$/ })
    .default('ws://127.0.0.1:8787/glasses-ws')
    .describe('Where the relay takes glasses, with path'),
  coreToken: secret.optional().describe('Core token of the user whose glasses these are; default: the kept one'),
  enrolmentCode: secret.optional().describe('One-time code that gives a core token, which is then kept'),
  coreTokenFile: path
    .optional()
    .describe('File that holds the core token and nothing else; default: core-token among systemd’s credentials'),
  tokenFile: z
    .string()
    .min(1)
    .default('.glasscast/agent-token.json')
    .describe('Where the agent keeps the core token that a code gave'),
  source: z
    .string()
    .min(1)
    .default('test-pattern')
    .describe('Picture: test-pattern, file:PATH, v4l2:/dev/videoN, v4l2:auto, libcamera or screen:DISPLAY'),
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
    .describe('This ffmpeg and no other; default: FFMPEG_PATH, then PATH, then the packaged one'),
  packagedFfmpeg: path
    .optional()
    .describe('The ffmpeg that came with the package, which sets this: when there is no better'),
  pushMode: z
    .enum(['backfill', 'live'])
    .default('backfill')
    .describe('After an outage: send what was missed, or go on with the present'),
  maxBacklogMs: milliseconds.default(10_000).describe('How much media waits for the ingest during an outage'),
  backlogFolder: path.optional().describe('Where media waits that memory has no room for; default: memory only'),
  maxBacklogDiskMb: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(256)
    .describe('How much of the disk that may take'),
  governor: yesNo.default(true).describe('Make the picture smaller while uplink, heat or battery ask for it'),
  minBatteryPercent: z.coerce.number().min(0).max(100).default(5).describe('No streaming below this charge; 0: always'),
  maxTemperatureC: z.coerce.number().min(30).max(150).default(92).describe('No streaming above this temperature'),
  privacyLight: privacyLight
    .optional()
    .describe('Light that is lit while anything is captured: led:NAME or gpio:CHIP/LINE; default: none'),
  privacyLightRequired: yesNo.default(true).describe('Capture nothing when that light cannot be lit'),
  scenario: path
    .optional()
    .describe('Scripted world of network, heat, battery, camera and more: a name in scripts/scenarios or a JSON file'),
  seed: z.coerce.number().int().min(0).max(4_294_967_295).default(1).describe('Of what a scenario leaves to chance'),
  caFile: z.string().min(1).optional().describe('PEM file of certificates to trust for rtmps instead of the system’s'),
  leaseMs: milliseconds.default(60_000).describe('How long to publish without a keep-alive from the relay'),
  releasesFolder: path
    .default('/var/lib/glasscast/releases')
    .describe('Where other versions of the agent are kept; glasscast-agent’s launcher reads it too'),
  releaseKeysFolder: path
    .default('/etc/glasscast/release-keys')
    .describe('Public keys (*.pem) whose releases are trusted; none there: no updates'),
  updateTrialMs: milliseconds
    .default(90_000)
    .describe('How long a new version has to reach the relay and find an encoder, before the one of before comes back'),
  statusSocket: path
    .optional()
    .describe('Where the running agent tells its status, or none; default: in /run, else beside the token file'),
  logFile: path.optional().describe('Log file beside standard error; one older one is kept'),
  logFileMb: z.coerce.number().min(0.1).max(10_000).default(10).describe('How large it may become'),
  logLevel: z.enum(logLevels).default('info').describe('debug, info, warn, error or silent'),
});

/** The launcher's as well, which reads no flags. */
const launcherToo = ['releasesFolder', 'releaseKeysFolder', 'updateTrialMs'] as const;

export type AgentConfig = z.output<typeof schema>;

export const agentSettings = createSettings({
  schema,
  prefix: 'GLASSCAST_AGENT_',
  environmentOnly: ['coreToken', 'enrolmentCode', ...launcherToo],
  open: launcherToo,
  fileKey: 'configFile',
  // The name that other programs know as well.
  aliases: { FFMPEG_PATH: 'ffmpegPath' },
  notes: [
    'A command may stand first:',
    '  run      publish when the relay asks, until a signal; also without a word',
    '  status   what the running agent does (exit code 1: none is running)',
    '  doctor   look at everything that it needs, one after the other (exit code 1: something needed is missing)',
    '  devices  cameras, microphones and encoders found here',
    '  version  which version this is; also --version',
    'status, doctor and devices take these flags too, and --json.',
  ].join('\n'),
  about: 'The agent: publishes what the glasses see when the relay asks. With a test pattern it is the simulator.',
  usage: 'npm run agent',
});

/** What systemd and the session tell by the environment, in its own names. */
export interface Surroundings {
  /** Of secrets that systemd hands over (LoadCredential=). */
  credentialsFolder: string | undefined;
  /** Of sockets and the like, its owner's alone. */
  runtimeFolder: string | undefined;
  /** Undefined: not started by `launch`. */
  launch?: LaunchFacts | undefined;
}

export function surroundingsOf(environment: Record<string, string | undefined>): Surroundings {
  return {
    credentialsFolder: environment.CREDENTIALS_DIRECTORY || undefined,
    runtimeFolder: environment.XDG_RUNTIME_DIR || undefined,
    launch: launchFactsOf(environment),
  };
}

/** Not settings: said by scripts/package/files/launch alone. */
function launchFactsOf(environment: Record<string, string | undefined>): LaunchFacts | undefined {
  const { GLASSCAST_LAUNCH_PLACE: place, GLASSCAST_LAUNCH_FLASHED: flashed } = environment;
  if (place !== 'flashed' && place !== 'a' && place !== 'b') return undefined;
  return {
    place,
    flashedVersion: releaseVersion.safeParse(flashed).data,
    isTrial: environment.GLASSCAST_LAUNCH_MODE === 'trial',
    isRestarted: environment.GLASSCAST_LAUNCH_RESTARTS === 'yes',
  };
}

/** As the unit file's RuntimeDirectory= makes it. */
const SYSTEM_RUNTIME_FOLDER = '/run/glasscast';

/** Where agent and `status` meet: both find it by the same rule. Undefined: nowhere, by wish. */
export function statusSocketPath(
  { statusSocket, tokenFile }: Pick<AgentConfig, 'statusSocket' | 'tokenFile'>,
  { runtimeFolder }: Pick<Surroundings, 'runtimeFolder'>,
  hasFolder: (folder: string) => boolean = existsSync,
): string | undefined {
  if (statusSocket === 'none') return undefined;
  if (statusSocket !== undefined) return statusSocket;
  if (runtimeFolder !== undefined) return join(runtimeFolder, 'glasscast-agent.sock');
  if (hasFolder(SYSTEM_RUNTIME_FOLDER)) return join(SYSTEM_RUNTIME_FOLDER, 'agent.sock');
  return join(dirname(tokenFile), 'agent.sock');
}
