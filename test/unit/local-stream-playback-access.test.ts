/** The door of every playback address: ids, tokens in place of them, access rules, allowed origins. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { liveInputBody, newLiveInput } from '../../cloud/local-stream/api/live-input.ts';
import { isLetIn } from '../../cloud/local-stream/playback/access-rules.ts';
import { mayShow } from '../../cloud/local-stream/playback/allowed-origins.ts';
import { createPlaybackAccess, playbackRequest } from '../../cloud/local-stream/playback/playback-access.ts';
import type { AccessRule } from '../../cloud/local-stream/playback/playback-tokens.ts';
import { newVideo } from '../../cloud/local-stream/recordings/video.ts';

function createWorld(recording: { requireSignedURLs?: boolean; allowedOrigins?: string[] } = {}) {
  const input = newLiveInput(liveInputBody.parse({ recording: { mode: 'automatic', ...recording } }), 0);
  const video = newVideo(input, 0);
  const open = newVideo(newLiveInput(liveInputBody.parse({}), 0), 0);
  const rules: AccessRule[] = [];
  const good = new Map([
    ['i.n.put', input.uid],
    ['v.i.deo', video.uid],
    ['g.o.ne', 'f'.repeat(32)],
  ]);
  const access = createPlaybackAccess({
    input: (uid) => (uid === input.uid ? input : undefined),
    video: (uid) => [video, open].find((one) => one.uid === uid),
    tokens: {
      verify(token) {
        const uid = good.get(token);
        if (!uid) return { refused: 'The token has expired' };
        return { uid, downloadable: false, accessRules: rules, expiresMs: 1 };
      },
    },
  });
  const admit = (id: string, headers: Record<string, string> = {}, ip = '127.0.0.1') =>
    access.admit(playbackRequest(id, { ip, headers }));
  return { access, admit, input, video, open, rules };
}

const code = (verdict: object) => ('refused' in verdict ? (verdict.refused as { http: number }).http : 200);

describe('an id', () => {
  it('plays where no signature is needed, a token plays too, and what is nobody’s is not found', () => {
    const { admit, input, video } = createWorld();
    expect(admit(input.uid)).toEqual({ uid: input.uid, kind: 'input', isToken: false, allowOrigin: '*' });
    expect(admit(video.uid)).toEqual({ uid: video.uid, kind: 'video', isToken: false, allowOrigin: '*' });
    expect(admit('i.n.put')).toEqual({ uid: input.uid, kind: 'input', isToken: true, allowOrigin: '*' });
    expect(code(admit('unknown'))).toBe(404);
  });
  it('is not enough where a signature is needed; the video begun under that rule has it too', () => {
    const { admit, access, input, video, open } = createWorld({ requireSignedURLs: true });
    expect(code(admit(input.uid))).toBe(401);
    expect(code(admit(video.uid))).toBe(401);
    expect(code(admit(open.uid))).toBe(200);
    expect(admit('i.n.put')).toMatchObject({ uid: input.uid, isToken: true });
    expect(admit('v.i.deo')).toMatchObject({ uid: video.uid, kind: 'video' });
    // A player asks whether something is on before it has a token.
    expect(access.find(input.uid)).toMatchObject({ uid: input.uid, kind: 'input' });
    expect(code(access.find('o.l.d'))).toBe(401);
  });
  it('a token that is worth nothing opens nothing, also what is open; one for what is gone finds nothing', () => {
    const { admit } = createWorld();
    for (const token of ['o.l.d', 'a.b.', `${'x'.repeat(9000)}.y.z`]) expect(code(admit(token))).toBe(401);
    for (const odd of ['..', '.', 'a.b', 'a.b.c.d', '../../etc.x', '']) expect(code(admit(odd))).toBe(404);
    expect(code(admit('g.o.ne'))).toBe(404);
    const none = createPlaybackAccess({ input: () => undefined, video: () => undefined });
    expect(code(none.admit({ id: 'i.n.put', ip: '::1' }))).toBe(401);
  });
  it('a token does not let in whom its access rules keep out', () => {
    const { admit, rules } = createWorld({ requireSignedURLs: true });
    rules.push({ type: 'ip.src', ip: ['10.0.0.0/8'], action: 'allow' }, { type: 'any', action: 'block' });
    expect(code(admit('i.n.put', {}, '10.1.2.3'))).toBe(200);
    expect(code(admit('i.n.put', {}, '::ffff:10.1.2.3'))).toBe(200);
    expect(code(admit('i.n.put', {}, '11.1.2.3'))).toBe(403);
  });
  it('on a page that is not among the allowed origins it is not shown, with a token neither', () => {
    const { admit, input } = createWorld({ allowedOrigins: ['example.com'] });
    const at = (origin: string) => admit(input.uid, { origin });
    expect(at('https://example.com')).toMatchObject({ allowOrigin: 'https://example.com' });
    expect(code(at('https://evil.test'))).toBe(403);
    expect(code(admit('i.n.put', { origin: 'https://evil.test' }))).toBe(403);
    expect(code(admit(input.uid, { referer: 'https://evil.test/page?https://example.com' }))).toBe(403);
    expect(code(admit(input.uid))).toBe(200);
  });
});

const v4 = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));
const text = (ip: readonly number[]) => ip.join('.');
const number = (ip: readonly number[]) => ip.reduce((sum, part) => sum * 256 + part, 0);

describe('access rules', () => {
  it('a range holds exactly the addresses that share its prefix', () => {
    fc.assert(
      fc.property(v4, v4, fc.nat(32), fc.boolean(), (network, ip, prefix, isMapped) => {
        const size = 2 ** (32 - prefix);
        const isInside = Math.floor(number(network) / size) === Math.floor(number(ip) / size);
        const rules: AccessRule[] = [{ type: 'ip.src', action: 'block', ip: [`${text(network)}/${prefix}`] }];
        expect(isLetIn(rules, `${isMapped ? '::ffff:' : ''}${text(ip)}`)).toBe(!isInside);
      }),
    );
  });
  it('the first that fits decides, none that fits lets in, and countries fit nobody', () => {
    const rule = fc.record({
      type: fc.constantFrom('any' as const, 'ip.geoip.country' as const, 'ip.src' as const),
      action: fc.constantFrom('allow' as const, 'block' as const),
    });
    fc.assert(
      fc.property(fc.array(rule), (rules) => {
        const first = rules.find(({ type }) => type === 'any');
        expect(isLetIn(rules, '192.0.2.1')).toBe(first?.action !== 'block');
      }),
    );
  });
  it('of another family, or no address at all, fit nobody', () => {
    const blocks = (range: string, ip: string) => !isLetIn([{ type: 'ip.src', action: 'block', ip: [range] }], ip);
    expect(blocks('2001:db8::/32', '2001:db8::7')).toBe(true);
    expect(blocks('2001:db8::/32', '2001:db9::7')).toBe(false);
    expect(blocks('192.0.2.1', '192.0.2.1')).toBe(true);
    expect(blocks('0.0.0.0/0', '2001:db8::7')).toBe(false);
    for (const odd of [
      '',
      '/',
      'x/8',
      '10.0.0.0/33',
      '10.0.0.0/8/8',
      '10.0.0.0/-1',
      '10.0.0.0/',
      '10.0.0/8',
      '::/129',
    ]) {
      expect(blocks(odd, '10.0.0.1'), odd).toBe(false);
    }
    fc.assert(fc.property(fc.string(), fc.string(), (range, ip) => typeof blocks(range, ip) === 'boolean'));
  });
});

describe('allowed origins', () => {
  const shows = (allowed: string[], origin: string, host = 'stream.test') => mayShow(allowed, { origin, host });
  it.each([
    ['example.com', 'https://example.com', true],
    ['example.com', 'http://EXAMPLE.com', true],
    ['example.com', 'https://www.example.com', false],
    ['example.com', 'https://badexample.com', false],
    ['example.com', 'https://example.com.evil.test', false],
    ['example.com', 'https://example.com:8443', false],
    ['localhost:3000', 'http://localhost:3000', true],
    ['localhost', 'http://localhost:3000', false],
    ['https://example.com/', 'https://example.com', true],
    ['*.example.com', 'https://a.example.com', true],
    ['*.example.com', 'https://a.b.example.com', true],
    ['*.example.com', 'https://example.com', false],
    ['*.example.com', 'https://badexample.com', false],
    ['*.', 'https://a.', false],
    ['', 'null', false],
    ['example.com', 'null', false],
    ['*', 'https://any.test', true],
  ])('%s covers %s: %s', (entry, origin, expected) => {
    expect(shows([entry], origin)).toBe(expected);
  });
  it('none means any; our own page is no other site; one that hides says cross-site; a program says nothing', () => {
    expect(shows([], 'https://any.test')).toBe(true);
    expect(mayShow(['a.test'], { referer: 'http://stream.test:8788/x/iframe', host: 'stream.test:8788' })).toBe(true);
    expect(mayShow(['a.test'], { fetchSite: 'cross-site', host: 'stream.test' })).toBe(false);
    expect(mayShow(['a.test'], { fetchSite: 'none', host: 'stream.test' })).toBe(true);
    expect(mayShow(['a.test'], { host: 'stream.test' })).toBe(true);
  });
});
