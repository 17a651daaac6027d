/** What only a verdict of each cause says, and the codes of which an entry has to show it. */
export const blameWords = {
  uplink: { says: /under the asked|uplink too narrow/, codes: /^(UPLINK_NARROW|FRAMES_DROPPED)$/ },
  cut: {
    says: /uplink was cut|uplink went dead|could not be reached from|broke the protocol/,
    codes: /^INGEST_|^PUSH_LOST$/,
  },
  line: { says: /line to the relay/, codes: /^(CONTROL_LOST|LEASE_EXPIRED|RELAY_UNREACHABLE)$/ },
  encoder: { says: /encoder|ffmpeg/, codes: /^ENCODER_|^MALFORMED_FLV$|^FFMPEG_MISSING$/ },
  camera: { says: /the camera|capture/, codes: /^CAMERA_|^CAPTURE_|^PRIVACY_LIGHT_FAILED$/ },
  microphone: { says: /microphone failed/, codes: /^MICROPHONE_/ },
  provider: {
    says: /provider (answered|failed|limited|refused|could|rejected|had|account had)/,
    codes: /^PROVIDER_|^(KEY_FRAME_INTERVAL|VIDEO_CODEC|AUDIO_CODEC)_REFUSED$/,
  },
  key: { says: /refused the stream key|certificate/, codes: /^INGEST_(REFUSED_KEY|TLS_FAILED)$/ },
  restart: { says: /restarted or replaced/, codes: /^TAKEN_OVER$/ },
  heat: { says: /too hot/, codes: /^(HEAT|OVERHEATED)$/ },
  battery: { says: /battery/, codes: /^BATTERY_LOW$/ },
  vanished: { says: /vanished|stopped answering|were not connected/, codes: /^GLASSES_/ },
  late: { says: /no picture within/, codes: /^START_/ },
  unexplained: { says: /no new picture came/, codes: /^(STREAM_INTERRUPTED|DEVICE_REPORTED)?$/ },
} as const;
export type Blame = keyof typeof blameWords;

export function blamed(verdict: string): Blame[] {
  return (Object.keys(blameWords) as Blame[]).filter((name) => blameWords[name].says.test(verdict));
}
