/**
 * What a viewer's SDP offer (RFC 8866, RFC 8829) asks for and which of its payload types are used: H.264 in single stream order
 * (packetization mode 1, RFC 6184 §8.1) and Opus (RFC 7587). Pure; never throws.
 */

export interface OfferedTrack {
  mid: string;
  payloadType: number;
  /** The format's parameters as offered, to be answered with. */
  parameters: string;
  /** Id of the playout delay header extension, when the viewer knows it. */
  playoutDelayId?: number;
}

export interface WhepOffer {
  /** Without its candidates: where the viewer is shows when it knocks. */
  sdp: string;
  video: OfferedTrack;
  /** Undefined: the viewer takes no sound, or none that we have. */
  audio: OfferedTrack | undefined;
  /** Sections that are answered with nothing. */
  unused: UnusedTrack[];
}

export interface UnusedTrack {
  mid: string;
  kind: 'audio' | 'video';
  /** One of the offered formats, since an answer must name one (RFC 3264 §6). */
  payloadType: number;
  /** As in its `rtpmap`, e.g. `opus/48000/2`. */
  codec: string;
}

export type ReadOffer = { offer: WhepOffer } | { refused: { http: 400 | 406; sentence: string } };

export interface OfferNeeds {
  /** `profile_idc` of what is on air: 66 baseline, 77 main, 100 high. Undefined: not known yet. */
  profileIdc: number | undefined;
  hasAudio: boolean;
}

interface Section {
  kind: string;
  mid: string;
  payloadTypes: number[];
  lines: string[];
}

export const PLAYOUT_DELAY_URI = 'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay';
const UNPARSABLE = { refused: { http: 400, sentence: 'Unable to parse SDP' } } as const;
const MAX_SECTIONS = 8;
/** RFC 8866 §6.6. */
const CODEC = /^[\w.-]{1,32}\/\d{1,6}(\/\d{1,2})?$/;

export function readOffer(sdp: string, needs: OfferNeeds): ReadOffer {
  const lines = sdp.split(/\r?\n/);
  if (lines[0] !== 'v=0') return UNPARSABLE;
  const sections = sectionsOf(lines);
  const isWhole = sections?.every(({ mid }) => /^[\w.+-]{1,16}$/.test(mid)) ?? false;
  if (!sections || !isWhole || sections.length === 0 || sections.length > MAX_SECTIONS) return UNPARSABLE;
  if (!hasTransport(lines)) return UNPARSABLE;
  const video = sections.find(({ kind }) => kind === 'video');
  const format = video && h264Format(video, needs.profileIdc);
  if (!video || !format) {
    const sentence = 'The offer takes no H.264 with packetization-mode=1, and that is what is sent';
    return { refused: { http: 406, sentence } };
  }
  const audio = needs.hasAudio ? sections.find(({ kind }) => kind === 'audio') : undefined;
  const opus = audio && opusFormat(audio);
  const used = opus ? [video, audio] : [video];
  return {
    offer: {
      // The library would look up every name in them, each on a thread of its own, and knock at any address they name.
      sdp: sdp.replace(/^a=candidate:.*\r?\n?/gm, ''),
      video: { mid: video.mid, ...format, ...playoutDelayOf(video) },
      audio: opus && { mid: audio.mid, ...opus },
      unused: sections.flatMap((section) => {
        const { kind, mid, payloadTypes, lines: own } = section;
        if ((kind !== 'audio' && kind !== 'video') || used.includes(section)) return [];
        const payloadType = payloadTypes[0] ?? 0;
        const codec = lineOf(own, `a=rtpmap:${payloadType} `) ?? '';
        // Old numbers need no name (RFC 3551 §6). One that is none would end the process, in the library.
        return [{ mid, kind, payloadType, codec: CODEC.test(codec) ? codec : 'PCMU/8000' }];
      }),
    },
  };
}

/** Undefined when a media line is not one. */
function sectionsOf(lines: readonly string[]): Section[] | undefined {
  const sections: Section[] = [];
  for (const line of lines) {
    if (line.startsWith('m=')) {
      const [, kind, formats] = /^m=(\w+) \d+ \S+ (.+)$/.exec(line) ?? [];
      if (!kind || !formats) return undefined;
      const payloadTypes = formats.split(' ').map(Number).filter(isPayloadType);
      sections.push({ kind, mid: '', payloadTypes, lines: [] });
    }
    const section = sections.at(-1);
    section?.lines.push(line);
    const mid = /^a=mid:(.*)$/.exec(line)?.[1];
    if (section && mid !== undefined) section.mid = mid;
  }
  return sections;
}

/** Without these there is nothing to connect to; they may stand once for all sections. */
function hasTransport(lines: readonly string[]): boolean {
  return ['a=ice-ufrag:', 'a=ice-pwd:', 'a=fingerprint:'].every((start) =>
    lines.some((line) => line.startsWith(start)),
  );
}

/** The offered format of the stream's own profile, or else the first: receivers decode more than they say. */
function h264Format(section: Section, profileIdc: number | undefined): Format | undefined {
  const formats = formatsOf(section, /^h264\/90000$/i).filter(({ parameters }) =>
    /packetization-mode=1\b/.test(parameters),
  );
  const profileOf = ({ parameters }: Format) =>
    Number.parseInt(/profile-level-id=([0-9a-f]{2})[0-9a-f]{4}\b/i.exec(parameters)?.[1] ?? '42', 16);
  return formats.find((format) => profileOf(format) === profileIdc) ?? formats[0];
}

function opusFormat(section: Section): Format | undefined {
  return formatsOf(section, /^opus\/48000\/2$/i)[0];
}

type Format = Pick<OfferedTrack, 'payloadType' | 'parameters'>;

function formatsOf({ payloadTypes, lines }: Section, codec: RegExp): Format[] {
  return payloadTypes.flatMap((payloadType) => {
    const name = lineOf(lines, `a=rtpmap:${payloadType} `);
    if (!name || !codec.test(name)) return [];
    return [{ payloadType, parameters: lineOf(lines, `a=fmtp:${payloadType} `) ?? '' }];
  });
}

function playoutDelayOf({ lines }: Section): { playoutDelayId?: number } {
  const line = lines.find((each) => each.startsWith('a=extmap:') && each.endsWith(` ${PLAYOUT_DELAY_URI}`));
  const id = Number(/^a=extmap:(\d+)[ /]/.exec(line ?? '')?.[1]);
  // One-byte headers hold ids up to 14 (RFC 8285 §4.2).
  return id >= 1 && id <= 14 ? { playoutDelayId: id } : {};
}

function lineOf(lines: readonly string[], start: string): string | undefined {
  return lines.find((line) => line.startsWith(start))?.slice(start.length);
}

function isPayloadType(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 127;
}
