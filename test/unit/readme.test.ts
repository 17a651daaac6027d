import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { savedResults, withBenchmarks, withSettings } from '../../scripts/readme.ts';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const { scripts } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  scripts: Record<string, string>;
};

describe('README', () => {
  it('lists every setting as the programs know it (npm run readme)', () => {
    expect(withSettings(readme)).toBe(readme);
  });

  it('shows the benchmarks of the last saved run (npm run readme)', async () => {
    expect(withBenchmarks(readme, await savedResults())).toBe(readme);
  });

  it('names only commands that exist', () => {
    const named = [...readme.matchAll(/npm run ([a-z:-]+)/g)].map(([, name = '']) => name);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });

  it('gives the test command that CI runs', () => {
    const ci = readFileSync(new URL('../../.ci/run', import.meta.url), 'utf8');
    expect(readme).toContain('\nnpm ci && npm test\n');
    expect(ci).toContain('\nnpm ci && npm test\n');
  });

  it('points only at files that exist', () => {
    const named = [...readme.matchAll(/`((?:cloud|device|shared|scripts|test)\/[a-z0-9./-]*)`/g)].map(
      ([, path = '']) => path,
    );
    expect(named.length).toBeGreaterThan(10);
    const exists = (path: string) =>
      existsSync(new URL(`../../${path}`, import.meta.url)) || existsSync(new URL(`../../${path}.ts`, import.meta.url));
    expect(named.filter((path) => !exists(path))).toEqual([]);
  });
});
