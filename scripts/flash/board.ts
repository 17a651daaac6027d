/**
 * What flashing asks of a board, whichever way it is reached: look, take files, apply them by apply.sh. Owns the words that
 * pass between the engine, the ways and apply.sh; runs nothing itself.
 */
import * as z from 'zod';

/** Root's, on the board. Everything that flashing keeps is under it. */
export const FLASH_FOLDER = '/var/lib/glasscast-flash';

export const architectures = ['amd64', 'arm64', 'armhf'] as const;
/** As Debian calls them. */
export type BoardArchitecture = (typeof architectures)[number];

/** What a look at the board found; nothing is changed by it. */
export interface BoardFacts {
  architecture: BoardArchitecture;
  /** For people: `Debian GNU/Linux 12 (bookworm)`. */
  os: string;
  hasDpkg: boolean;
  hasSystemd: boolean;
  /** Of glibc, as 2.36; undefined: not glibc. */
  libcVersion: string | undefined;
  /** Where the files go, and where the package is installed. */
  freeBytes: number;
  /** Of those that flashing writes to. Default: none. */
  readOnlyFolders?: readonly string[];
  /** Undefined: not to be told, as for an image. */
  clockMs: number | undefined;
  /** `/dev/video0`, …; empty for an image. */
  cameras: readonly string[];
  soundCards: readonly string[];
  /** The board's own, not the package's. */
  ffmpeg: { version: string; encoders: readonly string[] } | undefined;
  /** Of the package; undefined: none. */
  installedVersion: string | undefined;
  isRunning: boolean;
  hasToken: boolean;
  /** Of the last flash that came to its end. */
  flashed: { fingerprint: string; user: string | undefined } | undefined;
  /** A flash was cut, and apply.sh has still to end it. */
  isUnfinished: boolean;
  /** apply.sh runs at this moment. */
  isApplying: boolean;
  /** There is something that undo can put back, be it nothing. */
  hasBefore: boolean;
  /** Nothing of the system is used: loader and libraries come along. Default: a Debian is needed. */
  needsNoDebian?: boolean;
}

/** A file for the board. */
export interface BoardFile {
  /** Under FLASH_FOLDER: `new/package.deb`. No `..`, no spaces. */
  name: string;
  /** A file here, or the content itself. */
  content: { path: string } | Uint8Array;
  bytes: number;
  /** Hex. */
  sha256: string;
}

/** How apply.sh ended, as its result.json says. */
export const applyResult = z.object({
  /** Of the run that this is the end of. */
  id: z.string().max(64),
  outcome: z.enum([
    /** The new package runs. */
    'flashed',
    /** It was there and running: nothing was changed. */
    'already',
    /** It did not prove itself: what was there before is there again. */
    'rolled_back',
    /** What was there before the last flash is there again. */
    'undone',
    /** Nothing was changed. */
    'refused',
    /** Neither the new one nor the old one could be put in place: a person has to look. */
    'broken',
    /** Everything lies ready; the board installs it at its first boot. */
    'armed',
  ]),
  /** Of the package that is there now; empty: none. */
  version: z.string().max(100),
  /** Why; empty when there is nothing to say. */
  reason: z.string().max(2_000),
});
export type ApplyResult = z.output<typeof applyResult>;

/** `undo`: back to what was there before the last flash. */
export type ApplyWord = 'apply' | 'undo';

export interface BoardCall {
  /** Stops waiting. The board goes on with what it was told, and ends it by itself. */
  signal: AbortSignal;
}

export interface Board {
  /** For people: `ada@board`, `rootfs.img`. */
  readonly name: string;
  /** The board installs at its first boot: nothing of it can be seen from here. */
  readonly isOffline: boolean;
  /** @throws GlasscastError BOARD_UNREACHABLE, BOARD_UNFIT */
  look(call: BoardCall): Promise<BoardFacts>;
  /**
   * Puts the file there whole or not at all, mode 600, its folder too. What an earlier call for the same content has brought
   * over is not brought again.
   * @throws GlasscastError BOARD_UNREACHABLE; FLASH_FAILED: no room, or another file came out
   */
  put(file: BoardFile, call: BoardCall & { onProgress: (doneBytes: number) => void }): Promise<void>;
  /**
   * Starts apply.sh so that it outlives the connection, or joins the one that runs, and waits for its end over lost connections.
   * @param runId of options, or made up for `undo`
   * @throws GlasscastError BOARD_UNREACHABLE; FLASH_FAILED: it ended without a result
   */
  apply(word: ApplyWord, call: BoardCall & { runId: string; onLine: (line: string) => void }): Promise<ApplyResult>;
  /** For a person to read: last lines of apply.log and of the unit's journal. May hold secrets: redact. */
  lastLines(call: BoardCall): Promise<string[]>;
  close(): Promise<void>;
}

/** A shell on the board; `createShellBoard` makes a Board of it. */
export interface BoardShell {
  readonly name: string;
  /**
   * Runs a sh script as root. The script goes over standard input, never as an argument, and `input` after it: the script
   * reads it from its own standard input.
   * @returns its exit code and what it printed, at most 1 MB
   * @throws GlasscastError BOARD_UNREACHABLE: the connection, not the script, failed
   */
  run(script: string, call: ShellCall): Promise<{ code: number; output: string; errors: string }>;
  close(): Promise<void>;
}

export interface ShellCall extends BoardCall {
  timeoutMs?: number;
  input?: AsyncIterable<Uint8Array>;
}
