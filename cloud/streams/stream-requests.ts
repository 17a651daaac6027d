/** What an app asks of a stream, and the record of a stream that begins by it. Pure. */
import type {
  ManagedStreamRequest,
  StreamRequest as UnmanagedStreamRequest,
} from '../../shared/protocol/app-messages.ts';
import { newStreamId } from '../../shared/stream.ts';
import type { StreamRecord } from '../store/records.ts';
import type { GlassesLink } from './stream-orders.ts';
import type { Viewer } from './viewers.ts';

export type StreamRequest = Omit<ManagedStreamRequest, 'type'>;
export type UnmanagedRequest = Omit<UnmanagedStreamRequest, 'type'>;

/** By whom, of whom, and when. */
export type AskedStream = { viewer: Viewer; glasses: GlassesLink; requestedAtMs: number } & (
  | { kind: 'managed'; request: StreamRequest }
  | { kind: 'unmanaged'; request: UnmanagedRequest }
);

export function newRecord(userId: string, { kind, viewer, request, requestedAtMs }: AskedStream): StreamRecord {
  const { audio, sound, stream, video } = request;
  const quality = kind === 'managed' && 'quality' in request ? request.quality : undefined;
  return {
    streamId: newStreamId(kind),
    userId,
    kind,
    request: { audio, quality, sound, stream, video },
    createdAtMs: requestedAtMs,
    savedAtMs: requestedAtMs,
    viewers: [{ id: viewer.id, requestedAtMs, isWaiting: true }],
    ...('publishUrl' in request ? { ingest: { publishUrl: request.publishUrl } } : {}),
    outputs: [],
    wantedOutputs: [],
    isStarted: false,
  };
}
