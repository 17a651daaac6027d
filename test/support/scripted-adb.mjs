#!/usr/bin/env node
/**
 * An adb with one device, whose file system is a folder: SCRIPTED_ADB holds `device.json` (how it behaves), `root/` (the
 * device) and `bin/` (all the programs that an Android has). Scripts run there with sh; nothing of Debian is found.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const home = process.env.SCRIPTED_ADB;
const file = join(home, 'device.json');
const device = JSON.parse(readFileSync(file, 'utf8'));
const change = (fields) => writeFileSync(file, JSON.stringify({ ...device, ...fields }));
const args = process.argv.slice(2);
const serial = args[0] === '-s' ? args.splice(0, 2)[1] : undefined;
const [word, ...rest] = args;

function fail(text, code = 1) {
  process.stderr.write(`${text}\n`);
  process.exit(code);
}

if (word === 'devices') {
  const others = (device.others ?? []).map((name) => `${name}\tdevice\n`).join('');
  process.stdout.write(
    `List of devices attached\n${device.state === 'gone' ? '' : `SCRIPTED\t${device.state}\n`}${others}\n`,
  );
  process.exit(0);
}
if (serial !== 'SCRIPTED') fail(`adb: device '${serial}' not found`);
if (device.state !== 'device') fail(`adb: device ${device.state}`);
if (word === 'features') {
  process.stdout.write(device.features ?? 'shell_v2\ncmd\n');
  process.exit(0);
}
if (word === 'wait-for-device') process.exit(0);
if (word === 'root') {
  if (!device.allowsRoot) {
    process.stdout.write('adbd cannot run as root in production builds\n');
    process.exit(0);
  }
  change({ isRoot: true });
  process.stdout.write('restarting adbd as root\n');
  process.exit(0);
}
if (word !== 'shell' || rest[0] !== '-T') fail(`adb: unknown command ${word}`);

// As the device's shell would: `su` gives what the device allows.
let command = rest.slice(1).join(' ');
let isRoot = device.isRoot === true;
const su = /^su (?:0 |-c )/.exec(command);
if (su) {
  if (device.su !== (su[0] === 'su 0 ' ? 'aosp' : 'magisk')) fail('/system/bin/sh: su: inaccessible or not found', 127);
  isRoot = true;
  command = command.slice(su[0].length);
  if (su[0] === 'su -c ') command = `eval ${command}`;
}
const env = {
  PATH: join(home, 'bin'),
  GLASSCAST_FLASH_ROOT: join(home, 'root'),
  GLASSCAST_FLASH_PAUSE: '0.2',
  SCRIPTED_ADB: home,
  SCRIPTED_UID: isRoot ? '0' : '2000',
};
const child = spawn(join(home, 'bin/sh'), ['-c', command], { env, stdio: ['pipe', 'pipe', 'pipe'] });
child.stdout.pipe(process.stdout);
child.stderr.pipe(process.stderr);
child.stdin.on('error', () => {});
// The cable comes out after so many bytes to the device: what has arrived stays there.
let left = device.cutAfterBytes ?? Number.POSITIVE_INFINITY;
process.stdin.on('data', (chunk) => {
  child.stdin.write(chunk.subarray(0, Math.max(0, left)));
  left -= chunk.length;
  if (left > 0) return;
  change({ cutAfterBytes: undefined });
  process.stdin.pause();
  child.stdin.end();
  child.once('exit', () => fail('adb: device offline', 255));
});
process.stdin.on('end', () => child.stdin.end());
child.once('exit', (code) => {
  if (left > 0) process.exitCode = code ?? 1;
  process.stdin.destroy();
});
