import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type FlashOrder,
  filesOf,
  fingerprintOf,
  packageFileOf,
  readReleaseKeys,
  settingsText,
} from '../../scripts/flash/flash-order.ts';
import { Secret } from '../../shared/secrets.ts';

const folder = mkdtempSync(join(tmpdir(), 'glasscast-order-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const wish = { relayUrl: 'wss://relay.example/glasses-ws', source: 'v4l2:auto' };

describe('settingsText', () => {
  it('is a file of settings as systemd reads it, the same for the same wish', () => {
    const text = settingsText({
      ...wish,
      microphone: 'alsa:hw:1',
      set: ['minBatteryPercent=10', 'push-mode=live', 'modelName=A "B" \\ $C'],
    });
    expect(text.split('\n')).toEqual([
      '# Written by glasscast flash; flashing writes it anew.',
      'GLASSCAST_AGENT_MICROPHONE="alsa:hw:1"',
      'GLASSCAST_AGENT_MIN_BATTERY_PERCENT="10"',
      'GLASSCAST_AGENT_MODEL_NAME="A \\"B\\" \\\\ \\$C"',
      'GLASSCAST_AGENT_PUSH_MODE="live"',
      'GLASSCAST_AGENT_RELAY_URL="wss://relay.example/glasses-ws"',
      'GLASSCAST_AGENT_SOURCE="v4l2:auto"',
      '',
    ]);
  });

  it('takes what only the environment tells, when it is no secret', () => {
    expect(settingsText({ ...wish, set: ['updateTrialMs=40000'] })).toContain(
      'GLASSCAST_AGENT_UPDATE_TRIAL_MS="40000"',
    );
  });

  it.each([
    ['noSuch=1', 'the agent has no setting noSuch'],
    ['enrolmentCode=ABCD', 'enrolmentCode is a secret'],
    ['coreToken=ABCD', 'coreToken is a secret'],
    ['modelName=a\nGLASSCAST_AGENT_CORE_TOKEN=x', 'control character'],
    ['minBatteryPercent=200', 'GLASSCAST_AGENT_MIN_BATTERY_PERCENT'],
    ['minBatteryPercent', 'expected key=value'],
  ])('refuses %j', (set, reason) => {
    expect(() => settingsText({ ...wish, set: [set] })).toThrow(reason);
  });
});

describe('readReleaseKeys', () => {
  it('takes public keys and never a private one', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    writeFileSync(join(folder, 'a.pem'), pem);
    writeFileSync(join(folder, 'b.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect([...readReleaseKeys([join(folder, 'a.pem')]).values()]).toEqual([pem]);
    expect(() => readReleaseKeys([join(folder, 'b.pem')])).toThrow('a release key is a public Ed25519 key');
    expect(() => readReleaseKeys([join(folder, 'none.pem')])).toThrow('--release-key');
  });
});

describe('filesOf', () => {
  const order: FlashOrder = {
    package: { path: '/x.deb', bytes: 5, sha256: 'f'.repeat(64), version: '1.0.0', architecture: 'arm64' },
    ...{ settings: 'A="1"\n', releaseKeys: new Map([['release-1.pem', 'PEM']]), user: 'ada@example.com' },
  };
  const run = { runId: 'run-1', code: new Secret('CODE-1234'), deadlineSeconds: 90, gate: 'agent' } as const;

  it('ends with a manifest of everything in new/', () => {
    const files = filesOf(order, run);
    expect(files.map(({ name }) => name)).toEqual([
      ...['apply.sh', 'new/package.deb', 'new/settings', 'new/enrolment-code', 'new/release-keys/release-1.pem'],
      ...['new/fingerprint', 'new/user', 'new/options', 'new/manifest'],
    ]);
    const manifest = Buffer.from(files.at(-1)?.content as Uint8Array).toString();
    expect(manifest.split('\n')[1]).toBe(`${createHash('sha256').update('A="1"\n').digest('hex')}  settings`);
    expect(manifest.trim().split('\n')).toHaveLength(7);
  });

  it('has the code in its own file alone, and not in the fingerprint', () => {
    const withCode = filesOf(order, run).filter(
      ({ content }) => content instanceof Uint8Array && Buffer.from(content).includes('CODE-1234'),
    );
    expect(withCode.map(({ name }) => name)).toEqual(['new/enrolment-code']);
    const others = [{ user: 'eve@example.com' }, { settings: 'A="2"\n' }, { releaseKeys: new Map() }];
    const prints = new Set([order, ...others.map((other) => ({ ...order, ...other }))].map(fingerprintOf));
    expect(prints.size).toBe(4);
  });
});

it('reads a package by its name and its bytes', async () => {
  const path = join(folder, 'glasscast-agent_1.4.0_armhf.deb');
  writeFileSync(path, 'bytes');
  expect(await packageFileOf(path)).toMatchObject({ bytes: 5, version: '1.4.0', architecture: 'armhf' });
  await expect(packageFileOf(join(folder, 'none.deb'))).rejects.toThrow('--package');
});
