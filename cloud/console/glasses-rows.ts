/** The list of glasses as rows: who is in it, in which order, what a search leaves. Pure. */
import { type ConsoleState, isRunning, type KnownSession, type KnownStream } from './console-state.ts';

export interface GlassesRow {
  userId: string;
  session: KnownSession | undefined;
  /** The newest one, also when it has ended. */
  stream: KnownStream | undefined;
  isSelected: boolean;
}

/** Live ones first, then those that are there, then those that are away; by name within each. */
export function glassesRows({ sessions, streams, selected }: ConsoleState, search: string): GlassesRow[] {
  const running = [...streams.values()].filter(isRunning).map(({ userId }) => userId);
  const rows = [...new Set([...sessions.keys(), ...running])].map((userId) => ({
    userId,
    session: sessions.get(userId),
    stream: streams.get(userId),
    isSelected: userId === selected,
  }));
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return rows
    .filter((row) => words.every((word) => textOf(row).includes(word)))
    .sort(
      (one, other) => rankOf(one) - rankOf(other) || one.userId.localeCompare(other.userId, 'en', { numeric: true }),
    );
}

/** The user of the row so many steps further, around the ends. */
export function rowAt(rows: readonly GlassesRow[], steps: number): string | undefined {
  if (rows.length === 0) return undefined;
  const at = rows.findIndex(({ isSelected }) => isSelected);
  const start = at < 0 && steps < 0 ? 0 : at;
  return rows[(start + steps + rows.length) % rows.length]?.userId;
}

function rankOf({ session, stream }: GlassesRow): number {
  if (isRunning(stream)) return 0;
  return session?.connected ? 1 : 2;
}

/** What a search looks at. */
function textOf({ userId, session, stream }: GlassesRow): string {
  const state = isRunning(stream) ? (stream.state === 'active' ? 'live' : stream.state) : '';
  const there = session?.connected ? 'connected' : 'away';
  return [userId, session?.modelName, session?.wifiSsid, there, state, ...(stream?.viewers ?? [])]
    .join(' ')
    .toLowerCase();
}
