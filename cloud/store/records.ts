/**
 * The records that outlive a process, with the schemas they are checked by on the way in: what an older version wrote
 * is not trusted. Three of them hold secrets (a stream's publish URL, a named value, an app's hashed key).
 */
import * as z from 'zod';
import { playbackUrls } from '../../shared/protocol/app-messages.ts';
import { updateOutcome } from '../../shared/protocol/releases.ts';
import { audioSettings, streamLimits, videoSettings } from '../../shared/stream.ts';
import { streamStory } from '../streams/stream-story.ts';

const registeredApp = z.object({
  packageName: z.string(),
  /** Base of the app's own HTTP server, no trailing slash; absent for built-in apps, which have no webhook. */
  publicUrl: z.string().optional(),
  /** Hex SHA-256; the key itself is never stored. */
  hashedApiKey: z.string(),
  /** MICROPHONE, CAMERA, ALL, … as MentraOS names them. */
  permissions: z.array(z.object({ type: z.string(), description: z.string().optional() })),
  appType: z.enum(['standard', 'background', 'system_dashboard']),
  /** What the glasses need to have; checked before a start once their model is known. */
  hardwareRequirements: z
    .array(z.object({ type: z.string(), level: z.enum(['REQUIRED', 'OPTIONAL']), description: z.string().optional() }))
    .optional(),
  /** Sent in the acknowledgement of the app's connection. */
  settings: z.array(z.record(z.string(), z.unknown())),
  /** Who wrote it: an app of the apps file goes when the file no longer names it. */
  source: z.enum(['file', 'rest']).default('rest'),
});
export type RegisteredApp = z.output<typeof registeredApp>;
export type AppPermission = RegisteredApp['permissions'][number];

/** One live input that exists, or may exist, at the provider. */
const ledgerEntry = z.object({
  streamId: z.string(),
  /** Whose stream it is made for; absent for a stray. */
  userId: z.string().optional(),
  /** Absent while the creation is under way, or when a crash hid its outcome. */
  liveInputUid: z.string().optional(),
  /** True once it has to go. */
  doomed: z.boolean(),
  keepRecordings: z.boolean(),
  createdAtMs: z.number(),
  /** Set once only recordings are looked for that may come to light late. */
  inputGoneAtMs: z.number().optional(),
});
export type LedgerEntry = z.output<typeof ledgerEntry>;

/** A stream that goes on over a restart of the relay; gone when it ends. Times are wall clock. */
const streamRecord = z.object({
  streamId: z.string(),
  userId: z.string(),
  kind: z.enum(['managed', 'unmanaged']),
  /** As the first app asked, without destinations. */
  request: z.object({
    audio: audioSettings.optional(),
    quality: z.enum(['720p', '1080p']).optional(),
    sound: z.boolean().optional(),
    stream: streamLimits.optional(),
    video: videoSettings.optional(),
  }),
  createdAtMs: z.number(),
  /** The relay was there until then, give or take some seconds. */
  savedAtMs: z.number(),
  /** `isWaiting`: its start is not answered yet. */
  viewers: z.array(z.object({ id: z.string(), requestedAtMs: z.number(), isWaiting: z.boolean() })),
  /** Absent until the ingest is made. `publishUrl` holds the stream key: a secret. */
  ingest: z
    .object({
      liveInputUid: z.string().optional(),
      publishUrl: z.string(),
      urls: playbackUrls.optional(),
      keyFrameIntervalMs: z.number().optional(),
    })
    .optional(),
  /** Restream destinations with their keys: secrets. */
  outputs: z.array(
    z.object({ outputId: z.string(), url: z.string(), name: z.string().optional(), addedBy: z.string() }),
  ),
  /** Destinations that wait for the ingest, or that the provider is being asked for: secrets. */
  wantedOutputs: z.array(
    z.object({ addedBy: z.string(), destination: z.object({ url: z.string(), name: z.string().optional() }) }),
  ),
  /** START has reached the glasses. */
  isStarted: z.boolean(),
  /** From the request to the first proof of a picture; absent while there was none. */
  liveMs: z.number().optional(),
});
export type StreamRecord = z.output<typeof streamRecord>;

/** An app that runs for a user, or will when the glasses are back; gone when it is stopped or gives up. */
const appSessionRecord = z.object({
  sessionId: z.string(),
  userId: z.string(),
  packageName: z.string(),
  restarts: z.number(),
  /** The user's session ended under it: it starts again with the next one. */
  isDormant: z.boolean().default(false),
});
export type AppSessionRecord = z.output<typeof appSessionRecord>;

/** A core token that was issued; the token itself is not kept. */
const issuedToken = z.object({
  /** The token's `jti`. */
  tokenId: z.string(),
  userId: z.string(),
  /** What it is for, in the operator's words. */
  label: z.string().optional(),
  issuedAtMs: z.number(),
  /** Absent: it does not expire. */
  expiresAtMs: z.number().optional(),
  revokedAtMs: z.number().optional(),
});
export type IssuedToken = z.output<typeof issuedToken>;

/** A one-time code by which glasses get their core token. */
const enrolment = z.object({
  /** Hex SHA-256 of the code. */
  hashedCode: z.string(),
  userId: z.string(),
  label: z.string().optional(),
  expiresAtMs: z.number(),
  /** Of the token that it will give; null: it will not expire. */
  tokenLifetimeSeconds: z.number().nullable().optional(),
});
export type Enrolment = z.output<typeof enrolment>;

/** What one app keeps for one user (the SDK's `session.simpleStorage`). */
const appStorage = z.object({ packageName: z.string(), userId: z.string(), data: z.record(z.string(), z.string()) });

/** How one pair of glasses stands in the newest roll-out. */
const rolloutTask = z.object({
  rolloutId: z.string(),
  /** `withdrawn`: the operator has sent them back. */
  state: z.enum(['ordered', 'done', 'failed', 'withdrawn']),
  /** Power or process ended in the middle of it, so many times. */
  interruptions: z.number(),
  /** The outcome that they told before they were ordered: told again, it is no news. */
  before: z.string().optional(),
  /** They have said that they end now and come back as the other version. */
  switchingSinceMs: z.number().optional(),
  reason: z.string().optional(),
});
export type RolloutTask = z.output<typeof rolloutTask>;

/** The agent on the glasses of a user, as its last hello told it. */
const agentRecord = z.object({
  userId: z.string(),
  version: z.string(),
  architecture: z.string(),
  canUpdate: z.boolean(),
  onTrial: z.boolean().optional(),
  lastUpdate: updateOutcome.optional(),
  seenAtMs: z.number(),
  task: rolloutTask.optional(),
});
export type AgentRecord = z.output<typeof agentRecord>;

const rolloutFailure = z.object({
  userId: z.string(),
  /** `missing`: they did not come back. */
  outcome: z.enum(['rolled_back', 'interrupted', 'refused', 'missing']),
  reason: z.string().optional(),
  atMs: z.number(),
});
export type RolloutFailure = z.output<typeof rolloutFailure>;

/** Glasses by how they stand in a roll-out. */
const rolloutCounts = z.object({
  done: z.number(),
  underWay: z.number(),
  failed: z.number(),
  /** They cannot, need not or shall not. */
  skipped: z.number(),
  /** Of the present stage, and not here. */
  away: z.number(),
  /** Of later stages. */
  later: z.number(),
});
export type RolloutCounts = z.output<typeof rolloutCounts>;

const rolloutRecord = z.object({
  rolloutId: z.string(),
  version: z.string(),
  /** Per cent of the users, ascending. */
  stages: z.array(z.number()),
  /** These and nobody else, in place of stages. */
  users: z.array(z.string()).optional(),
  soakSeconds: z.number(),
  maxFailures: z.number(),
  state: z.enum(['running', 'paused', 'done', 'cancelled']),
  /** Index of the present one. */
  stage: z.number(),
  createdAtMs: z.number(),
  /** Since then the present stage is soaking. */
  completeSinceMs: z.number().optional(),
  endedAtMs: z.number().optional(),
  pausedBecause: z.string().optional(),
  /** The newest. */
  failures: z.array(rolloutFailure),
  failureCount: z.number(),
  /** Those from before the last resume. */
  forgivenCount: z.number(),
  /** As they were when it was replaced by another one. */
  counts: rolloutCounts.optional(),
});
export type RolloutRecord = z.output<typeof rolloutRecord>;

const namedValue = z.object({ name: z.string(), value: z.string() });

const kind = <T extends object>(
  schema: z.ZodType<T>,
  keyOf: (record: T) => string,
  { isVital = false, isFenced = false } = {},
) => ({ schema, keyOf, isVital, isFenced });

/**
 * Every kind of record: its schema and its key. One that cannot be read is passed over, so that it keeps nothing else
 * from working; not a vital one: without it a revoked token would open the door again, or a new secret would be made.
 * Fenced ones belong to a user's session: in a cluster the node that owns it writes them, and no other.
 */
export const recordKinds = {
  apps: kind(registeredApp, ({ packageName }) => packageName),
  ledger: kind(ledgerEntry, ({ streamId }) => streamId, { isFenced: true }),
  streams: kind(streamRecord, ({ streamId }) => streamId, { isFenced: true }),
  streamStories: kind(streamStory, ({ streamId }) => streamId),
  appSessions: kind(appSessionRecord, ({ sessionId }) => sessionId, { isFenced: true }),
  tokens: kind(issuedToken, ({ tokenId }) => tokenId, { isVital: true }),
  enrolments: kind(enrolment, ({ hashedCode }) => hashedCode),
  appStorage: kind(appStorage, ({ packageName, userId }) => appStorageKey(packageName, userId)),
  agents: kind(agentRecord, ({ userId }) => userId),
  rollouts: kind(rolloutRecord, ({ rolloutId }) => rolloutId),
  values: kind(namedValue, ({ name }) => name, { isVital: true }),
};

/** A package name has no space. */
export const appStorageKey = (packageName: string, userId: string): string => `${packageName} ${userId}`;
