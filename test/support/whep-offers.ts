/** SDP offers as browsers send them, cut down to what is looked at. */

export interface OfferShape {
  /** Lines of the video section's formats, by payload type. */
  video?: readonly (readonly [payloadType: number, rtpmap: string, fmtp?: string])[];
  hasAudio?: boolean;
  playoutDelayId?: number;
}

const h264 = (profile: string, mode: number) =>
  `level-asymmetry-allowed=1;packetization-mode=${mode};profile-level-id=${profile}`;

export const chromiumFormats = [
  [96, 'VP8/90000'],
  [97, 'rtx/90000', 'apt=96'],
  [102, 'H264/90000', h264('42001f', 1)],
  [104, 'H264/90000', h264('42001f', 0)],
  [106, 'H264/90000', h264('42e01f', 1)],
  [108, 'H264/90000', h264('4d001f', 1)],
  [110, 'H264/90000', h264('64001f', 1)],
] as const;

export function offerSdp({ video = chromiumFormats, hasAudio = true, playoutDelayId = 5 }: OfferShape = {}): string {
  const transport = ['a=ice-ufrag:abcd', 'a=ice-pwd:0123456789abcdef01234567', `a=fingerprint:sha-256 ${fingerprint}`];
  const section = (kind: string, mid: string, formats: OfferShape['video'] = []) => [
    `m=${kind} 9 UDP/TLS/RTP/SAVPF ${formats.map(([payloadType]) => payloadType).join(' ')}`,
    ...['c=IN IP4 0.0.0.0', 'a=rtcp:9 IN IP4 0.0.0.0', ...transport, 'a=setup:actpass', `a=mid:${mid}`],
    ...(kind === 'video'
      ? [`a=extmap:${playoutDelayId} http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`]
      : []),
    ...['a=recvonly', 'a=rtcp-mux'],
    ...formats.flatMap(([payloadType, rtpmap, fmtp]) => [
      `a=rtpmap:${payloadType} ${rtpmap}`,
      ...(fmtp ? [`a=fmtp:${payloadType} ${fmtp}`] : []),
    ]),
  ];
  const audio = [
    [111, 'opus/48000/2', 'minptime=10;useinbandfec=1'],
    [0, 'PCMU/8000'],
  ] as const;
  const lines = [
    ...['v=0', 'o=- 4611731400430051336 2 IN IP4 127.0.0.1', 's=-', 't=0 0'],
    `a=group:BUNDLE 0${hasAudio ? ' 1' : ''}`,
    ...section('video', '0', video),
    ...(hasAudio ? section('audio', '1', audio) : []),
  ];
  return `${lines.join('\r\n')}\r\n`;
}

const fingerprint = Array.from({ length: 32 }, (_, index) => (index + 16).toString(16).toUpperCase()).join(':');
