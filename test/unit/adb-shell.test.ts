import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { requireReachable } from '../../scripts/flash/adb-board.ts';
import { adbDevices, chosenDevice, shellQuoted } from '../../scripts/flash/adb-shell.ts';

const LISTED =
  '* daemon started successfully\nList of devices attached\nA1\tdevice\nemulator-5554\toffline\nB2\tunauthorized\n\n';

test('devices are read from what adb lists', () => {
  expect(adbDevices(LISTED)).toEqual([
    { serial: 'A1', state: 'device' },
    { serial: 'emulator-5554', state: 'offline' },
    { serial: 'B2', state: 'unauthorized' },
  ]);
  expect(adbDevices('????????????\tno permissions (missing udev rules?); see [http://x]\n')).toEqual([
    { serial: '????????????', state: 'no permissions' },
  ]);
});

test('the only one, or the one that is named', () => {
  const devices = adbDevices(LISTED);
  expect(chosenDevice(devices.slice(0, 1), undefined)).toBe('A1');
  expect(chosenDevice(devices, 'A1')).toBe('A1');
});

test.each([
  [[], undefined, 'is it plugged in, with USB debugging on'],
  [adbDevices(LISTED), undefined, 'several devices (A1, emulator-5554, B2); choose by --adb SERIAL'],
  [adbDevices(LISTED), 'C3', 'no device C3; adb sees A1, emulator-5554, B2'],
  [adbDevices(LISTED), 'B2', 'accept the key that it shows'],
  [adbDevices(LISTED), 'emulator-5554', 'it is offline'],
])('one that cannot be used is told with what to do', (devices, serial, words) => {
  expect(() => chosenDevice(devices, serial)).toThrow(
    expect.objectContaining({ code: 'BOARD_UNREACHABLE', message: expect.stringContaining(words) }),
  );
});

test('a word stays one word for a shell', () => {
  const words = fc.array(fc.string({ unit: fc.constantFrom('a', ' ', "'", '"', '$', '`', '\\', '\n', 'é', '*') }), {
    maxLength: 3,
  });
  fc.assert(
    fc.property(words, (given) => {
      const output = execFileSync('sh', ['-c', `printf '%s\\0' ${given.map(shellQuoted).join(' ')}`], {
        encoding: 'utf8',
      });
      expect(output).toBe(given.length === 0 ? '\0' : given.map((word) => `${word}\0`).join(''));
    }),
    { numRuns: 40 },
  );
});

test('a relay by name needs a resolver, one by address does not', () => {
  const settings = (url: string) => `# x\nGLASSCAST_AGENT_RELAY_URL="${url}"\n`;
  expect(() => requireReachable(settings('wss://relay.example/glasses-ws'), false)).toThrow(
    expect.objectContaining({ code: 'BOARD_UNFIT', message: expect.stringContaining('no relay.example') }),
  );
  requireReachable(settings('wss://relay.example/glasses-ws'), true);
  requireReachable(settings('ws://192.0.2.7:8787/glasses-ws'), false);
  requireReachable(settings('ws://[2001:db8::1]/glasses-ws'), false);
});
