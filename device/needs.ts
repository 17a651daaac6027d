/**
 * What the doctor looks at on this device, in order, from the agent's settings: a composition root of its own, since it looks
 * where the agent would open. SEAMS: encoder, camera, microphone and the list of devices have their own modules.
 */
import type { SpawnChild } from '../shared/child-process.ts';
import type { Clock } from '../shared/clock.ts';
import { GlasscastError } from '../shared/errors.ts';
import { type FfmpegBinary, findFfmpeg } from '../shared/ffmpeg-binary.ts';
import type { Log } from '../shared/log.ts';
import type { Redactor, Secret } from '../shared/secrets.ts';
import { type CaptureSource, checkCaptureSource, parseCaptureSource } from './capture/capture-source.ts';
import { type AgentConfig, type Surroundings, statusSocketPath } from './config.ts';
import { createPrivacyLight } from './publishing/privacy-light.ts';
import {
  bad,
  type Check,
  checkOf,
  diskCheck,
  lightCheck,
  nodeCheck,
  ok,
  timeSyncCheck,
  unknown,
} from './runtime/doctor.ts';
import { coreTokenAtHand } from './runtime/enrolment.ts';
import { relayChecks } from './runtime/relay-checks.ts';
import { askStatus } from './runtime/status-socket.ts';

export interface NeedsOptions {
  surroundings: Surroundings;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  redactor: Redactor;
}

/** SEAM: device/capture/device-list.ts gives cameras, microphones and encoders in words. */
export async function listDevices(_config: AgentConfig): Promise<string> {
  return 'The list of devices is not made yet';
}

export function needsOf(config: AgentConfig, options: NeedsOptions): Check[] {
  const { spawn, clock } = options;
  const { checkFfmpeg, withFfmpeg } = ffmpegNeed(config, options);
  const { checkToken, coreToken } = tokenNeed(config, options);
  const source = () => parseCaptureSource(config.source, config.microphone);
  return [
    nodeCheck(),
    checkFfmpeg,
    // SEAM: device/encoding knows which encoder it would take and tries it.
    withFfmpeg('Encoder', async () => 'libx264'),
    withFfmpeg('Camera', (binary) => lookAtPicture(source(), binary)),
    withFfmpeg('Microphone', (binary) => lookAtSound(source(), binary)),
    lightNeed(config, options),
    checkToken,
    ...relayChecks({ relayUrl: config.relayUrl, coreToken, clock }),
    timeSyncCheck({ spawn, clock }),
    diskCheck(config.backlogFolder, config.maxBacklogDiskMb),
  ];
}

/** SEAM: opening the device for a moment proves more than its access rights. */
async function lookAtPicture(source: CaptureSource, binary: FfmpegBinary): Promise<string> {
  if ('microphone' in source) await checkCaptureSource({ ...source, microphone: { kind: 'silence' } }, binary);
  else await checkCaptureSource(source, binary);
  if (source.kind === 'camera') return `${source.device} may be opened`;
  return source.kind === 'file' ? `${source.path} can be read` : `${source.kind}, needs no camera`;
}

async function lookAtSound(source: CaptureSource, binary: FfmpegBinary): Promise<string> {
  if (!('microphone' in source)) return 'comes with the file';
  const { microphone } = source;
  // Of the source's kinds the pattern needs nothing else.
  await checkCaptureSource({ kind: 'test-pattern', microphone }, binary);
  return 'name' in microphone ? `${microphone.kind}:${microphone.name}, which ffmpeg can record from` : microphone.kind;
}

function ffmpegNeed({ ffmpegPath }: AgentConfig, { spawn, clock }: NeedsOptions) {
  let found: FfmpegBinary | undefined;
  const checkFfmpeg = checkOf('ffmpeg', true, async () => {
    found = await findFfmpeg({ spawn, clock, explicitFile: ffmpegPath });
    return `${found.file}: ${found.reason}`;
  });
  const withFfmpeg = (name: string, look: (binary: FfmpegBinary) => Promise<string>): Check => ({
    name,
    isNeeded: true,
    look: async () => (found ? ok(await look(found)) : unknown('not tried, because there is no ffmpeg')),
  });
  return { checkFfmpeg, withFfmpeg };
}

function lightNeed(config: AgentConfig, { surroundings, spawn, clock, log }: NeedsOptions): Check {
  const { privacyLight: light, privacyLightRequired: isRequired } = config;
  const blink = async () => {
    const own = createPrivacyLight({ light, spawn, clock, log });
    await own.hold(() => {}).finally(() => own.close());
  };
  const isInUse = async () => {
    const path = statusSocketPath(config, surroundings);
    if (path === undefined) return false;
    return askStatus(path, clock).then(
      () => true,
      () => false,
    );
  };
  return lightCheck({ blink: light && blink, isRequired, isInUse });
}

function tokenNeed(config: AgentConfig, { surroundings: { credentialsFolder }, redactor }: NeedsOptions) {
  let token: Secret | undefined;
  const checkToken: Check = {
    name: 'Core token',
    isNeeded: true,
    async look() {
      try {
        const found = await coreTokenAtHand({ ...config, credentialsFolder, redactor });
        token = found?.token;
        if (found) return ok(found.origin);
      } catch (error) {
        if (!(error instanceof GlasscastError)) throw error;
        return bad(error.message);
      }
      if (config.enrolmentCode) return unknown('an enrolment code is there, to be redeemed when the agent runs');
      return bad('there is none', 'ask for a code (glasscast device enrol EMAIL), set GLASSCAST_AGENT_ENROLMENT_CODE');
    },
  };
  return { checkToken, coreToken: async () => token };
}
