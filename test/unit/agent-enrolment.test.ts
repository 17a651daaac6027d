import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CoreTokenSources, findCoreToken } from '../../device/runtime/enrolment.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

const CODE = 'BCDF-2345';
const TOKEN = 'the-core-token-of-ada';
const answer = { userId: 'ada@example.com', coreToken: TOKEN, expiresAt: '2027-01-01T00:00:00.000Z' };

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'glasscast-enrolment-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A relay that answers each call with the next of `answers`, the last one for ever. */
function world(...answers: (object | Error | number)[]) {
  const clock = createTestClock();
  const redactor = createRedactor();
  const lines: string[] = [];
  const log = createLog({
    program: 'agent',
    level: 'debug',
    redactor,
    destination: { write: (line) => void lines.push(line) },
  });
  const calls: { url: string; body: unknown; redirect: unknown }[] = [];
  const fake: typeof fetch = async (url, init) => {
    calls.push({ url: String(url), body: JSON.parse(String(init?.body)), redirect: init?.redirect });
    const next = answers.length > 1 ? answers.shift() : answers[0];
    if (next instanceof Error) throw next;
    if (typeof next === 'number') return new Response('{}', { status: next });
    return new Response(JSON.stringify(next));
  };
  const ending = new AbortController();
  const tokenFile = join(folder, 'deep', 'token.json');
  const find = (code?: string, coreToken?: string, more: Partial<CoreTokenSources> = {}) =>
    findCoreToken({
      ...more,
      ...{ clock, log, redactor, tokenFile, fetch: fake, signal: ending.signal },
      relayUrl: 'wss://relay.example/glasses-ws',
      enrolmentCode: code === undefined ? undefined : new Secret(code),
      coreToken: coreToken === undefined ? undefined : new Secret(coreToken),
    }).then((token) => token.reveal());
  return { clock, find, calls, lines, tokenFile, ending };
}

describe('the core token of the agent', () => {
  it('is fetched for a code and kept, its owner’s alone; the code is spent once', async () => {
    const { find, calls, lines, tokenFile } = world(answer);
    expect([await find(CODE), await find(CODE), await find()]).toEqual([TOKEN, TOKEN, TOKEN]);
    expect(calls).toEqual([{ url: 'https://relay.example/api/enrol', body: { code: CODE }, redirect: 'error' }]);
    expect((await stat(tokenFile)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(folder, 'deep'))).toEqual(['token.json']);
    expect(await readFile(tokenFile, 'utf8')).not.toContain(CODE);
    expect(lines.join('')).toContain('enrolled');
    for (const secret of [CODE, TOKEN]) expect(lines.join('')).not.toContain(secret);
  });

  it('that is given wins, and is not kept', async () => {
    const { find, calls } = world(answer);
    expect([await find(CODE, 'given'), calls, await readdir(folder)]).toEqual(['given', [], []]);
  });

  it('is replaced by the one of a new code', async () => {
    const { find } = world(answer, { ...answer, coreToken: 'another-core-token' });
    expect([await find(CODE), await find('ZZZZ-2222'), await find()]).toEqual([
      TOKEN,
      'another-core-token',
      'another-core-token',
    ]);
  });

  it('waits for a relay that is away', async () => {
    const { find, clock, calls } = world(new TypeError('fetch failed'), 503, 429, answer);
    const found = find(CODE);
    while (calls.length < 4) await clock.advance(1_000);
    expect([await found, clock.pending()]).toEqual([TOKEN, []]);
  });

  it('waits no longer than the program lives', async () => {
    const { find, clock, calls, ending, tokenFile } = world(503);
    const found = find(CODE).catch((error: unknown) => error);
    while (calls.length < 2) await clock.advance(1_000);
    ending.abort();
    expect(await found).toMatchObject({ name: 'AbortError' });
    expect([clock.pending(), await readdir(join(tokenFile, '..'))]).toEqual([[], []]);
  });

  it.each([
    ['a code that is refused', CODE, [401], 'ENROLMENT_REFUSED', /ask for a new one/],
    ['an address that is no relay', CODE, [{ hello: 'world' }], 'INVALID_CONFIG', /--relay-url/],
    ['no code', undefined, [answer], 'INVALID_CONFIG', /GLASSCAST_AGENT_ENROLMENT_CODE/],
  ] as const)('is not had with %s', async (_name, code, answers, errorCode, text) => {
    await expect(world(...answers).find(code)).rejects.toMatchObject({
      code: errorCode,
      message: expect.stringMatching(text),
    });
  });

  it('costs no code when there is no place for it', async () => {
    const { find, calls } = world(answer);
    await writeFile(join(folder, 'deep'), 'a file, no folder');
    await expect(find(CODE)).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    expect(calls).toEqual([]);
  });

  it('in a broken file is said to be so, without its words', async () => {
    const { find, tokenFile } = world(answer);
    await find(CODE);
    await writeFile(tokenFile, 'secret-text');
    const error = await find(CODE).catch(({ message }) => message);
    expect(error).toMatch(/--token-file .*not a token file/);
    expect(error).not.toContain('secret-text');
  });

  it('may stand in a file of its own, which counts less than a given one and more than a kept one', async () => {
    const { find, lines } = world(answer);
    await find(CODE);
    const coreTokenFile = join(folder, 'file');
    await writeFile(coreTokenFile, '  from-a-file\n\n', { mode: 0o600 });
    await writeFile(join(folder, 'core-token'), 'from-systemd\n', { mode: 0o440 });
    const credentialsFolder = folder;
    expect(await find(undefined, 'given', { coreTokenFile, credentialsFolder })).toBe('given');
    expect(await find(undefined, undefined, { coreTokenFile, credentialsFolder })).toBe('from-a-file');
    expect(await find(undefined, undefined, { credentialsFolder })).toBe('from-systemd');
    expect(await find(undefined, undefined, { credentialsFolder: join(folder, 'none') })).toBe(TOKEN);
    expect(lines.join('')).not.toMatch(/from-a-file|from-systemd/);
  });

  it.each([
    ['that others may read', 'secret-text', 0o644, /--core-token-file .*mode 644.*chmod 600/],
    ['that the group may read', 'secret-text', 0o640, /mode 640/],
    ['that is empty', ' \n', 0o600, /holds no token/],
    ['with more than a token', 'secret-text\nsecret-text', 0o600, /holds no token/],
    ['that is far too long', 'secret-text'.repeat(2_000), 0o600, /holds no token/],
  ])('in a file %s is refused', async (_name, text, mode, message) => {
    const { find } = world(answer);
    const coreTokenFile = join(folder, 'file');
    await writeFile(coreTokenFile, text);
    await chmod(coreTokenFile, mode);
    const refused = await find(undefined, undefined, { coreTokenFile }).catch((error: Error) => error);
    expect(refused).toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringMatching(message) });
    expect(String(refused)).not.toContain('secret-text');
  });

  it('in a file that is not there is no reason to take another one', async () => {
    const { find } = world(answer);
    await find(CODE);
    await expect(find(undefined, undefined, { coreTokenFile: join(folder, 'none') })).rejects.toMatchObject({
      message: expect.stringMatching(/--core-token-file .*ENOENT/),
    });
  });
});
