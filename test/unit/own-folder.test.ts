import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeOwnFolder } from '../../shared/own-folder.ts';

test('a new folder takes away what dead processes left, and nothing of the living, of others or of other names', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'glasscast-test-'));
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }));
  const { pid: dead } = spawnSync('true');
  const kept = [`disk-${process.pid}-a`, `disk-x-${dead}-a`, `disks-${dead}-a`, 'disk-of-mine'];
  for (const name of [...kept, `disk-${dead}-a`]) mkdirSync(join(parent, name, 'inside'), { recursive: true });
  const made = basename(await makeOwnFolder(parent, 'disk'));
  expect(made).toMatch(new RegExp(`^disk-${process.pid}-.{6}$`));
  expect(readdirSync(parent).sort()).toEqual([...kept, made].sort());
});
