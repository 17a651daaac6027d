/** What the glasses are told: start and stop of a stream, in the words they know; and the way to them. Pure. */
import type { ManagedStreamRequest } from '../../shared/protocol/app-messages.ts';
import type { Dialect } from '../../shared/protocol/dialects.ts';
import type { StartStream, StopStream, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { qualitySettings } from '../../shared/stream.ts';
import type { IngestPoint } from '../provider/ingest-source.ts';
import type { StreamRecord } from '../store/records.ts';

/** The glasses of the stream's user. */
export interface GlassesLink {
  isConnected(): boolean;
  /** They have shown which names they speak; until then the older ones are used. */
  knowsDialect?(): boolean;
  /** False when it could not be sent. @param dialect in place of the one they have shown. */
  send(message: ToGlasses, dialect?: Dialect): boolean;
}

/** What the first app asks of a stream's glasses. */
export type StreamSettings = Pick<ManagedStreamRequest, 'audio' | 'quality' | 'sound' | 'stream' | 'video'>;

export interface StreamIdentity {
  streamId: string;
  userId: string;
  appId: string;
}

/** MANAGED_STREAM is what MentraOS' glasses know managed streams by; an unmanaged one goes by its owner's name. */
export function identityOf({ streamId, userId, kind, viewers }: StreamRecord): StreamIdentity {
  return { streamId, userId, appId: kind === 'managed' ? MANAGED_APP_ID : (viewers[0]?.id ?? '') };
}

export const MANAGED_APP_ID = 'MANAGED_STREAM';

/** `quality` stands for a size when no `video` is given; the key frames are the provider's unless the app names its own. */
export function startOrder(
  { streamId, userId, appId }: StreamIdentity,
  { publishUrl, keyFrameIntervalMs }: Pick<IngestPoint, 'publishUrl' | 'keyFrameIntervalMs'>,
  { audio, quality, sound, stream, video }: StreamSettings,
): StartStream {
  return {
    type: 'start_stream',
    streamId,
    publishUrl: publishUrl.reveal(),
    appId,
    sessionId: userId,
    video: {
      ...(keyFrameIntervalMs === undefined ? {} : { keyFrameIntervalMs }),
      ...(video ?? (quality ? qualitySettings[quality] : {})),
    },
    audio: audio ?? {},
    stream: stream ?? {},
    ...(sound === undefined ? {} : { sound }),
  };
}

export function stopOrder({ streamId, userId, appId }: StreamIdentity): StopStream {
  return { type: 'stop_stream', streamId, appId, sessionId: userId };
}
