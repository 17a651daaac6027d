/** What the glasses are told: start and stop of a managed stream, in the words they know; and the way to them. Pure. */
import type { ManagedStreamRequest } from '../../shared/protocol/app-messages.ts';
import type { StartStream, StopStream, ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { qualitySettings } from '../../shared/stream.ts';
import type { IngestPoint } from '../provider/ingest-source.ts';

/** The glasses of the stream's user. */
export interface GlassesLink {
  isConnected(): boolean;
  /** False when it could not be sent. */
  send(message: ToGlasses): boolean;
}

/** The name under which MentraOS' glasses know managed streams. */
const APP_ID = 'MANAGED_STREAM';

/** `quality` stands for a size when no `video` is given; the key frames are the provider's unless the app names its own. */
export function startOrder(
  { streamId, userId }: { streamId: string; userId: string },
  { publishUrl, keyFrameIntervalMs }: IngestPoint,
  { audio, quality, stream, video }: Omit<ManagedStreamRequest, 'type'>,
): StartStream {
  return {
    type: 'start_stream',
    streamId,
    publishUrl: publishUrl.reveal(),
    appId: APP_ID,
    sessionId: userId,
    video: { keyFrameIntervalMs, ...(video ?? (quality ? qualitySettings[quality] : {})) },
    audio: audio ?? {},
    stream: stream ?? {},
  };
}

export function stopOrder({ streamId, userId }: { streamId: string; userId: string }): StopStream {
  return { type: 'stop_stream', streamId, appId: APP_ID, sessionId: userId };
}
