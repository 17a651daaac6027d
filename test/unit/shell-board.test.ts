/** The scripts of a shell board, run by this machine's sh where they can be, and its patience with a board that is away. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BoardFile, BoardShell } from '../../scripts/flash/board.ts';
import { createShellBoard } from '../../scripts/flash/shell-board.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createTestClock } from '../support/test-clock.ts';

const signal = new AbortController().signal;
const away = () => new GlasscastError('BOARD_UNREACHABLE', { reason: 'ada@board: the connection was lost' });
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-shell-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Runs what it is given here, in a folder of its own; the input is cut after so many bytes. */
function localShell(cut: { afterBytes?: number } = {}): BoardShell {
  return {
    name: 'here',
    async run(script, { input }) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of input ?? []) chunks.push(chunk);
      const all = Buffer.concat(chunks);
      const bytes = cut.afterBytes === undefined ? all : all.subarray(0, cut.afterBytes);
      const isCut = bytes.byteLength < all.byteLength;
      // Of this machine everything would be written out.
      const here = `sync() { :; }\n${script.replaceAll('/var/lib/glasscast-flash', folder)}`;
      const { status, stdout, stderr } = spawnSync('sh', ['-c', here], { input: bytes, encoding: 'utf8' });
      if (isCut) throw away();
      return { code: status ?? 1, output: stdout, errors: stderr };
    },
    async close() {},
  };
}

function fileOf(content: Buffer, name = 'new/package.deb'): BoardFile {
  const path = join(folder, 'source');
  writeFileSync(path, content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { name, content: { path }, bytes: content.byteLength, sha256 };
}

describe('put', () => {
  const content = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 7) % 251));

  it('brings a large file over whole, its owner’s alone', async () => {
    const board = createShellBoard({ shell: localShell(), clock: createTestClock() });
    const seen: number[] = [];
    await board.put(fileOf(content), { signal, onProgress: (bytes) => void seen.push(bytes) });
    expect(readFileSync(join(folder, 'new/package.deb'))).toEqual(content);
    expect(statSync(join(folder, 'new/package.deb')).mode & 0o777).toBe(0o600);
    expect(seen.at(-1)).toBe(content.byteLength);
  });

  it.each([0, 1, 65_536, 299_999])('goes on where it was cut, after %i bytes', async (afterBytes) => {
    const clock = createTestClock();
    const cut = createShellBoard({ shell: localShell({ afterBytes }), clock });
    await expect(cut.put(fileOf(content), { signal, onProgress: () => {} })).rejects.toThrow('the connection was lost');
    expect(
      readdirSync(folder).some((name) => name === 'new' && readdirSync(join(folder, name)).includes('package.deb')),
    ).toBe(false);
    const seen: number[] = [];
    const board = createShellBoard({ shell: localShell(), clock });
    await board.put(fileOf(content), { signal, onProgress: (bytes) => void seen.push(bytes) });
    expect(seen[0]).toBe(afterBytes);
    expect(readFileSync(join(folder, 'new/package.deb'))).toEqual(content);
  });

  it('starts a damaged part anew, and drops parts of other files', async () => {
    const file = fileOf(content);
    writeFileSync(join(folder, `upload-${file.sha256}.part`), Buffer.alloc(1000));
    writeFileSync(join(folder, 'upload-other.part'), 'x');
    await createShellBoard({ shell: localShell(), clock: createTestClock() }).put(file, {
      signal,
      onProgress: () => {},
    });
    expect(readFileSync(join(folder, 'new/package.deb'))).toEqual(content);
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  it('refuses a small file that arrives otherwise, and names that lead elsewhere', async () => {
    const board = createShellBoard({ shell: localShell(), clock: createTestClock() });
    const small = Buffer.from('A="1"\n');
    const wrong = { name: 'new/settings', content: small, bytes: small.byteLength, sha256: 'a'.repeat(64) };
    await expect(board.put(wrong, { signal, onProgress: () => {} })).rejects.toThrow(
      'new/settings did not arrive whole',
    );
    for (const name of ['../x', 'new/../../x', '/etc/x', "new/a'b", 'new/a b', 'new/$x']) {
      await expect(board.put({ ...wrong, name }, { signal, onProgress: () => {} }), name).rejects.toThrow('no name');
    }
  });
});

describe('apply', () => {
  /** Answers one after the other; an Error is thrown. */
  function scripted(answers: (string | Error)[]) {
    const clock = createTestClock();
    const shell: BoardShell = {
      name: 'ada@board',
      async run() {
        const answer = answers.shift() ?? away();
        if (answer instanceof Error) throw answer;
        return { code: 0, output: answer, errors: '' };
      },
      async close() {},
    };
    const lines: string[] = [];
    const board = createShellBoard({ shell, clock, patienceMs: 10_000 });
    const work = board.apply('apply', { signal, runId: 'run-1', onLine: (line) => void lines.push(line) });
    work.catch(() => {});
    return { clock, lines, work };
  }
  const result = '{"id":"run-1","outcome":"flashed","version":"1.0.0","reason":""}';

  it('tells the lines as they come, over a lost connection, until there is a result', async () => {
    const { clock, lines, work } = scripted([
      ...['started\n', 'active\n\n== keep what is there\n== inst', away(), away()],
      ...['active\n\nall package\nnoise\n', `gone\n${result}\n== flashed \n`],
    ]);
    await clock.advance(20_000);
    expect(await work).toMatchObject({ outcome: 'flashed', version: '1.0.0' });
    expect(lines).toEqual([
      'keep what is there',
      'the board is away; it goes on by itself, and is waited for',
      'install package',
      'flashed ',
    ]);
  });

  it('waits for a flash of somebody else', async () => {
    const { clock, lines, work } = scripted(['busy\n', 'active\n\n', 'started\n', `gone\n${result}\n`]);
    await clock.advance(5_000);
    expect((await work).outcome).toBe('flashed');
    expect(lines).toEqual(['another flash runs on the board, and is waited for']);
  });

  it.each([
    ['a board that stays away', ['started\n'], 'the connection was lost'],
    ['an end without a result', ['started\n', 'gone\n\n'], 'ended on the board without a result'],
    ['a result of another run', ['started\n', `gone\n${result.replace('run-1', 'run-0')}\n`], 'without a result'],
  ])('says so at %s', async (_, answers, reason) => {
    const { clock, work } = scripted(answers);
    await clock.advance(60_000);
    await expect(work).rejects.toThrow(reason);
    expect(clock.pending()).toEqual([]);
  });
});
