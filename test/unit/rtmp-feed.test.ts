/** The feed with the real backlog, gauge and gate over a simulated uplink: how late pictures are, and what is dropped. */
import { describe, expect, it } from 'vitest';
import { createBacklog } from '../../shared/rtmp/backlog.ts';
import type { Publication } from '../../shared/rtmp/client.ts';
import { createDeliveryGauge } from '../../shared/rtmp/delivery-gauge.ts';
import { createFeed } from '../../shared/rtmp/feed.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { recentBps } from '../../shared/rtmp/publication.ts';
import { tags } from '../support/media-tags.ts';

interface Uplink {
  mode?: 'backfill' | 'live';
  seconds: number;
  /** Of the stream; key frames each second, or as `gopMs` says. */
  streamBps?: number;
  keyBytes?: number;
  gopMs?: number;
  roundTripMs?: number;
  /** Capacity at a time of the run. */
  linkBps: (ms: number) => number;
  maxQueuedBytes?: number;
  /** Media wait from the beginning, as after an outage of so long. */
  outageMs?: number;
}

/** Steps of 5 ms; a first-in-first-out link, as a TCP connection is one. */
function run(uplink: Uplink) {
  const {
    mode = 'backfill',
    seconds,
    streamBps = 2_000_000,
    keyBytes = 50_000,
    gopMs = 1000,
    roundTripMs = 60,
  } = uplink;
  const STEP_MS = 5;
  const backlog = createBacklog({ mode, maxAgeMs: 60_000 });
  const feed = createFeed({ backlog, mode, maxQueuedBytes: uplink.maxQueuedBytes });
  const gauge = createDeliveryGauge();
  const way: { tag: FlvTag; endsAt: number }[] = [];
  const acknowledgements: { atMs: number; bytes: number }[] = [];
  const late: { arrivedMs: number; delayMs: number; timestampMs: number }[] = [];
  let nowMs = 0;
  let sent = 0;
  let delivered = 0;
  let acknowledged = 0;
  const publication = {
    send(tag: FlvTag) {
      sent += tag.body.length + 12;
      way.push({ tag, endsAt: sent });
      gauge.sent(nowMs, sent);
    },
    queuedBytes: () => sent - acknowledged,
    unwrittenBytes: () => 0,
    get bytesSent() {
      return sent;
    },
    get acknowledgedBytes() {
      return gauge.acknowledgedBytes;
    },
    get certainBytes() {
      return gauge.certainBytes;
    },
  };
  let sampleAtMs = 250;
  function sample(): void {
    gauge.sample({ atMs: nowMs, acceptedBytes: sent, kernelQueuedBytes: sent - acknowledged, unwrittenBytes: 0 });
    backlog.arrivedUpTo(gauge.certainBytes);
    const queuedBytes = sent - acknowledged;
    const wantedMs = feed.measured({
      ...{ atMs: nowMs, queuedBytes, roundTripMs, oldestMs: gauge.oldestMs, stalledMs: gauge.stalledMs },
      ...{ recentBps: recentBps(gauge), deliveredBps: gauge.deliveredBps(1000) },
    });
    const usualMs = queuedBytes > 32_768 ? 250 : 1000;
    sampleAtMs = nowMs + Math.min(usualMs, wantedMs ?? usualMs);
  }
  const framesPerGop = Math.round((gopMs * 30) / 1000);
  const restBytes = Math.max(100, Math.round((((streamBps / 8) * gopMs) / 1000 - keyBytes) / (framesPerGop - 1)));
  let frames = 0;
  const film = () => {
    for (; (frames * 1000) / 30 <= nowMs; frames += 1) {
      const isKey = frames % framesPerGop === 0;
      const picture = tags.picture(Math.round((frames * 1000) / 30), { isKey });
      backlog.add(
        { ...picture, body: Buffer.concat([picture.body, Buffer.alloc(isKey ? keyBytes : restBytes)]) },
        nowMs,
      );
      feed.added();
    }
  };
  backlog.add(tags.videoConfig(), 0);
  for (; nowMs < (uplink.outageMs ?? 0); nowMs += STEP_MS) film();
  const openedMs = nowMs;
  sampleAtMs = openedMs + 250;
  feed.opened(publication as unknown as Publication);
  let credit = 0;
  let wasCatchingUp = false;
  let caughtUpMs = 0;
  for (; nowMs < openedMs + seconds * 1000; nowMs += STEP_MS) {
    film();
    credit = Math.min(sent - delivered, credit + (uplink.linkBps(nowMs - openedMs) * STEP_MS) / 8000);
    delivered += credit;
    credit = 0;
    acknowledgements.push({ atMs: nowMs + roundTripMs, bytes: delivered });
    while (acknowledgements[0] && acknowledgements[0].atMs <= nowMs)
      acknowledged = acknowledgements.shift()?.bytes ?? 0;
    while (way[0] && way[0].endsAt <= delivered) {
      const { timestampMs } = way.shift()?.tag ?? { timestampMs: 0 };
      late.push({ arrivedMs: nowMs, delayMs: nowMs + roundTripMs / 2 - timestampMs, timestampMs });
    }
    if (nowMs >= sampleAtMs) sample();
    if (wasCatchingUp && !feed.isCatchingUp) caughtUpMs = nowMs - openedMs;
    wasCatchingUp = feed.isCatchingUp;
  }
  const worstMs = (fromMs: number, untilMs = Number.POSITIVE_INFINITY) =>
    Math.max(
      ...late
        .filter(({ arrivedMs: at }) => at - openedMs >= fromMs && at - openedMs < untilMs)
        .map(({ delayMs }) => delayMs),
    );
  return { feed, late, worstMs, caughtUpMs, stats: backlog.stats(nowMs) };
}

const squeezed = (ms: number) => (ms > 5_000 && ms < 20_000 ? 800_000 : 6_000_000);

describe('feed on a narrow uplink', () => {
  it.each(['backfill', 'live'] as const)(
    '%s: 2 Mbit/s through 800 kbit/s is never 1.5 s late, and at once well again',
    (mode) => {
      for (const keyBytes of [20_000, 60_000]) {
        for (const gopMs of [1000, 2000]) {
          // The squeeze begins at any moment of a group of pictures and of the measuring.
          for (let offsetMs = 0; offsetMs < gopMs; offsetMs += 170) {
            const linkBps = (ms: number) => squeezed(ms - offsetMs);
            const { worstMs, feed } = run({ mode, seconds: 27, keyBytes, gopMs, linkBps });
            expect([feed.skips > 0, worstMs(0) <= 1500], `${keyBytes} ${gopMs} ${offsetMs}: ${worstMs(0)}`).toEqual([
              true,
              true,
            ]);
            expect(worstMs(24_000)).toBeLessThan(500);
          }
        }
      }
    },
  );
  it('pictures still come: no gap longer than a group of pictures and the queue', () => {
    const { late } = run({ seconds: 20, linkBps: squeezed });
    const gaps = late.slice(1).map(({ arrivedMs }, index) => arrivedMs - (late[index]?.arrivedMs ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(2000);
  });
  it.each<[string, Partial<Uplink> & { bps: number; pauseMs?: number }]>([
    ['one large key frame, 3 Mbit/s, 60 ms', { streamBps: 500_000, keyBytes: 100_000, gopMs: 2000, bps: 3e6 }],
    ['the same in a stream of 2 Mbit/s', { keyBytes: 100_000, gopMs: 2000, bps: 3e6 }],
    ['the same a long way off', { keyBytes: 100_000, gopMs: 1000, roundTripMs: 200, bps: 6e6 }],
    ['a very long way', { streamBps: 4e6, roundTripMs: 600, bps: 8e6 }],
    ['an uplink just wide enough', { bps: 2.1e6 }],
    ['a trickle', { streamBps: 100_000, keyBytes: 5_000, bps: 200_000 }],
    ['a pause of 0.3 s', { bps: 3e6, pauseMs: 300 }],
    ['a pause of 0.5 s', { bps: 3e6, pauseMs: 500 }],
    ['a pause of 0.8 s', { bps: 6e6, pauseMs: 800 }],
  ])('drops nothing for %s', (_, { bps, pauseMs = 0, ...uplink }) => {
    for (const mode of ['backfill', 'live'] as const) {
      for (let atMs = 4000; atMs < 5000; atMs += 90) {
        const linkBps = (ms: number) => (ms > atMs && ms < atMs + pauseMs ? 0 : bps);
        const { feed, stats } = run({ mode, seconds: 9, ...uplink, linkBps });
        expect([feed.skips, stats.framesDropped]).toEqual([0, 0]);
        if (pauseMs === 0) break;
      }
    }
  });
  it('backfill: a pause of 1.6 s on a connection that survives is an outage, of which nothing is dropped', () => {
    const uplink: Uplink = { seconds: 12, linkBps: (ms) => (ms > 4000 && ms < 5600 ? 0 : 4_000_000) };
    expect(run(uplink).stats.framesDropped).toBe(0);
    expect(run({ ...uplink, mode: 'live' }).worstMs(7000)).toBeLessThan(300);
  });
  it('keeps to the bound in bytes where one is given, in mode live only', () => {
    const uplink: Uplink = { seconds: 15, linkBps: squeezed, maxQueuedBytes: 125_000 };
    expect(run({ ...uplink, mode: 'backfill' }).feed.skips).toBe(0);
    expect(run({ ...uplink, mode: 'live' }).feed.skips).toBeGreaterThan(0);
  });
});

describe('feed after an outage', () => {
  it('sends all that waits before any rule about the queue, and says when it has caught up', () => {
    const { stats, caughtUpMs, worstMs, feed } = run({ seconds: 20, outageMs: 8_000, linkBps: () => 6_000_000 });
    expect([stats.framesDropped, feed.skips, feed.isCatchingUp]).toEqual([0, 0, false]);
    // 8 s at 2 Mbit/s through what is left of 6.
    expect(caughtUpMs).toBeGreaterThan(3_000);
    expect(caughtUpMs).toBeLessThan(6_000);
    expect(worstMs(6_500)).toBeLessThan(300);
  });
  it('fills a fast uplink', () => {
    const { caughtUpMs } = run({ seconds: 5, outageMs: 20_000, linkBps: () => 100_000_000 });
    expect(caughtUpMs).toBeLessThan(2_000);
  });
  it('does not stop catching up where the uplink is too narrow: age decides', () => {
    const { stats, feed } = run({ seconds: 10, outageMs: 4_000, linkBps: () => 1_500_000 });
    expect([feed.isCatchingUp, feed.skips, stats.framesDropped]).toEqual([true, 0, 0]);
  });
});
