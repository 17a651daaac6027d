/**
 * Who may watch what: turns the id in a playback address (an input's uid, a video's uid, or a token in place of either) into
 * the uid it stands for, or a refusal. The one door of every egress: HLS, DASH, FLV, WHEP, thumbnails, the player page.
 *
 * Cloudflare documents no HTTP codes here. Ours: 401 where a token is missing or worth nothing, 403 where the token is good and
 * does not let this viewer or this page in, 404 for what does not exist.
 */

import type { LiveInput } from '../api/live-input.ts';
import type { Video } from '../recordings/video.ts';
import { isLetIn } from './access-rules.ts';
import { mayShow, type PageSigns } from './allowed-origins.ts';
import type { PlaybackTokens } from './playback-tokens.ts';

export interface PlaybackRequest extends PageSigns {
  /** As it stands in the address. */
  id: string;
  /** Address of the viewer. */
  ip: string;
}

export interface Admitted {
  uid: string;
  kind: 'input' | 'video';
  /** A token stood in the address: it has to stand in every address that follows from this one. */
  isToken: boolean;
  /** For `Access-Control-Allow-Origin`: `*`, or the one origin that asked. Undefined: origins are limited and none asked. */
  allowOrigin: string | undefined;
}

export type PlaybackVerdict =
  | Admitted
  /** To be answered as plain text. */
  | { refused: { http: 401 | 403 | 404; sentence: string } };

export interface PlaybackAccess {
  /** To the picture. */
  admit(request: PlaybackRequest): PlaybackVerdict;
  /** To what a player asks before it plays (lifecycle, viewers): without a signature and from any page, but no bad token. */
  find(id: string): PlaybackVerdict;
}

export interface PlaybackAccessOptions {
  input: (uid: string) => LiveInput | undefined;
  video: (uid: string) => Video | undefined;
  /** Default: no token is good. */
  tokens?: Pick<PlaybackTokens, 'verify'>;
}

type Refusal = Extract<PlaybackVerdict, { refused: unknown }>;
type GoodToken = Exclude<ReturnType<PlaybackTokens['verify']>, { refused: string }>;

/** Three parts in base64url (RFC 7515 §7.1); no uid has a dot. */
const TOKEN_SHAPE = /^[\w-]+\.[\w-]+\.[\w-]*$/;
const refusal = (http: 401 | 403 | 404, sentence: string): Refusal => ({ refused: { http, sentence } });

export function createPlaybackAccess({ input, video, tokens }: PlaybackAccessOptions): PlaybackAccess {
  function subject(uid: string, token: GoodToken | undefined) {
    const found = input(uid);
    if (found) return { uid, kind: 'input' as const, token, rules: found.recording };
    const recorded = video(uid);
    return recorded && { uid, kind: 'video' as const, token, rules: recorded };
  }
  function lookUp(id: string): NonNullable<ReturnType<typeof subject>> | Refusal {
    if (!TOKEN_SHAPE.test(id)) return subject(id, undefined) ?? refusal(404, 'NotFound');
    const token = tokens?.verify(id) ?? { refused: 'The token is signed by no key of this account' };
    if ('refused' in token) return refusal(401, token.refused);
    return subject(token.uid, token) ?? refusal(404, 'NotFound');
  }
  return {
    admit(request) {
      const found = lookUp(request.id);
      if ('refused' in found) return found;
      const { uid, kind, token, rules } = found;
      if (rules.requireSignedURLs && !token) return refusal(401, 'A signed token is needed in place of the id');
      if (token && !isLetIn(token.accessRules, request.ip))
        return refusal(403, 'The token does not let this viewer in');
      const origins = rules.allowedOrigins ?? [];
      if (!mayShow(origins, request)) return refusal(403, 'This page is not among the allowed origins');
      const allowOrigin = origins.length > 0 ? request.origin : '*';
      return { uid, kind, isToken: token !== undefined, allowOrigin };
    },
    find(id) {
      const found = lookUp(id);
      if ('refused' in found) return found;
      return { uid: found.uid, kind: found.kind, isToken: found.token !== undefined, allowOrigin: '*' };
    },
  };
}

/** What the door wants to know of an HTTP request. */
export function playbackRequest(
  id: string,
  request: { ip: string; headers: Record<string, string | string[] | undefined> },
): PlaybackRequest {
  const header = (name: string) => {
    const value = request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  return {
    ...{ id, ip: request.ip, origin: header('origin'), referer: header('referer') },
    ...{ host: header('host'), fetchSite: header('sec-fetch-site') },
  };
}
