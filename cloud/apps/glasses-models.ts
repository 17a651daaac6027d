/** What each known model of glasses can do, in the words of MentraOS; apps read it as `session.capabilities`. Data only. */

const STREAM_SIZES = [
  { width: 1920, height: 1080 },
  { width: 1280, height: 720 },
  { width: 640, height: 480 },
];

const MENTRA_LIVE = {
  modelName: 'Mentra Live',
  hasCamera: true,
  camera: {
    resolution: { width: 1920, height: 1080 },
    hasHDR: false,
    hasFocus: true,
    video: {
      canRecord: true,
      canStream: true,
      supportedStreamTypes: ['rtmp'],
      supportedResolutions: STREAM_SIZES,
    },
  },
  hasDisplay: false,
  display: null,
  hasMicrophone: true,
  microphone: { count: 1, hasVAD: true },
  hasSpeaker: true,
  speaker: { count: 1, isPrivate: false },
  hasIMU: true,
  imu: { axisCount: 6, hasAccelerometer: true, hasCompass: false, hasGyroscope: true },
  hasButton: true,
  button: {
    count: 1,
    buttons: [{ type: 'press', events: ['press', 'double_press', 'long_press'], isCapacitive: false }],
  },
  hasLight: true,
  light: {
    count: 2,
    lights: [
      { id: 'privacy', purpose: 'privacy', isFullColor: false, color: 'white', position: 'front_facing' },
      { id: 'user_feedback', purpose: 'user_feedback', isFullColor: true, color: 'rgb', position: 'user_facing' },
    ],
  },
  power: { hasExternalBattery: false },
  hasWifi: true,
};

/** Our own agent streams camera and microphone, and does nothing else for apps. */
const GLASSCAST_AGENT = {
  modelName: 'Glasscast',
  hasCamera: true,
  camera: {
    resolution: { width: 1920, height: 1080 },
    hasHDR: false,
    hasFocus: false,
    video: {
      canRecord: false,
      canStream: true,
      supportedStreamTypes: ['rtmp'],
      supportedResolutions: STREAM_SIZES,
    },
  },
  hasDisplay: false,
  display: null,
  hasMicrophone: true,
  microphone: { count: 1, hasVAD: false },
  hasSpeaker: false,
  speaker: null,
  hasIMU: false,
  imu: null,
  hasButton: false,
  button: null,
  hasLight: false,
  light: null,
  power: { hasExternalBattery: false },
  hasWifi: true,
};

export type Capabilities = Readonly<Record<string, unknown>>;

const MODELS: ReadonlyMap<string, Capabilities> = new Map(
  [MENTRA_LIVE, GLASSCAST_AGENT, { ...GLASSCAST_AGENT, modelName: 'Glasscast Simulator' }].map((model) => [
    model.modelName,
    model,
  ]),
);

/** Null when the glasses have not said what they are, or are a model that we do not know: better than a guess. */
export function capabilitiesOf(modelName: string | undefined): Capabilities | null {
  return MODELS.get(modelName ?? '') ?? null;
}
