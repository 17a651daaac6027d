/**
 * Who may watch what: turns the id in a playback address (an input's uid, a video's uid, or a token in place of either) into
 * the uid it stands for, or a refusal. The one door of every egress: HLS, DASH, FLV, WHEP, thumbnails, the player page.
 */
import type { LiveInput } from './live-input.ts';
import type { Video } from './video.ts';

export interface PlaybackRequest {
  /** As it stands in the address. */
  id: string;
  /** The request's `Origin` header. */
  origin?: string | undefined;
  /** Address of the viewer. */
  ip: string;
}

export type PlaybackVerdict =
  | { uid: string; kind: 'input' | 'video' }
  /** To be answered as plain text. */
  | { refused: { http: 401 | 403 | 404; sentence: string } };

export interface PlaybackAccess {
  admit(request: PlaybackRequest): PlaybackVerdict;
}

export interface PlaybackAccessOptions {
  input: (uid: string) => LiveInput | undefined;
  video: (uid: string) => Video | undefined;
}

export function createPlaybackAccess({ input, video }: PlaybackAccessOptions): PlaybackAccess {
  return {
    admit({ id }) {
      if (input(id)) return { uid: id, kind: 'input' };
      if (video(id)) return { uid: id, kind: 'video' };
      return { refused: { http: 404, sentence: 'NotFound' } };
    },
  };
}
