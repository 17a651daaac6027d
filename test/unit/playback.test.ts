import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPlayback, firstVariant, newestPosition } from '../../cloud/provider/playback.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock } from '../support/test-clock.ts';

const HLS = 'http://host/in/manifest/video.m3u8';
const DASH = 'http://host/in/manifest/video.mpd';
const master = (variant: string) => `#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n${variant}\n`;
const media = (first: number, count: number) =>
  `#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:${first}\n${Array.from({ length: count }, (_, n) => `#EXTINF:1,\ns${first + n}.m4s`).join('\n')}\n`;
const mpd = '<?xml version="1.0"?><MPD></MPD>';

function world() {
  const clock = createTestClock();
  const pages = new Map<string, { status: number; body: string } | 'fails'>();
  const asked: { url: string; agent: string }[] = [];
  const fetchFake = ((url: string, init: { headers: Record<string, string> }) => {
    asked.push({ url, agent: init.headers['user-agent'] ?? '' });
    const page = pages.get(url) ?? { status: 204, body: '' };
    if (page === 'fails') return Promise.reject(new TypeError('fetch failed'));
    return Promise.resolve(new Response(page.status === 204 ? null : page.body, { status: page.status }));
  }) as typeof fetch;
  const playback = createPlayback({
    clock,
    log: silentLog(),
    provingPollMs: 100,
    watchingPollMs: 1_000,
    fetch: fetchFake,
  });
  const heard: string[] = [];
  const watch = playback.watch(
    { streamId: 'm1', hlsUrl: HLS, dashUrl: DASH },
    { live: () => void heard.push('live'), advanced: () => void heard.push('advanced') },
  );
  const show = (url: string, body: string, status = 200) => void pages.set(url, { status, body });
  return { clock, pages, asked, heard, watch, show };
}

describe('proof', () => {
  it('wants a newer segment in one variant, and DASH', async () => {
    const { clock, heard, watch, show, asked } = world();
    watch.hurry();
    await clock.advance(300);
    expect(heard).toEqual([]);
    show(HLS, master('stream/video.m3u8'));
    show('http://host/in/manifest/stream/video.m3u8', media(0, 1));
    await clock.advance(300);
    expect(heard).toEqual([]);
    show('http://host/in/manifest/stream/video.m3u8', media(0, 2));
    await clock.advance(300);
    expect(heard).toEqual([]);
    show(DASH, mpd);
    await clock.advance(100);
    expect(heard).toEqual(['live']);
    expect(asked.every(({ agent }) => agent.startsWith('Mozilla/5.0'))).toBe(true);
    watch.close();
    expect(clock.pending()).toEqual([]);
  });

  it('takes a frozen manifest, a renamed variant and a renumbering for no evidence', async () => {
    const { clock, heard, watch, show } = world();
    watch.hurry();
    show(DASH, mpd);
    show(HLS, master('http://host/a.m3u8'));
    show('http://host/a.m3u8', media(40, 6));
    await clock.advance(2_000);
    show(HLS, master('http://host/b.m3u8'));
    show('http://host/a.m3u8', '', 404);
    show('http://host/b.m3u8', media(100, 6));
    await clock.advance(2_000);
    show('http://host/b.m3u8', media(0, 3));
    await clock.advance(2_000);
    expect(heard).toEqual([]);
    show('http://host/b.m3u8', media(1, 3));
    await clock.advance(200);
    expect(heard).toEqual(['live']);
    watch.close();
  });

  it('leaves a playlist that stays frozen when the master names another', async () => {
    const { clock, heard, watch, show } = world();
    watch.hurry();
    show(DASH, mpd);
    show(HLS, master('http://host/a.m3u8'));
    show('http://host/a.m3u8', media(40, 6));
    await clock.advance(2_000);
    // A reconnect renamed the variant; the old one is answered as it was.
    show(HLS, master('http://host/b.m3u8'));
    for (let newest = 1; newest <= 20; newest += 1) {
      show('http://host/b.m3u8', media(newest, 6));
      await clock.advance(200);
    }
    expect(heard[0]).toBe('live');
    watch.close();
  });

  it('leaves a playlist that has ended: the stream goes on under another name', async () => {
    const { clock, heard, watch, show } = world();
    watch.hurry();
    show(DASH, mpd);
    show(HLS, master('http://host/a.m3u8'));
    show('http://host/a.m3u8', media(0, 3));
    await clock.advance(200);
    // The local Stream was killed: its broadcast is a recording now, the next one another video.
    show('http://host/a.m3u8', `${media(0, 4)}#EXT-X-ENDLIST\n`);
    show(HLS, master('http://host/b.m3u8'));
    show('http://host/b.m3u8', media(0, 1));
    await clock.advance(500);
    expect(heard).toEqual([]);
    show('http://host/b.m3u8', media(0, 2));
    await clock.advance(200);
    expect(heard).toEqual(['live']);
    watch.close();
  });

  it.each([
    ['403', { status: 403, body: 'error code: 1010' }],
    ['NotFound', { status: 200, body: 'NotFound' }],
    ['a network failure', 'fails' as const],
  ])('goes on after %s', async (_name, page) => {
    const { clock, heard, watch, pages, show } = world();
    watch.hurry();
    pages.set(HLS, page);
    pages.set(DASH, page);
    await clock.advance(1_000);
    show(DASH, mpd);
    show(HLS, media(0, 1));
    await clock.advance(200);
    show(HLS, media(0, 2));
    await clock.advance(200);
    expect(heard).toEqual(['live']);
    watch.close();
  });

  it('looks calmly before it is hurried and after the proof, and then tells each advance it sees', async () => {
    const { clock, heard, watch, show, asked } = world();
    show(DASH, mpd);
    show(HLS, media(0, 1));
    await clock.advance(5_000);
    const calm = asked.length;
    expect(calm).toBeLessThanOrEqual(8);
    show(HLS, media(0, 2));
    watch.hurry();
    await clock.advance(0);
    expect(heard).toEqual(['live']);
    await clock.advance(1_000);
    show(HLS, media(1, 3));
    await clock.advance(1_000);
    expect(heard).toEqual(['live', 'advanced']);
    watch.close();
    const closed = asked.length;
    show(HLS, media(9, 9));
    await clock.advance(10_000);
    expect([asked.length, heard.length]).toEqual([closed, 2]);
  });
});

describe('playlists', () => {
  it('are read as RFC 8216 writes them', () => {
    expect(firstVariant('#EXTM3U\r\n#EXT-X-STREAM-INF:X\r\n# comment\r\nv.m3u8\r\n')).toBe('v.m3u8');
    expect(firstVariant(media(0, 2))).toBeUndefined();
    expect([newestPosition(media(7, 3)), newestPosition('#EXTM3U\n#EXTINF:1,\na'), newestPosition('#EXTM3U')]).toEqual([
      10,
      1,
      undefined,
    ]);
  });
  it('of any content do no harm', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        firstVariant(text);
        newestPosition(text);
      }),
    );
  });
});

describe('a provider that is slow', () => {
  it('is never asked twice at once; live is told once, by one source; no timer is left (defects 9, 10)', async () => {
    const clock = createTestClock();
    let open = 0;
    let most = 0;
    let asked = 0;
    const fetchFake = (async (url: string) => {
      open += 1;
      most = Math.max(most, open);
      asked += 1;
      await clock.sleep(3_000);
      open -= 1;
      return new Response(url === DASH ? mpd : media(asked, 2));
    }) as typeof fetch;
    const playback = createPlayback({
      ...{ clock, log: silentLog(), provingPollMs: 100, watchingPollMs: 1_000 },
      fetch: fetchFake,
    });
    const heard: string[] = [];
    const watch = playback.watch(
      { streamId: 'm1', hlsUrl: HLS, dashUrl: DASH },
      { live: () => void heard.push('live'), advanced: () => {} },
    );
    watch.hurry();
    // Far longer than the minute after which the reference gives up and says nothing.
    await clock.advance(180_000);
    expect(heard).toEqual(['live']);
    // The two manifests are asked for together.
    expect(most).toBe(2);
    watch.close();
    await clock.advance(10_000);
    expect(clock.pending()).toEqual([]);
  });

  it('is looked at once on request: a picture, none yet, or no evidence', async () => {
    for (const [page, expected] of [
      [{ status: 200, body: master('v.m3u8') }, true],
      [{ status: 204, body: null }, false],
      [{ status: 403, body: 'error code: 1010' }, undefined],
      [{ status: 404, body: 'NotFound' }, undefined],
      [{ status: 200, body: '<html>' }, undefined],
    ] as const) {
      const playback = createPlayback({
        ...{ clock: createTestClock(), log: silentLog(), provingPollMs: 1, watchingPollMs: 1 },
        fetch: (async () => new Response(page.body, { status: page.status })) as unknown as typeof fetch,
      });
      expect(await playback.isPlaying(HLS)).toBe(expected);
    }
  });
});
