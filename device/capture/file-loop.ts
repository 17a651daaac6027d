/**
 * A media file played over and over from any place in it, as one ffmpeg input: a list for ffmpeg's concat demuxer, in the
 * address itself. Makes text only, opens nothing.
 */

/**
 * `-stream_loop` cannot do it: it makes a round as long as the longest track that the run decodes, so that a picture's and
 * a sound's run drift apart by the difference each round, and together with `-ss` it loses or repeats time (4.1 and 5.1).
 */
export interface FileLoopOptions {
  path: string;
  /** Of one round. Default: what each file's head says, which is the same for all runs, but not to the millisecond ours. */
  durationMs?: number | undefined;
  startAtMs: number;
}

/** One argument may hold 128 KiB on Linux, and base64 makes it a third longer. */
const MAX_LIST_BYTES = 90_000;
/** What is enough for a day. */
const LIST_MS = 86_400_000;

/**
 * Time stamps begin at 0 where the first round begins; what a decoder needs before that comes with negative ones, to be cut
 * off. The input ends after a day, or after some 1000 rounds if those are shorter; a new run then goes on.
 */
export function fileLoop({ path, durationMs, startAtMs }: FileLoopOptions): { options: string[]; url: string } {
  // In quotes only the quote itself is special. `file:` so that no name can be taken for a protocol or an option.
  const file = `file 'file:${path.replaceAll("'", "'\\''")}'\n`;
  const lasting = (ms: number) => `duration ${(ms / 1000).toFixed(3)}\n`;
  const round = durationMs === undefined ? file : file + lasting(durationMs);
  const begun =
    startAtMs <= 0
      ? round
      : `${file}inpoint ${(startAtMs / 1000).toFixed(3)}\n${durationMs === undefined ? '' : lasting(durationMs - startAtMs)}`;
  const rounds = Math.floor(MAX_LIST_BYTES / Buffer.byteLength(round));
  const wanted = durationMs === undefined ? rounds : Math.ceil(LIST_MS / durationMs);
  const list = `ffconcat version 1.0\n${begun}${round.repeat(Math.max(1, Math.min(rounds, wanted)))}`;
  return {
    options: [
      ...['-re', '-fflags', '+genpts', '-copyts', '-protocol_whitelist', 'file,data,crypto'],
      ...['-f', 'concat', '-safe', '0'],
    ],
    // In base64 because ffmpeg prints the address when it cannot open the file: one line, not a thousand.
    url: `data:text/plain;base64,${Buffer.from(list).toString('base64')}`,
  };
}
