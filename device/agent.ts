/**
 * The agent's composition root and its commands: what the relay says becomes one publisher at a time. The simulator is this
 * same agent with another capture source. Closes in the order publisher, line to the relay, children.
 */
import { createChildSpawner } from '../shared/child-process.ts';
import type { Clock } from '../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../shared/errors.ts';
import { type FfmpegBinary, findFfmpeg } from '../shared/ffmpeg-binary.ts';
import type { Log } from '../shared/log.ts';
import type { FromGlasses, StartStream, StopStream, ToGlasses } from '../shared/protocol/glasses-messages.ts';
import type { FlvTag } from '../shared/rtmp/flv.ts';
import { type PublishUrl, parsePublishUrl } from '../shared/rtmp/publish-url.ts';
import { createRtmpPush, type PushMode } from '../shared/rtmp/push.ts';
import type { Redactor, Secret } from '../shared/secrets.ts';
import { type EncoderSettings, type PublisherState, resolveSettings } from '../shared/stream.ts';
import { type CaptureSource, checkCaptureSource } from './capture/capture-source.ts';
import { lookIntoFile } from './capture/media-file.ts';
import { createEncoder, type Encoder } from './encoding/encoder.ts';
import { createPublisher, type Publisher, type PublisherStatus } from './publishing/publisher.ts';
import { createCloudConnection } from './runtime/cloud-connection.ts';

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
  /** This ffmpeg or none; default: PATH, then the bundled one. */
  ffmpegPath?: string | undefined;
  /** After an outage: send what was missed, or go on with the present. Default `backfill`. */
  pushMode?: PushMode;
  /** How much media waits for the ingest during an outage. Default 10000. */
  maxBacklogMs?: number;
  /** Trusted certificates (PEM) for rtmps instead of the system's. */
  ca?: string | undefined;
  leaseMs?: number;
  statsEveryMs?: number;
}

export interface AgentStatus {
  connected: boolean;
  /** Why the relay is not reached. */
  cause: string | undefined;
  ffmpeg: { file: string; version: string; reason: string } | undefined;
  /** The running stream, or the last one until another begins. */
  stream: { streamId: string; state: PublisherState; encoderPid: number | undefined } | undefined;
}

export interface Agent {
  /** Finds ffmpeg, then begins to connect; does not wait for the relay. @throws GlasscastError FFMPEG_MISSING */
  start(): Promise<void>;
  status(): AgentStatus;
  /** Stops the stream, tells the relay, ends all children. Idempotent. */
  close(): Promise<void>;
}

export function createAgent(options: AgentOptions): Agent {
  const { clock, log, redactor } = options;
  const children = createChildSpawner({ clock, log, redactor });
  let binary: FfmpegBinary | undefined;
  let publisher: Publisher | undefined;
  let closing: Promise<void> | undefined;
  // Commands are carried out one after the other; a start waits until the stream before it is down.
  let commands: Promise<void> = Promise.resolve();

  const connection = createCloudConnection({
    clock,
    log,
    url: options.relayUrl,
    coreToken: options.coreToken,
    hello: (localIp) => [
      {
        type: 'glasses_connection_state',
        status: 'CONNECTED',
        modelName: options.modelName ?? 'Glasscast',
        // Apps that ask for Wi-Fi before streaming mean: is there a network. These words go out on an open line only, and
        // that line is the proof, be it over Wi-Fi, a cable or loopback. The network's name is not known here.
        wifi: { connected: true, ...(localIp === undefined ? {} : { localIp }) },
      },
    ],
    present: () => (publisher && isRunning(publisher) ? [statusMessage(publisher.status())] : []),
    onMessage,
  });

  function onMessage(message: ToGlasses): void {
    switch (message.type) {
      case 'start_stream':
        enqueue(() => startStream(message));
        return;
      case 'stop_stream':
        enqueue(() => stopStream(message));
        return;
      case 'keep_stream_alive':
        keepAlive(message.streamId, message.ackId);
        return;
      case 'get_stream_status':
        say(publisher?.status() ?? { status: 'stopped', kind: 'snapshot' });
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
        refuseOrder(message.type, message.requestId);
        return;
      case 'audio_stop_request':
      case 'display_event':
      case 'request_single_location':
      case 'set_location_tier':
      case 'show_wifi_setup':
      case 'connection_ack':
      case 'app_started':
      case 'app_stopped':
      case 'app_state_change':
      case 'pong':
      case 'unknown':
        return;
      default:
        message satisfies never;
    }
  }
  function enqueue(command: () => Promise<void>): void {
    commands = commands.then(command).catch((error: unknown) => {
      const { code, message } = asGlasscastError(error);
      log.error({ code, reason: message }, 'command-failed');
    });
  }
  /** Streams are all that this device does for apps; whoever waits for an answer is told so at once. */
  function refuseOrder(order: keyof typeof refusals, requestId: string | undefined): void {
    if (requestId !== undefined) connection.send({ ...refusals[order], requestId, success: false });
  }
  /** The lease is renewed and the ack given at once, whatever commands wait. */
  function keepAlive(streamId: string, ackId: string): void {
    if (!publisher || publisher.streamId !== streamId || !isRunning(publisher)) return;
    publisher.renewLease();
    connection.send({ type: 'keep_alive_ack', streamId, ackId });
  }
  async function startStream(message: StartStream): Promise<void> {
    if (closing) return;
    const { streamId, publishUrl, video, audio } = message;
    if (publisher?.streamId === streamId && isRunning(publisher)) {
      publisher.renewLease();
      say(publisher.status());
      return;
    }
    let url: PublishUrl;
    try {
      url = parsePublishUrl(publishUrl);
    } catch (error) {
      const { code, message: text } = asGlasscastError(error);
      // Of a missing address the firmware's own words are known.
      sayError(streamId, code, publishUrl === '' ? 'missing_rtmp_url' : text);
      return;
    }
    await publisher?.close();
    if (closing) return;
    redactor.add(url.streamKey);
    publisher = openPublisher(streamId, url, resolveSettings(video, audio));
    log.info({ streamId, ingest: url.printable }, 'stream-start');
    publisher.start();
  }
  async function stopStream({ streamId }: StopStream): Promise<void> {
    const meant = publisher && (streamId === '' || streamId === publisher.streamId) ? publisher : undefined;
    const wasRunning = meant && isRunning(meant);
    if (meant && wasRunning) log.info({ streamId: meant.streamId }, 'stream-stop');
    // Of a stream that failed this waits until all of it is down.
    await meant?.close();
    if (wasRunning) return;
    // A late stop for another stream stops nothing here, and is answered all the same: that stream does not run.
    say({ status: 'stopped', kind: 'lifecycle', ...(streamId ? { streamId } : {}) });
  }
  function openPublisher(streamId: string, url: PublishUrl, settings: EncoderSettings): Publisher {
    const { leaseMs, statsEveryMs, maxBacklogMs, ca, pushMode = 'backfill' } = options;
    // One zero of time for the whole stream: a restarted encoder continues where the one before it would be.
    const epochMs = clock.now();
    return createPublisher({
      clock,
      log,
      streamId,
      settings,
      openEncoder: encoderRuns(settings, epochMs),
      openPush: (onChange) =>
        createRtmpPush({
          url,
          clock,
          log,
          mode: pushMode,
          onChange,
          ...(maxBacklogMs === undefined ? {} : { maxAgeMs: maxBacklogMs }),
          ...(ca === undefined ? {} : { ca }),
        }),
      onStatus(status) {
        say(status);
        if (status.status === 'stopped' || status.status === 'error') redactor.forget(url.streamKey);
      },
      ...(leaseMs === undefined ? {} : { leaseMs }),
      ...(statsEveryMs === undefined ? {} : { statsEveryMs }),
    });
  }
  /** Opens the encoder runs of one stream. A file is looked into once: a restart should not wait for that again. */
  function encoderRuns(settings: EncoderSettings, epochMs: number): (onTag: (tag: FlvTag) => void) => Promise<Encoder> {
    const { source } = options;
    const { spawn } = children;
    let hasAudio = source.kind === 'file' ? undefined : true;
    return async (onTag) => {
      if (!binary) throw new GlasscastError('FFMPEG_MISSING');
      await checkCaptureSource(source, binary);
      if (source.kind === 'file') hasAudio ??= (await lookIntoFile(source.path, { spawn, clock, binary })).hasAudio;
      return createEncoder({
        ...{ clock, log, spawn, binary, source, settings, epochMs, onTag },
        hasAudio: hasAudio ?? true,
      });
    };
  }
  function say(status: PublisherStatus): void {
    connection.send(statusMessage(status));
  }
  function sayError(streamId: string, errorCode: string, errorDetails: string): void {
    say({ status: 'error', kind: 'lifecycle', ...(streamId ? { streamId } : {}), errorCode, errorDetails });
  }
  async function shutDown(): Promise<void> {
    // A command under way sees `closing` and ends; one that stops a stream finishes.
    await commands;
    await publisher?.close();
    await connection.close();
    await children.close();
  }

  return {
    async start() {
      redactor.add(options.coreToken);
      binary = await findFfmpeg({ spawn: children.spawn, clock, explicitFile: options.ffmpegPath });
      log.info({ file: binary.file, version: binary.version, reason: binary.reason }, 'ffmpeg-found');
      if (!closing) connection.start();
    },
    status: () => ({
      connected: connection.connected,
      cause: connection.cause?.message,
      ffmpeg: binary && { file: binary.file, version: binary.version, reason: binary.reason },
      stream: publisher && {
        streamId: publisher.streamId,
        state: publisher.state,
        encoderPid: publisher.encoderPid,
      },
    }),
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

function isRunning({ state }: Publisher): boolean {
  return state !== 'stopped' && state !== 'failed';
}

function statusMessage(status: PublisherStatus): FromGlasses {
  return { type: 'stream_status', ...status };
}
