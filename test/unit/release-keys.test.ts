import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readReleaseKeys } from '../../device/updates/release-keys.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-keys-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const pem = () => generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString();

it('are the PEM files of the folder; what is none stands in nobody’s way and is not quoted', () => {
  const secret = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  writeFileSync(join(folder, 'one.pem'), pem());
  writeFileSync(join(folder, 'two.pem'), pem());
  writeFileSync(join(folder, 'private.pem'), secret);
  writeFileSync(join(folder, 'large.pem'), 'x'.repeat(100_000));
  writeFileSync(join(folder, 'README'), 'no key');
  mkdirSync(join(folder, 'folder.pem'));
  const { keys, trouble } = readReleaseKeys(folder);
  expect([keys.length, trouble.length]).toEqual([2, 3]);
  expect(trouble.join()).toMatch(/folder\.pem.*large\.pem.*private\.pem/s);
  expect(trouble.join()).not.toContain(secret.split('\n')[1]);
});

it('are none without the folder', () => {
  expect(readReleaseKeys(join(folder, 'none'))).toEqual({ keys: [], trouble: [] });
  writeFileSync(join(folder, 'file'), '');
  expect(readReleaseKeys(join(folder, 'file'))).toMatchObject({
    keys: [],
    trouble: [expect.stringMatching(/ENOTDIR/)],
  });
});
