/**
 * An Android board: the engine's steps by a root shell of adb, with a tree of ours in place of the Debian package. Owns what
 * differs there; uploading and following apply.sh are the shell board's.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { makeAndroidTree } from './android-tree.ts';
import type { ApplyWord, Board, BoardArchitecture, BoardFile, BoardShell } from './board.ts';
import { contentHash } from './content-hash.ts';
import { createShellBoard, type ShellWays } from './shell-board.ts';

export interface AdbBoardOptions {
  /** Of `createAdbShell`. */
  shell: BoardShell;
  clock: Clock;
  /** Debian's libraries for the board's processor, unpacked. */
  glibcFolder: string | undefined;
  patienceMs?: number;
}

const PACKAGE = 'new/package.deb';
const TREE = 'new/tree.tar';
const MANIFEST = 'new/manifest';

export function createAdbBoard({ glibcFolder, ...options }: AdbBoardOptions): Board {
  const board = createShellBoard({ ...options, ways: androidWays });
  let folder: Promise<string> | undefined;
  let architecture: BoardArchitecture | undefined;
  let hasResolver = false;
  let treeHash: string | undefined;

  async function treeFor(file: BoardFile): Promise<BoardFile> {
    if (file.content instanceof Uint8Array || architecture === undefined) throw failed('the package has to be a file');
    folder ??= mkdtemp(join(tmpdir(), 'glasscast-android-'));
    const outFile = join(await folder, 'tree.tar');
    await makeAndroidTree({ packageFile: file.content.path, architecture, glibcFolder, outFile });
    treeHash = await contentHash({ path: outFile });
    return { name: TREE, content: { path: outFile }, bytes: (await stat(outFile)).size, sha256: treeHash };
  }

  /** The engine's file as it has to be here; undefined: none. */
  async function fileFor(file: BoardFile): Promise<BoardFile | undefined> {
    if (file.name === PACKAGE) return treeFor(file);
    if (file.name === 'apply.sh') return textFile('apply.sh', applyText);
    // Updates need the launcher, which a foreign loader cannot start again.
    if (file.name.startsWith('new/release-keys/')) return undefined;
    if (file.name === 'new/settings') requireReachable((await contentOf(file)).toString('utf8'), hasResolver);
    if (file.name !== MANIFEST) return file;
    const lines = (await contentOf(file)).toString('utf8').split('\n');
    const kept = lines.filter((line) => line !== '' && !/ {2}(package\.deb|release-keys\/.*)$/.test(line));
    return textFile(MANIFEST, `${[...kept, `${treeHash}  tree.tar`].join('\n')}\n`);
  }

  return {
    ...board,
    async look(call) {
      const output = await options.shell.run(lookText, { ...call, timeoutMs: 60_000 });
      hasResolver = /^resolver=yes$/m.test(output.output);
      const facts = await board.look(call);
      architecture = facts.architecture;
      return { ...facts, needsNoDebian: true };
    },
    async put(file, call) {
      const own = await fileFor(file);
      if (own) await board.put(own, call);
    },
    async close() {
      await board.close();
      if (folder) await rm(await folder, { recursive: true, force: true });
    },
  };
}

/** @param settings NAME="value" lines. @throws GlasscastError BOARD_UNFIT: the board would find no names */
export function requireReachable(settings: string, hasResolver: boolean): void {
  const url = /^GLASSCAST_AGENT_RELAY_URL="?([^"\n]*)"?$/m.exec(settings)?.[1] ?? '';
  if (hasResolver || !URL.canParse(url)) return;
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0) return;
  const reason = `Android has no /etc/resolv.conf, so the agent finds no ${host}: give the relay by its address, or put a resolv.conf in /system/etc`;
  throw new GlasscastError('BOARD_UNFIT', { reason });
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's
const FOLDER = '${GLASSCAST_FLASH_ROOT:-}/data/glasscast-flash';
const applyText = readFileSync(new URL('android/apply.sh', import.meta.url), 'utf8');
const lookText = readFileSync(new URL('android/look.sh', import.meta.url), 'utf8');
const IS_APPLYING = `pid=$(cat "$f/apply.pid" 2>/dev/null); [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null`;

/** `setsid`: outlives the connection. The pause lets it write its pid. */
const startedBy = (words: string) => `setsid sh "$f/apply.sh" ${words} </dev/null >/dev/null 2>&1 & sleep 1`;

const androidWays: ShellWays = {
  flashFolder: FOLDER,
  look: lookText,
  start: (word: ApplyWord, runId: string) => `umask 077
f=${FOLDER}
grep -q '"id":"${runId}"' "$f/result.json" 2>/dev/null && { echo started; exit 0; }
if ${IS_APPLYING}; then
  grep -q '^${runId}$' "$f/journal" "$f/run" 2>/dev/null && echo started || echo busy
  exit 0
fi
rm -f "$f/result.json" "$f/failed.log"
: >"$f/apply.log"
echo '${runId}' >"$f/run"
${startedBy(`${word} ${runId}`)}
echo started`,
  follow: (offset: number) => `f=${FOLDER}
state=gone
if ${IS_APPLYING}; then state=active; fi
if [ "$state" = gone ] && [ -f "$f/journal" ]; then
  state=active
  ${startedBy('recover')}
fi
echo "$state"
head -n 1 "$f/result.json" 2>/dev/null || echo
tail -c +${offset + 1} "$f/apply.log" 2>/dev/null | head -c 65536`,
  lastLines: `f=${FOLDER}
tail -n 30 "$f/apply.log" 2>/dev/null | grep -v '^== ' | tail -n 8
[ ! -s "$f/failed.log" ] || tail -n 8 "$f/failed.log"
exit 0`,
};

async function contentOf({ content }: BoardFile): Promise<Buffer> {
  return content instanceof Uint8Array ? Buffer.from(content) : readFile(content.path);
}

function textFile(name: string, text: string): BoardFile {
  const content = Buffer.from(text);
  return { name, content, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
}

const failed = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });
