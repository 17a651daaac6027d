import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLog } from '../../shared/log.ts';
import { createLogFile } from '../../shared/log-file.ts';
import { createLineFolding } from '../../shared/log-folding.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('a log file', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'glasscast-log-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  function open(name: string, maxBytes: number) {
    const troubles: string[] = [];
    const file = join(folder, name);
    return { file, troubles, ...createLogFile({ file, maxBytes, onTrouble: (reason) => troubles.push(reason) }) };
  }

  it('keeps one old file, its owner’s alone, and goes on where it was', () => {
    const first = open('a/b/log', 20);
    for (const line of ['11111111\n', '22222222\n', '33333333\n']) first.write(line);
    first.close();
    const second = open('a/b/log', 20);
    for (const line of ['44444444\n', '55555555\n']) second.write(line);
    expect(readFileSync(second.file, 'utf8')).toBe('55555555\n');
    expect(readFileSync(`${second.file}.1`, 'utf8')).toBe('33333333\n44444444\n');
    expect(readdirSync(join(folder, 'a/b'))).toEqual(['log', 'log.1']);
    expect(statSync(second.file).mode & 0o777).toBe(0o600);
    second.close();
  });

  it('never takes more than twice its bound, whatever is written', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 60 }), { maxLength: 60 }), (lines) => {
        const log = open('bounded', 100);
        for (const line of lines) log.write(`${line}\n`);
        log.close();
        const sizes = readdirSync(folder).map((name) => statSync(join(folder, name)).size);
        // A single line may be longer than the bound.
        expect(Math.max(0, ...sizes)).toBeLessThanOrEqual(250);
        expect(log.troubles).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  it('that cannot be written costs its lines only, is told once, and is tried again', () => {
    const place = join(folder, 'place');
    writeFileSync(place, 'a file, no folder');
    const log = open('place/log', 1_000);
    for (let line = 0; line < 250; line += 1) log.write('lost\n');
    expect(log.troubles).toHaveLength(1);
    rmSync(place);
    mkdirSync(place);
    for (let line = 0; line < 150; line += 1) log.write('kept\n');
    expect(readFileSync(log.file, 'utf8')).toMatch(/^(kept\n)+$/);
    expect(log.troubles).toHaveLength(1);
    log.close();
  });

  it.runIf(process.platform === 'linux')('survives a full disk', () => {
    const troubles: string[] = [];
    const log = createLogFile({ file: '/dev/full', maxBytes: 1e9, onTrouble: (reason) => troubles.push(reason) });
    for (let line = 0; line < 500; line += 1) log.write('lost\n');
    expect(troubles).toEqual([expect.stringContaining('ENOSPC')]);
    log.close();
  });

  it('gets JSON with secrets masked, whatever a terminal shows', () => {
    const redactor = createRedactor();
    redactor.add('verysecret');
    const file = open('log', 10_000);
    const shown: string[] = [];
    const destination = { write: (line: string) => void shown.push(line) };
    const log = createLog({ program: 'test', level: 'info', redactor, pretty: true, destination, file });
    log.info({ key: 'verysecret' }, 'event');
    expect(JSON.parse(readFileSync(file.file, 'utf8'))).toMatchObject({ msg: 'event', key: '***', program: 'test' });
    expect(shown.join('')).toMatch(/test event/);
    expect(shown.join('')).not.toMatch(/^\{|verysecret/);
    chmodSync(file.file, 0o600);
    file.close();
  });
});

describe('equal lines', () => {
  function world() {
    const clock = createTestClock();
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const log = createLog({ program: 't', level: 'info', redactor: createRedactor(), destination, foldBy: clock });
    const told = () => lines.splice(0).map((line) => JSON.parse(line) as { msg: string; more?: number; note?: string });
    return { clock, log, told };
  }

  it('of a flood are two lines each ten seconds', async () => {
    const { clock, log, told } = world();
    for (let turn = 0; turn < 1_000; turn += 1) {
      log.warn({ reason: 'no disk' }, 'one');
      log.warn({ reason: 'no net' }, 'two');
    }
    expect(told().map(({ msg }) => msg)).toEqual(['one', 'two']);
    await clock.advance(10_000);
    log.warn({ reason: 'no disk' }, 'one');
    expect(told()).toMatchObject([
      { msg: 'one', more: 999, note: '999 more like this' },
      { msg: 'two', more: 999 },
      { msg: 'one', reason: 'no disk' },
    ]);
  });

  it('lose none that differ', () => {
    const { log, told } = world();
    for (let attempt = 0; attempt < 200; attempt += 1) log.warn({ attempt }, 'retry');
    expect(told()).toHaveLength(200);
  });

  it('are all accounted for, in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(80)), (numbers) => {
        const told: { n: number; more?: number }[] = [];
        const write = (line: string) => void told.push(JSON.parse(line));
        const folding = createLineFolding({ clock: createTestClock(), write });
        numbers.forEach((n, index) => {
          folding.write(`{"time":"${index}","n":${n}}\n`);
        });
        folding.flush();
        const counted = new Map<number, number>();
        for (const { n, more = 1 } of told) counted.set(n, (counted.get(n) ?? 0) + more);
        const expected = new Map<number, number>();
        for (const n of numbers) expected.set(n, (expected.get(n) ?? 0) + 1);
        expect(counted).toEqual(expected);
      }),
    );
  });
});
