/**
 * A board that has a shell, systemd and dpkg: looks, uploads with resume, starts apply.sh in a unit of its own and follows it
 * over lost connections. Owns the scripts; how they get there is the shell's.
 */
import { createReadStream, readFileSync } from 'node:fs';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import {
  type ApplyResult,
  type ApplyWord,
  applyResult,
  type Board,
  type BoardCall,
  type BoardFile,
  type BoardShell,
  FLASH_FOLDER,
  type ShellCall,
} from './board.ts';
import { boardFactsOf } from './board-facts.ts';

export interface ShellBoardOptions {
  shell: BoardShell;
  clock: Clock;
  /** How long a board that cannot be reached is waited for while apply.sh runs there. Default 5 minutes: it may boot. */
  patienceMs?: number;
  /** Default: those of a board with dpkg and systemd. */
  ways?: ShellWays;
}

/** What differs between systems: where things lie, and the scripts that look at the board and at apply.sh. */
export interface ShellWays {
  flashFolder: string;
  /** Prints what board-facts.ts reads. */
  look: string;
  /** Prints `started` when this run is under way or has ended, and `busy` when another one is. */
  start: (word: ApplyWord, runId: string) => string;
  /** Prints `active` or `gone`, a line with the result or an empty one, and the log from `offset` on. */
  follow: (offset: number) => string;
  /** Prints what the failed agent said last. */
  lastLines: string;
}

const LOOK_EVERY_MS = 1_000;
const PATIENCE_MS = 300_000;
const UPLOAD_TIMEOUT_MS = 3_600_000;
/** The longest that apply.sh takes: dpkg's patience twice, and its gates. */
const APPLY_TIMEOUT_MS = 2_400_000;
const MAX_SMALL_BYTES = 262_144;

const look = readFileSync(new URL('look.sh', import.meta.url), 'utf8');

export function createShellBoard({
  shell,
  clock,
  patienceMs = PATIENCE_MS,
  ways = debianWays,
}: ShellBoardOptions): Board {
  const { flashFolder } = ways;
  /** @throws GlasscastError FLASH_FAILED: the script failed */
  async function run(script: string, call: ShellCall): Promise<string> {
    const { code, output, errors } = await shell.run(script, call);
    if (code === 0) return output;
    const reason = errors.trim().split('\n').at(-1) || `a command on the board ended with ${code}`;
    throw new GlasscastError('FLASH_FAILED', { reason });
  }

  /** As `run`, but a board that is away for a while is waited for. */
  async function runPatiently(script: string, { signal }: BoardCall, onAway: () => void): Promise<string> {
    const startedMs = clock.monotonicMs();
    for (;;) {
      try {
        return await run(script, { signal, timeoutMs: 30_000 });
      } catch (error) {
        const isAway = isGlasscastError(error) && error.code === 'BOARD_UNREACHABLE';
        if (!isAway || signal.aborted || clock.monotonicMs() - startedMs > patienceMs) throw error;
        onAway();
        await clock.sleep(LOOK_EVERY_MS * 2, { signal, name: 'board-away' });
      }
    }
  }

  async function apply(word: ApplyWord, call: Parameters<Board['apply']>[1]): Promise<ApplyResult> {
    const { signal, runId, onLine } = call;
    const startedMs = clock.monotonicMs();
    let isAway = false;
    const onAway = () => {
      if (!isAway) onLine('the board is away; it goes on by itself, and is waited for');
      isAway = true;
    };
    let offset = 0;
    let rest = '';
    let isStarted = false;
    while (clock.monotonicMs() - startedMs < APPLY_TIMEOUT_MS) {
      if (!isStarted) isStarted = isOurs(await runPatiently(ways.start(word, runId), call, onAway), onLine);
      const answer = await runPatiently(ways.follow(offset), call, onAway);
      isAway = false;
      const { state, result, log } = followed(answer);
      // Another one's log is emptied before ours.
      offset = isStarted ? offset + Buffer.byteLength(log) : 0;
      const lines = (rest + log).split('\n');
      rest = lines.pop() ?? '';
      if (isStarted) for (const line of lines) if (line.startsWith('== ')) onLine(line.slice(3));
      if (isStarted && result?.id === runId) return result;
      if (isStarted && state === 'gone') {
        throw new GlasscastError('FLASH_FAILED', { reason: 'apply.sh ended on the board without a result' });
      }
      await clock.sleep(LOOK_EVERY_MS, { signal, name: 'apply' });
    }
    throw new GlasscastError('FLASH_FAILED', {
      reason: 'the board does not come to an end; the same command looks again',
    });
  }

  /** What is brought over while another one applies its own would be taken for its own. */
  async function awaitOther(call: BoardCall): Promise<void> {
    const startedMs = clock.monotonicMs();
    while (isOtherApplying && clock.monotonicMs() - startedMs < APPLY_TIMEOUT_MS) {
      isOtherApplying = followed(await runPatiently(ways.follow(0), call, () => {})).state === 'active';
      if (isOtherApplying) await clock.sleep(LOOK_EVERY_MS, { signal: call.signal, name: 'other-apply' });
    }
  }

  let isOtherApplying = false;
  return {
    name: shell.name,
    isOffline: false,
    async look({ signal }) {
      const facts = boardFactsOf(await run(ways.look, { signal, timeoutMs: 60_000 }));
      isOtherApplying = facts.isApplying;
      return facts;
    },
    async put(file, { signal, onProgress }) {
      if (!/^[a-z][\w.-]*(\/\w[\w.-]*)*$/.test(file.name) || file.name.includes('..')) {
        throw new GlasscastError('INTERNAL', { reason: `${file.name} is no name for a file on a board` });
      }
      await awaitOther({ signal });
      if (file.content instanceof Uint8Array && file.bytes <= MAX_SMALL_BYTES) await putSmall(file, { signal });
      else await putLarge(file, { signal }, onProgress);
      onProgress(file.bytes);
    },
    apply,
    async lastLines({ signal }) {
      const { output } = await shell.run(ways.lastLines, { signal, timeoutMs: 30_000 });
      return output.split('\n').filter((line) => line.trim() !== '');
    },
    close: () => shell.close(),
  };

  async function putSmall(file: BoardFile, { signal }: BoardCall): Promise<void> {
    const output = await run(smallScript(file, flashFolder), {
      signal,
      input: contentOf(file, 0, () => {}),
      timeoutMs: 60_000,
    });
    if (output.trim() !== 'done')
      throw new GlasscastError('FLASH_FAILED', { reason: `${file.name} did not arrive whole` });
  }

  async function putLarge(file: BoardFile, { signal }: BoardCall, onProgress: (bytes: number) => void): Promise<void> {
    // A part that is damaged is dropped over there, and sent once more from the start.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const [, have] =
        /^have (\d+)$/m.exec(await run(partScript(file, flashFolder), { signal, timeoutMs: 120_000 })) ?? [];
      const offset = Number(have ?? file.bytes);
      onProgress(Math.min(offset, file.bytes));
      const input = contentOf(file, offset, onProgress);
      const output = await run(appendScript(file, flashFolder), { signal, input, timeoutMs: UPLOAD_TIMEOUT_MS });
      if (output.trim() === 'done') return;
    }
    throw new GlasscastError('FLASH_FAILED', { reason: `${file.name} did not arrive whole; try again` });
  }
}

async function* contentOf(
  { content, bytes }: BoardFile,
  offset: number,
  onProgress: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  if (offset >= bytes) return;
  if (content instanceof Uint8Array) {
    yield content.subarray(offset);
    return;
  }
  let done = offset;
  for await (const chunk of createReadStream(content.path, { start: offset, end: bytes - 1 })) {
    yield chunk as Buffer;
    done += (chunk as Buffer).byteLength;
    onProgress(done);
  }
}

const prepared = ({ name }: BoardFile, flashFolder: string) =>
  [`umask 077`, `f=${flashFolder}`, `target=$f/${name}`, `mkdir -p "\${target%/*}"`, `chmod 700 "$f"`].join('\n');
const sumOf = (path: string) => `"$(sha256sum <"${path}" | cut -c 1-64)"`;

function smallScript(file: BoardFile, flashFolder: string): string {
  return `${prepared(file, flashFolder)}
cat >"$target.upload" || exit 1
[ ${sumOf('$target.upload')} = ${file.sha256} ] || { rm -f "$target.upload"; echo wrong; exit 0; }
sync
mv "$target.upload" "$target" && sync && echo done`;
}

/** How much is there. Parts of anything else only take room. */
function partScript(file: BoardFile, flashFolder: string): string {
  return `${prepared(file, flashFolder)}
part=$f/upload-${file.sha256}.part
for other in "$f"/upload-*.part; do [ "$other" = "$part" ] || rm -f "$other"; done
[ -f "$target" ] && [ ${sumOf('$target')} = ${file.sha256} ] && mv "$target" "$part"
# A copy: the one of before must stay as it is whatever becomes of this one.
for known in current before; do
  known=$f/$known/\${target##*/}
  [ -f "$known" ] && [ ! -f "$part" ] && [ ${sumOf('$known')} = ${file.sha256} ] && cp "$known" "$part"
done
size=$(wc -c <"$part" 2>/dev/null) || size=0
size=$((size))
[ "$size" -le ${file.bytes} ] || { rm -f "$part"; size=0; }
echo "have $size"`;
}

function appendScript(file: BoardFile, flashFolder: string): string {
  return `${prepared(file, flashFolder)}
part=$f/upload-${file.sha256}.part
cat >>"$part" || exit 1
[ ${sumOf('$part')} = ${file.sha256} ] || { [ "$(($(wc -c <"$part")))" -lt ${file.bytes} ] || rm -f "$part"; echo wrong; exit 0; }
sync
mv "$part" "$target" && sync && echo done`;
}

/** The unit outlives the connection. One that another command started is waited for. */
function startScript(word: ApplyWord, runId: string): string {
  return `umask 077
f=${FLASH_FOLDER}
grep -q '"id":"${runId}"' "$f/result.json" 2>/dev/null && { echo started; exit 0; }
if systemctl is-active --quiet glasscast-flash.service || systemctl is-active --quiet glasscast-flash-recover.service; then
  systemctl show -p ExecStart glasscast-flash.service | grep -q '${runId}' && echo started || echo busy
  exit 0
fi
if [ -f "$f/journal" ] && grep -q '^${runId}$' "$f/journal"; then echo started; exit 0; fi
rm -f "$f/result.json"
: >"$f/apply.log"
systemd-run --quiet --collect --unit=glasscast-flash --description='Flashes the Glasscast agent' \\
  /bin/sh "$f/apply.sh" ${word} ${runId} >&2 && echo started`;
}

function isOurs(output: string, onLine: (line: string) => void): boolean {
  if (output.includes('started')) return true;
  onLine('another flash runs on the board, and is waited for');
  return false;
}

/** The state is read before the result: once the unit is gone, the result is the last word. A run that was killed is ended. */
function followScript(offset: number): string {
  return `f=${FLASH_FOLDER}
state=gone
for unit in glasscast-flash.service glasscast-flash-recover.service; do
  systemctl is-active --quiet "$unit" && state=active
done
if [ "$state" = gone ] && [ -f "$f/journal" ]; then
  state=active
  systemd-run --quiet --collect --unit=glasscast-flash /bin/sh "$f/apply.sh" recover >/dev/null 2>&1
fi
echo "$state"
head -n 1 "$f/result.json" 2>/dev/null || echo
tail -c +${offset + 1} "$f/apply.log" 2>/dev/null | head -c 65536`;
}

function followed(answer: string): { state: string; result: ApplyResult | undefined; log: string } {
  const [state = '', json = '', ...log] = answer.split('\n');
  const parsed = applyResult.safeParse(jsonOf(json));
  return { state, result: parsed.success ? parsed.data : undefined, log: log.join('\n') };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What the failed agent said, where it was kept; else what the one that is there says. */
const LAST_LINES = `f=${FLASH_FOLDER}
tail -n 30 "$f/apply.log" 2>/dev/null | grep -v '^== ' | tail -n 8
if [ -s "$f/failed.log" ]; then tail -n 8 "$f/failed.log"; else journalctl -u glasscast-agent.service -n 8 --no-pager -o cat 2>/dev/null; fi
exit 0`;

const debianWays: ShellWays = {
  flashFolder: FLASH_FOLDER,
  ...{ look, start: startScript, follow: followScript, lastLines: LAST_LINES },
};
