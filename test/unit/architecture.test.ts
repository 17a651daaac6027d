/** The rules of the house, as tests: who may import whom, sizes, and where time, processes and the environment are touched. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundleForDevice } from '../../scripts/package/agent-bundle.ts';

const root = resolve(import.meta.dirname, '../..');

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}
const textOf = (file: string) => readFileSync(join(root, file), 'utf8');

function importsOf(file: string): string[] {
  const found = [...textOf(file).matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, name = '']) => name);
  return found.map((name) => (name.startsWith('.') ? relative(root, resolve(root, file, '..', name)) : name));
}

const read = (folders: readonly string[]) =>
  folders.flatMap(sources).map((file) => ({ file, imports: importsOf(file), text: textOf(file) }));
const machines = ['shared', 'cloud', 'device'];
/** What an operator runs: held to the same, but for the entries beside them. */
const tools = ['scripts/cli', 'scripts/flash', 'scripts/package', 'scripts/hardware'];
const modules = read(machines);
const toolModules = read(tools);
const everything = [...modules, ...toolModules];
const files = everything.map(({ file }) => file);
const under = (folder: string) => everything.filter(({ file }) => file.startsWith(`${folder}/`));
const offenders = (folder: string, isForbidden: (name: string) => boolean) =>
  under(folder).flatMap(({ file, imports }) => imports.filter(isForbidden).map((name) => `${file} → ${name}`));

describe('imports', () => {
  it('shared knows neither machine', () => {
    expect(offenders('shared', (name) => /^(cloud|device|scripts|test)\//.test(name))).toEqual([]);
  });
  it('cloud and device never see each other, nor tests, nor scripts', () => {
    expect(offenders('cloud', (name) => /^(device|scripts|test)\//.test(name))).toEqual([]);
    expect(offenders('device', (name) => /^(cloud|scripts|test)\//.test(name))).toEqual([]);
  });
  it('the relay reaches the local Stream by HTTP, not by import', () => {
    const relay = under('cloud').filter(({ file }) => !file.startsWith('cloud/local-stream/'));
    expect(relay.flatMap(({ imports }) => imports.filter((name) => name.startsWith('cloud/local-stream/')))).toEqual(
      [],
    );
    // The player is a page's part, shown by both.
    expect(offenders('cloud/local-stream', (name) => /^cloud\/(?!local-stream|player)/.test(name))).toEqual([]);
    expect(offenders('cloud/player', (name) => /^cloud\/(?!player)/.test(name))).toEqual([]);
  });
  it.each([
    ['node-media-server', /^cloud\/local-stream\/ingest\//],
    ['fluent-ffmpeg', /^device\/encoding\/encoder/],
    ['node:child_process', /^shared\/(child-process|ffmpeg-binary)\.ts$/],
    ['libsql', /^cloud\/(store\/sqlite-store|local-stream\/)/],
    ['ioredis', /^cloud\/cluster\/redis-link\.ts$/],
    ['jose', /^cloud\/access\/core-tokens/],
    ['esbuild', /^shared\/page-files\.ts$/],
    ['prom-client', /^cloud\/metrics\/meters\.ts$/],
    ['@opentelemetry', /^cloud\/tracing\/otlp-tracer\.ts$/],
    ['node-datachannel', /^cloud\/local-stream\/whep\//],
  ])('%s has one importer', (name, allowed) => {
    const importers = modules.filter(({ imports }) =>
      imports.some((got) => got === name || got.startsWith(`${name}/`)),
    );
    expect(importers.map(({ file }) => file).filter((file) => !allowed.test(file))).toEqual([]);
  });
  it('updates know nothing of the rest of the agent: what is wrong there must not keep another version away', () => {
    expect(
      offenders(
        'device/updates',
        (name) => /^(device|cloud)\//.test(name) && !/^device\/(updates\/|version\.ts$)/.test(name),
      ),
    ).toEqual([]);
  });
  it.each([
    // The names of the agent's settings, and nothing else of it.
    ['scripts/package', /^(shared|scripts\/package)\/|^device\/config\.ts$/],
    ['scripts/flash', /^(shared|scripts\/flash)\/|^device\/config\.ts$|^scripts\/cli\/relay-api\.ts$/],
    // `token admin` looks into the relay's own data.
    [
      'scripts/cli',
      /^(shared|scripts\/(cli|flash|package))\/|^device\/runtime\/doctor\.ts$|^cloud\/(access\/credentials|store\/sqlite-store)\.ts$/,
    ],
    ['scripts/hardware', /^(shared|scripts\/(hardware|bench|flash|package))\//],
  ])('%s imports only what it may', (folder, allowed) => {
    expect(offenders(folder, (name) => name.includes('/') && name.endsWith('.ts') && !allowed.test(name))).toEqual([]);
  });
  it('zod is imported whole, as a namespace: by name, every bundle carries all of it', () => {
    const byName = everything.filter(({ text }) => /^import \{[^}]*\} from 'zod'/m.test(text));
    expect(byName.map(({ file }) => file)).toEqual([]);
  });
  it('the launcher, which runs at every start of the agent, is small', async () => {
    const code = await bundleForDevice({ version: '1.0.0', entry: 'device/updates/launcher.ts' });
    expect(code.byteLength).toBeLessThan(120_000);
  });
  it('a stream knows no socket, no HTTP and no provider', () => {
    const stream = modules.find(({ file }) => file === 'cloud/streams/live-stream.ts');
    expect(stream?.imports.filter((name) => /socket|http|fastify|^ws$|live-inputs|local-stream/.test(name))).toEqual(
      [],
    );
    expect(stream?.text).not.toMatch(/cloudflare/i);
  });
});

describe('seams', () => {
  const touching = (pattern: RegExp, allowed: RegExp) =>
    everything.filter(({ file, text }) => !allowed.test(file) && pattern.test(text)).map(({ file }) => file);

  it('time lives in shared/clock.ts', () => {
    const time = /\bDate\.now\(|\bnew Date\(\)|\bset(Timeout|Interval)\(|\bperformance\.now\(/;
    // The scenario's is in the text of a broken agent.
    expect(
      touching(time, /^shared\/clock\.ts$|^cloud\/(console|player)\/|^scripts\/hardware\/update-scenario\.ts$/),
    ).toEqual([]);
  });
  it('the environment is read by config and main only', () => {
    expect(
      touching(/process\.env\b/, /(^|\/)(config|main)\.ts$|^shared\/(child-process|log|program|ffmpeg-binary)\.ts$/),
    ).toEqual([]);
  });
  it('a call leaves nothing on a signal that outlives it: AbortSignal.any does, abortWith does not', () => {
    const inNode = everything.filter(({ file }) => !/^cloud\/(console|player)\/|linked-abort/.test(file));
    expect(inNode.filter(({ text }) => /AbortSignal\.any\(/.test(text)).map(({ file }) => file)).toEqual([]);
  });
  it('no module keeps mutable state', () => {
    expect(touching(/^(export )?let /m, /^cloud\/(console|player)\//)).toEqual([]);
  });
  it('no any, no non-null shortcut, no silenced compiler', () => {
    // Biome says it of scripts.
    expect(touching(/@ts-ignore|@ts-nocheck|\bas any\b|: any\b/, /^scripts\//)).toEqual([]);
  });
});

describe('sizes and names', () => {
  it.each(files)('%s has at most 400 lines', (file) => {
    expect(textOf(file).split('\n').length).toBeLessThanOrEqual(401);
  });
  it('files are kebab-case nouns', () => {
    const bad = /manager|service|helper|handler|utils|(^|\/)index\.ts$|(^|\/)types\.ts$/;
    expect(files.filter((file) => bad.test(file) || !/^[a-z0-9/.-]+$/.test(file))).toEqual([]);
  });
  it('each file opens with what it owns', () => {
    expect(
      modules
        .filter(({ file, text }) => !file.startsWith('cloud/console/') && !text.startsWith('/**'))
        .map(({ file }) => file),
    ).toEqual([]);
  });
});
