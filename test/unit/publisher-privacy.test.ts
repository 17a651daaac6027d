/** Nothing captures without leave: the publisher over encoders that open late, die, and take their time to end. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Encoder, EncoderEnd } from '../../device/encoding/encoder.ts';
import { createPublisher, type Publisher, type PublisherStatus } from '../../device/publishing/publisher.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import type { RtmpPushChange } from '../../shared/rtmp/push.ts';
import { deviceStatusMeaning, resolveSettings } from '../../shared/stream.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const LEASE_MS = 20_000;
const keyFrame: FlvTag = { kind: 'video', timestampMs: 0, body: Buffer.from([0x17, 1, 0, 0, 0, 9]) };

/** Each encoder and push of one publisher; nothing settles before the test lets it. */
function world() {
  const clock = createTestClock();
  const statuses: PublisherStatus[] = [];
  const opening: { succeed(): void; fail(): void }[] = [];
  const alive = new Set<{ give(): void; die(code: ErrorCode): void; asked: boolean; end(): void }>();
  let mostAlive = 0;
  let pushOpen = false;
  /** Pictures written, encoders started. */
  let doneWhenOver = 0;
  let change: (next: RtmpPushChange) => void = () => {};
  let finishPush: (() => void) | undefined;

  function encoder(onTag: (tag: FlvTag) => void): Encoder {
    let settleEnd: (end: EncoderEnd) => void = () => {};
    const ended = new Promise<EncoderEnd>((resolve) => {
      settleEnd = resolve;
    });
    const over = (cause: GlasscastError | undefined) => {
      alive.delete(run);
      settleEnd({ cause, frames: 3, ms: 50 });
    };
    const run = {
      asked: false,
      give: () => onTag(keyFrame),
      die: (code: ErrorCode) => over(run.asked ? undefined : new GlasscastError(code)),
      end: () => over(undefined),
    };
    return {
      start() {
        alive.add(run);
        if (isOver()) doneWhenOver += 1;
        mostAlive = Math.max(mostAlive, alive.size);
      },
      pid: 7,
      ended,
      async close() {
        run.asked = true;
        if (alive.has(run)) await ended;
      },
    };
  }
  const publisher: Publisher = createPublisher({
    clock,
    log: silentLog(),
    random: () => 0,
    streamId: 'm1',
    settings: resolveSettings(),
    leaseMs: LEASE_MS,
    onStatus: (status) => statuses.push(status),
    openPush(onChange) {
      change = onChange;
      return {
        start: () => {
          pushOpen = true;
        },
        write: () => {
          if (isOver()) doneWhenOver += 1;
        },
        stats: () => ({
          ...{
            state: 'publishing',
            bytesSent: 0,
            queuedBytes: 0,
            deliveredBps: undefined,
            isCatchingUp: false,
            skips: 0,
            backlogBytes: 0,
            spilledBytes: 0,
            backlogMs: 0,
            tagsDropped: 0,
          },
          ...{ framesDropped: 0, tagsResent: 0, reconnects: 0, redirects: 0, connectMs: 1 },
        }),
        close: () =>
          new Promise((resolve) => {
            finishPush = () => {
              pushOpen = false;
              resolve();
            };
          }),
      };
    },
    openEncoder: (onTag) =>
      new Promise((resolve, reject) => {
        opening.push({
          succeed: () => resolve(encoder(onTag)),
          fail: () => reject(new GlasscastError('CAMERA_BUSY')),
        });
      }),
  });
  const isOver = () => ['stopping', 'stopped', 'failed'].includes(publisher.state);
  const acts = {
    opens: () => opening.shift()?.succeed(),
    'does not open': () => opening.shift()?.fail(),
    picture: () => alive.forEach((run) => void run.give()),
    dies: () => alive.forEach((run) => void run.die('ENCODER_FAILED')),
    'ends as asked': () => alive.forEach((run) => void (run.asked && run.end())),
    publishing: () => change({ state: 'publishing', attempt: 0 }),
    lost: () => change({ state: 'retrying', attempt: 1, cause: new GlasscastError('INGEST_DROPPED') }),
    refused: () => change({ state: 'retrying', attempt: 1, cause: new GlasscastError('INGEST_REFUSED_KEY') }),
    'push closes': () => finishPush?.(),
    'keep-alive': () => publisher.renewLease(),
    stop: () => void publisher.close(),
    'a second': () => clock.advance(1000),
    'seven seconds': () => clock.advance(7000),
  };
  return {
    ...{ clock, publisher, statuses, acts, isOver, alive },
    mostAlive: () => mostAlive,
    pushOpen: () => pushOpen,
    doneWhenOver: () => doneWhenOver,
    opensLate: () => opening.length,
  };
}
type Act = keyof ReturnType<typeof world>['acts'];
const ACTS = Object.keys(world().acts) as Act[];

/** What each stage of a push may be followed by, as an observer of the statuses sees it. */
const FOLLOWS: Record<string, readonly string[]> = {
  starting: ['starting', 'publishing', 'stopping', 'failed'],
  publishing: ['publishing', 'retrying', 'stopping', 'failed'],
  retrying: ['retrying', 'publishing', 'stopping', 'failed'],
  stopping: ['ended'],
  ended: [],
  failed: [],
};

test('in whatever order things happen: one encoder at most, none without leave, statuses by the table', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...ACTS), { maxLength: 40 }), async (acts) => {
      const all = world();
      all.publisher.start();
      let leaseUntilMs = all.clock.now() + LEASE_MS;
      for (const act of acts) {
        if (act === 'keep-alive' && !all.isOver()) leaseUntilMs = all.clock.now() + LEASE_MS;
        await all.acts[act]();
        await settle();
        // Without a lease, or after a stop, all that may still live has been told to end.
        if (all.clock.now() >= leaseUntilMs) expect(all.isOver()).toBe(true);
        if (all.isOver()) for (const run of all.alive) expect(run.asked).toBe(true);
      }
      // The rest of the world keeps its promises: what opens opens, what was told to end ends.
      void all.publisher.close();
      for (let round = 0; round < 3; round += 1) {
        for (const act of ['opens', 'ends as asked', 'push closes'] as const) {
          all.acts[act]();
          await settle();
        }
      }
      await all.publisher.close();
      expect(['stopped', 'failed']).toContain(all.publisher.state);
      expect([all.alive.size, all.opensLate(), all.pushOpen(), all.clock.pending()]).toEqual([0, 0, false, []]);
      expect(all.mostAlive()).toBeLessThanOrEqual(1);
      expect(all.doneWhenOver()).toBe(0);
      const stages = all.statuses.map(({ status }) => deviceStatusMeaning[status]);
      stages.forEach((stage, index) => {
        if (index > 0) expect(FOLLOWS[stages[index - 1] ?? '']).toContain(stage);
      });
    }),
    { numRuns: 300 },
  );
});
