/**
 * What the doctor looks at on this device, in order, from the agent's settings: a composition root of its own, since it looks
 * where the agent would open.
 */
import type { SpawnChild } from '../shared/child-process.ts';
import type { Clock } from '../shared/clock.ts';
import { GlasscastError } from '../shared/errors.ts';
import type { FfmpegBinary } from '../shared/ffmpeg-binary.ts';
import type { Log } from '../shared/log.ts';
import type { Redactor, Secret } from '../shared/secrets.ts';
import { defaultEncoderSettings } from '../shared/stream.ts';
import type { CameraFolders } from './capture/cameras.ts';
import { parseCaptureSource } from './capture/capture-source.ts';
import type { Lamp } from './capture/lit-capture.ts';
import { type AgentConfig, type Surroundings, statusSocketPath } from './config.ts';
import { findBoardFfmpeg } from './encoding/board-ffmpeg.ts';
import { createPrivacyLight } from './publishing/privacy-light.ts';
import { captureChecks } from './runtime/capture-checks.ts';
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
import { hasEnded, statusReport } from './runtime/status-report.ts';
import { askStatus } from './runtime/status-socket.ts';

export interface NeedsOptions {
  surroundings: Surroundings;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  redactor: Redactor;
  /** Where cameras and their programs are looked for; default: this machine's. */
  cameraFolders?: CameraFolders | undefined;
  /** Where the kernel's LEDs are found; default `/sys`. */
  sysRoot?: string | undefined;
}

export function needsOf(config: AgentConfig, options: NeedsOptions): Check[] {
  const { spawn, clock } = options;
  const { checkFfmpeg, binary } = ffmpegNeed(config, options);
  const { checkToken, coreToken } = tokenNeed(config, options);
  const light = lightOf(config, options);
  return [
    nodeCheck(),
    checkFfmpeg,
    ...captureNeeds(config, options, { binary, light }),
    lightNeed(config, options, light),
    checkToken,
    ...relayChecks({ relayUrl: config.relayUrl, coreToken, clock }),
    timeSyncCheck({ spawn, clock }),
    diskCheck(config.backlogFolder, config.maxBacklogDiskMb),
  ];
}

/** One for all checks: of two keepers one would put out what the other lights. */
function lightOf({ privacyLight: light }: AgentConfig, { spawn, clock, log, sysRoot }: NeedsOptions): Lamp | undefined {
  return light && createPrivacyLight({ light, spawn, clock, log, ...(sysRoot === undefined ? {} : { sysRoot }) });
}

/** A light that need not be lit keeps no camera from being tried. */
function lenient(light: Lamp): Lamp {
  return { hold: (onOut) => light.hold(onOut).catch(() => async () => {}) };
}

function captureNeeds(
  config: AgentConfig,
  options: NeedsOptions,
  { binary, light }: { binary: () => FfmpegBinary | undefined; light: Lamp | undefined },
): Check[] {
  const { spawn, clock, log, cameraFolders } = options;
  return captureChecks({
    ...{ spawn, clock, log, binary, cameraFolders, settings: defaultEncoderSettings },
    source: () => parseCaptureSource(config.source, config.microphone),
    lamp: light && !config.privacyLightRequired ? lenient(light) : light,
    async whyTaken() {
      const status = await statusOfAgent(config, options);
      if (status === undefined) return undefined;
      // Our keeper would put the light out that the agent may need at any moment.
      if (light) return 'the agent is running and has the privacy light';
      const { stream } = statusReport.parse(status);
      return stream && !hasEnded(stream.state) ? `the agent is streaming (${stream.state})` : undefined;
    },
  });
}

/** Undefined: none is running, or none that answers. */
async function statusOfAgent(config: AgentConfig, { surroundings, clock }: NeedsOptions): Promise<unknown> {
  const path = statusSocketPath(config, surroundings);
  return path === undefined ? undefined : askStatus(path, clock).catch(() => undefined);
}

function ffmpegNeed({ ffmpegPath, packagedFfmpeg }: AgentConfig, { spawn, clock, log }: NeedsOptions) {
  let found: FfmpegBinary | undefined;
  const checkFfmpeg = checkOf('ffmpeg', true, async () => {
    found = await findBoardFfmpeg({ spawn, clock, log, ffmpegPath, packagedFfmpeg });
    return `${found.file}: ${found.reason}`;
  });
  return { checkFfmpeg, binary: () => found };
}

function lightNeed(config: AgentConfig, options: NeedsOptions, light: Lamp | undefined): Check {
  const blink = async (lamp: Lamp) => {
    const release = await lamp.hold(() => {});
    await release();
  };
  const isInUse = async () => (await statusOfAgent(config, options)) !== undefined;
  return lightCheck({ blink: light && (() => blink(light)), isRequired: config.privacyLightRequired, isInUse });
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
