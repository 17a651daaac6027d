/** What the glasses measured in the last minutes, kept in the page: samples of each figure of each stream. Pure. */
import type { StreamView } from './relay-shapes.ts';

export const figureNames = ['bitrate', 'frameRate', 'drops', 'queue', 'temperature'] as const;
export type FigureName = (typeof figureNames)[number];

export interface Sample {
  atMs: number;
  value: number;
}

export interface FigureHistory {
  /** Takes what is new in it; the same figures again are no sample. */
  take(stream: StreamView, nowMs: number): void;
  /** Oldest first. */
  samples(streamId: string, figure: FigureName): readonly Sample[];
}

export const WINDOW_MS = 5 * 60_000;
/** More streams than a page shows at once; the ones that were silent longest go. */
const KEPT_STREAMS = 250;

interface Kept {
  lastStats: StreamView['stats'];
  lastText: string;
  figures: Record<FigureName, Sample[]>;
}

export function createFigureHistory(): FigureHistory {
  const kept = new Map<string, Kept>();

  function keptOf(streamId: string): Kept {
    const known = kept.get(streamId);
    kept.delete(streamId);
    const next = known ?? {
      lastStats: undefined,
      lastText: '',
      figures: { bitrate: [], frameRate: [], drops: [], queue: [], temperature: [] },
    };
    kept.set(streamId, next);
    for (const oldest of kept.keys()) {
      if (kept.size <= KEPT_STREAMS) break;
      kept.delete(oldest);
    }
    return next;
  }

  return {
    take(stream, nowMs) {
      const { stats, streamId, temperatureC } = stream;
      if (!stats && temperatureC === undefined) return;
      const own = keptOf(streamId);
      const text = JSON.stringify([stats, temperatureC]);
      if (text === own.lastText) return;
      own.lastText = text;
      const values: Record<FigureName, number | undefined> = {
        bitrate: stats?.bitrate,
        frameRate: stats?.fps,
        drops: droppedSince(own.lastStats, stats),
        queue: stats?.queuedBytes,
        temperature: temperatureC,
      };
      own.lastStats = stats;
      for (const name of figureNames) add(own.figures[name], values[name], nowMs);
    },
    samples: (streamId, figure) => kept.get(streamId)?.figures[figure] ?? [],
  };
}

function add(samples: Sample[], value: number | undefined, nowMs: number): void {
  if (value === undefined || !Number.isFinite(value)) return;
  samples.push({ atMs: nowMs, value });
  const firstInside = samples.findIndex(({ atMs }) => atMs >= nowMs - WINDOW_MS);
  if (firstInside > 0) samples.splice(0, firstInside);
}

/** The glasses count from their start; a count that goes back is a new start. */
function droppedSince(before: StreamView['stats'], now: StreamView['stats']): number | undefined {
  if (now?.droppedFrames === undefined) return undefined;
  const last = before?.droppedFrames ?? now.droppedFrames;
  return now.droppedFrames >= last ? now.droppedFrames - last : now.droppedFrames;
}
