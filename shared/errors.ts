/**
 * One error class, one closed table. The code says what went wrong, whose fault it is, whether asking again can help,
 * and the HTTP status at the edge; `details` never holds a secret. Only `us` is logged at error level.
 */

export type Fault = 'caller' | 'device' | 'provider' | 'destination' | 'us';

interface ErrorKind {
  /** Says what happened and what to do next; shown to people. */
  sentence: string;
  fault: Fault;
  retryable: boolean;
  http: number;
}

const caller = (http: number, sentence: string): ErrorKind => ({ sentence, fault: 'caller', retryable: false, http });
const device = (sentence: string, retryable = true): ErrorKind => ({ sentence, fault: 'device', retryable, http: 409 });
const provider = (sentence: string, retryable: boolean): ErrorKind => ({
  sentence,
  fault: 'provider',
  retryable,
  http: 502,
});
const destination = (sentence: string, retryable: boolean): ErrorKind => ({
  sentence,
  fault: 'destination',
  retryable,
  http: 502,
});

export const errorKinds = {
  // asked wrongly
  MALFORMED_MESSAGE: caller(400, 'The message is not valid; see the named field'),
  UNKNOWN_MESSAGE_TYPE: caller(400, 'This message type is not known here'),
  INVALID_CONFIG: caller(400, 'The configuration is not valid; see the named key'),
  INVALID_TOKEN: caller(401, 'Invalid core token'),
  MISSING_TOKEN: caller(401, 'No core token provided'),
  MISSING_HEADERS: caller(401, 'x-package-name and x-api-key come together, or not at all'),
  ADMIN_TOKEN_REQUIRED: caller(401, 'The operator API needs the admin token as a Bearer token'),
  INVALID_WEBHOOK_SIGNATURE: caller(401, 'The webhook does not carry the secret agreed with the provider'),
  INVALID_SESSION: caller(401, 'The id belongs to no session of this app that runs'),
  INVALID_API_KEY: caller(401, 'The API key does not belong to this app'),
  ENROLMENT_REFUSED: caller(401, 'The enrolment code is unknown, used or expired; ask for a new one'),
  ORIGIN_REFUSED: caller(403, 'Pages of other sites may not call this relay'),
  PERMISSION_DENIED: caller(403, 'The app lacks the CAMERA permission'),
  PACKAGE_NOT_FOUND: caller(404, 'No app with this package name is registered'),
  SESSION_NOT_FOUND: caller(404, 'No session with this id; start the app through the relay first'),
  APP_NOT_STARTED: caller(409, 'The app was not started for this user; start it through the relay first'),
  APP_BOOT_TIMEOUT: { ...caller(409, 'The glasses did not come back in time'), retryable: true },
  STREAM_NOT_FOUND: caller(404, 'No such stream'),
  STREAM_NOT_YOURS: caller(403, 'The stream belongs to another app'),
  UNMANAGED_STREAM_ACTIVE: caller(
    409,
    'Cannot start a managed stream while an unmanaged stream is active; stop that first',
  ),
  LIVE_INPUT_NOT_FOUND: caller(404, 'No such live input'),
  RECORDING_NOT_FOUND: caller(404, 'No recording of this relay has this id'),
  RECORDING_LIVE: { ...caller(409, 'The recording is still being made; stop the stream first'), retryable: true },
  TOKEN_NOT_FOUND: caller(404, 'No core token with this id was issued here'),
  ENROLMENT_NOT_FOUND: caller(404, 'No enrolment with this id is open'),
  RELEASE_NOT_FOUND: caller(404, 'No release of this version is kept here; publish it first'),
  RELEASE_REFUSED: caller(400, 'The release is not fit to be run'),
  RELEASE_EXISTS: caller(409, 'Another release of this version is kept here; give it a new version'),
  RELEASE_IN_USE: caller(409, 'A roll-out gives this release to glasses; cancel that first'),
  RELEASES_FULL: {
    ...{ sentence: 'There is no room for another release here; remove one first', fault: 'us' },
    ...{ retryable: false, http: 507 },
  },
  ROLLOUT_NOT_FOUND: caller(404, 'No roll-out with this id'),
  ROLLOUT_PAUSED: caller(409, 'The roll-out is paused'),
  ROLLOUT_OVER: caller(409, 'This roll-out is over; start a new one'),
  ROLLOUT_ACTIVE: caller(409, 'Another roll-out is under way; cancel it first'),
  GLASSES_CANNOT_UPDATE: caller(409, 'These glasses do not update themselves; flash them'),
  HOST_REFUSED: caller(421, 'This relay is not called by that name; use its address, or name it in --allowed-hosts'),
  ROUTE_NOT_FOUND: caller(404, 'No such address; see the API table in the README'),
  INVALID_URL: caller(400, 'The URL of the destination is missing'),
  INVALID_URL_FORMAT: caller(400, 'The destination is not a valid rtmp:// or rtmps:// URL with a stream key'),
  DESTINATION_FORBIDDEN: caller(400, 'This relay does not push to that address'),
  DESTINATION_UNRESOLVED: { ...destination("The destination's host name has no address", true), http: 400 },
  NOT_A_VIEWER: caller(403, 'The app does not watch this stream; start or join it first'),
  VIEWER_NOT_FOUND: caller(404, 'Nobody of this name watches the stream'),
  NOT_AUTHORIZED: caller(403, 'Only the app that added this output may remove it'),
  OUTPUT_NOT_FOUND: caller(404, 'The stream has no output with this id'),
  OUTPUTS_NOT_READY: { ...caller(409, 'The stream is still being made; try again in a moment'), retryable: true },
  MAX_OUTPUTS_REACHED: caller(409, 'The stream has as many outputs as are allowed; remove one first'),
  MAX_APP_OUTPUTS_REACHED: caller(409, 'The app has as many outputs of this stream as are allowed; remove one first'),
  DUPLICATE_URL: caller(409, 'The stream is pushed to this URL already'),
  APP_STORAGE_FULL: caller(413, 'An app may keep 1 MiB for a user, in values of at most 100,000 characters'),
  UPLINK_PROBE_TOO_LARGE: caller(413, 'An uplink is measured with at most 8 MB'),
  UPLINK_PROBE_SILENT: { ...caller(408, 'Nothing came to measure the uplink by'), retryable: true },
  NOT_OFFERED: caller(501, 'This relay does not offer that part of MentraOS'),
  RATE_LIMITED: { sentence: 'Too many requests; slow down', fault: 'caller', retryable: true, http: 429 },
  APP_UNREACHABLE: destination(
    "The app's webhook did not lead to a connection; see that the app is running and reachable",
    true,
  ),
  // the glasses
  GLASSES_NOT_CONNECTED: device('Glasses are not connected'),
  HARDWARE_MISSING: device('The glasses lack hardware that the app requires', false),
  GLASSES_SILENT: device('The glasses stopped answering; check their network'),
  START_TIMEOUT: device('The stream did not become playable in time; check the glasses and their uplink'),
  START_UNHEARD: device('The stream is not live yet, and the SDK will not hear of it once it is; ask again'),
  STREAM_INTERRUPTED: device('The picture did not come back in time; check the glasses and their uplink'),
  DEVICE_REPORTED: device('The glasses reported an error'),
  INVALID_PUBLISH_URL: { ...device('The publish URL is not a valid rtmp:// or rtmps:// address', false), http: 400 },
  CAMERA_NOT_FOUND: device('The camera was not found; plug it in or name another one'),
  CAMERA_BUSY: device('The camera is used by another program'),
  CAMERA_SILENT: device('The camera gives no pictures; plug it in again'),
  MICROPHONE_NOT_FOUND: device('The microphone was not found; plug it in or name another one'),
  MICROPHONE_BUSY: device('The microphone is used by another program'),
  CAPTURE_FORBIDDEN: device('The camera or microphone may not be opened; add this user to the groups video and audio'),
  CAPTURE_FILE_UNREADABLE: device('The capture file cannot be read', false),
  FFMPEG_MISSING: device('No working ffmpeg was found; install ffmpeg or set FFMPEG_PATH', false),
  ENCODER_FAILED: device('The encoder stopped unexpectedly'),
  ENCODER_STALLED: device('The encoder produced nothing for too long'),
  KEY_FRAME_INTERVAL_REFUSED: device('The provider refused the picture: key frames must be 2 to 10 s apart', false),
  VIDEO_CODEC_REFUSED: device('The provider refused the picture: it must be H.264', false),
  AUDIO_CODEC_REFUSED: device('The provider refused the sound: it must be AAC', false),
  ENCODER_UNFIT: device('The encoder makes a stream that providers refuse; another one takes over'),
  PRIVACY_LIGHT_FAILED: device(
    'Nothing is captured, because the privacy light cannot be lit; check it, or set --privacy-light-required false',
  ),
  OVERHEATED: device('The glasses are too hot to stream; let them cool down'),
  BATTERY_LOW: device('The battery of the glasses is too low to stream; charge them'),
  LEASE_EXPIRED: device('Stream timed out - no keep-alive from cloud'),
  MALFORMED_FLV: device("The encoder's output is not valid FLV"),
  RELAY_UNREACHABLE: destination('The relay cannot be reached', true),
  // where RTMP goes
  INGEST_UNREACHABLE: destination('The ingest cannot be reached', true),
  INGEST_REFUSED_KEY: destination('The ingest refused the stream key', false),
  INGEST_TLS_FAILED: destination("The ingest's certificate is not trusted", false),
  INGEST_DROPPED: destination('The ingest closed the connection', true),
  INGEST_SILENT: destination('The ingest stopped answering', true),
  INGEST_PROTOCOL: destination('The ingest broke the RTMP protocol', true),
  // the provider's API
  PROVIDER_UNREACHABLE: provider('The streaming provider cannot be reached', true),
  PROVIDER_UNAUTHORIZED: provider('The streaming provider refused the API token', false),
  PROVIDER_RATE_LIMITED: provider('The streaming provider is limiting requests', true),
  PROVIDER_REJECTED: provider('The streaming provider rejected the request', false),
  PROVIDER_CONFLICT: provider('The streaming provider cannot do this yet', true),
  PROVIDER_FAILED: provider('The streaming provider failed', true),
  PROVIDER_ECHO_MISMATCH: provider('The streaming provider ignored a setting that was asked for', false),
  PROVIDER_STORAGE_FULL: provider('The streaming provider has no storage left; delete recordings', false),
  PROVIDER_SUBSCRIPTION_MISSING: provider('The streaming provider account has no Stream subscription; add one', false),
  // flashing a board
  FLASH_FAILED: device('The board was not flashed'),
  BOARD_UNFIT: device('The board cannot run the agent', false),
  BOARD_UNREACHABLE: device('The board cannot be reached'),
  RUNTIME_UNAVAILABLE: destination(
    'A part of the package cannot be fetched; check the network and npm’s registry',
    true,
  ),
  // ours
  PORT_IN_USE: { sentence: 'The port is in use; choose another one', fault: 'us', retryable: false, http: 500 },
  CHILD_START_FAILED: { sentence: 'A child process could not be started', fault: 'us', retryable: true, http: 500 },
  ILLEGAL_TRANSITION: { sentence: 'A state change that the table refuses', fault: 'us', retryable: false, http: 500 },
  STORE_UNAVAILABLE: {
    ...{
      sentence: 'The store of the relay cannot be reached or written; nothing new starts until it can, try again',
      fault: 'us',
    },
    ...{ retryable: true, http: 503 },
  },
  NODE_UNREACHABLE: {
    ...{ sentence: 'The relay node that has this session cannot be reached; try again in a moment', fault: 'us' },
    ...{ retryable: true, http: 503 },
  },
  SESSION_MOVED: {
    ...{ sentence: 'Another relay node has taken over this session; come back', fault: 'us' },
    ...{ retryable: true, http: 503 },
  },
  SHUTTING_DOWN: { sentence: 'The program is shutting down', fault: 'us', retryable: true, http: 503 },
  INTERNAL: { sentence: 'Something went wrong on our side', fault: 'us', retryable: false, http: 500 },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

export class GlasscastError extends Error {
  override readonly name = 'GlasscastError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  /** @param reason what exactly, appended to the table's sentence; must hold no secret. */
  constructor(
    code: ErrorCode,
    {
      reason,
      cause,
      details = {},
    }: { reason?: string | undefined; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    const { sentence } = errorKinds[code];
    super(reason ? `${sentence}: ${reason}` : sentence, cause === undefined ? {} : { cause });
    this.code = code;
    this.details = details;
  }

  get fault(): Fault {
    return errorKinds[this.code].fault;
  }
  get retryable(): boolean {
    return errorKinds[this.code].retryable;
  }
  get http(): number {
    return errorKinds[this.code].http;
  }
}

export function isGlasscastError(error: unknown): error is GlasscastError {
  return error instanceof GlasscastError;
}

/** Anything thrown, as one of ours: unknown errors become INTERNAL and keep their cause. */
export function asGlasscastError(error: unknown): GlasscastError {
  return isGlasscastError(error) ? error : new GlasscastError('INTERNAL', { reason: errorText(error), cause: error });
}

/**
 * Something is wrong with us, which belongs into the log as an error. A program that was told to end does only what it was
 * told, and glasses may land at another node.
 */
export function isDefect({ code, fault }: GlasscastError): boolean {
  return fault === 'us' && code !== 'SHUTTING_DOWN' && code !== 'SESSION_MOVED';
}

/** A short text of anything thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
