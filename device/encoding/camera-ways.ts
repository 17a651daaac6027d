/**
 * The ways to make a picture from a camera, best first: its own H.264 passed on, else one capture whose frames any number of
 * encoder runs share. Owns that capture; never restarts anything.
 */
import type { Timer } from '../../shared/clock.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import type { PictureQuality } from '../../shared/stream.ts';
import { passthroughArguments } from '../capture/camera-commands.ts';
import { type CameraFeed, openCameraFeed } from '../capture/camera-feed.ts';
import { type RankedMode, rankModes } from '../capture/camera-modes.ts';
import { type Camera, type CameraFolders, findCamera } from '../capture/cameras.ts';
import type { CaptureSource } from '../capture/capture-source.ts';
import { captureUnderLight } from '../capture/lit-capture.ts';
import { createEncoder, type Encoder } from './encoder.ts';
import { passthroughRun, pictureArguments } from './encoder-arguments.ts';
import { causeOf } from './ffmpeg-causes.ts';
import type { PictureWay } from './picture.ts';
import { newRulesFor, type PictureWays, type PictureWaysOptions, stallTimeoutMs } from './picture-ways.ts';
import type { VideoEncoder } from './video-encoders.ts';

export type CameraSource = Extract<CaptureSource, { kind: 'camera' }>;

export interface CameraWaysOptions extends PictureWaysOptions {
  /** Default: this machine's. */
  cameraFolders?: CameraFolders | undefined;
}

export function createCameraWays(source: CameraSource, options: CameraWaysOptions): PictureWays {
  const { clock, spawn, binary, settings, findEncoders, cameraFolders: folders } = options;
  const feeds = createSharedFeed(options);
  /** In use or silent when they were last tried: of `v4l2:auto` another one is tried first. */
  const troubled = new Set<string>();
  const watched = (camera: Camera, way: PictureWay): PictureWay => ({
    ...way,
    async open(quality, onTag) {
      const encoder = await way.open(quality, onTag);
      void encoder.ended.then(({ cause }) => {
        if (cause && TROUBLES.includes(cause.code)) troubled.add(camera.device);
      });
      return encoder;
    },
  });
  return {
    async find() {
      const search = { clock, spawn, binary, ...(folders ? { folders } : {}) };
      const camera = await findCamera(source, search, troubled);
      // There is no other: the next round begins with all of them.
      if (troubled.has(camera.device)) troubled.clear();
      const modes = rankModes(camera, settings);
      const encoders = await findEncoders();
      const ways = modes
        .slice(0, MAX_MODES)
        .flatMap((mode) =>
          mode.isPassthrough
            ? [passthroughWay(camera, mode, feeds, options)]
            : encoders.map((videoEncoder) => sharedWay({ camera, source, mode, videoEncoder }, feeds, options)),
        );
      if (ways.length > 0) return ways.map((way) => watched(camera, way));
      throw new GlasscastError('CAMERA_NOT_FOUND', { reason: `${camera.device} has no mode that can be used` });
    },
    close: feeds.close,
  };
}

const TROUBLES: readonly ErrorCode[] = ['CAMERA_BUSY', 'CAMERA_SILENT'];
/** The best, and what is left when it fails. */
const MAX_MODES = 3;
/** Longer than a capture has for its first frame: else the encoder that waits for it would be blamed. */
const FED_FIRST_TIMEOUT_MS = 13_000;

/** The camera's frames go to each run; the capture goes on while runs change. */
function sharedWay(
  {
    camera,
    source,
    mode,
    videoEncoder,
  }: { camera: Camera; source: CameraSource; mode: RankedMode; videoEncoder: VideoEncoder },
  feeds: SharedFeed,
  options: PictureWaysOptions,
): PictureWay {
  const { clock, log, spawn, binary, timeline } = options;
  return {
    encoder: videoEncoder.name,
    captureSize: mode,
    captureName: `${mode.pixelFormat} ${mode.widthPx}x${mode.heightPx}`,
    isShared: true,
    newRules: newRulesFor(options),
    async open(quality, onTag) {
      const { feed, release } = await feeds.take(camera, mode);
      const settings = { ...options.settings, ...quality };
      const encoder = createEncoder({
        ...{ clock, log, spawn, file: binary.file, kind: 'video' },
        onTag: (tag) => onTag(timeline.placed(tag)),
        arguments: () =>
          pictureArguments({
            ...{
              source,
              settings,
              epochMs: timeline.epochMs(),
              binary,
              videoEncoder,
              hasAudio: true,
              nowMs: clock.now(),
            },
            feedInput: feed.inputArguments,
            feedFrameRate: mode.isRateKnown ? mode.frameRate : undefined,
          }),
        causeOf: (lines) => causeOf(lines, source),
        stallTimeoutMs: stallTimeoutMs(quality),
        firstTimeoutMs: FED_FIRST_TIMEOUT_MS,
        feed: feed.attach,
      });
      return tiedTo(feed, encoder, release);
    },
  };
}

/** No encoder at all. The camera makes one stream, so the run before has to end first. */
function passthroughWay(camera: Camera, mode: RankedMode, feeds: SharedFeed, options: PictureWaysOptions): PictureWay {
  const { clock, log, spawn, binary, lamp, timeline } = options;
  const source: CameraSource = { kind: 'camera', ...camera, microphone: { kind: 'silence' } };
  const isPiped = camera.driver === 'libcamera';
  return {
    encoder: 'copy',
    ...(isPiped ? {} : { captureSize: mode, fixed: sizeAndRateOf(mode) }),
    isShared: false,
    newRules: newRulesFor(options),
    async open(quality, onTag) {
      // libcamera makes whatever is asked of it, but by another capture; a camera of V4L2 what it was set to.
      const made = isPiped ? { ...mode, ...sizeAndRateOf(quality) } : mode;
      const run = (feed?: CameraFeed) =>
        createEncoder({
          ...{ clock, log, spawn, file: binary.file, kind: 'video' },
          onTag: (tag) => onTag(timeline.placed(tag)),
          arguments: () => passthroughRun(passthroughArguments(camera, made, timeline.epochMs())),
          causeOf: (lines) => causeOf(lines, source),
          stallTimeoutMs: stallTimeoutMs(quality),
          firstTimeoutMs: FED_FIRST_TIMEOUT_MS,
          // It only copies: there is nothing else that could hold it.
          stallCause: () => new GlasscastError('CAMERA_SILENT', { reason: camera.device }),
          feed: feed?.attach,
        });
      if (!isPiped) return captureUnderLight(lamp, async () => run());
      const { feed, release } = await feeds.take(camera, made, quality.videoBitrateBps);
      return tiedTo(feed, run(feed), release);
    },
  };
}

const sizeAndRateOf = ({ widthPx, heightPx, frameRate }: Omit<PictureQuality, 'videoBitrateBps'>) => ({
  widthPx,
  heightPx,
  frameRate,
});

/** A run that ends with its capture, of the capture's cause, and lets go of it when it is over. */
function tiedTo(feed: CameraFeed, encoder: Encoder, release: () => void): Encoder {
  const { close } = encoder;
  void feed.ended.then(({ cause }) => cause && encoder.close(cause));
  void encoder.ended.then(release);
  return Object.assign(encoder, {
    async close(because?: GlasscastError) {
      await close(because);
      release();
    },
  });
}

interface SharedFeed {
  /** @throws GlasscastError PRIVACY_LIGHT_FAILED; SHUTTING_DOWN after `close` */
  take(camera: Camera, mode: RankedMode, videoBitrateBps?: number): Promise<{ feed: CameraFeed; release: () => void }>;
  close(): Promise<void>;
}

interface HeldFeed {
  key: string;
  feed: Promise<CameraFeed>;
  users: number;
  /** Runs while nobody uses it. */
  linger: Timer | undefined;
}

/** After a run died the next one comes at once: the camera should not go out and on for it. */
const LINGER_MS = 1_500;

/** One capture at a time, under the light, for all runs that want the same of it. */
function createSharedFeed(options: CameraWaysOptions): SharedFeed {
  const { clock, log, spawn, binary, settings, lamp, cameraFolders } = options;
  let held: HeldFeed | undefined;
  let closed = false;
  /** A camera is opened by one at a time: the next capture waits until the one before is gone. */
  let ending: Promise<void> = Promise.resolve();

  function openFeed(camera: Camera, mode: RankedMode, videoBitrateBps: number): Promise<CameraFeed> {
    return captureUnderLight(lamp, async () =>
      openCameraFeed({
        ...{ spawn, clock, log, binary, camera, mode, videoBitrateBps },
        keyFrameIntervalMs: settings.keyFrameIntervalMs,
        programs: cameraFolders?.programs,
      }),
    );
  }
  function end(entry: HeldFeed): Promise<void> {
    entry.linger?.cancel();
    if (held === entry) held = undefined;
    const ended = entry.feed.then(
      (feed) => feed.close(),
      () => {},
    );
    ending = Promise.all([ending, ended]).then(() => {});
    return ending;
  }
  function releaseOf(entry: HeldFeed): () => void {
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      entry.users -= 1;
      if (entry.users > 0) return;
      if (closed || held !== entry) void end(entry);
      else entry.linger = clock.after('camera-linger', LINGER_MS, () => void end(entry));
    };
  }

  return {
    async take(camera, mode, videoBitrateBps = settings.videoBitrateBps) {
      const { pixelFormat, widthPx, heightPx, frameRate } = mode;
      const shape = [camera.device, pixelFormat, widthPx, heightPx, frameRate];
      const key = [...shape, ...(pixelFormat === 'h264' ? [videoBitrateBps] : [])].join(' ');
      if (held && held.key !== key) void end(held);
      await ending;
      if (closed) throw new GlasscastError('SHUTTING_DOWN');
      held ??= { key, users: 0, linger: undefined, feed: openFeed(camera, mode, videoBitrateBps) };
      const entry = held;
      entry.users += 1;
      entry.linger?.cancel();
      try {
        const feed = await entry.feed;
        void feed.ended.then(() => {
          if (held === entry) held = undefined;
        });
        return { feed, release: releaseOf(entry) };
      } catch (error) {
        if (held === entry) held = undefined;
        throw error;
      }
    },
    async close() {
      closed = true;
      if (held) void end(held);
      await ending;
    },
  };
}
