/**
 * The sound of a source as runs of ffmpeg: what was asked for, treated as far as this device can, and silence. Owns what the
 * treatment needs of the sound server; `sound.ts` decides which run is heard.
 */
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import type { Log } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import type { EncoderSettings } from '../../shared/stream.ts';
import { type CaptureSource, checkMicrophone, type Microphone } from '../capture/capture-source.ts';
import { captureUnderLight, type Lamp } from '../capture/lit-capture.ts';
import { type MediaFile, placeInFile } from '../capture/media-file.ts';
import { checkMicrophoneAccess } from '../capture/microphones.ts';
import { createEncoder, type Encoder } from './encoder.ts';
import { soundArguments } from './encoder-arguments.ts';
import { causeOf } from './ffmpeg-causes.ts';
import { createSound, type Sound, type SoundOptions } from './sound.ts';
import { type PreparedSound, prepareSound, type SoundSetting } from './sound-processing.ts';
import type { Timeline } from './timeline.ts';

export interface SoundSourceOptions extends Pick<SoundOptions, 'onTag' | 'onNotice'> {
  clock: Clock;
  log: Log;
  spawn: SpawnChild;
  binary: FfmpegBinary;
  source: CaptureSource;
  settings: EncoderSettings;
  lamp: Lamp | undefined;
  timeline: Timeline;
  lookIntoFile: () => Promise<MediaFile | undefined>;
}

export interface SoundSource extends Sound {
  /** What is really done to the sound; nothing before it has begun. */
  readonly treatment: Readonly<Record<SoundSetting, boolean>>;
}

/** From this rate on sound is fetched with the pictures: one wake-up instead of two and a half for each. */
const RIDING_FRAME_RATE = 24;
const UNTREATED = { echoCancellation: false, noiseSuppression: false };
const SILENCE: Microphone = { kind: 'silence' };
const WORDS = { echoCancellation: 'Echo cancellation', noiseSuppression: 'Noise suppression' } as const;

export function createSoundSource(options: SoundSourceOptions): SoundSource {
  const { clock, log, spawn, binary, source, settings, lamp, timeline, lookIntoFile, onTag, onNotice } = options;
  const isFetched = settings.frameRate >= RIDING_FRAME_RATE;
  const told = new Set<string>();
  let prepared: PreparedSound | undefined;

  /** Anew for each run: with a microphone that went, what treated it may be gone as well. */
  async function prepare(): Promise<PreparedSound> {
    await prepared?.close();
    const microphone = source.kind === 'file' ? undefined : source.microphone;
    prepared = await prepareSound({ microphone, settings, binary, spawn, clock, log });
    for (const { setting, reason } of prepared.unavailable) {
      if (!told.has(setting))
        onNotice({ code: 'SETTING_UNAVAILABLE', text: `${WORDS[setting]} is not available: ${reason}` });
      told.add(setting);
    }
    return prepared;
  }
  function run(
    from: CaptureSource,
    take: (tag: FlvTag) => void,
    more: { file?: MediaFile; filters?: readonly string[] },
  ) {
    return createEncoder({
      ...{ clock, log, spawn, file: binary.file, kind: 'audio', isFetched },
      onTag: (tag) => take(timeline.placed(tag)),
      arguments: () => {
        const epochMs = timeline.epochMs();
        const place = placeInFile(more.file, clock.now(), epochMs);
        return soundArguments({ source: from, settings, epochMs, extraFilters: more.filters ?? [], ...place });
      },
      causeOf: (lines) => causeOf(lines, from),
    });
  }
  async function openWanted(take: (tag: FlvTag) => void): Promise<Encoder> {
    if (source.kind !== 'file') {
      checkMicrophone(source.microphone, binary);
      await checkMicrophoneAccess(source.microphone);
    }
    const file = await lookIntoFile();
    const { microphone, filters } = await prepare();
    const from = source.kind === 'file' || !microphone ? source : { ...source, microphone };
    return captureUnderLight(lamp, async () => run(from, take, { filters, ...(file ? { file } : {}) }));
  }
  const sound = createSound({
    ...{ clock, log, onTag, onNotice, openWanted },
    openSilence: async (take) => run({ kind: 'test-pattern', microphone: SILENCE }, take, {}),
  });

  return {
    start: sound.start,
    fetch: sound.fetch,
    renew: sound.renew,
    get isSilence() {
      return sound.isSilence;
    },
    get treatment() {
      return prepared?.honoured ?? UNTREATED;
    },
    async close() {
      await sound.close();
      await prepared?.close();
    },
  };
}
