/** cloud/THREAT-MODEL.md against what is there: each row has tests that exist, each surface has a row. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const textOf = (file: string) => readFileSync(join(root, file), 'utf8');
const page = textOf('cloud/THREAT-MODEL.md');

const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| surface'))
  .map((line) => {
    const [surface = '', asset = '', threat = '', answer = '', tests = ''] = line.slice(2, -2).split(' | ');
    return { surface, cells: [asset, threat, answer], tests: tests.split('<br>') };
  });
const claims = rows.flatMap(({ surface, tests }) =>
  tests.map((text) => {
    const [, file = '', name = ''] = /^`(test\/[\w./-]+\.test\.ts)`: "(.+)"$/.exec(text) ?? [];
    return { surface, text, file, name };
  }),
);
/** The defects that a test speaks for are named in its name; the page names the test without them. */
const withoutDefects = (text: string) => text.replace(/ [[(]defects? [\d, defct]+[\])]|defects? [\d, ]+: /g, '');
const json = <Shape>(file: string) => JSON.parse(textOf(file)) as Shape;

describe('the threat model', () => {
  it('has a row for each surface, and each row says all', () => {
    expect(rows.length).toBeGreaterThanOrEqual(20);
    for (const { cells } of rows) expect(cells.every((cell) => cell.length > 5)).toBe(true);
    const named = rows.flatMap(({ surface }) =>
      [...surface.matchAll(/`([\w./-]+\.(?:ts|json))`/g)].map(([, file]) => file),
    );
    expect(named.filter((file) => !existsSync(join(root, file ?? '')))).toEqual([]);
    const withRoutes = readdirSync(join(root, 'cloud/http')).filter((file) => file.endsWith('-routes.ts'));
    expect(withRoutes.map((file) => `cloud/http/${file}`).filter((file) => !named.includes(file))).toEqual([]);
  });

  it.each(claims)('$surface: $name', ({ text, file, name }) => {
    expect(file, text).not.toBe('');
    const source = withoutDefects(textOf(file));
    expect(source, `${file} leaves tests out`).not.toMatch(/\b(it|describe)\.(skip|todo|only|fails)\b/);
    const written = [name, name.replaceAll("'", "\\'")].flatMap((words) => [
      `'${words}'`,
      `"${words}"`,
      `\`${words}\``,
    ]);
    expect(
      written.some(
        (literal) => /(\b(it|test)|\))\(\s*$/.test(source.split(literal)[0] ?? '') && source.includes(literal),
      ),
      `${file} has no test "${name}"`,
    ).toBe(true);
  });

  it('every dependency is pinned, hashed, and runs no script at its installation', () => {
    type Versions = Record<string, string>;
    interface Manifest {
      dependencies: Versions;
      devDependencies?: Versions;
      allowScripts?: Record<string, boolean>;
    }
    interface Lock {
      packages: Record<string, { integrity?: string; link?: boolean; inBundle?: boolean }>;
    }
    for (const folder of ['', 'test/cloudflare-client/']) {
      const { dependencies, devDependencies, allowScripts = {} } = json<Manifest>(`${folder}package.json`);
      const versions = Object.values({ ...dependencies, ...devDependencies });
      expect(versions.filter((version) => !/^(npm:[\w@/-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
      const { packages } = json<Lock>(`${folder}package-lock.json`);
      const loose = Object.entries(packages).filter(
        ([path, { integrity, link, inBundle }]) =>
          path !== '' && !link && !inBundle && !integrity?.startsWith('sha512-'),
      );
      expect(loose.map(([path]) => path)).toEqual([]);
      expect(Object.values(allowScripts).filter(Boolean)).toEqual([]);
    }
  });
});
