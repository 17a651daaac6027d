import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Encoder, EncoderEnd } from '../../device/encoding/encoder.ts';
import { createSound } from '../../device/encoding/sound.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { type FlvTag, isSequenceHeader } from '../../shared/rtmp/flv.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

interface FakeRun {
  part: 'wanted' | 'silence';
  isStarted: boolean;
  isOver: boolean;
  fetched: number;
  header(): void;
  packet(timestampMs: number): void;
  dies(code: ErrorCode): Promise<void>;
}

function world() {
  const clock = createTestClock();
  const runs: FakeRun[] = [];
  const tags: FlvTag[] = [];
  const notices: string[] = [];
  let away: ErrorCode | undefined;
  const open = (part: FakeRun['part']) => async (onTag: (tag: FlvTag) => void) => {
    if (part === 'wanted' && away) throw new GlasscastError(away);
    const mark = runs.length + 1;
    let settleEnd: (end: EncoderEnd) => void = () => {};
    const ended = new Promise<EncoderEnd>((resolve) => {
      settleEnd = resolve;
    });
    const run: FakeRun = {
      ...{ part, isStarted: false, isOver: false, fetched: 0 },
      header: () => onTag({ kind: 'audio', timestampMs: 0, body: Buffer.from([0xaf, 0, 0x11, 0x90]) }),
      packet: (timestampMs) => onTag({ kind: 'audio', timestampMs, body: Buffer.from([0xaf, 1, mark]) }),
      async dies(code) {
        run.isOver = true;
        settleEnd({ cause: new GlasscastError(code), frames: 1, ms: 1 });
        await settle();
      },
    };
    runs.push(run);
    const encoder: Encoder = {
      start: () => {
        run.isStarted = true;
      },
      pid: mark,
      fetch: () => {
        run.fetched += 1;
      },
      ended,
      async close() {
        run.isOver = true;
        settleEnd({ cause: undefined, frames: 1, ms: 1 });
      },
    };
    return encoder;
  };
  const sound = createSound({
    clock,
    log: silentLog(),
    random: () => 0,
    openWanted: open('wanted'),
    openSilence: open('silence'),
    onTag: (tag) => void tags.push(tag),
    onNotice: ({ code }) => void notices.push(code),
  });
  return {
    ...{ clock, runs, tags, notices, sound },
    setAway: (code: ErrorCode | undefined) => {
      away = code;
    },
    newest: (part: FakeRun['part']): FakeRun => {
      const run = runs.findLast((each) => each.part === part);
      if (!run) throw new Error(`no run of ${part}`);
      return run;
    },
    said: () => tags.map((tag) => (isSequenceHeader(tag) ? 'h' : `${tag.body.at(-1)}@${tag.timestampMs}`)),
  };
}

test('the microphone is heard; nothing else runs', async () => {
  const { sound, newest, said, clock, runs, notices } = world();
  sound.start();
  await settle();
  newest('wanted').header();
  newest('wanted').packet(10);
  sound.fetch();
  await clock.advance(5_000);
  expect([said(), runs.length, newest('wanted').fetched, notices]).toEqual([['h', '1@10'], 1, 1, []]);
  await sound.close();
  expect([newest('wanted').isOver, clock.pending()]).toEqual([true, []]);
});

test('a slow microphone is bridged with silence, without a word', async () => {
  const { sound, newest, said, clock, notices } = world();
  sound.start();
  await clock.advance(700);
  newest('silence').header();
  newest('silence').packet(700);
  expect(sound.isSilence).toBe(true);
  newest('wanted').header();
  newest('wanted').packet(690);
  newest('wanted').packet(710);
  newest('silence').packet(720);
  // The same header again, and what would go back in time, are left out.
  expect([said(), newest('silence').isOver, notices]).toEqual([['h', '2@700', '1@710'], true, []]);
  await sound.close();
});

test('a microphone that goes is silence at once, told once, tried again for ever, and told when it is back', async () => {
  const { sound, newest, said, clock, notices, setAway } = world();
  sound.start();
  await settle();
  newest('wanted').header();
  newest('wanted').packet(10);
  setAway('MICROPHONE_NOT_FOUND');
  await newest('wanted').dies('MICROPHONE_NOT_FOUND');
  expect(newest('silence').isStarted).toBe(true);
  newest('silence').packet(40);
  await clock.advance(600_000);
  expect([notices, sound.isSilence]).toEqual([['MICROPHONE_LOST'], true]);
  setAway(undefined);
  await clock.advance(5_000);
  newest('wanted').packet(605_000);
  expect([notices, newest('silence').isOver]).toEqual([['MICROPHONE_LOST', 'MICROPHONE_BACK'], true]);
  expect(said()).toEqual(['h', '1@10', '2@40', '3@605000']);
  await sound.close();
  expect(clock.pending()).toEqual([]);
});

test('silence that dies is begun again', async () => {
  const { sound, newest, clock, setAway, runs } = world();
  setAway('MICROPHONE_BUSY');
  sound.start();
  await settle();
  await newest('silence').dies('ENCODER_FAILED');
  await clock.advance(500);
  expect(runs.filter(({ part }) => part === 'silence')).toHaveLength(2);
  expect(newest('silence').isStarted).toBe(true);
  await sound.close();
  expect(newest('silence').isOver).toBe(true);
});

const ACTS = ['wanted speaks', 'silence speaks', 'wanted dies', 'silence dies', 'away', 'there', 'wait'] as const;

test('in whatever order: sound never goes back in time, one silence at most, nothing is left', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...ACTS), { maxLength: 40 }), async (acts) => {
      const all = world();
      all.sound.start();
      await settle();
      let atMs = 0;
      for (const act of acts) {
        atMs += 20;
        const [part, verb] = act.split(' ');
        const run = all.runs.findLast((each) => each.part === part && each.isStarted && !each.isOver);
        if (verb === 'speaks') run?.packet(atMs - (part === 'wanted' ? 30 : 0));
        if (verb === 'dies') await run?.dies('ENCODER_FAILED');
        if (act === 'away') all.setAway('MICROPHONE_BUSY');
        if (act === 'there') all.setAway(undefined);
        if (act === 'wait') await all.clock.advance(900);
        await settle();
        const alive = all.runs.filter(({ isStarted, isOver }) => isStarted && !isOver).map((each) => each.part);
        expect(alive.filter((each) => each === 'silence').length).toBeLessThanOrEqual(1);
        expect(alive.filter((each) => each === 'wanted').length).toBeLessThanOrEqual(1);
      }
      await all.sound.close();
      const stamps = all.tags.map(({ timestampMs }) => timestampMs);
      stamps.slice(1).forEach((stamp, index) => void expect(stamp).toBeGreaterThan(stamps[index] ?? 0));
      expect(all.runs.filter(({ isStarted, isOver }) => isStarted && !isOver)).toEqual([]);
      expect(all.clock.pending()).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test('a microphone that speaks for a moment and dies, over and over, is tried ever less often and does not flood with notices', async () => {
  const { sound, newest, clock, notices, runs } = world();
  sound.start();
  await settle();
  for (let second = 0; second < 60; second += 1) {
    const run = newest('wanted');
    if (!run.isOver) {
      run.header();
      run.packet(second * 1000);
      await run.dies('MICROPHONE_NOT_FOUND');
    }
    await clock.advance(1_000);
  }
  expect(runs.filter(({ part }) => part === 'wanted').length).toBeLessThan(20);
  expect(notices.length).toBeLessThan(40);
  await sound.close();
});

test('renewed, the microphone is closed and opened again, and nobody is told', async () => {
  const { sound, newest, runs, notices, said } = world();
  sound.start();
  await settle();
  newest('wanted').header();
  newest('wanted').packet(10);
  sound.renew();
  await settle();
  expect(runs.map(({ part, isOver }) => [part, isOver])).toEqual([
    ['wanted', true],
    ['wanted', false],
  ]);
  newest('wanted').header();
  newest('wanted').packet(40);
  expect(said()).toEqual(['h', '1@10', '2@40']);
  expect(notices).toEqual([]);
  await sound.close();
  expect(runs.every(({ isOver }) => isOver)).toBe(true);
});
