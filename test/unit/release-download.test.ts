import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRandom } from '../../device/simulator/timeline.ts';
import {
  createReleaseDownload,
  type ReleaseDownloadOptions,
  releaseUrl,
} from '../../device/updates/release-download.ts';
import { createLog } from '../../shared/log.ts';
import { sealRelease } from '../../shared/release.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const TOKEN = 'the-core-token-of-ada';
const random = createRandom(1);
const code = Buffer.from(Array.from({ length: 20_000 }, () => Math.floor(random() * 256)));
const release = sealRelease({ version: '0.2.0', minNode: 20, code, privateKey });

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'glasscast-download-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface Asked {
  url: string;
  range: string | null;
  ifRange: string | null;
}
/** What the relay says to one request. `cut`: so many bytes, then the line is gone; `silent`: then nothing more. */
type Say = { status: number } | { file?: Buffer; cut?: number; silent?: boolean; ignoresRange?: boolean } | Error;

function bodyOf(
  bytes: Buffer,
  say: { cut?: number; silent?: boolean },
  signal: AbortSignal | null | undefined,
  relay: { isSilent: boolean },
) {
  const end = say.cut ?? bytes.length;
  let at = 0;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      signal?.addEventListener('abort', () => {
        try {
          controller.error(signal.reason);
        } catch {
          // It has ended already.
        }
      });
    },
    pull(controller) {
      if (at < end) {
        controller.enqueue(new Uint8Array(bytes.subarray(at, Math.min(end, at + 1_000))));
        at += 1_000;
        return undefined;
      }
      relay.isSilent = say.silent ?? false;
      if (relay.isSilent) return new Promise<void>(() => {});
      if (say.cut === undefined) controller.close();
      else controller.error(new Error('other side closed'));
      return undefined;
    },
  });
}

/** A relay that answers each request with the next of `says`, the last one for ever. */
function world(says: Say[], more: Partial<ReleaseDownloadOptions> = {}) {
  const clock = createTestClock();
  const asked: Asked[] = [];
  const relay = { isSilent: false };
  const redirects: unknown[] = [];
  const lines: string[] = [];
  const redactor = createRedactor();
  const log = createLog({
    program: 'agent',
    level: 'debug',
    redactor,
    destination: { write: (line) => void lines.push(line) },
  });
  const fake: typeof fetch = async (url, init) => {
    const headers = new Headers(init?.headers);
    relay.isSilent = false;
    asked.push({ url: String(url), range: headers.get('range'), ifRange: headers.get('if-range') });
    redirects.push(init?.redirect);
    expect(headers.get('authorization')).toBe(`Bearer ${TOKEN}`);
    const say = says.length > 1 ? says.shift() : says[0];
    if (!say || say instanceof Error) throw say ?? new Error('nothing to say');
    if ('status' in say) return new Response(null, { status: say.status });
    const { file = release } = say;
    const etag = `"${createHash('sha256').update(file).digest('hex')}"`;
    const start =
      headers.get('if-range') === etag && !say.ignoresRange ? Number(/\d+/.exec(headers.get('range') ?? '0')) : 0;
    const body = bodyOf(file.subarray(start), say, init?.signal, relay);
    const range = { 'content-range': `bytes ${start}-${file.length - 1}/${file.length}` };
    return new Response(body, { status: start > 0 ? 206 : 200, headers: { etag, ...(start > 0 ? range : {}) } });
  };
  const ending = new AbortController();
  const percents: number[] = [];
  const open = () =>
    createReleaseDownload({
      ...{ clock, log, relayUrl: 'wss://relay.example/glasses-ws', coreToken: new Secret(TOKEN), fetch: fake },
      ...{
        partFile: join(folder, 'deep', 'release.part'),
        trustedKeys: [publicKey],
        nodeMajor: 20,
        random: () => 0,
        ...more,
      },
    });
  const fetchRelease = (version = '0.2.0', signal = ending.signal) =>
    open().fetchRelease(version, signal, (percent) => void percents.push(percent));
  /** Time goes on until it settles. */
  async function settled<T>(work: Promise<T>, stepMs = 1_000): Promise<T> {
    const state = { isOver: false };
    work.then(
      () => (state.isOver = true),
      () => (state.isOver = true),
    );
    while (!state.isOver) {
      await settle();
      // The disk takes real time, so this clock stands still meanwhile.
      if (clock.pending().includes('release-retry') || relay.isSilent) await clock.advance(stepMs);
    }
    return work;
  }
  return { clock, asked, redirects, lines, ending, percents, open, fetchRelease, settled };
}
const filesLeft = () => readdir(join(folder, 'deep')).catch(() => []);

describe('a release', () => {
  it('is fetched beside the glasses’ address, with the token and for this relay only, and told by per cent', async () => {
    const { settled, fetchRelease, asked, redirects, percents, lines } = world([{}]);
    const { headLine, code: got } = await settled(fetchRelease());
    expect([got.equals(code), release.toString('utf8').startsWith(`${headLine}\n`)]).toEqual([true, true]);
    expect(asked).toEqual([{ url: 'https://relay.example/api/agent-releases/0.2.0', range: null, ifRange: null }]);
    expect(redirects).toEqual(['error']);
    expect(percents.at(-1)).toBe(100);
    expect(percents).toEqual([...new Set(percents)].sort((a, b) => a - b));
    expect(lines.join('')).not.toContain(TOKEN);
    expect((await stat(join(folder, 'deep', 'release.part'))).mode & 0o077).toBe(0);
  });

  it.each([
    ['wss://relay.example/glasses-ws', 'https://relay.example/api/agent-releases/1.2.3'],
    [
      'ws://10.0.0.1:8787/behind/a/proxy/glasses-ws?x=1',
      'http://10.0.0.1:8787/behind/a/proxy/api/agent-releases/1.2.3',
    ],
  ])('beside %s is %s', (relayUrl, url) => expect(releaseUrl(relayUrl, '1.2.3').href).toBe(url));

  it('is gone on with after every cut, wherever they come', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 3_000 }), { maxLength: 6 }), async (cuts) => {
        const { settled, fetchRelease, open } = world([...cuts.map((cut) => ({ cut })), {}]);
        expect((await settled(fetchRelease())).code.equals(code)).toBe(true);
        await open().discard();
      }),
      { numRuns: 15 },
    );
  });

  it('is gone on with by another process, with the ETag of what has come', async () => {
    const { settled, fetchRelease, asked, ending } = world([{ cut: 5_000, silent: true }, {}]);
    const first = fetchRelease();
    while ((await stat(join(folder, 'deep', 'release.part')).catch(() => ({ size: 0 }))).size < 5_000) await settle();
    ending.abort(new Error('the agent ends'));
    await expect(first).rejects.toThrow('the agent ends');
    expect((await settled(fetchRelease('0.2.0', new AbortController().signal))).code.equals(code)).toBe(true);
    expect(asked[1]).toMatchObject({ range: 'bytes=5000-', ifRange: expect.stringMatching(/^"[0-9a-f]{64}"$/) });
  });

  it.each([
    ['a relay that knows no ranges', { ignoresRange: true }],
    [
      'a relay that has another file by now',
      { file: sealRelease({ version: '0.2.0', minNode: 19, code, privateKey }) },
    ],
  ] as const)('begins anew with %s', async (_name, second) => {
    const { settled, fetchRelease, asked } = world([{ cut: 4_000 }, { ...second }]);
    expect((await settled(fetchRelease())).code.equals(code)).toBe(true);
    expect(asked[1]?.range).toBe('bytes=4000-');
  });

  it('that a power cut has left torn is fetched once more, whole', async () => {
    const { settled, fetchRelease, asked, ending } = world([{ cut: 8_000, silent: true }, {}]);
    const first = fetchRelease();
    const part = join(folder, 'deep', 'release.part');
    while ((await stat(part).catch(() => ({ size: 0 }))).size < 8_000) await settle();
    ending.abort();
    await first.catch(() => {});
    await writeFile(part, Buffer.alloc(8_000));
    expect((await settled(fetchRelease('0.2.0', new AbortController().signal))).code.equals(code)).toBe(true);
    expect(asked.map(({ range }) => range)).toEqual([null, 'bytes=8000-', null]);
  });

  it('is waited for while the relay is away, is busy, breaks off or says nothing', async () => {
    const { settled, fetchRelease, asked, clock } = world([
      new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }),
      ...[{ status: 503 }, { status: 429 }, { cut: 10 }, { cut: 2_000, silent: true }, { status: 416 }],
      {},
    ]);
    expect((await settled(fetchRelease())).code.equals(code)).toBe(true);
    expect([asked.length, clock.pending()]).toEqual([7, []]);
  });

  it('is given up after hours without a byte, with what was wrong', async () => {
    const { fetchRelease, settled } = world([{ status: 503 }]);
    const failed = settled(
      fetchRelease().catch((error: Error) => error.message),
      60_000,
    );
    expect(await failed).toMatch(/not to be had for hours \(the relay answered 503\)/);
    expect(await filesLeft()).toEqual([]);
  });

  const foreign = generateKeyPairSync('ed25519').privateKey;
  const changed = Buffer.from(release);
  changed[release.length - 100] = (changed[release.length - 100] ?? 0) ^ 1;
  it.each([
    ['that is not there', { status: 404 }, /has no release 0\.2\.0/],
    ['that the relay does not give', { status: 401 }, /gives no 0\.2\.0 to these glasses \(it answered 401\)/],
    ['behind an answer of another kind', { status: 304 }, /answered 304/],
    [
      'of a stranger',
      { file: sealRelease({ version: '0.2.0', minNode: 20, code, privateKey: foreign }) },
      /no key that is trusted/,
    ],
    [
      'of another version',
      { file: sealRelease({ version: '0.3.0', minNode: 20, code, privateKey }) },
      /sent 0\.3\.0 for 0\.2\.0/,
    ],
    ['for a newer Node', { file: sealRelease({ version: '0.2.0', minNode: 22, code, privateKey }) }, /needs Node 22/],
    ['with other bytes than were signed', { file: changed }, /unpacked|damaged/],
    ['that is longer than it says', { file: Buffer.concat([release, Buffer.alloc(1)]) }, /longer than it says/],
    ['that is none', { file: Buffer.from('<!doctype html>\n'.repeat(2_000)) }, /not valid/],
    ['without an end of its head', { file: Buffer.alloc(20_000, 0x41) }, /no release file/],
  ] as const)('%s is refused, and nothing is left', async (_name, say, reason) => {
    const { settled, fetchRelease, asked } = world([say as Say]);
    await expect(settled(fetchRelease()).then(() => 'fetched')).rejects.toMatchObject({
      code: 'RELEASE_REFUSED',
      message: expect.stringMatching(reason),
    });
    expect([asked.length, await filesLeft()]).toEqual([1, []]);
  });

  it('that the disk has no room for is refused by its head', async () => {
    const { settled, fetchRelease } = world([{}], { freeBytes: async () => 100_000 });
    await expect(settled(fetchRelease())).rejects.toThrow(/no room for 0\.2\.0: 2\.\d MB needed, 0\.1 MB free/);
    expect(await filesLeft()).toEqual([]);
  });

  it('that has no place is refused at once', async () => {
    await writeFile(join(folder, 'deep'), 'a file, no folder');
    const { settled, fetchRelease } = world([{}]);
    await expect(settled(fetchRelease())).rejects.toThrow(/something else is in the place/);
  });
});
