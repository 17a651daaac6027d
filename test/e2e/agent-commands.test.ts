/** The agent's commands as a user types them, beside a running agent and without one: words, exit codes, signals. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findOnPath } from '../../shared/child-process.ts';
import { descendantsOf, isRunning } from '../support/processes.ts';
import { createRelayWorld, type RelayWorld } from '../support/relay-world.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { testCertificate, testCertificateKey } from '../support/test-certificate.ts';

const program = new URL('../../scripts/glasscast-agent.js', import.meta.url).pathname;

let world: RelayWorld;
let folder: string;
let started: ChildProcess[];

beforeEach(async () => {
  world = await createRelayWorld();
  folder = mkdtempSync(join(tmpdir(), 'glasscast-agent-commands-'));
  started = [];
});
afterEach(async () => {
  for (const child of started) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
  expect(await world.close()).toEqual([]);
});

function start(args: string[], env: Record<string, string> = {}) {
  const child = spawn(program, args, {
    // Whatever is not told stays in here.
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', GLASSCAST_AGENT_RELAY_URL: `${world.wsUrl}/glasses-ws`, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { output: '', errors: '' };
  child.stdout.on('data', (text) => {
    said.output += text;
  });
  child.stderr.on('data', (text) => {
    said.errors += text;
  });
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  started.push(child);
  return { child, said, exited };
}
async function ended(args: string[], env: Record<string, string> = {}) {
  const { exited, said } = start(args, env);
  const code = await exited;
  return { code, ...said };
}
async function token(email = 'ada@example.com'): Promise<string> {
  const { coreToken } = await world.rest<{ coreToken: string }>('POST', '/api/tokens', { email });
  return coreToken;
}
async function startAgent(args: string[] = [], env: Record<string, string> = {}) {
  const agent = start(['run', ...args], { GLASSCAST_AGENT_CORE_TOKEN: await token(), ...env });
  await expect.poll(() => agent.said.output + agent.said.errors, { timeout: 20_000 }).toContain('relay-connected');
  return agent;
}

test('--help and a word that is none', async () => {
  for (const args of [['--help'], ['help'], ['status', '--help'], ['doctor', '-h']]) {
    const { code, output, errors } = await ended(args);
    expect([code, errors]).toEqual([0, '']);
    for (const word of ['  status ', '  doctor ', '  devices ', '--privacy-light', '--config-file']) {
      expect(output).toContain(word);
    }
  }
  const wrong = await ended(['statsu']);
  expect([wrong.code, wrong.output]).toEqual([1, '']);
  expect(wrong.errors).toMatch(/^[^\n]*no command "statsu"[^\n]*\n$/);
  const devices = await ended(['devices']);
  expect(devices).toMatchObject({ code: 0, errors: '' });
  expect(devices.output).toMatch(/^Cameras, for 1280x720[\s\S]*\nMicrophones\n[\s\S]*\nEncoders, for 1280x720.*\n/);
  const machines = await ended(['devices', '--json']);
  expect(JSON.parse(machines.output)).toMatchObject({ cameras: expect.any(Array), encoder: expect.any(String) });
});

test('status tells what the running agent does, until a signal ends it cleanly', async () => {
  expect(await ended(['status'])).toMatchObject({ code: 1, output: '', errors: expect.stringContaining('no agent') });
  const agent = await startAgent();
  const people = await ended(['status']);
  expect(people).toMatchObject({ code: 0, errors: '', output: expect.stringMatching(/^Relay +connected/m) });
  const machines = await ended(['status', '--json']);
  expect(JSON.parse(machines.output)).toMatchObject({ connected: true, ffmpeg: { version: expect.any(String) } });
  expect(statSync(join(folder, '.glasscast/agent.sock')).mode & 0o777).toBe(0o600);

  // By default a second one goes without; a place that was asked for has to be free.
  const second = await startAgent([], { GLASSCAST_AGENT_CORE_TOKEN: await token('bob@example.com') });
  expect(second.said.errors).toContain('another agent answers there');
  second.child.kill('SIGTERM');
  expect(await second.exited).toBe(0);
  const third = await ended(['--status-socket', '.glasscast/agent.sock'], {
    GLASSCAST_AGENT_CORE_TOKEN: await token(),
  });
  expect(third).toMatchObject({ code: 1, errors: expect.stringContaining('another agent answers there') });

  const pids = descendantsOf(agent.child.pid ?? 0);
  agent.child.kill('SIGINT');
  expect(await agent.exited).toBe(0);
  expect(pids.filter(isRunning)).toEqual([]);
  expect(existsSync(join(folder, '.glasscast/agent.sock'))).toBe(false);
  expect(await ended(['status', '--json'])).toMatchObject({ code: 1 });
});

test('doctor says what is missing, and is content when nothing is; the running agent notices nothing', async () => {
  const without = await ended(['doctor']);
  expect(without).toMatchObject({ code: 1, errors: '' });
  expect(without.output).toMatch(/✓ Node .*\n✓ ffmpeg .*\n/);
  expect(without.output).toMatch(/✗ Core token .*\n +→ ask for a code/);
  expect(without.output).toMatch(/✓ Relay: port .*\n/);
  expect(without.output.trimEnd()).toMatch(/Not ready to stream$/);
  expect(without.output).not.toContain('\u001b');

  const refused = await ended(['doctor'], { GLASSCAST_AGENT_CORE_TOKEN: 'not.a.token' });
  expect(refused).toMatchObject({ code: 1, output: expect.stringMatching(/✗ Relay: token +the relay refuses it/) });

  const agent = await startAgent();
  const file = join(folder, 'agent.json');
  writeFileSync(file, JSON.stringify({ coreToken: await token(), backlogFolder: folder }), { mode: 0o600 });
  const well = await ended(['doctor', '--config-file', file, '--json']);
  expect(well).toMatchObject({ code: 0, errors: '' });
  const { isWell, checks } = JSON.parse(well.output) as { isWell: boolean; checks: { name: string; state: string }[] };
  const stateOf = Object.fromEntries(checks.map(({ name, state }) => [name, state]));
  expect([isWell, stateOf]).toMatchObject([
    true,
    { ffmpeg: 'ok', Camera: 'ok', 'Core token': 'ok', 'Relay: token': 'ok', Clock: 'ok', Uplink: 'ok', Disk: 'ok' },
  ]);
  expect(agent.said.errors).not.toContain('relay-lost');
  agent.child.kill('SIGTERM');
  expect(await agent.exited).toBe(0);
});

test('doctor measures the uplink, also through TLS; of a narrow one the relay tells after 5 s', async () => {
  const targetPort = Number(new URL(world.url).port);
  const narrow = await startTcpProxy({ clock: world.clock, targetPort });
  const secure = createTlsServer({ key: testCertificateKey, cert: testCertificate }, (socket) => {
    const onward = connect(targetPort, '127.0.0.1');
    for (const end of [socket, onward])
      end.on('error', () => {}).on('close', () => [socket, onward].map((one) => one.destroy()));
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
  const certificate = join(folder, 'certificate.pem');
  writeFileSync(certificate, testCertificate);
  const { port } = secure.address() as AddressInfo;
  try {
    narrow.slow(50_000);
    const env = { GLASSCAST_AGENT_CORE_TOKEN: await token(), NODE_EXTRA_CA_CERTS: certificate };
    const far = await ended(['doctor', '--relay-url', `ws://127.0.0.1:${narrow.port}/glasses-ws`], env);
    expect(far.output).toMatch(
      /✗ Uplink +0\.\d\d Mbit\/s in a burst of 5[.\d]* s; the default stream needs 2\.1\n +→ /,
    );
    expect(far.output).toContain('Ready to stream');
    const safe = await ended(['doctor', '--relay-url', `wss://localhost:${port}/glasses-ws`], {
      ...env,
      // The relay still hears what is left of the first one's burst.
      GLASSCAST_AGENT_CORE_TOKEN: await token('bob@example.com'),
    });
    expect(safe.output).toMatch(/✓ Relay: TLS .*\n[\s\S]*✓ Uplink +[\d.]+ Mbit\/s in a burst of /);
  } finally {
    await narrow.close();
    secure.close();
  }
});

test('Ctrl-C ends a command in the middle, and nothing of it stays', async () => {
  // A time service that never answers.
  writeFileSync(join(folder, 'timedatectl'), '#!/bin/sh\nexec sleep 100\n', { mode: 0o755 });
  const doctor = start(['doctor'], { PATH: `${folder}:${process.env.PATH}` });
  await expect.poll(() => doctor.said.output, { timeout: 20_000 }).toContain('Uplink');
  await expect.poll(() => descendantsOf(doctor.child.pid ?? 0).length).toBeGreaterThan(0);
  const pids = descendantsOf(doctor.child.pid ?? 0);
  doctor.child.kill('SIGINT');
  await doctor.exited;
  await expect.poll(() => pids.filter(isRunning)).toEqual([]);
});

test('a log file gets what the terminal gets, and no secret', async () => {
  const logFile = join(folder, 'logs/agent.log');
  const coreToken = await token();
  const agent = await startAgent(['--log-file', logFile], { GLASSCAST_AGENT_CORE_TOKEN: coreToken });
  agent.child.kill('SIGTERM');
  expect(await agent.exited).toBe(0);
  const lines = readFileSync(logFile, 'utf8').trim().split('\n');
  expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toContain('relay-connected');
  expect(lines.join()).not.toContain(coreToken);
});

test.runIf(findOnPath('systemd-notify') && findOnPath('perl'))(
  'systemd hears that it is ready, lives and stops',
  async () => {
    const socket = join(folder, 'notify');
    const script = `use Socket; $| = 1; socket(S, PF_UNIX, SOCK_DGRAM, 0); bind(S, sockaddr_un($ARGV[0])); print "bound\\n";
    while (defined recv(S, $m, 4096, 0)) { print "$m\\n" }`;
    const receiver = spawn('perl', ['-e', script, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    let heard = '';
    receiver.stdout.on('data', (text) => {
      heard += text;
    });
    await expect.poll(() => heard).toContain('bound');
    const agent = await startAgent([], { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '600000' });
    await expect.poll(() => heard, { timeout: 10_000 }).toMatch(/READY=1[\s\S]*WATCHDOG=1[\s\S]*WATCHDOG=1/);
    agent.child.kill('SIGTERM');
    expect(await agent.exited).toBe(0);
    expect(heard).toContain('STOPPING=1');
    receiver.kill('SIGKILL');
  },
);
