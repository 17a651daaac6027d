/** `glasscast` as an operator uses it: every command against a relay that it started itself. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommandLine } from '../../scripts/cli/command-line.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { descendantsOf } from '../support/processes.ts';
import { type Program, startProgram } from '../support/program.ts';
import { createGlasses, createScriptedApp } from '../support/relay-world.ts';

const root = new URL('../..', import.meta.url).pathname;
const USER = 'ada@example.com';
const clock = createSystemClock();
const children = createChildSpawner({ clock, log: silentLog(), redactor: createRedactor() });
const freePorts = { GLASSCAST_LOCAL_STREAM_HTTP_PORT: '0', GLASSCAST_LOCAL_STREAM_RTMP_PORT: '0' };

let folder = '';
let relay: Program;
let environment: Record<string, string> = {};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'glasscast-cli-'));
  relay = startRelay();
  environment = {
    GLASSCAST_URL: await relay.line(/^Relay ready: (\S+)/),
    GLASSCAST_ADMIN_TOKEN: await relay.line(/^Admin token: (\S+)/),
  };
});
afterAll(async () => {
  await children.close();
  await rm(folder, { recursive: true, force: true });
});

function startRelay(): Program {
  const args = ['relay', '--port', '0', '--data-dir', folder];
  return startProgram(children, { file: 'scripts/glasscast.js', args, env: freePorts });
}

/** The file itself, from another folder, as an installed command is run. */
function start(args: string[], env = environment) {
  const said = { out: [] as string[], err: [] as string[] };
  const child = children.spawn({
    name: 'glasscast',
    file: join(root, 'scripts/glasscast.js'),
    args,
    cwd: tmpdir(),
    env: { PATH: process.env.PATH ?? '', ...env },
    stdout: 'lines',
    onStdoutLine: (line) => void said.out.push(line),
    onStderrLine: (line) => void said.err.push(line),
  });
  return { child, said };
}

async function asProcess(args: string[], env = environment) {
  const { child, said } = start(args, env);
  const { code } = await child.exited;
  return { code, out: said.out.join('\n'), err: said.err.join('\n') };
}

/** The same without a new process each time, which takes a second. */
async function glasscast(args: string[], env = environment) {
  const said = { out: '', err: '' };
  const code = await runCommandLine(args, {
    environment: env,
    output: { write: (text) => (said.out += text) },
    errors: { write: (text) => (said.err += text) },
  });
  return { code, out: said.out.trimEnd(), err: said.err.trimEnd() };
}

async function json<T = Record<string, unknown>>(...args: string[]): Promise<T> {
  const { code, out, err } = await glasscast([...args, '--json']);
  expect([code, err]).toEqual([0, '']);
  return JSON.parse(out) as T;
}

describe('token', () => {
  it('creates, lists and revokes', async () => {
    const made = await glasscast(['token', 'create', USER, '--label', 'left pair', '--days', '7']);
    expect([made.code, made.out.split('.').length]).toEqual([0, 3]);
    expect(made.err).toMatch(/for ada@example.com, good until 20.*not shown again/);
    const { tokens } = await json<{ tokens: { tokenId: string; label: string }[] }>('token', 'list');
    const [token] = tokens.filter(({ label }) => label === 'left pair');
    const { tokenId = '' } = token ?? {};
    expect((await asProcess(['token', 'list'])).out).toMatch(/TOKEN +USER +LABEL +ISSUED +EXPIRES\n.*left pair/);
    expect(await glasscast(['token', 'revoke', tokenId])).toMatchObject({ code: 0, out: `${tokenId} is revoked.` });
    expect((await glasscast(['token', 'list'])).out).toMatch(/left pair .*revoked 20/);
    expect((await glasscast(['token', 'revoke', 'no-such-token'])).code).toBe(1);
    expect(await json('token', 'create', USER, '--forever')).toMatchObject({ userId: USER, expiresAt: null });
    expect((await glasscast(['token', 'create', USER, '--forever', '--days', '1'])).code).toBe(2);
  });
});

describe('app', () => {
  it('adds, lists, shows, starts, stops and removes', async () => {
    const app = await createScriptedApp('com.example.cli');
    const made = await json<{ apiKey: string }>(
      'app',
      'add',
      'com.example.other',
      '--public-url',
      'http://127.0.0.1:9',
    );
    expect(made.apiKey).toMatch(/^[\w-]{43}$/);
    // A key that was made is not replaced by chance: the app would be locked out.
    const again = await glasscast(['app', 'add', 'com.example.other', '--public-url', 'http://127.0.0.1:10']);
    expect([again.code, again.err]).toEqual([1, expect.stringMatching(/registered already.*GLASSCAST_APP_API_KEY/)]);
    const withKey = { ...environment, GLASSCAST_APP_API_KEY: app.apiKey };
    const flags = ['--public-url', app.publicUrl, '--permission', 'camera', '--permission', 'MICROPHONE'];
    const added = await glasscast(['app', 'add', app.packageName, ...flags], withKey);
    expect([added.code, added.out]).toEqual([0, expect.stringContaining('is registered')]);
    expect(added.out).not.toContain(app.apiKey);

    expect((await glasscast(['app', 'list'])).out).toMatch(/com\.example\.cli +background +CAMERA,MICROPHONE +http/);
    expect((await glasscast(['app', 'show', app.packageName])).out).toMatch(/publicUrl +http/);
    expect((await glasscast(['app', 'start', app.packageName, USER])).out).toBe(`${app.packageName} runs for ${USER}.`);
    await app.inbox.take('the ack', ({ type }) => type === 'tpa_connection_ack');
    expect((await glasscast(['app', 'stop', app.packageName, USER])).code).toBe(0);
    await app.webhooks.take('the stop', ({ type }) => type === 'stop_request');
    expect((await glasscast(['app', 'remove', app.packageName])).code).toBe(0);
    const gone = await glasscast(['app', 'show', app.packageName]);
    expect([gone.code, gone.err]).toEqual([1, expect.stringMatching(/No app with this package name.*app list/)]);
    await app.close();
  });
});

describe('device', () => {
  it('enrols by a code, and takes it back', async () => {
    const made = await glasscast(['device', 'enrol', USER, '--label', 'new pair', '--minutes', '5']);
    expect([made.code, made.err]).toEqual([0, expect.stringContaining(`ENROLMENT_CODE=${made.out} npm run agent`)]);
    const { enrolments } = await json<{ enrolments: { enrolmentId: string }[] }>('device', 'codes');
    expect((await glasscast(['device', 'codes'])).out).toMatch(/new pair +20/);
    expect((await glasscast(['device', 'cancel', enrolments[0]?.enrolmentId ?? ''])).code).toBe(0);
    expect((await glasscast(['device', 'codes'])).out).toBe('No codes are waiting.');
  });
});

describe('streams', () => {
  it('starts, watches, lists, shows and stops', async () => {
    const nobody = await glasscast(['streams', 'start', 'nobody@example.com']);
    expect([nobody.code, nobody.err]).toEqual([1, expect.stringMatching(/^Glasses are not connected\. .*device list/)]);

    const { coreToken } = await json<{ coreToken: string }>('token', 'create', USER);
    const url = `${(environment.GLASSCAST_URL ?? '').replace('http', 'ws')}/glasses-ws`;
    const glasses = await createGlasses(url, coreToken, children.spawn);
    const watching = start(['streams', 'watch', '--user', USER, '--json']);
    const states = () => watching.said.out.map((line) => (JSON.parse(line) as { state: string }).state);
    const started = await json<{ streamId: string }>('streams', 'start', USER, '--width', '640', '--height', '360');
    const { streamId } = started;
    await expect.poll(states, { timeout: 20_000 }).toContain('active');

    expect((await glasscast(['device', 'list'])).out).toMatch(/ada@example\.com +connected +Mentra Live/);
    expect((await glasscast(['streams', 'list'])).out).toMatch(new RegExp(`${streamId} +${USER} +active +1 `));
    expect((await glasscast(['streams', 'show', streamId])).out).toMatch(/hlsUrl +http.*m3u8/);
    expect((await glasscast(['streams', 'outputs', streamId])).out).toBe('No outputs.');
    const explained = (await glasscast(['streams', 'explain', streamId])).out;
    expect(explained).toMatch(/first picture +\d+\.\d s after the request\n(.*\n)*.*app +Asked for by/);
    expect(explained).toMatch(/\n\nall well: first picture .*; viewers never lost the picture$/);
    expect(await json('streams', 'explain', streamId)).toMatchObject({ streamId, userId: USER, state: 'active' });
    expect((await glasscast(['streams', 'stop', USER])).code).toBe(0);
    await glasses.inbox.take('the stop', ({ type }) => type === 'stop_rtmp_stream');
    await expect.poll(async () => (await glasscast(['streams', 'list'])).out, { timeout: 10_000 }).toBe('No streams.');

    const other = await json<{ streamId: string }>('streams', 'start', USER);
    expect(await glasscast(['streams', 'end', other.streamId])).toMatchObject({
      code: 0,
      out: `${other.streamId} ends.`,
    });
    expect((await glasscast(['streams', 'end', 'no-such-stream'])).err).toMatch(/No such stream.*streams list/);
    await expect.poll(async () => (await glasscast(['streams', 'list'])).out, { timeout: 10_000 }).toBe('No streams.');
    // Ctrl-C is how watching ends.
    expect(await watching.child.stop()).toMatchObject({ code: 0 });
    expect(watching.said.err).toEqual([]);
    const gone = await glasscast(['streams', 'show', streamId]);
    expect([gone.code, gone.err]).toEqual([1, expect.stringMatching(/No such stream.*streams list/)]);
    await glasses.close();
  });
});

describe('the command line', () => {
  it('explains itself on each level, and what to type instead of a typing error', async () => {
    for (const args of [['--help'], ['streams', '--help'], ['app', 'add', '--help']]) {
      const { code, out } = await glasscast(args, {});
      expect([code, out]).toEqual([0, expect.stringContaining('--relay-url')]);
    }
    for (const args of [
      ['relay', '--help'],
      ['help', 'relay'],
    ]) {
      expect((await asProcess(args, {})).out).toContain('--public-url');
    }
    expect((await asProcess(['--version'], {})).out).toMatch(/^\d+\.\d+\.\d+$/);
    expect((await asProcess(['local-stream', '--help'], {})).out).toContain('--rtmp-port');
    for (const [args, text] of [
      [['strems'], 'Did you mean streams?'],
      [['app', 'strat', 'a', 'b'], 'Did you mean start?'],
      [['app', 'start'], 'missing required argument'],
      [['token', 'create', USER, '--days', 'x'], 'Give a whole number'],
      [['--relay-url', 'ftp://x', 'app', 'list'], 'http:// or https://'],
      [['app'], 'Commands:'],
    ] as const) {
      const { code, err, out } = await glasscast([...args]);
      expect([code, out, err]).toEqual([2, '', expect.stringContaining(text)]);
    }
    expect(await asProcess(['strems'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('Did you mean streams?'),
    });
    const noUrl = await glasscast(['app', 'list'], { GLASSCAST_URL: 'nonsense' });
    expect([noUrl.code, noUrl.err]).toEqual([2, expect.stringContaining('GLASSCAST_URL')]);
  });

  it('says in one line what to do when the relay refuses or is away', async () => {
    const cases: [Record<string, string>, RegExp][] = [
      [{ GLASSCAST_ADMIN_TOKEN: '' }, /GLASSCAST_ADMIN_TOKEN is not set.*reset-admin/],
      [{ GLASSCAST_ADMIN_TOKEN: 'not-the-admin-token' }, /admin token.*reset-admin/],
      [{ GLASSCAST_URL: 'http://127.0.0.1:1' }, /cannot be reached.*glasscast relay/],
    ];
    for (const [env, text] of cases) {
      const { code, err } = await glasscast(['app', 'list'], { ...environment, ...env });
      expect([code, err]).toEqual([1, expect.stringMatching(text)]);
      expect([err.split('\n').length, err]).toEqual([1, expect.not.stringContaining('not-the-admin-token')]);
    }
    const { code, err } = await asProcess(['app', 'show', 'com.no.app', '--json']);
    expect([code, JSON.parse(err)]).toMatchObject([
      1,
      { error: 'PACKAGE_NOT_FOUND', next: expect.stringContaining('app list') },
    ]);
  });

  it('ends quietly when its reader has seen enough', async () => {
    const command = `${join(root, 'scripts/glasscast.js')} app list; echo "exit $?" >&2`;
    const shell = children.spawn({
      name: 'shell',
      file: '/bin/sh',
      args: ['-c', `(${command}) | true`],
      env: { PATH: process.env.PATH ?? '', ...environment },
    });
    expect((await shell.exited).lastLines).toEqual(['exit 0']);
  });

  it('runs programs without a secret in any process list, and ends them on a signal', async () => {
    const { GLASSCAST_ADMIN_TOKEN = '' } = environment;
    const pids = [relay.child.pid ?? 0, ...descendantsOf(relay.child.pid ?? 0)];
    const lines = pids.map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8')).join('\n');
    expect(lines).toContain('local-stream');
    expect(lines).not.toContain(GLASSCAST_ADMIN_TOKEN);
    expect(lines).not.toMatch(/token|secret|key/i);
    const { code, err } = await glasscast(['app', 'list', '--admin-token', 'x']);
    expect([code, err]).toEqual([2, expect.stringContaining("unknown option '--admin-token'")]);

    const args = ['local-stream', '--http-port', '0', '--rtmp-port', '0', '--data-dir', join(folder, 'alone')];
    const alone = startProgram(children, { file: 'scripts/glasscast.js', args });
    expect(await alone.line(/^Local Stream ready: (\S+),/)).toContain('/client/v4');
    expect(await alone.child.stop()).toMatchObject({ code: 0 });
  });

  it('makes a new admin token once the relay is stopped', async () => {
    const reset = () => glasscast(['token', 'reset-admin', '--data-dir', folder]);
    const early = await reset();
    expect([early.code, early.err]).toEqual([1, expect.stringContaining('another relay uses this data folder')]);
    expect(await relay.child.stop()).toMatchObject({ code: 0 });
    const made = await reset();
    expect([made.code, made.out]).toEqual([0, expect.stringMatching(/^[\w-]{43}$/)]);
    expect((await glasscast(['token', 'reset-admin', '--data-dir', join(folder, 'none')])).code).toBe(1);

    relay = startRelay();
    const GLASSCAST_URL = await relay.line(/^Relay ready: (\S+)/);
    expect((await glasscast(['app', 'list'], { ...environment, GLASSCAST_URL })).code).toBe(1);
    const app = await glasscast(['app', 'list'], { GLASSCAST_URL, GLASSCAST_ADMIN_TOKEN: made.out });
    expect([app.code, app.out]).toEqual([0, expect.stringContaining('com.example.other')]);
    expect(await relay.child.stop()).toMatchObject({ code: 0 });
  });
});
