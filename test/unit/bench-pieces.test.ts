import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openPieces, piecesFolder } from '../../scripts/hardware/pieces.ts';

describe('pieces of the bench', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pieces-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  const made = (text: string) => (into: string) => writeFile(join(into, 'text'), text);

  it('makes one once, and anew when it is made of something else; the old one goes', async () => {
    const pieces = await openPieces({ folder });
    const first = await pieces.piece('disk', ['a'], made('one'));
    expect(await pieces.piece('disk', ['a'], made('two'))).toBe(first);
    expect(await readFile(join(first, 'text'), 'utf8')).toBe('one');
    const second = await pieces.piece('disk', ['b'], made('three'));
    expect(await readdir(folder)).toEqual([second.slice(folder.length + 1)]);
  });

  it('keeps nothing of a making that failed or was cut off', async () => {
    const pieces = await openPieces({ folder });
    const fails = () => Promise.reject(new Error('no network'));
    await expect(pieces.piece('disk', ['a'], fails)).rejects.toThrow('no network');
    await mkdir(join(folder, 'part-999999999-disk'));
    const again = await openPieces({ folder });
    expect(await readFile(join(await again.piece('disk', ['a'], made('whole')), 'text'), 'utf8')).toBe('whole');
    expect(await readdir(folder)).toHaveLength(1);
  });

  it('begins with nothing when it is asked to', async () => {
    await (await openPieces({ folder })).piece('disk', ['a'], made('old'));
    await mkdir(join(folder, 'thesis'));
    await openPieces({ folder, isFresh: true });
    // What is not ours stays, whatever folder somebody names.
    expect(await readdir(folder)).toEqual(['thesis']);
  });

  it('lies where caches lie', () => {
    expect(piecesFolder({ XDG_CACHE_HOME: '/c' })).toBe('/c/glasscast/hardware');
  });
});
