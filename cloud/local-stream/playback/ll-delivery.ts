/**
 * Low-latency HLS answers: the blocking reload of a media playlist and the wait for a hinted part (draft-pantos-hls-rfc8216bis
 * §6.2.5.2). Decides what is answered and when; knows no route.
 */
import type { TrackKind } from '../packaging/fmp4.ts';
import { mediaPlaylist } from '../packaging/hls-manifest.ts';
import { placeIn, type WantedPlace } from '../packaging/live-parts.ts';
import type { LiveWindow, LowLatencyPresentation } from '../packaging/live-window.ts';
import { lowLatencyPlaylist } from '../packaging/ll-hls-manifest.ts';
import { newestPeriod, partName, targetMs } from '../packaging/presentation.ts';
import type { NewsWaits } from './news-waits.ts';

/** A query as it was parsed: each value a text, or several. */
export type Query = Readonly<Record<string, unknown>>;

export interface LowLatencyDelivery {
  /** The playlist's text, or why there is none. */
  playlist(asked: PlaylistAsked): Promise<{ text: string } | { http: 400 | 503; sentence: string }>;
  /** Waits for the part that the playlist announces; any other name is not waited for. */
  hintedPart(asked: { window: LiveWindow; name: string; signal: AbortSignal }): Promise<'come' | 'late' | 'other'>;
}

export interface PlaylistAsked {
  window: LiveWindow;
  track: TrackKind;
  query: Query;
  /** Nobody publishes now: the playlist stands still, which is no failure. */
  isHeld: boolean;
  /** Aborted when the player has left. */
  signal: AbortSignal;
}

/** Neither the draft's players nor the proxies in between wait longer for a playlist. */
const PATIENCE_TARGETS = 3;
const refused = (sentence: string) => ({ http: 400, sentence }) as const;
const LATE = { http: 503, sentence: 'Nothing new yet' } as const;
const FULL = { http: 503, sentence: 'Too many requests wait already' } as const;
const SEGMENT_BASE = '../segments/';

export function createLowLatencyDelivery(options: { waits: NewsWaits; partTargetMs: number }): LowLatencyDelivery {
  const { waits, partTargetMs } = options;
  /** Many players ask for the same state of a window. */
  const written = new WeakMap<LowLatencyPresentation, Map<TrackKind, string>>();

  function textOf(shown: LowLatencyPresentation, track: TrackKind): string {
    const texts = written.get(shown) ?? new Map<TrackKind, string>();
    written.set(shown, texts);
    const known = texts.get(track);
    if (known !== undefined) return known;
    const other = track === 'video' ? 'audio' : 'video';
    const hasOther = other === 'video' || newestPeriod(shown)?.audio !== undefined;
    const text = lowLatencyPlaylist(shown, {
      ...{ track, partTargetMs, segmentBase: SEGMENT_BASE },
      otherUri: hasOther ? `ll-${other}.m3u8` : undefined,
    });
    texts.set(track, text);
    return text;
  }

  function placeNow({ window, track }: PlaylistAsked, wanted: WantedPlace): ReturnType<typeof placeIn> {
    const shown = window.lowLatency();
    if (!shown) return 'ahead';
    return placeIn(shown.parts[track], wanted, window.partsOf(track, wanted.segment).length, partTargetMs);
  }

  return {
    async playlist(asked) {
      const { window, track, query, isHeld, signal } = asked;
      const first = window.lowLatency();
      const wanted = wantedPlace(query);
      if (wanted === 'bad') return refused('_HLS_msn and _HLS_part are whole numbers, the second only with the first');
      if (wanted && placeNow(asked, wanted) === 'too far') return refused('_HLS_msn or _HLS_part is too far ahead');
      if (first && wanted) {
        const timeoutMs = PATIENCE_TARGETS * targetMs(first);
        const isThere = () => placeNow(asked, wanted) === 'there';
        const outcome = await waits.until({ window, isThere, timeoutMs, signal });
        // From here, not from the recording: there the last segment may still wait for the disk.
        if (outcome === 'ended') {
          return { text: mediaPlaylist({ ...window.presentation(), isEnded: true }, track, SEGMENT_BASE) };
        }
        if (outcome === 'full') return FULL;
        if (outcome !== 'there' && !(outcome === 'late' && isHeld)) return LATE;
      }
      const shown = window.lowLatency();
      return shown ? { text: textOf(shown, track) } : LATE;
    },
    async hintedPart({ window, name, signal }) {
      const shown = window.lowLatency();
      const track = (['video', 'audio'] as const).find(
        (kind) => shown && partName(kind, shown.parts[kind].next) === name,
      );
      if (!shown || !track) return 'other';
      const { segment } = shown.parts[track].next;
      // A segment that ends before the part leaves nothing to wait for.
      const isThere = () => {
        const now = window.lowLatency()?.parts[track].next.segment ?? segment;
        return window.media(name) !== undefined || now > segment;
      };
      const outcome = await waits.until({ window, isThere, timeoutMs: PATIENCE_TARGETS * targetMs(shown), signal });
      return outcome === 'there' || outcome === 'ended' ? 'come' : 'late';
    },
  };
}

function wantedPlace(query: Query): WantedPlace | undefined | 'bad' {
  const { _HLS_msn: segment, _HLS_part: part } = query;
  if (segment === undefined) return part === undefined ? undefined : 'bad';
  if (!isWholeNumber(segment)) return 'bad';
  if (part === undefined) return { segment: Number(segment) };
  return isWholeNumber(part) ? { segment: Number(segment), part: Number(part) } : 'bad';
}

function isWholeNumber(text: unknown): text is string {
  return typeof text === 'string' && /^\d{1,9}$/.test(text);
}
