/**
 * What Cloudflare's Stream API answers, as schemas: every address that we serve, every field that it shows and no other.
 * Written from its documentation and from what was measured on the real one.
 */
import * as z from 'zod';

const hex32 = z.string().regex(/^[0-9a-f]{32}$/);
/** RFC 3339 with microseconds. */
const time = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
const meta = z.record(z.string(), z.unknown());
const url = z.url();
const count = z.number().int().min(0);

const liveInputItem = z.strictObject({
  uid: hex32,
  created: time,
  modified: time,
  meta,
  enabled: z.boolean(),
  deleteRecordingAfterDays: z.number().int().min(30).max(1096).nullable(),
});

const ingest = z.strictObject({ url: z.string().regex(/^rtmps?:\/\/.+\/live\/$/), streamKey: z.string().length(65) });
const srt = z.strictObject({ url: z.string().startsWith('srt://'), streamId: z.string(), passphrase: z.string() });
const playback = z.strictObject({
  hls: z.string().regex(/^https?:\/\/.+\/[0-9a-f]{32}\/manifest\/video\.m3u8$/),
  dash: z.string().regex(/^https?:\/\/.+\/[0-9a-f]{32}\/manifest\/video\.mpd$/),
});
const statusEntry = z.strictObject({
  ingestProtocol: z.enum(['rtmp', 'srt', 'webrtc']),
  state: z.enum(['connected', 'disconnected']),
  reason: z.enum(['connected', 'client_disconnect']),
  statusEnteredAt: time,
  statusLastSeen: time,
});

const liveInput = liveInputItem.extend({
  defaultCreator: z.string().optional(),
  // Left out when they were never set.
  preferLowLatency: z.literal(true).optional(),
  keysRotatedAt: time.optional(),
  recording: z.strictObject({
    mode: z.enum(['off', 'automatic']),
    requireSignedURLs: z.boolean(),
    allowedOrigins: z.array(z.string()).nullable(),
    hideLiveViewerCount: z.boolean(),
    timeoutSeconds: z.number().int().min(1).nullable(),
  }),
  rtmps: ingest,
  rtmpsPlayback: ingest,
  srt: srt.optional(),
  srtPlayback: srt.optional(),
  webRTC: z.strictObject({ url: z.string().regex(/\/[0-9a-z]+\/webRTC\/publish$/) }),
  webRTCPlayback: z.strictObject({ url: z.string().regex(/\/[0-9a-f]{32}\/webRTC\/play$/) }),
  playback,
  /** One word is what the documentation says. */
  status: z
    .union([
      z.strictObject({ current: statusEntry.nullable(), history: z.array(statusEntry) }),
      z.enum(['connected', 'reconnected', 'reconnecting', 'client_disconnect', 'disconnected', 'failed_to_connect']),
    ])
    .nullable(),
});

const output = z.strictObject({
  uid: hex32,
  url: z.string(),
  streamKey: z.string(),
  enabled: z.boolean(),
  /** Not documented; there from the first push on. `reason` is ours. */
  status: z
    .strictObject({
      current: z.strictObject({
        state: z.enum(['connecting', 'connected', 'reconnecting', 'disconnected', 'error']),
        reason: z.string().optional(),
      }),
    })
    .optional(),
});

const video = z.strictObject({
  uid: hex32,
  liveInput: hex32,
  creator: z.string().max(64).nullable(),
  status: z.strictObject({
    state: z.enum(['pendingupload', 'downloading', 'queued', 'inprogress', 'ready', 'error', 'live-inprogress']),
    pctComplete: z
      .string()
      .regex(/^\d+\.\d{6}$/)
      .optional(),
    errorReasonCode: z.string(),
    errorReasonText: z.string(),
  }),
  readyToStream: z.boolean(),
  readyToStreamAt: time.nullable(),
  playback,
  preview: z.string().regex(/\/[0-9a-f]{32}\/watch$/),
  thumbnail: url,
  thumbnailTimestampPct: z.number().min(0).max(1),
  /** Seconds; -1 while it is live. */
  duration: z.number().min(-1),
  size: count,
  input: z.strictObject({ width: z.number().int(), height: z.number().int() }),
  created: time,
  modified: time,
  uploaded: time,
  meta,
  requireSignedURLs: z.boolean(),
  allowedOrigins: z.array(z.string()),
  scheduledDeletion: time.nullable(),
  publicDetails: z.record(z.string(), z.string().nullable()).nullable(),
  uploadExpiry: z.null(),
  maxDurationSeconds: z.null(),
  watermark: z.null(),
  clippedFrom: z.null(),
});

const keyItem = z.strictObject({ id: hex32, created: time });
const base64 = z.base64();
const token = z.strictObject({ token: z.jwt({ alg: 'RS256' }) });
const webhook = z.strictObject({ notificationUrl: url, modified: time, secret: z.string().regex(/^[0-9a-f]{32,64}$/) });
const storageUsage = z.strictObject({
  totalStorageMinutes: count,
  totalStorageMinutesLimit: count,
  videoCount: count,
  creator: z.string().optional(),
});
const destination = z.strictObject({
  id: hex32,
  name: z.string(),
  type: z.literal('generic'),
  url,
  created_at: time,
  last_success: time.nullable(),
  last_failure: time.nullable(),
});
const policy = z.strictObject({
  id: hex32,
  name: z.string(),
  description: z.string(),
  enabled: z.boolean(),
  alert_type: z.literal('stream_live_notifications'),
  mechanisms: z.strictObject({ webhooks: z.array(z.strictObject({ id: hex32 })) }),
  filters: z.strictObject({
    input_id: z.array(z.string()).optional(),
    event_type: z.array(z.string().startsWith('live_input.')).optional(),
  }),
  created: time,
  modified: time,
});
const made = z.strictObject({ id: hex32 });
const verified = z.strictObject({ id: hex32, status: z.literal('active') });
const nothing = z.strictObject({});
const gone = z.literal('ok');

const message = z.object({ code: z.number().int().min(1000), message: z.string().min(1) });
const failure = z.strictObject({
  success: z.literal(false),
  errors: z.array(z.strictObject({ code: z.number().int().min(1000), message: z.string().min(1) })).min(1),
  messages: z.array(message),
  result: z.null(),
});
const counts = { range: count.optional(), total: count.optional() };

/** Below `/accounts/{account}` where it begins with `/stream` or `/alerting`. Every result by method and address. */
const results: Record<string, z.ZodType> = {
  'POST /stream/live_inputs': liveInput,
  'GET /stream/live_inputs': z.union([
    z.array(liveInputItem),
    z.strictObject({ liveInputs: z.array(liveInputItem), range: count, total: count }),
  ]),
  'GET /stream/live_inputs/:id': liveInput,
  'PUT /stream/live_inputs/:id': liveInput,
  'DELETE /stream/live_inputs/:id': nothing,
  'POST /stream/live_inputs/:id/rotate_keys': liveInput,
  'GET /stream/live_inputs/:id/videos': z.array(video),
  'GET /stream/live_inputs/:id/outputs': z.array(output),
  'POST /stream/live_inputs/:id/outputs': output,
  'PUT /stream/live_inputs/:id/outputs/:id': output,
  'DELETE /stream/live_inputs/:id/outputs/:id': nothing,
  'GET /stream': z.array(video),
  'GET /stream/:id': video,
  'POST /stream/:id': video,
  'DELETE /stream/:id': nothing,
  'POST /stream/:id/token': token,
  'GET /stream/keys': z.array(keyItem),
  'POST /stream/keys': keyItem.extend({ pem: base64, jwk: base64 }),
  'DELETE /stream/keys/:id': gone,
  'GET /stream/webhook': webhook,
  'PUT /stream/webhook': webhook,
  'DELETE /stream/webhook': gone,
  'GET /stream/storage-usage': storageUsage,
  'GET /alerting/v3/destinations/webhooks': z.array(destination),
  'POST /alerting/v3/destinations/webhooks': made,
  'GET /alerting/v3/destinations/webhooks/:id': destination,
  'PUT /alerting/v3/destinations/webhooks/:id': made,
  'DELETE /alerting/v3/destinations/webhooks/:id': z.null(),
  'GET /alerting/v3/policies': z.array(policy),
  'POST /alerting/v3/policies': made,
  'GET /alerting/v3/policies/:id': policy,
  'PUT /alerting/v3/policies/:id': made,
  'DELETE /alerting/v3/policies/:id': z.null(),
  'GET /user/tokens/verify': verified,
  'GET /tokens/verify': verified,
};

export const contractCalls = Object.keys(results);

/** The call of the contract that a request is; undefined: none. */
export function contractCall(method: string, address: string): string | undefined {
  const path = new URL(address).pathname.replace(/^\/client\/v4(\/accounts\/[^/]+)?/, '').replace(/\/$/, '');
  const call = `${method} ${path}`;
  return results[call] ? call : contractCalls.find((one) => patternOf(one).test(call));
}
function patternOf(call: string): RegExp {
  return new RegExp(`^${call.replaceAll(':id', '[^/]+')}$`);
}

/** What is wrong with an answer, one line each; empty: nothing. */
export function contractViolations(method: string, address: string, http: number, body: unknown): string[] {
  const call = contractCall(method, address);
  const where = `${method} ${new URL(address).pathname} ${http}`;
  // Seen there, and asked for by a fault here.
  if (method === 'DELETE' && http === 200 && body === undefined) return [];
  if (http >= 400) return issuesOf(where, failure.safeParse(body));
  const result = call === undefined ? undefined : results[call];
  if (!result) return [`${where}: no call of the contract`];
  const envelope = { success: z.literal(true), errors: z.array(message).max(0), messages: z.array(message), result };
  return issuesOf(
    where,
    z.strictObject(call === 'GET /stream' ? { ...envelope, ...counts } : envelope).safeParse(body),
  );
}
function issuesOf(where: string, { error }: z.ZodSafeParseResult<unknown>): string[] {
  return (error?.issues ?? []).map(({ path, message: text }) => `${where}: ${path.join('.')}: ${text}`);
}
