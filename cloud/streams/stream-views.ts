/** One stream as others see it: the store, operators, and the words for apps. Pure. */
import type { ErrorCode } from '../../shared/errors.ts';
import type { PlaybackUrls } from '../../shared/protocol/app-messages.ts';
import type { ResolvedConfig, StreamStats } from '../../shared/protocol/glasses-messages.ts';
import { isStreamOver, type StreamState } from '../../shared/stream.ts';
import type { IngestPoint } from '../provider/ingest-source.ts';
import type { OperatorPlayback } from '../provider/operator-playback.ts';
import { type OperatorOutput, operatorOutput } from '../provider/output-views.ts';
import type { StreamRecord } from '../store/records.ts';
import type { StreamFacts } from './stream-facts.ts';
import type { StreamOutputs } from './stream-outputs.ts';
import type { Situation } from './stream-words.ts';
import type { Viewers } from './viewers.ts';

/** For operators and tests; no secrets. Times in ms from the first request. */
export interface StreamSnapshot {
  streamId: string;
  userId: string;
  kind: StreamRecord['kind'];
  state: StreamState;
  /** ISO 8601. */
  createdAt: string;
  /** Package names; of an unmanaged stream its owner alone. */
  viewers: string[];
  /** While viewers can see it. */
  urls: PlaybackUrls | undefined;
  /** From the moment the live input exists until the stream is over, interrupted or not. */
  playback: OperatorPlayback | undefined;
  /** By scheme and host. */
  outputs: OperatorOutput[];
  startSentMs: number | undefined;
  publishingMs: number | undefined;
  liveMs: number | undefined;
  stats: StreamStats | undefined;
  /** Of the glasses, degrees Celsius. */
  temperatureC: number | undefined;
  resolvedConfig: ResolvedConfig | undefined;
  errorCode: ErrorCode | undefined;
  message: string | undefined;
}

/** What a stream holds of itself. */
export interface StreamParts {
  /** From its beginning to its end the same. */
  lasting: {
    /** As it was taken up. */
    record: StreamRecord;
    facts: StreamFacts;
    outputs: StreamOutputs;
    viewers: Viewers;
  };
  state: StreamState;
  isStarted: boolean;
  ingest: IngestPoint | undefined;
}

export function snapshotOf({ lasting, state, ingest }: StreamParts): StreamSnapshot {
  const { record, facts, outputs, viewers } = lasting;
  const { streamId, userId, kind, createdAtMs } = record;
  const { error, message, resolvedConfig, stats, temperatureC, times } = facts;
  const { startSentMs, publishingMs, liveMs } = times;
  // Field by field: there is one for each stream and each status, and one made of spreads takes 500 B and thrice the time more.
  return {
    streamId,
    userId,
    kind,
    state,
    stats,
    temperatureC,
    resolvedConfig,
    message,
    createdAt: new Date(createdAtMs).toISOString(),
    viewers: viewers.ids(),
    urls: state === 'active' ? ingest?.urls : undefined,
    playback: isStreamOver(state) ? undefined : ingest?.playback,
    outputs: outputs.list().map(operatorOutput),
    startSentMs,
    publishingMs,
    liveMs,
    errorCode: error?.code,
  };
}

export function situationOf({ lasting, state, ingest }: StreamParts): Situation {
  const { record, facts, outputs } = lasting;
  return {
    streamId: record.streamId,
    state,
    message: facts.message,
    urls: ingest?.urls,
    liveMs: facts.times.liveMs,
    resolvedConfig: facts.resolvedConfig,
    outputs: outputs.list(),
  };
}

/** What the next process needs to go on with it. */
export function recordOf(parts: StreamParts, savedAtMs: number): StreamRecord {
  const { lasting, isStarted, ingest } = parts;
  const { record, facts, outputs, viewers } = lasting;
  const { liveMs } = facts.times;
  const { publishUrl, playback: _, ...point } = ingest ?? {};
  return {
    ...record,
    ...{ savedAtMs, isStarted },
    viewers: viewers.requests(),
    outputs: outputs.records(),
    wantedOutputs: outputs.wanted(),
    ...(publishUrl ? { ingest: { ...point, publishUrl: publishUrl.reveal() } } : {}),
    ...(liveMs === undefined ? {} : { liveMs }),
  };
}

/** Where a stream is taken up. What was live has to be proven anew. */
export function stateOf({ ingest, isStarted, liveMs }: StreamRecord): StreamState {
  if (!ingest || !isStarted) return 'provisioning';
  return liveMs === undefined ? 'starting' : 'interrupted';
}
