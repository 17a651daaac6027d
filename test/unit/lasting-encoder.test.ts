import { expect, test } from 'vitest';
import type { Encoder, EncoderEnd } from '../../device/encoding/encoder.ts';
import { createLastingEncoder } from '../../device/encoding/lasting-encoder.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

/** Encoders that live and die as the test says. */
function world({ openFails }: { openFails?: ErrorCode } = {}) {
  const clock = createTestClock();
  const runs: {
    end(end: Partial<EncoderEnd> & { code?: ErrorCode }): Promise<void>;
    closed: boolean;
    started: boolean;
  }[] = [];
  const lost: [ErrorCode, number][] = [];
  const failed: ErrorCode[] = [];
  const encoder = createLastingEncoder({
    clock,
    log: silentLog(),
    random: () => 0,
    onTag: () => {},
    onLost: ({ code }, attempt) => lost.push([code, attempt]),
    onFailed: ({ code }) => failed.push(code),
    async openEncoder(): Promise<Encoder> {
      if (openFails) throw new GlasscastError(openFails);
      let settleEnd: (end: EncoderEnd) => void = () => {};
      const ended = new Promise<EncoderEnd>((resolve) => {
        settleEnd = resolve;
      });
      const run = {
        started: false,
        closed: false,
        async end({ code = 'ENCODER_FAILED', frames = 0, ms = 0 }: { code?: ErrorCode; frames?: number; ms?: number }) {
          settleEnd({ cause: new GlasscastError(code), frames, ms });
          await settle();
        },
      };
      runs.push(run);
      return {
        start: () => {
          run.started = true;
        },
        pid: 100 + runs.length,
        ended,
        close: async () => {
          run.closed = true;
          settleEnd({ cause: undefined, frames: 0, ms: 0 });
        },
      };
    },
  });
  return { clock, runs, lost, failed, encoder };
}

test('a dead run is followed by another after its backoff', async () => {
  const { clock, runs, lost, failed, encoder } = world();
  encoder.start();
  await settle();
  expect(encoder.pid).toBe(101);
  await runs[0]?.end({ frames: 100, ms: 3000 });
  expect(encoder.pid).toBeUndefined();
  await clock.advance(199);
  expect(runs).toHaveLength(1);
  await clock.advance(1);
  expect(runs).toHaveLength(2);
  expect(runs[1]?.started).toBe(true);
  expect({ lost, failed }).toEqual({ lost: [['ENCODER_FAILED', 1]], failed: [] });
  await encoder.close();
  expect(runs[1]?.closed).toBe(true);
  expect(clock.pending()).toEqual([]);
});

test('gives up after seven restarts without a healthy run; a healthy one counts anew', async () => {
  const { clock, runs, failed, encoder } = world();
  encoder.start();
  await settle();
  await runs[0]?.end({ frames: 5, ms: 100 });
  await clock.advance(5000);
  await runs[1]?.end({ frames: 900, ms: 30_000 });
  for (let run = 2; run < 9; run += 1) {
    await clock.advance(5000);
    expect(failed).toEqual([]);
    await runs[run]?.end({});
  }
  expect(failed).toEqual(['ENCODER_FAILED']);
  await clock.advance(60_000);
  expect(runs).toHaveLength(9);
});

test('a missing camera at the start is an answer; later it is an accident', async () => {
  const atStart = world();
  atStart.encoder.start();
  await settle();
  await atStart.runs[0]?.end({ code: 'CAMERA_NOT_FOUND' });
  expect(atStart.failed).toEqual(['CAMERA_NOT_FOUND']);
  const later = world();
  later.encoder.start();
  await settle();
  await later.runs[0]?.end({ frames: 10, ms: 400 });
  await later.clock.advance(200);
  await later.runs[1]?.end({ code: 'CAMERA_NOT_FOUND' });
  expect([later.failed, later.lost.at(-1)]).toEqual([[], ['CAMERA_NOT_FOUND', 2]]);
  await later.encoder.close();
});

test('a source that cannot be opened fails without a run', async () => {
  const { encoder, failed, runs } = world({ openFails: 'CAPTURE_FILE_UNREADABLE' });
  encoder.start();
  await settle();
  expect([failed, runs]).toEqual([['CAPTURE_FILE_UNREADABLE'], []]);
});

test('closing while a run opens or waits leaves nothing', async () => {
  const opening = world();
  opening.encoder.start();
  await opening.encoder.close();
  expect(opening.runs.filter(({ started }) => started)).toEqual([]);
  const waiting = world();
  waiting.encoder.start();
  await settle();
  await waiting.runs[0]?.end({ frames: 1 });
  await waiting.encoder.close();
  expect(waiting.clock.pending()).toEqual([]);
});
