/**
 * The agent's composition root. The simulator is this same agent with another capture source.
 * Closes in the order stream, light, line to the relay, children.
 */
import { createChildSpawner } from '../shared/child-process.ts';
import { type Clock, withTimeout } from '../shared/clock.ts';
import { GlasscastError } from '../shared/errors.ts';
import type { FfmpegBinary } from '../shared/ffmpeg-binary.ts';
import type { Log } from '../shared/log.ts';
import type { FromGlasses, StartStream, ToGlasses } from '../shared/protocol/glasses-messages.ts';
import type { AgentFacts } from '../shared/protocol/releases.ts';
import type { PublishUrl } from '../shared/rtmp/publish-url.ts';
import type { PushMode } from '../shared/rtmp/push.ts';
import type { Redactor, Secret } from '../shared/secrets.ts';
import { defaultEncoderSettings, resolveSettings } from '../shared/stream.ts';
import type { CameraFolders } from './capture/cameras.ts';
import type { CaptureSource } from './capture/capture-source.ts';
import type { CaptureMishaps } from './capture/lit-capture.ts';
import { ffmpegEnvironment, findBoardFfmpeg } from './encoding/board-ffmpeg.ts';
import { encoderProbeText, probeVideoEncoders } from './encoding/encoder-probe.ts';
import { libx264, type VideoEncoder } from './encoding/video-encoders.ts';
import type { PrivacyLightDriver } from './publishing/light-keeper.ts';
import { createPrivacyLight } from './publishing/privacy-light.ts';
import { createPublisher, type Publisher, type PublisherFacts, type PublisherStatus } from './publishing/publisher.ts';
import { createStreamOrders } from './publishing/stream-orders.ts';
import { createTelemetry, type Telemetry } from './publishing/telemetry.ts';
import { createCloudConnection, type RelayOutage } from './runtime/cloud-connection.ts';
import { type StreamPartsOptions, streamParts } from './stream-parts.ts';
import type { AgentUpdates } from './updates/agent-updates.ts';
import { agentVersion } from './version.ts';

export interface AgentOptions {
  clock: Clock;
  log: Log;
  redactor: Redactor;
  /** ws(s)://host:port/glasses-ws */
  relayUrl: string;
  coreToken: Secret;
  source: CaptureSource;
  /** What the relay and apps read as the glasses' model. */
  modelName?: string;
  /** This ffmpeg or none; default: PATH, then the packaged one. */
  ffmpegPath?: string | undefined;
  /** Where there is no better; default: the one that npm installed. */
  packagedFfmpeg?: string | undefined;
  /** After an outage: send what was missed, or go on with the present. Default `backfill`. */
  pushMode?: PushMode;
  /** How much media waits for the ingest during an outage. Default 10000. */
  maxBacklogMs?: number;
  /** Where media waits that memory has no room for; default: memory only. */
  backlogFolder?: string | undefined;
  maxBacklogDiskMb?: number | undefined;
  /** Trusted certificates (PEM) for rtmps instead of the system's. */
  ca?: string | undefined;
  /** Best first; default: those that work here, found out by encoding. */
  encoders?: readonly VideoEncoder[] | undefined;
  /** Default: there is none. */
  privacyLight?: PrivacyLightDriver | undefined;
  /** Nothing is captured when it cannot be lit. Default true. */
  privacyLightRequired?: boolean;
  /** Where the kernel's LEDs are found; default `/sys`. */
  sysRoot?: string | undefined;
  /** Where cameras and their programs are looked for; default: this machine's. */
  cameraFolders?: CameraFolders | undefined;
  /** Heat and battery; default: of this machine. */
  telemetry?: Telemetry | undefined;
  /** The picture becomes smaller when uplink, heat or battery ask for it. Default true. */
  governor?: boolean;
  minBatteryPercent?: number;
  maxTemperatureC?: number;
  leaseMs?: number;
  statsEveryMs?: number;
  /** Default: this agent tells its version and refuses to be another one. */
  updates?: Pick<AgentUpdates, 'openUpdater'> | undefined;
  /** A scripted world instead of the real network, sensors and devices; closed by who opened it. */
  simulation?: AgentSimulation | undefined;
}

/** What of the world a simulation stands in for. */
export interface AgentSimulation {
  /** Its time begins: with the first stream. Later calls change nothing. */
  begin(): void;
  telemetry: Telemetry;
  push: Pick<StreamPartsOptions['push'], 'dial' | 'sendQueue' | 'networkInterfaces'>;
  mishaps: CaptureMishaps;
  relayOutage: RelayOutage;
}

/** As `runtime/status-report.ts` reads it. */
export interface AgentStatus {
  connected: boolean;
  relayUrl: string;
  /** Its version, and how its last update ended. */
  agent: AgentFacts;
  /** Why the relay is not reached. */
  cause: string | undefined;
  ffmpeg: { file: string; version: string; reason: string } | undefined;
  /** The running stream, or the last one until another begins. */
  stream: PublisherFacts | undefined;
  /** Undefined: there is none. */
  light: { isLit: boolean; name: string } | undefined;
  temperatureC: number | undefined;
  batteryPercent: number | undefined;
  isCharging: boolean | undefined;
  backlog: PublisherFacts['backlog'] | undefined;
  notices: readonly { text: string }[];
}

export interface Agent {
  /** Finds ffmpeg, then begins to connect; does not wait for the relay. @throws GlasscastError FFMPEG_MISSING */
  start(): Promise<void>;
  status(): AgentStatus;
  /** False: an order of the relay has been stuck for so long that only a restart helps. */
  isHealthy(): boolean;
  /** Stops the stream, tells the relay, ends all children. Idempotent. */
  close(): Promise<void>;
}

const MAX_PROBE_WAIT_MS = 1_500;
/** A stop waits for encoders, a connection and the light, each of them a few seconds at most. */
const MAX_ORDER_MS = 30_000;

export function createAgent(options: AgentOptions): Agent {
  const { clock, log, redactor, privacyLight, simulation } = options;
  const telemetry = simulation?.telemetry ?? options.telemetry ?? createTelemetry({ clock });
  const children = createChildSpawner({
    ...{ clock, log, redactor },
    environmentOf: ffmpegEnvironment(options.packagedFfmpeg),
  });
  const { spawn } = children;
  const light = createPrivacyLight({
    ...{ clock, log, spawn, light: privacyLight, isRequired: options.privacyLightRequired ?? true },
    ...(options.sysRoot === undefined ? {} : { sysRoot: options.sysRoot }),
  });
  const probing = new AbortController();
  let encoders: Promise<readonly VideoEncoder[]> = Promise.resolve(options.encoders ?? [libx264]);
  let binary: FfmpegBinary | undefined;
  let closing: Promise<void> | undefined;
  let helloIp: string | undefined;

  const orders = createStreamOrders({ clock, log, send: (message) => connection.send(message), openPublisher });
  const connection = createCloudConnection({
    clock,
    log,
    url: options.relayUrl,
    coreToken: options.coreToken,
    hello(localIp) {
      helloIp = localIp;
      return [helloOf(localIp)];
    },
    present: orders.present,
    onMessage,
    outage: simulation?.relayOutage,
  });

  const updater = options.updates?.openUpdater({
    ...{ relayUrl: options.relayUrl, coreToken: options.coreToken },
    send: connection.send,
    isIdle: () => orders.isIdle,
    announce: () => connection.send(helloOf(helloIp)),
  });

  function facts(): AgentFacts {
    return updater?.facts() ?? { version: agentVersion, architecture: process.arch, canUpdate: false };
  }
  function helloOf(localIp: string | undefined): FromGlasses {
    return {
      type: 'glasses_connection_state',
      status: 'CONNECTED',
      modelName: options.modelName ?? 'Glasscast',
      // Apps that ask for Wi-Fi before streaming mean: is there a network. These words go out on an open line only, and
      // that line is the proof, be it over Wi-Fi, a cable or loopback. The network's name is not known here.
      wifi: { connected: true, ...(localIp === undefined ? {} : { localIp }) },
      agent: facts(),
    };
  }
  function onMessage(message: ToGlasses): void {
    switch (message.type) {
      case 'start_stream':
      case 'stop_stream':
      case 'keep_stream_alive':
      case 'get_stream_status':
        orders.take(message);
        return;
      case 'ping':
        connection.send({ type: 'pong' });
        return;
      case 'connection_error':
        log.warn({ code: message.code, reason: message.message }, 'relay-refused');
        return;
      case 'photo_request':
      case 'audio_play_request':
      case 'rgb_led_control':
        refuse(message.type, message.requestId);
        return;
      case 'audio_stop_request':
      case 'display_event':
      case 'request_single_location':
      case 'set_location_tier':
      case 'show_wifi_setup':
      case 'app_started':
      case 'app_stopped':
      case 'app_state_change':
      case 'pong':
      case 'unknown':
        return;
      case 'connection_ack':
        updater?.onAccepted();
        return;
      case 'agent_update':
        updater?.update(message.version);
        return;
      case 'agent_rollback':
        updater?.rollBack();
        return;
      default:
        message satisfies never;
    }
  }
  /** Streams are all that this device does for apps; whoever waits for an answer is told so at once. */
  function refuse(order: keyof typeof refusals, requestId: string | undefined): void {
    if (requestId !== undefined) connection.send({ ...refusals[order], requestId, success: false });
  }
  function openPublisher(
    { streamId, sessionId: userId, stream, video, audio }: StartStream,
    url: PublishUrl,
    onStatus: (status: PublisherStatus) => void,
  ): Publisher {
    const { leaseMs, statsEveryMs, source, governor: adapts = true } = options;
    const { durationLimit } = stream;
    if (!binary) throw new GlasscastError('FFMPEG_MISSING');
    const settings = resolveSettings(video, audio);
    redactor.add(url.streamKey);
    simulation?.begin();
    const streamLog = log.child({ streamId, ...(userId ? { userId } : {}) });
    const parts = streamParts({
      ...{ clock, log: streamLog, spawn, binary, source, findEncoders, lamp: privacyLight && light, telemetry },
      cameraFolders: options.cameraFolders,
      ...{ url, settings, adapts, limits: limitsOf(options), push: { ...pushOf(options), ...simulation?.push } },
      mishaps: simulation?.mishaps,
    });
    return createPublisher({
      ...{ clock, log: streamLog, streamId, settings, leaseMs, statsEveryMs, ...parts },
      durationLimitMs: durationLimit === undefined ? undefined : durationLimit * 1000,
      onStatus(status) {
        onStatus(status);
        if (status.status === 'stopped' || status.status === 'error') redactor.forget(url.streamKey);
      },
    });
  }
  /** A stream does not wait long for the probing: it begins with what works everywhere. */
  function findEncoders(): Promise<readonly VideoEncoder[]> {
    // Unless that is missing here, as where hardware is all there is.
    if (!binary?.encoders.has(libx264.name)) return encoders;
    const late = () => new GlasscastError('ENCODER_STALLED');
    return withTimeout(clock, 'encoder-probe-wait', MAX_PROBE_WAIT_MS, encoders, late).catch(() => [libx264]);
  }
  async function probe(found: FfmpegBinary): Promise<readonly VideoEncoder[]> {
    const { widthPx, heightPx, frameRate } = defaultEncoderSettings;
    const size = { widthPx, heightPx, frameRate };
    const probed = await probeVideoEncoders({ spawn, clock, log, binary: found, signal: probing.signal, ...size });
    log.info({ encoders: encoderProbeText(probed).split('\n') }, 'encoders-probed');
    const working = probed.filter(({ works }) => works).map(({ encoder }) => encoder);
    if (working.length > 0) updater?.onEncoderProven();
    return working.length > 0 ? working : [libx264];
  }
  function status(): AgentStatus {
    const stream = orders.publisher?.facts();
    const { temperatureC, battery, backlog, notices = [] } = stream ?? {};
    return {
      ...{ connected: connection.connected, relayUrl: options.relayUrl, cause: connection.cause?.message },
      agent: facts(),
      ffmpeg: binary && { file: binary.file, version: binary.version, reason: binary.reason },
      light: privacyLight && { isLit: light.isLit, name: privacyLightName(privacyLight) },
      ...{ stream, temperatureC, backlog, notices, batteryPercent: battery?.percent, isCharging: battery?.isCharging },
    };
  }
  async function shutDown(): Promise<void> {
    probing.abort();
    await Promise.all([updater?.close(), orders.close()]);
    await light.close();
    await encoders;
    await connection.close();
    await children.close();
  }

  return {
    async start() {
      redactor.add(options.coreToken);
      const { ffmpegPath, packagedFfmpeg } = options;
      binary = await findBoardFfmpeg({ spawn, clock, log, ffmpegPath, packagedFfmpeg, signal: probing.signal });
      log.info({ file: binary.file, version: binary.version, reason: binary.reason }, 'ffmpeg-found');
      if (!options.encoders) encoders = probe(binary);
      if (!closing) connection.start();
    },
    status,
    isHealthy: () => orders.busyMs <= MAX_ORDER_MS,
    async close() {
      closing ??= shutDown();
      await closing;
    },
  };
}

/** In MentraOS' own forms: a photo's error is an object with a code of its list, the others' is a text. */
const refusals = {
  photo_request: {
    type: 'photo_response',
    error: { code: 'CAMERA_CAPTURE_FAILED', message: 'This device streams and takes no single photos' },
  },
  audio_play_request: { type: 'audio_play_response', error: 'This device plays no sound' },
  rgb_led_control: { type: 'rgb_led_control_response', error: 'This device has no light of its own' },
} as const;

function pushOf(options: AgentOptions): StreamPartsOptions['push'] {
  const { pushMode = 'backfill', maxBacklogMs, backlogFolder, maxBacklogDiskMb, ca } = options;
  return {
    mode: pushMode,
    ...(backlogFolder === undefined ? {} : { spillFolder: backlogFolder }),
    ...(maxBacklogDiskMb === undefined ? {} : { maxSpillBytes: maxBacklogDiskMb * 1e6 }),
    ...(maxBacklogMs === undefined ? {} : { maxAgeMs: maxBacklogMs }),
    ...(ca === undefined ? {} : { ca }),
  };
}

function limitsOf({ maxTemperatureC, minBatteryPercent }: AgentOptions): StreamPartsOptions['limits'] {
  return {
    ...(maxTemperatureC === undefined ? {} : { heat: { criticalC: maxTemperatureC } }),
    ...(minBatteryPercent === undefined ? {} : { battery: { stopPercent: minBatteryPercent } }),
  };
}

function privacyLightName(light: PrivacyLightDriver): string {
  return light.kind === 'led' ? `led:${light.name}` : `gpio:${light.chip}/${light.line}`;
}
