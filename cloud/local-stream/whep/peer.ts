/**
 * One WebRTC connection to a viewer, by libdatachannel: answers an offer with all candidates, sends pictures and sound, hears
 * wishes for a key frame. The only file that knows the library. Every exception of it ends its own connection and nothing else.
 */
import { randomInt } from 'node:crypto';
import { isIP } from 'node:net';
import type { Audio, MediaHandler, PeerConnection, RtpPacketizationConfig, Track, Video } from 'node-datachannel';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { type OfferedTrack, PLAYOUT_DELAY_URI, type UnusedTrack, type WhepOffer } from './offer.ts';

export interface WhepPeerEvents {
  /** Media can be sent from now on. */
  open(): void;
  /** The viewer lost its way and asks for a key frame (RFC 4585 §6.3.1, RFC 5104 §4.3.1). */
  keyFrameWanted(): void;
  /** The connection is over, for whatever reason but `close()`. */
  closed(reason: string): void;
}

export interface WhepPeer {
  /** SDP with every candidate; rejects when the offer cannot be answered. */
  readonly answer: Promise<string>;
  /** One access unit, its NAL units with four bytes of length each; RTP time in 90 kHz, 32 bit. */
  sendPicture(unit: Buffer, rtpTime: number): void;
  /** One Opus packet; RTP time in 48 kHz, 32 bit. */
  sendSound(packet: Buffer, rtpTime: number): void;
  close(): void;
}

export interface WhepPeers {
  /** Errors of an offer come by `answer`. @throws when the library cannot be had here. */
  create(offer: WhepOffer, events: WhepPeerEvents): Promise<WhepPeer>;
  /** Ends every connection and the library's threads. */
  close(): Promise<void>;
}

export interface WhepPeersOptions {
  /** Address to listen on; a wildcard offers every address of the machine. */
  listenHost: string;
  /** One UDP port for all viewers; 0: a free one for each. */
  port: number;
  log: Log;
}

type Library = typeof import('node-datachannel');

/** RFC 8834: what fits into nearly every path with SRTP, an extension and IPv6 around it. */
const MAX_PAYLOAD_BYTES = 1180;
/** Of pictures, for viewers that missed one: some 2 s at 3 Mbit/s. */
const KEPT_PACKETS = 1024;

export function createWhepPeers({ listenHost, port, log }: WhepPeersOptions): WhepPeers {
  let loading: Promise<Library> | undefined;
  const kept = new Set<object>();
  const bindAddress = isIP(listenHost) && !/^(0\.0\.0\.0|::)$/.test(listenHost) ? { bindAddress: listenHost } : {};
  const ports = port > 0 ? { enableIceUdpMux: true, portRangeBegin: port, portRangeEnd: port } : {};

  return {
    async create(offer, events) {
      // At the first viewer: 9 MB of native code that most programs never need.
      loading ??= import('node-datachannel');
      const library = await loading;
      const connection = new library.PeerConnection('whep', {
        ...{ iceServers: [], disableAutoNegotiation: true, ...bindAddress, ...ports },
      });
      return createPeer({ library, connection, offer, events, log, kept });
    },
    async close() {
      const library = await loading?.catch(() => undefined);
      try {
        library?.cleanup();
      } catch (error) {
        log.warn({ cause: errorText(error) }, 'webrtc-cleanup-failed');
      }
      kept.clear();
    },
  };
}

interface PeerOptions {
  library: Library;
  connection: PeerConnection;
  offer: WhepOffer;
  events: WhepPeerEvents;
  log: Log;
  /**
   * What must not be collected as garbage, since the library keeps pointers to it and would end the process: connections until
   * they are closed, tracks (empty shells by then) until all ends. As of node-datachannel 0.33.4; its `Track.onClosed`, meant
   * for this, leaves something behind that keeps the process alive.
   */
  kept: Set<object>;
}

function createPeer({ library, connection, offer, events, log, kept }: PeerOptions): WhepPeer {
  let isOver = false;
  let video: Outgoing | undefined;
  let audio: Outgoing | undefined;
  let tracks: Track[] = [];
  let refuse: (error: Error) => void = () => {};

  function close(): void {
    if (isOver) return;
    isOver = true;
    refuse(new Error('closed'));
    // Closes its tracks as well. Those must not be closed here: the wrapper would free what its threads still call.
    attempt(() => connection.close());
  }
  function end(reason: string): void {
    if (isOver) return;
    close();
    events.closed(reason);
  }
  /** Its threads call nothing any more: what was kept for lost packets can go. */
  function release(): void {
    kept.delete(connection);
    for (const track of tracks) track.close();
  }
  /** The library calls back from native code, where an exception would end the process. */
  function attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      log.warn({ cause: errorText(error) }, 'webrtc-error');
    }
  }
  function send({ track, rtp }: Outgoing, media: Buffer, rtpTime: number): void {
    if (isOver) return;
    try {
      rtp.timestamp = rtpTime >>> 0;
      if (track.isOpen()) track.sendMessageBinary(media);
    } catch (error) {
      // E.g. a repeated sequence number: such a connection cannot go on, and must not take others with it.
      end(errorText(error));
    }
  }

  const answer = new Promise<string>((resolve, reject) => {
    refuse = reject;
    kept.add(connection);
    connection.onStateChange((state) => {
      if (state === 'closed') attempt(release);
      if (state === 'disconnected' || state === 'failed' || state === 'closed') attempt(() => end(state));
    });
    connection.onGatheringStateChange((state) => {
      if (state !== 'complete' || isOver) return;
      attempt(() => resolve(connection.localDescription()?.sdp ?? ''));
    });
    video = addVideo(library, connection, offer.video);
    audio = offer.audio && addAudio(library, connection, offer.audio);
    const unused = offer.unused.map((track) => connection.addTrack(unusedMedia(library, track)));
    tracks = [video.track, ...(audio ? [audio.track] : []), ...unused];
    for (const track of tracks) kept.add(track);
    video.track.onOpen(() => {
      if (!isOver) attempt(events.open);
    });
    video.track.onMessage((message) => {
      if (!isOver && wantsKeyFrame(message)) attempt(events.keyFrameWanted);
    });
    connection.setRemoteDescription(offer.sdp, 'offer');
    connection.setLocalDescription('answer');
  });
  answer.catch(() => {});

  return {
    answer,
    sendPicture: (unit, rtpTime) => video && send(video, unit, rtpTime),
    sendSound: (packet, rtpTime) => audio && send(audio, packet, rtpTime),
    close,
  };
}

interface Outgoing {
  track: Track;
  rtp: RtpPacketizationConfig;
}

const VIDEO_CLOCK = 90_000;
const AUDIO_CLOCK = 48_000;
const CNAME = 'glasscast';
const newSsrc = () => randomInt(1, 2 ** 32 - 1);

function addVideo(library: Library, connection: PeerConnection, offered: OfferedTrack): Outgoing {
  const { mid, payloadType, parameters, playoutDelayId } = offered;
  const ssrc = newSsrc();
  const rtp = new library.RtpPacketizationConfig(ssrc, CNAME, payloadType, VIDEO_CLOCK);
  const media: Video = new library.Video(mid, 'SendOnly');
  media.addH264Codec(payloadType, parameters);
  media.addSSRC(ssrc, CNAME, CNAME, `${CNAME}-video`);
  if (playoutDelayId !== undefined) {
    media.parseSdpLine(`a=extmap:${playoutDelayId} ${PLAYOUT_DELAY_URI}`);
    // Shown as soon as decoded: what is not there in time is better missed than waited for.
    Object.assign(rtp, { playoutDelayId, playoutDelayMin: 0, playoutDelayMax: 0 });
  }
  const track = connection.addTrack(media);
  track.setMediaHandler(chain(new library.H264RtpPacketizer('Length', rtp, MAX_PAYLOAD_BYTES), library, rtp));
  return { track, rtp };
}

function addAudio(library: Library, connection: PeerConnection, offered: OfferedTrack): Outgoing {
  const { mid, payloadType, parameters } = offered;
  const ssrc = newSsrc();
  const rtp = new library.RtpPacketizationConfig(ssrc, CNAME, payloadType, AUDIO_CLOCK);
  const media: Audio = new library.Audio(mid, 'SendOnly');
  media.addOpusCodec(payloadType, parameters);
  media.addSSRC(ssrc, CNAME, CNAME, `${CNAME}-audio`);
  const track = connection.addTrack(media);
  track.setMediaHandler(chain(new library.RtpPacketizer(rtp), library, rtp));
  return { track, rtp };
}

function unusedMedia(library: Library, { mid, kind, payloadType, codec }: UnusedTrack): Audio | Video {
  const [name = ''] = codec.split('/');
  const audio = kind === 'audio' ? new library.Audio(mid, 'Inactive') : undefined;
  const video = new library.Video(mid, 'Inactive');
  audio?.addAudioCodec(payloadType, name);
  video.addVideoCodec(payloadType, name);
  const media = audio ?? video;
  // The library guesses clock and channels.
  media.parseSdpLine(`a=rtpmap:${payloadType} ${codec}`);
  return media;
}

function chain(packetizer: MediaHandler, library: Library, rtp: RtpPacketizationConfig): MediaHandler {
  packetizer.addToChain(new library.RtcpSrReporter(rtp));
  packetizer.addToChain(new library.RtcpNackResponder(KEPT_PACKETS));
  return packetizer;
}

/** Whether a compound RTCP packet (RFC 3550 §6.4) holds a picture loss indication or a full intra request. */
export function wantsKeyFrame(message: Buffer): boolean {
  for (let at = 0; at + 4 <= message.length; at += 4 * (message.readUInt16BE(at + 2) + 1)) {
    const format = message.readUInt8(at) & 0x1f;
    if (message.readUInt8(at + 1) === 206 && (format === 1 || format === 4)) return true;
  }
  return false;
}
