/**
 * Where RTMP arrives: one listener, publishers by stream key, players by playback key, media handed on as FLV tags.
 * Owns connections, takeover and fan-out to RTMP players; never decides who may publish and keeps nothing on disk.
 */
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';

/** Why a publication ended. `taken-over`: a newer connection with the same key won; `cut`: `Ingest.cut`. */
export type UnpublishReason = 'closed' | 'idle' | 'taken-over' | 'cut' | 'protocol-error' | 'closing';

/** Declared by the ingest, implemented by the local Stream. All calls are synchronous. */
export interface IngestHost {
  /** Asked before any success is sent. `refused`: a sentence for the publisher; must hold no secret. */
  authorisePublish(streamKey: string): { inputUid: string } | { refused: string };
  /** RTMP play with the playback key of an input. */
  authorisePlay(playbackKey: string): { inputUid: string } | { refused: string };
  published(publication: { inputUid: string; publicationId: string; remoteAddress: string }): void;
  tag(inputUid: string, publicationId: string, tag: FlvTag): void;
  /** At most one publication per input at a time: after a takeover this comes before the newcomer's `published`. */
  unpublished(publication: { inputUid: string; publicationId: string }, reason: UnpublishReason): void;
}

export interface IngestLimits {
  handshakeTimeoutMs: number;
  /** A publisher that sends nothing for this long is ended; also the time from handshake to publish or play. */
  idleTimeoutMs: number;
  maxConnections: number;
  /** Largest message a publisher may send, and so the largest claim of one chunk stream. */
  maxMessageBytes: number;
  /** A player whose unsent bytes exceed this is dropped. */
  maxViewerQueueBytes: number;
}

export interface Publication {
  inputUid: string;
  publicationId: string;
  remoteAddress: string;
  receivedBytes: number;
}

export interface Ingest {
  /** Listens. Errors: PORT_IN_USE. */
  start(): Promise<{ port: number }>;
  /** Disconnects the publisher and the players of an input. */
  cut(inputUid: string, reason?: string): void;
  publications(): Publication[];
  /** Ends every connection and the listener; idempotent. */
  close(): Promise<void>;
}

export interface IngestOptions {
  host: IngestHost;
  clock: Clock;
  log: Log;
  listen: { host: string; port: number };
  limits?: Partial<IngestLimits>;
}

export function createIngest(_options: IngestOptions): Ingest {
  return {
    start: () => Promise.reject(new GlasscastError('INTERNAL', { reason: 'the ingest is being built' })),
    cut: () => undefined,
    publications: () => [],
    close: () => Promise.resolve(),
  };
}
