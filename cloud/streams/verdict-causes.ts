/** What can be wrong with a stream, by the codes that show it: the words for each, and what to do. Pure. */
import { ownCodes, type ServiceRecord, type TimelineEntry, type ToldStory } from './stream-story.ts';
import { clockTime, mbit, spanText, times } from './verdict-words.ts';

export interface Cause {
  /** Of entries; the first cause that fits a code has it. */
  codes: RegExp;
  /** @param entry the first one of this cause. */
  says(entry: TimelineEntry, story: ToldStory): string;
  /** What to do; undefined: nothing. */
  advice?: string | ((story: ToldStory) => string | undefined);
  /** "Too late" and the like: something else is behind it, if an entry shows it. */
  isSymptom?: boolean;
  /** It alone can take the picture away. */
  losesPicture: boolean;
  /** Worth to be named when no picture was lost. */
  counts(entry: TimelineEntry, record: ServiceRecord): boolean;
}

const isTrouble = ({ kind }: TimelineEntry) => kind === 'trouble';
const always = () => true;
const never = () => false;
const isThere = ({ entries }: ToldStory, code: string) => entries.some((entry) => entry.code === code);

function steps({ record: { stepsDown, stepsUp } }: ToldStory): string {
  if (stepsDown === 0) return '';
  return `; stepped down ${times(stepsDown)}${stepsUp > 0 ? ` and up again ${times(stepsUp)}` : ''}`;
}

/** How long the glasses could not push, as far as it is over. */
function forHowLong({ record: { reconnects } }: ToldStory): string {
  const { count, totalMs } = reconnects;
  if (count === 0) return '';
  return count === 1 ? ` for ${spanText(totalMs)}` : `, ${times(count)}, for ${spanText(totalMs)} in all`;
}

function byCode(words: Readonly<Record<string, string>>, fallback: string): (entry: TimelineEntry) => string {
  return ({ code = '' }) => (Object.hasOwn(words, code) ? words[code] : undefined) ?? fallback;
}

const cameraWords = byCode(
  {
    CAMERA_NOT_FOUND: 'the camera was gone',
    CAMERA_BUSY: 'another program had the camera',
    CAMERA_SILENT: 'the camera gave no pictures',
    CAPTURE_FORBIDDEN: 'the agent was not allowed to open camera or microphone',
    CAPTURE_FILE_UNREADABLE: 'the file to capture from could not be read',
    PRIVACY_LIGHT_FAILED: 'the privacy light could not be lit, so nothing was captured',
  },
  'the camera failed',
);
const encoderWords = byCode(
  {
    ENCODER_STALLED: 'the encoder stood still',
    ENCODER_CHANGED: 'one encoder failed and another took over',
    ENCODER_UNFIT: 'the encoder made what providers refuse',
    MALFORMED_FLV: 'the encoder made no valid FLV',
    FFMPEG_MISSING: 'no working ffmpeg was found on the glasses',
  },
  'the encoder crashed',
);
const connectionWords = byCode(
  {
    INGEST_UNREACHABLE: 'the ingest could not be reached from the glasses',
    INGEST_SILENT: 'the uplink went dead',
    INGEST_PROTOCOL: 'the ingest broke the protocol',
  },
  'the uplink was cut',
);
const providerWords = byCode(
  {
    PROVIDER_UNAUTHORIZED: 'the provider refused the API token',
    PROVIDER_RATE_LIMITED: 'the provider limited our requests',
    PROVIDER_UNREACHABLE: 'the provider could not be reached',
    PROVIDER_STORAGE_FULL: 'the provider had no storage left',
    PROVIDER_SUBSCRIPTION_MISSING: 'the provider account had no subscription',
    PROVIDER_REJECTED: 'the provider rejected the request',
    KEY_FRAME_INTERVAL_REFUSED: 'the provider refused the picture for the distance of its key frames',
    VIDEO_CODEC_REFUSED: 'the provider refused the picture for its codec',
    AUDIO_CODEC_REFUSED: 'the provider refused the sound for its codec',
  },
  'the provider failed',
);

function providerSays(entry: TimelineEntry, story: ToldStory): string {
  const { status } = entry.numbers ?? {};
  const { providerRetries: retries, providerWaitMs, timeToFirstFrameMs: firstMs } = story.record;
  const cost = firstMs === undefined ? '' : ` of the ${spanText(firstMs)} to the first picture`;
  const again = retries > 0 ? `; asked again ${times(retries)}, which cost ${spanText(providerWaitMs)}${cost}` : '';
  const answer = status === undefined ? '' : ` (answered ${status})`;
  return `${providerWords(entry)}${answer} at ${clockTime(entry.atMs)}${again}`;
}

function uplinkSays(entry: TimelineEntry, story: ToldStory): string {
  const { lowestBps, askedBps } = story.record.uplink ?? {};
  const from = `from ${clockTime(entry.atMs)}`;
  const lost = story.record.framesLost > 0 ? `; ${Math.round(story.record.framesLost)} frames dropped` : '';
  if (askedBps === undefined) return `uplink too narrow ${from}${lost}`;
  const rate = lowestBps === undefined || lowestBps >= askedBps ? '' : ` ${mbit(lowestBps)} Mbit/s`;
  return `uplink${rate} under the asked ${mbit(askedBps)} Mbit/s ${from}${steps(story)}${lost}`;
}

function uplinkAdvice({ entries, state, record }: ToldStory): string | undefined {
  if (state !== 'active' && state !== 'interrupted') return undefined;
  const last = entries.findLast(({ code }) => code === 'UPLINK_NARROW' || code === 'UPLINK_RECOVERED');
  if (last?.code !== 'UPLINK_NARROW') return undefined;
  const { lowestBps } = record.uplink ?? {};
  const less = lowestBps === undefined ? '' : `, or ask for less than ${mbit(lowestBps)} Mbit/s`;
  return `bring the glasses to a better network${less}`;
}

function vanishedSays({ atMs, code }: TimelineEntry, story: ToldStory): string {
  const end = story.entries.findLast((entry) => entry.code === code && entry.kind === 'state');
  const lost = story.entries.findLast((entry) => entry.code === ownCodes.controlLost);
  const isBack = lost && story.entries.some((entry) => entry.because === lost.id && entry.kind === 'glasses');
  const untilMs = end?.atMs ?? atMs;
  if (code === 'GLASSES_NOT_CONNECTED' && lost && !isBack) {
    return `the glasses vanished at ${clockTime(lost.atMs)} and did not come back within ${spanText(untilMs - lost.atMs)}`;
  }
  if (code === 'GLASSES_NOT_CONNECTED') return `the glasses were not connected at ${clockTime(untilMs)}`;
  return `the glasses stopped answering and sent no media, given up at ${clockTime(untilMs)}`;
}

function tooLateSays({ atMs }: TimelineEntry, story: ToldStory): string {
  const asked = story.entries[0]?.atMs ?? atMs;
  const after = `no picture within ${spanText(atMs - asked)} of the request, given up at ${clockTime(atMs)}`;
  if (isThere(story, ownCodes.publishing)) return `${after}: the glasses pushed and the provider never showed it`;
  if (isThere(story, ownCodes.startSent)) return `${after}: the glasses were asked to start and never pushed`;
  return `${after}: the glasses were never reached`;
}

export const causes = {
  heat: {
    codes: /^(HEAT|OVERHEATED)$/,
    says(entry, story) {
      const hottest = Math.max(
        ...story.entries.map(({ numbers }) => numbers?.temperatureC ?? Number.NEGATIVE_INFINITY),
      );
      const degrees = Number.isFinite(hottest) ? ` at up to ${Math.round(hottest)} °C` : '';
      const stopped = story.errorCode === 'OVERHEATED' ? '; the glasses stopped the stream by themselves' : '';
      return `glasses too hot${degrees} from ${clockTime(entry.atMs)}${steps(story)}${stopped}`;
    },
    advice: (story) => unlessOver(story, /^(HEAT|OVERHEATED|HEAT_RECOVERED)$/, 'let the glasses cool down'),
    losesPicture: true,
    counts: always,
  },
  battery: {
    codes: /^BATTERY_LOW$/,
    says(entry, story) {
      const lowest = Math.min(
        ...story.entries.map(({ numbers }) => numbers?.batteryPercent ?? Number.POSITIVE_INFINITY),
      );
      const level = Number.isFinite(lowest) ? ` at ${Math.round(lowest)} %` : '';
      const stopped = story.errorCode === 'BATTERY_LOW' ? '; the glasses stopped the stream by themselves' : '';
      return `battery low${level} from ${clockTime(entry.atMs)}${steps(story)}${stopped}`;
    },
    advice: (story) => unlessOver(story, /^BATTERY_(LOW|RECOVERED)$/, 'charge the glasses'),
    losesPicture: true,
    counts: always,
  },
  uplink: {
    codes: /^(UPLINK_NARROW|FRAMES_DROPPED)$/,
    says: uplinkSays,
    advice: uplinkAdvice,
    losesPicture: true,
    counts: always,
  },
  camera: {
    codes: /^CAMERA_|^CAPTURE_|^PRIVACY_LIGHT_FAILED$/,
    says: (entry, story) => `${cameraWords(entry)} from ${clockTime(entry.atMs)}${forHowLong(story)}`,
    advice: 'see to the plug of the camera and to what else uses it',
    losesPicture: true,
    counts: isTrouble,
  },
  encoder: {
    codes: /^ENCODER_|^MALFORMED_FLV$|^FFMPEG_MISSING$/,
    says(entry, story) {
      const { stalls } = story.record;
      const again = story.state === 'failed' || stalls.count === 0 ? '' : ' and was restarted';
      return `${encoderWords(entry)} at ${clockTime(entry.atMs)}${again}${forHowLong(story).replace(' for ', ' after ')}`;
    },
    advice: ({ state }) => (state === 'failed' ? "see the agent's log on the glasses" : undefined),
    losesPicture: true,
    counts: always,
  },
  keyRefused: {
    codes: /^INGEST_(REFUSED_KEY|TLS_FAILED)$/,
    says(entry) {
      const what = entry.code === 'INGEST_TLS_FAILED' ? 'certificate was not trusted' : 'ingest refused the stream key';
      return entry.code === 'INGEST_TLS_FAILED'
        ? `the ingest's ${what} at ${clockTime(entry.atMs)}`
        : `the ${what} at ${clockTime(entry.atMs)}`;
    },
    advice: 'ask for the stream again, and see at the provider whether its live input is there and enabled',
    losesPicture: true,
    counts: isTrouble,
  },
  connection: {
    codes: /^INGEST_|^PUSH_LOST$/,
    says: (entry, story) => `${connectionWords(entry)} at ${clockTime(entry.atMs)}${forHowLong(story)}${kept(story)}`,
    advice: ({ state }) =>
      ['failed', 'interrupted'].includes(state) ? 'see to the network of the glasses' : undefined,
    losesPicture: true,
    counts: isTrouble,
  },
  microphone: {
    codes: /^MICROPHONE_/,
    says(entry, story) {
      const back = story.entries.findLast(({ code }) => code === 'MICROPHONE_BACK');
      const until = back ? ` until ${clockTime(back.atMs)}` : '';
      return `the microphone failed from ${clockTime(entry.atMs)}${until}; silence was sent in its place`;
    },
    advice: (story) => (isThere(story, 'MICROPHONE_BACK') ? undefined : 'see to the plug of the microphone'),
    losesPicture: false,
    counts: always,
  },
  provider: {
    codes: /^PROVIDER_|^(KEY_FRAME_INTERVAL|VIDEO_CODEC|AUDIO_CODEC)_REFUSED$/,
    says: providerSays,
    advice: ({ errorCode }) =>
      errorCode === 'PROVIDER_UNAUTHORIZED'
        ? 'give the relay a valid API token'
        : errorCode?.startsWith('PROVIDER_')
          ? "see to the provider's account and its status page, then ask again"
          : undefined,
    losesPicture: true,
    counts: always,
  },
  controlLine: {
    codes: /^(CONTROL_LOST|LEASE_EXPIRED|RELAY_UNREACHABLE)$/,
    says(entry, { record: { controlLosses, reconnects, stalls }, entries }) {
      const end = entries.findLast(({ code }) => code === 'LEASE_EXPIRED');
      const from = `the glasses lost their line to the relay from ${clockTime(entry.atMs)}`;
      if (end) return `${from} for so long that they ended the stream at ${clockTime(end.atMs)}`;
      const again = controlLosses.count > 1 ? `, ${times(controlLosses.count)}` : '';
      const lost = stalls.count > 0 ? 'picture' : reconnects.count > 0 ? 'push' : undefined;
      const media = lost ? `, and the ${lost} with it` : '; media flowed on';
      return `${from} for ${spanText(controlLosses.totalMs)}${again}${media}`;
    },
    losesPicture: false,
    counts: always,
  },
  takeOver: {
    codes: /^TAKEN_OVER$/,
    says(entry, { record: { takeOvers } }) {
      const { awayMs } = entry.numbers ?? {};
      const away = awayMs === undefined ? '' : ` after ${spanText(awayMs)} without one`;
      const again = takeOvers > 1 ? `, ${times(takeOvers)} in all` : '';
      return `the relay was restarted or replaced, and the stream taken over at ${clockTime(entry.atMs)}${away}${again}`;
    },
    losesPicture: false,
    counts: always,
  },
  vanished: {
    codes: /^GLASSES_(SILENT|NOT_CONNECTED)$/,
    says: vanishedSays,
    advice: 'see to power and network of the glasses',
    losesPicture: true,
    counts: never,
  },
  tooLate: {
    codes: /^START_(TIMEOUT|UNHEARD)$/,
    says: tooLateSays,
    advice: (story) =>
      isThere(story, ownCodes.publishing)
        ? 'see at the provider how its live input goes'
        : 'see to the glasses and their network',
    isSymptom: true,
    losesPicture: true,
    counts: never,
  },
  interrupted: {
    codes: /^(STREAM_INTERRUPTED|DEVICE_REPORTED)$/,
    says: ({ atMs }) => `no new picture came, given up at ${clockTime(atMs)}, and no entry shows why`,
    advice: 'see to the glasses and their network',
    isSymptom: true,
    losesPicture: true,
    counts: never,
  },
  /** Codes of nobody above. */
  unnamed: {
    codes: /^$/,
    says: ({ atMs, code = '' }) =>
      `failed with ${/^[A-Z_]{1,60}$/.test(code) ? code : 'an error'} at ${clockTime(atMs)}`,
    losesPicture: true,
    counts: never,
  },
  unknownStall: {
    codes: /^$/,
    says: ({ atMs }) => `no new picture came from ${clockTime(atMs)}, and nobody told why`,
    advice: 'see whether the glasses and the provider were well then',
    losesPicture: true,
    counts: never,
  },
} as const satisfies Record<string, Cause>;

/** Not once the glasses have told that it is over. */
function unlessOver({ entries }: ToldStory, codes: RegExp, advice: string): string | undefined {
  const last = entries.findLast(({ code = '' }) => codes.test(code));
  return last?.code?.endsWith('_RECOVERED') ? undefined : advice;
}

/** What waited on the glasses meanwhile. */
function kept({ record: { framesLost, reconnects }, state }: ToldStory): string {
  if (reconnects.count === 0 || state === 'failed') return '';
  return framesLost > 0 ? `; ${Math.round(framesLost)} frames were lost` : '; no frame was lost';
}

export function causeOfCode(code: string): Cause | undefined {
  if (code === '') return undefined;
  return Object.values(causes).find(({ codes }) => codes.test(code));
}
