/** What the relay says to the console: its REST answers and events, as far as the page shows them. */

export interface SessionView {
  userId: string;
  /** The glasses are there. */
  connected: boolean;
  modelName?: string;
  wifiConnected?: boolean;
  wifiSsid?: string;
  /** Per cent. */
  batteryLevel?: number;
  charging?: boolean;
  apps?: { packageName: string; connected: boolean }[];
  agent?: { version: string };
  /** Of the agent: under way, or failed. */
  update?: { version: string; state: string; percent?: number };
}

/** A state of the stream table. */
export type StreamStateWord =
  | 'provisioning'
  | 'starting'
  | 'active'
  | 'interrupted'
  | 'stopping'
  | 'stopped'
  | 'failed';

/** Where to watch; each address is a public one. */
export interface PlaybackSources {
  hlsUrl: string;
  dashUrl?: string;
  llHlsUrl?: string;
  flvUrl?: string;
  webrtcUrl?: string;
  thumbnailUrl?: string;
  previewUrl?: string;
}

export interface OutputView {
  outputId?: string;
  name?: string;
  /** Scheme and host alone. */
  url: string;
  addedBy?: string;
  status: string;
  error?: string;
}

/** Rates in bit/s and frames/s, duration in seconds. */
export interface StreamFigures {
  bitrate?: number;
  fps?: number;
  droppedFrames?: number;
  duration?: number;
  width?: number;
  height?: number;
  queuedBytes?: number;
  reconnects?: number;
}

export interface StreamView {
  streamId: string;
  userId: string;
  kind?: string;
  state: StreamStateWord;
  /** ISO 8601. */
  createdAt?: string;
  message?: string;
  errorCode?: string;
  /** Package names. */
  viewers?: string[];
  playback?: PlaybackSources;
  /** While active alone. */
  urls?: PlaybackSources;
  outputs?: OutputView[];
  stats?: StreamFigures;
  temperatureC?: number;
  liveMs?: number;
}

export interface EndedStream extends StreamView {
  /** ISO 8601, or ms. */
  endedAt?: string | number;
}

export interface TimelineEntry {
  /** Of its stream, one each; an older relay says none. */
  id?: number;
  atMs: number;
  /** Where it happened or began. */
  source?: string;
  kind: string;
  state?: string;
  code?: string;
  text: string;
  numbers?: Record<string, number>;
  /** The id of the entry that caused it. */
  because?: number;
  /** So often in a row, the newest then. */
  times?: number;
  lastAtMs?: number;
}

export interface Explanation {
  verdict: string;
  record: {
    timeToFirstFrameMs?: number;
    liveMs: number;
    stalls: { count: number; totalMs: number; longestMs: number };
    reconnects: { count: number; totalMs: number; longestMs: number };
    worstDelayMs?: number;
    framesLost: number;
    stepsDown: number;
    stepsUp: number;
  };
  entries: TimelineEntry[];
}

export interface RecordingView {
  uid: string;
  streamId?: string;
  userId?: string;
  /** Cloudflare's words: `ready`, `live-inprogress`, `inprogress`, `queued`, `error` … */
  state: string;
  /** ISO 8601. */
  createdAt: string;
  durationSeconds?: number;
  sizeBytes?: number;
  widthPx?: number;
  heightPx?: number;
  urls?: { hlsUrl: string; dashUrl?: string; thumbnailUrl?: string; previewUrl?: string };
}

export interface RecordingList {
  recordings: RecordingView[];
  keepsRecordings?: boolean;
  storage?: { totalStorageMinutes: number; totalStorageMinutesLimit: number; videoCount: number };
}

export type RelayEvent =
  | { type: 'session'; session: SessionView }
  | { type: 'session-ended'; userId: string }
  | { type: 'stream'; stream: StreamView }
  | { type: 'stream-entry'; streamId: string; entry: TimelineEntry };

/** Settings of a start, as the relay takes them. */
export interface StartSettings {
  video: { width?: number; height?: number; frameRate?: number; bitrate?: number };
  audio: { echoCancellation?: boolean; noiseSuppression?: boolean };
}
