/** Releases and roll-outs by the command line, at a real relay, with scripted agents on real sockets. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { SessionView } from '../../cloud/http/event-feed.ts';
import type { RelayOptions } from '../../cloud/relay.ts';
import { placeOf } from '../../cloud/updates/rollout.ts';
import type { RolloutView } from '../../cloud/updates/rollouts.ts';
import { provenManifest, readReleaseHead, releaseKeyOf, unpackedCode } from '../../shared/release.ts';
import { until } from '../support/local-stream-world.ts';
import { createReleaseWorld, type ReleaseWorld } from '../support/release-world.ts';

async function world(overrides: Partial<RelayOptions> = {}): Promise<ReleaseWorld> {
  const made = await createReleaseWorld(overrides);
  onTestFinished(async () => expect(await made.close()).toEqual([]));
  return made;
}
async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'glasscast-release-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}
const newest = async ({ relay }: ReleaseWorld) =>
  (await relay.rest<{ rollouts: RolloutView[] }>('GET', '/api/rollouts')).rollouts[0];
const becomes = (made: ReleaseWorld, state: RolloutView['state']) =>
  until(async () => (await newest(made))?.state === state);
const sessionOf = async ({ relay }: ReleaseWorld, email: string) =>
  (await relay.rest<{ sessions: SessionView[] }>('GET', '/api/sessions')).sessions.find(
    ({ userId }) => userId === email,
  );

describe('a release', () => {
  it('is made, published, listed, fetched and removed by the command line', async () => {
    const made = await world();
    const at = await folder();
    const [key, file] = [join(at, 'ours.key'), join(at, 'agent.release')];
    expect((await made.glasscast('release', 'key', '--out', key)).code).toBe(0);
    expect([statSync(key).mode & 0o777, statSync(join(at, 'ours.pem')).mode & 0o777]).toEqual([0o600, 0o644]);
    const again = await made.glasscast('release', 'key', '--out', key);
    expect([again.code, again.err]).toEqual([1, expect.stringContaining('is there already')]);

    const built = await made.glasscast('release', 'build', '--version', '1.4.0', '--key', key, '--out', file, '--json');
    expect([built.code, built.err]).toEqual([0, '']);
    const bytes = readFileSync(file);
    const head = readReleaseHead(bytes);
    const manifest = provenManifest(head?.line ?? '', [releaseKeyOf(readFileSync(join(at, 'ours.pem'), 'utf8'))]);
    expect(manifest).toMatchObject({ version: '1.4.0', minNode: 20 });
    expect(unpackedCode(bytes.subarray(head?.headBytes), manifest).includes('createRequire')).toBe(true);
    expect(JSON.parse(built.out)).toMatchObject({ version: '1.4.0', bytes: bytes.length, codeBytes: manifest.bytes });

    const published = await made.glasscast('release', 'publish', file);
    expect([published.code, published.out]).toEqual([0, expect.stringContaining('glasscast device update 1.4.0')]);
    expect((await made.glasscast('release', 'publish', file)).code).toBe(0);
    expect((await made.glasscast('release', 'list')).out).toMatch(
      /VERSION +SIZE +SHA-256 +PUBLISHED\n1\.4\.0 +\d+ kB +[0-9a-f]{64} +20/,
    );
    const { coreToken } = await made.relay.rest<{ coreToken: string }>('POST', '/api/tokens', {
      email: 'ada@example.com',
    });
    expect(Buffer.from(await (await made.call('GET', '1.4.0', coreToken)).arrayBuffer())).toEqual(bytes);

    expect((await made.glasscast('release', 'remove', '1.4.0')).out).toBe('1.4.0 is removed.');
    const gone = await made.glasscast('release', 'remove', '1.4.0');
    expect([gone.code, gone.err]).toEqual([1, expect.stringMatching(/No release of this version.*release publish/)]);
    expect((await made.glasscast('release', 'list')).out).toBe('No releases.');
    const refusals: [string[], RegExp][] = [
      [['build', '--version', '1.4', '--key', key], /--version: expected MAJOR\.MINOR\.PATCH/],
      [['build', '--version', '1.4.0', '--key', join(at, 'ours.pem')], /is no private Ed25519 key.*release key/],
      [['build', '--version', '1.4.0', '--key', join(at, 'none')], /ENOENT/],
      [['publish', key], /not fit to be run/],
      [['publish', join(at, 'none')], /ENOENT/],
    ];
    for (const [args, reason] of refusals) {
      const { code, err } = await made.glasscast('release', ...args);
      expect([code, err]).toEqual([1, expect.stringMatching(reason)]);
    }
    const versionless = await made.glasscast('--version');
    expect([versionless.code, versionless.out]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+$/)]);
  });

  it('that is none, or signed by nobody who is trusted, is refused, and leaves nothing', async () => {
    const at = await folder();
    const { publicKey } = (await import('node:crypto')).generateKeyPairSync('ed25519');
    const made = await world({ releasesFolder: at, releaseKeys: [publicKey] });
    const admin = made.relay.adminToken.reveal();
    const put = async (version: string, body: Uint8Array | string, token = admin) => {
      const response = await made.call('PUT', version, token, { body: new Blob([new Uint8Array(Buffer.from(body))]) });
      return { status: response.status, ...((await response.json()) as { error?: string; message?: string }) };
    };
    expect(await put('1.4.0', made.sealed('1.4.0'))).toMatchObject({
      ...{ status: 400, error: 'RELEASE_REFUSED', message: expect.stringContaining('signed by no key') },
    });
    expect(await put('1.5.0', made.sealed('1.4.0'))).toMatchObject({ status: 400, error: 'RELEASE_REFUSED' });
    expect(await put('1.4.0', 'x'.repeat(2_000_000))).toMatchObject({ status: 400, error: 'RELEASE_REFUSED' });
    expect(await put('1.4', made.sealed('1.4.0'))).toMatchObject({ status: 400, error: 'MALFORMED_MESSAGE' });
    expect(await put('..%2f..%2fx', made.sealed('1.4.0'))).toMatchObject({ status: 400, error: 'MALFORMED_MESSAGE' });
    const { coreToken } = await made.relay.rest<{ coreToken: string }>('POST', '/api/tokens', {
      email: 'ada@example.com',
    });
    expect(await put('1.4.0', made.sealed('1.4.0'), coreToken)).toMatchObject({ status: 401 });
    expect(await readdir(at)).toEqual([]);
    const file = join(at, 'x');
    await writeFile(file, 'no release');
    const published = await made.glasscast('release', 'publish', file);
    expect([published.code, published.err]).toEqual([1, expect.stringContaining('not fit to be run')]);
  });

  it('is given by ranges, to glasses and operators and nobody else', async () => {
    const made = await world();
    await made.publish('1.4.0');
    const file = made.sealed('1.4.0');
    const { coreToken, tokenId } = await made.relay.rest<{ coreToken: string; tokenId: string }>(
      'POST',
      '/api/tokens',
      {
        email: 'ada@example.com',
      },
    );
    const ask = async (
      headers: Record<string, string> = {},
      { method = 'GET', version = '1.4.0', token = coreToken } = {},
    ) => {
      const response = await made.call(method, version, token, { headers });
      return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
    };
    const whole = await ask();
    const etag = whole.headers.get('etag') ?? '';
    expect([whole.status, whole.body, whole.headers.get('accept-ranges')]).toEqual([200, file, 'bytes']);
    const half = await ask({ range: 'bytes=100-', 'if-range': etag });
    expect([half.status, half.body]).toEqual([206, file.subarray(100)]);
    expect(half.headers.get('content-range')).toBe(`bytes 100-${file.length - 1}/${file.length}`);
    const other = await ask({ range: 'bytes=100-', 'if-range': '"another release"' });
    expect([other.status, other.body]).toEqual([200, file]);
    const beyond = await ask({ range: `bytes=${file.length}-` });
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${file.length}`]);
    expect((await ask({ 'if-none-match': etag })).status).toBe(304);
    const head = await ask({ range: 'bytes=0-3' }, { method: 'HEAD' });
    expect([head.status, head.body.length, head.headers.get('content-length')]).toEqual([200, 0, `${file.length}`]);
    expect(head.headers.get('etag')).toBe(etag);

    expect((await ask({}, { token: made.relay.adminToken.reveal() })).status).toBe(200);
    expect((await made.call('GET', '1.4.0')).status).toBe(401);
    expect((await ask({}, { token: 'a-guess' })).status).toBe(401);
    expect((await ask({}, { version: '1.4.1' })).status).toBe(404);
    for (const version of ['..%2f..%2frelay.db', '%2e%2e%2frelay.db', '1.4.0%00', '..']) {
      expect((await ask({}, { version })).status).toBe(404);
    }
    await made.relay.rest('DELETE', `/api/tokens/${tokenId}`);
    expect((await ask()).status).toBe(401);
    expect(existsSync(join(made.relay.folder, 'relay', 'releases'))).toBe(true);
  });
});

describe('a roll-out', () => {
  it('goes by stages, pauses at a failure, and is resumed to its end', async () => {
    const made = await world();
    await made.publish('1.4.0');
    const emails = Array.from({ length: 20 }, (_, at) => `user-${at}@example.com`);
    const places = [...emails].sort((one, other) => placeOf(one, 'r1') - placeOf(other, 'r1'));
    const inSecond = places.filter((email) => placeOf(email, 'r1') < 60);
    const [first] = places;
    const broken = inSecond.at(-1) ?? '';
    const devices = await Promise.all(
      emails.map((email) =>
        made.device(email, email === broken ? 'rolls back' : email === first ? 'is interrupted' : 'installs'),
      ),
    );
    const ordered = () => devices.filter(({ state }) => state.orders.length > 0).map(({ email }) => email);
    const begun = await made.glasscast('device', 'update', '1.4.0', '--stages', '0.001,60,100', '--soak-minutes', '0');
    expect([begun.code, begun.out]).toEqual([
      0,
      expect.stringMatching(/^r1 rolls 1\.4\.0 out: 0 done, 1 under way, 19 in later/),
    ]);
    const second = await made.glasscast('device', 'update', '1.4.0');
    expect([second.code, second.err]).toEqual([
      1,
      expect.stringMatching(/Another roll-out is under way.*update-cancel/),
    ]);
    expect((await made.glasscast('release', 'remove', '1.4.0')).err).toMatch(/A roll-out gives this release/);

    await becomes(made, 'paused');
    await until(async () => (await newest(made))?.devices.done === inSecond.length - 1);
    expect(ordered().sort()).toEqual([...inSecond].sort());
    // Power was cut in the middle of the first one's update, which is no failure yet.
    expect(devices.find(({ email }) => email === first)?.state).toMatchObject({
      version: '1.4.0',
      orders: ['1.4.0', '1.4.0'],
    });
    const told = await made.glasscast('device', 'updates');
    expect(told.out).toMatch(/r1 +1\.4\.0 +paused +2\/3 \(60 %\) +\d+ done, 1 failed, \d+ in later stages/);
    expect(told.out).toContain(`paused: ${broken}: rolled back (it never said hello)`);
    expect((await made.glasscast('device', 'list')).out).toMatch(
      new RegExp(`${broken} +connected +Glasscast board +1\\.3\\.0 +1\\.4\\.0 failed \\(it never said hello\\)`),
    );

    expect((await made.glasscast('device', 'update-resume')).out).toMatch(/^r1 to 1\.4\.0 is running/);
    const watched = await made.glasscast('device', 'updates', '--watch');
    expect([watched.code, watched.out]).toEqual([
      0,
      expect.stringMatching(/done {2}stage 3\/3 \(100 %\) {2}19 done, 1 failed$/),
    ]);
    expect(devices.filter(({ state }) => state.version === '1.4.0')).toHaveLength(19);
    expect(await sessionOf(made, first ?? '')).toMatchObject({
      agent: { version: '1.4.0', architecture: 'arm64', canUpdate: true, lastUpdate: { outcome: 'installed' } },
    });
    // Who comes late gets it too.
    const late = await made.device('late@example.com');
    await until(async () => late.state.version === '1.4.0');
  });

  it('stops new orders at once when it is paused, and is over when it is cancelled', async () => {
    const made = await world();
    await made.publish('1.4.0');
    const ada = await made.device('ada@example.com', 'waits');
    await made.device('bob@example.com');
    await made.glasscast('device', 'update', '1.4.0', 'ada@example.com', 'Bob@example.com', 'eve@example.com');
    await until(
      async () =>
        (await newest(made))?.devices.done === 1 && (await sessionOf(made, ada.email))?.update?.state === 'waiting',
    );
    expect((await made.glasscast('device', 'updates')).out).toMatch(/eve@example\.com {2}away {2}no agent was ever/);
    expect((await made.glasscast('device', 'update-pause')).out).toMatch(/is paused: 1 done, 1 under way, 1 away/);
    const eve = await made.device('eve@example.com');
    await until(async () => (await newest(made))?.devices.away === 0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect([eve.state.orders, await made.glasscast('device', 'update', '1.4.0')]).toEqual([
      [],
      expect.objectContaining({ code: 1 }),
    ]);
    expect((await made.glasscast('device', 'update-cancel', 'r1')).out).toMatch(/is cancelled/);
    const over = await made.glasscast('device', 'update-resume', 'r1');
    expect([over.code, over.err]).toEqual([1, expect.stringMatching(/This roll-out is over/)]);
    const watched = await made.glasscast('device', 'updates', '--watch', '--json');
    expect([watched.code, JSON.parse(watched.err)]).toEqual([1, expect.objectContaining({ error: 'ROLLOUT_OVER' })]);
    expect((await made.glasscast('device', 'update', '9.9.9')).err).toMatch(/No release of this version/);
    expect((await made.glasscast('device', 'update', '1.4.0', '--stages', 'some')).code).toBe(2);
    expect((await made.glasscast('device', 'update', '1.4.0', '--stages', '50,20')).err).toMatch(
      /larger than the one before/,
    );
    const both = await made.glasscast('device', 'update', '1.4.0', 'ada@example.com', '--stages', '100');
    expect(both.err).toMatch(/stages: not together with users/);
  });

  it('goes on where it was after a restart of the relay', async () => {
    // Time enough for all to be back on a machine that does other things too.
    const made = await world({ rolloutResumeGraceMs: 5_000 });
    await made.publish('1.4.0');
    const devices = await Promise.all(
      Array.from({ length: 6 }, (_, at) => made.device(`user-${at}@example.com`, at < 3 ? 'waits' : 'installs')),
    );
    await made.glasscast('device', 'update', '1.4.0', '--stages', '100', '--soak-minutes', '0');
    await until(async () => {
      const { devices: counts, underWay } = (await newest(made)) ?? {};
      return counts?.done === 3 && underWay?.every(({ state }) => state === 'waiting');
    });
    await made.relay.restart({ keepStreams: true }, 200);
    await until(async () => devices.slice(0, 3).every(({ state }) => state.orders.length === 2));
    expect(await newest(made)).toMatchObject({ state: 'running', devices: { done: 3, underWay: 3 } });
    for (const { state, become } of devices.slice(0, 3)) {
      state.manner = 'installs';
      await become('1.4.0');
    }
    await becomes(made, 'done');
    expect(devices.slice(3).every(({ state }) => state.orders.length === 1)).toBe(true);
    expect((await made.glasscast('device', 'updates')).out).toMatch(/r1 +1\.4\.0 +done .*6 done/);
  });

  it('shows what glasses refuse, a downgrade for one, and never orders what it knows to be older', async () => {
    const made = await world();
    await made.publish('1.4.0');
    const refusing = await made.device('ada@example.com', 'refuses');
    const newer = await made.device('bob@example.com', 'installs', '1.9.0');
    const { err, code } = await made.glasscast('device', 'update', '1.4.0', refusing.email, newer.email, '--watch');
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/paused: ada@example\.com: refused \(1\.4\.0 is older than 1\.9\.0\)/),
    ]);
    expect((await made.glasscast('device', 'list')).out).toMatch(/1\.4\.0 failed \(1\.4\.0 is older than 1\.9\.0\)/);
    expect((await made.glasscast('device', 'updates')).out).toMatch(
      /bob@example\.com {2}left out {2}runs 1\.9\.0, which is newer/,
    );
    expect(newer.state.orders).toEqual([]);
  });

  it('leaves alone glasses that the operator sends back', async () => {
    const made = await world();
    await made.publish('1.4.0');
    const ada = await made.device('ada@example.com');
    await made.glasscast('device', 'update', '1.4.0', '--soak-minutes', '0', '--watch');
    expect((await made.glasscast('device', 'rollback', ada.email)).out).toMatch(/^ada@example\.com is sent back/);
    await until(async () => (await sessionOf(made, ada.email))?.agent?.version === '1.3.0');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect([ada.state.orders, (await newest(made))?.state]).toEqual([['1.4.0', 'rollback'], 'done']);
    await made.publish('1.5.0');
    await made.glasscast('device', 'update', '1.5.0');
    const early = await made.glasscast('device', 'rollback', ada.email);
    expect([early.code, early.err]).toEqual([0, expect.stringMatching(/^r2 to 1\.5\.0 goes on for others; .*pause/)]);
    const nobody = await made.glasscast('device', 'rollback', 'nobody@example.com');
    expect([nobody.code, nobody.err]).toEqual([1, expect.stringMatching(/not connected.*device list/)]);
    // Apps hear of no agent: what was said of the glasses to them has no such word.
    expect(made.relay.logLines.join()).not.toContain(ada.coreToken);
  });
});
