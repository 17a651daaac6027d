/** What Mentra Live glasses can do, in the words of MentraOS; apps read it as `session.capabilities`. Data only. */

const STREAM_SIZES = [
  { width: 1920, height: 1080 },
  { width: 1280, height: 720 },
  { width: 640, height: 480 },
];

export const mentraLiveCapabilities = {
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
  light: { count: 2, lights: [] },
  power: { hasExternalBattery: false },
  hasWifi: true,
};
