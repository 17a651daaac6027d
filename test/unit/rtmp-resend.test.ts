/**
 * What the push sends again and what the ingest drops have to fit: over any schedule of losses, viewers get each tag once.
 * The backlog and the timeline are the real ones; the network between them loses any suffix of a connection.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTimeline } from '../../cloud/local-stream/ingest/timeline.ts';
import { type Backlog, createBacklog } from '../../shared/rtmp/backlog.ts';
import { createDeliveryGauge } from '../../shared/rtmp/delivery-gauge.ts';
import { type FlvTag, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { tags } from '../support/media-tags.ts';
import { createTestClock } from '../support/test-clock.ts';

/** The encoder: two tracks, a key frame each so many pictures, each body one of a kind. */
function encoded(seconds: number, keyEvery: number): FlvTag[] {
  const pictures = Array.from({ length: seconds * 25 }, (_, n) => tags.picture(n * 40, { isKey: n % keyEvery === 0 }));
  const sounds = Array.from({ length: seconds * 43 }, (_, n) => tags.sound(Math.floor((n * 1024_000) / 44_100)));
  const all = [...pictures, ...sounds].sort((a, b) => a.timestampMs - b.timestampMs);
  return all.map((tag, n) => {
    const serial = Buffer.alloc(4);
    serial.writeUInt32BE(n);
    return { ...tag, body: Buffer.concat([tag.body, serial, Buffer.alloc((n * 37) % 400)]) };
  });
}

interface Outage {
  /** How long the connection lives before it breaks, and how long there is none. */
  liveMs: number;
  gapMs: number;
  /** Share of what is on its way at the break that still arrives. */
  arrives: number;
  /** How far behind the ingest's acknowledgements are; undefined: it sends none and TCP's have to do. */
  ackEachBytes: number | undefined;
  /** Bytes per millisecond that the network takes. */
  rate: number;
}

const outage: fc.Arbitrary<Outage> = fc.record({
  liveMs: fc.integer({ min: 0, max: 6000 }),
  gapMs: fc.integer({ min: 0, max: 8000 }),
  arrives: fc.double({ min: 0, max: 1, noNaN: true }),
  ackEachBytes: fc.constantFrom(undefined, 1, 1000, 64 * 1024),
  rate: fc.constantFrom(60, 200, 5000),
});

const isMedia = (tag: FlvTag) => tag.kind !== 'script' && !isSequenceHeader(tag);

/** One connection: what `next` gives travels in order, and a break takes the rest of it away. */
function connection(backlog: Backlog, arrived: (tag: FlvTag) => void, { arrives, ackEachBytes, rate }: Outage) {
  const gauge = createDeliveryGauge();
  const onTheWay: { tag: FlvTag; endsAt: number }[] = [];
  let sent = 0;
  let read = 0;
  let acknowledged = 0;
  function deliver(uptoBytes: number): void {
    while (onTheWay[0] && onTheWay[0].endsAt <= uptoBytes) {
      const { tag, endsAt } = onTheWay.shift() ?? { tag: tags.metadata(), endsAt: 0 };
      read = endsAt;
      arrived(tag);
    }
    if (ackEachBytes === undefined || read - acknowledged < ackEachBytes) return;
    acknowledged = read;
    gauge.acknowledgedByIngest(read);
  }
  return {
    step(nowMs: number, elapsedMs: number) {
      for (let tag = backlog.next(); tag; tag = backlog.next()) {
        sent += tag.body.length + 12;
        onTheWay.push({ tag, endsAt: sent });
        backlog.sentUpTo(sent);
        gauge.sent(nowMs, sent);
      }
      deliver(read + rate * elapsedMs);
      gauge.sample({ atMs: nowMs, acceptedBytes: sent, kernelQueuedBytes: sent - read, unwrittenBytes: 0 });
      backlog.arrivedUpTo(gauge.certainBytes);
    },
    lose() {
      deliver(read + (sent - read) * arrives);
      backlog.rewind();
    },
    drain: () => deliver(sent),
  };
}

describe('push and ingest together', () => {
  it('deliver exactly what was written, in order, over any schedule of losses', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(outage, { maxLength: 5 }),
        fc.integer({ min: 5, max: 60 }),
        async (outages, keyEvery) => {
          const clock = createTestClock();
          const timeline = createTimeline({ clock });
          const backlog = createBacklog({ mode: 'backfill', maxAgeMs: 60_000 });
          const written = encoded(30, keyEvery);
          const got: FlvTag[] = [];
          let restarts = 0;
          const arrived = (tag: FlvTag) => {
            const verdict = timeline.judge(tag);
            if (verdict === 'restart') restarts += 1;
            if (verdict !== 'drop' && isMedia(tag)) got.push(tag);
          };
          for (const header of [tags.metadata(), tags.videoConfig(), tags.audioConfig()]) backlog.add(header, 0);
          const schedule = [...outages, { liveMs: Infinity, gapMs: 0, arrives: 1, ackEachBytes: 1, rate: 5000 }];
          const startMs = clock.monotonicMs();
          let next = 0;
          const write = () => {
            for (; (written[next]?.timestampMs ?? Infinity) <= clock.monotonicMs() - startMs; next += 1) {
              backlog.add(written[next] ?? tags.metadata(), clock.monotonicMs());
            }
          };
          for (const planned of schedule) {
            timeline.begin();
            const link = connection(backlog, arrived, planned);
            for (let ms = 0; ms < planned.liveMs && next < written.length; ms += 50) {
              await clock.advance(50);
              write();
              link.step(clock.monotonicMs(), 50);
            }
            if (planned.liveMs < Infinity) link.lose();
            else {
              link.step(clock.monotonicMs(), 0);
              link.drain();
            }
            for (let ms = 0; ms < planned.gapMs; ms += 50) {
              await clock.advance(50);
              write();
            }
          }
          expect(restarts).toBe(0);
          expect(got.map(({ body }) => body.toString('hex'))).toEqual(written.map(({ body }) => body.toString('hex')));
        },
      ),
      { numRuns: 60 },
    );
  }, 60_000);
});
