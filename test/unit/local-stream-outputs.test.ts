import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { type LiveInput, newLiveInput, type Output } from '../../cloud/local-stream/api/live-input.ts';
import { createOutputTimeline } from '../../cloud/local-stream/output-timeline.ts';
import { createOutputs } from '../../cloud/local-stream/outputs.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { type FlvTag, timestampDiffMs } from '../../shared/rtmp/flv.ts';
import { createRtmpPush, type RtmpPush, type RtmpPushOptions } from '../../shared/rtmp/push.ts';
import { Secret } from '../../shared/secrets.ts';
import { stretch, tags } from '../support/media-tags.ts';
import { startRtmpSink } from '../support/rtmp-sink.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

interface FakePush {
  key: string;
  written: FlvTag[];
  isStarted: boolean;
  isClosed: boolean;
  say: RtmpPushOptions['onChange'];
  /** Lets the farewell come to its end. */
  gone: () => void;
}

function world() {
  const clock = createTestClock();
  const pushes: FakePush[] = [];
  const state = { closesAtOnce: true };
  const input: { now: LiveInput | undefined } = { now: newLiveInput({}, 0) };
  const output = (n: number, change: Partial<Output> = {}): Output => ({
    ...{ uid: `o${n}`, url: `rtmp://127.0.0.1:${3000 + n}/live/`, enabled: true },
    streamKey: new Secret(`key-${n}`),
    ...change,
  });
  const outputs = createOutputs({
    ...{ clock, log: silentLog(), allowsAddress: () => true },
    input: () => input.now,
    createPush(options) {
      let gone = () => {};
      const farewell = new Promise<void>((resolve) => {
        gone = resolve;
      });
      const push: FakePush = {
        key: options.url.streamKey.reveal(),
        written: [],
        isStarted: false,
        isClosed: false,
        say: options.onChange,
        gone,
      };
      pushes.push(push);
      return {
        start() {
          push.isStarted = !push.isClosed;
        },
        write: (tag) => void push.written.push(tag),
        stats: () => ({}) as ReturnType<RtmpPush['stats']>,
        close() {
          push.isClosed = true;
          if (state.closesAtOnce) gone();
          return farewell;
        },
      };
    },
  });
  const publication = { inputUid: 'in', publicationId: 'p1' };
  function set(...wanted: Output[]) {
    if (input.now) input.now = { ...input.now, outputs: wanted };
    outputs.reconsider('in');
  }
  const open = () => pushes.filter(({ isClosed }) => !isClosed).map(({ key }) => key);
  const words = () => Object.fromEntries([...outputs.states('in')].map(([uid, said]) => [uid, said.state]));
  const send = (...media: FlvTag[]) => {
    for (const tag of media) outputs.tag('in', publication.publicationId, tag);
  };
  return { clock, input, outputs, output, pushes, publication, set, open, words, send, state };
}

describe('pushes of a live input', () => {
  it('go to every enabled output as long as somebody publishes', async () => {
    const { clock, outputs, output, publication, set, open, words, send, pushes } = world();
    set(output(1), output(2), output(3, { enabled: false }));
    expect([open(), words()]).toEqual([[], {}]);
    outputs.published(publication);
    expect(open()).toEqual(['key-1', 'key-2']);
    const media = [tags.metadata(), tags.videoConfig(), tags.audioConfig(), ...stretch({ fromMs: 0, untilMs: 500 })];
    send(...media);
    expect(pushes.map(({ written }) => written)).toEqual([media, media]);
    pushes[0]?.say({ state: 'publishing', attempt: 0 });
    expect(words()).toEqual({ o1: 'connected', o2: 'connecting' });
    outputs.unpublished(publication);
    await clock.advance(9_999);
    expect(open()).toEqual(['key-1', 'key-2']);
    await clock.advance(1);
    expect([open(), words()]).toEqual([[], { o1: 'disconnected', o2: 'disconnected' }]);
    expect(clock.pending()).toEqual([]);
  });
  it('begin, end and change at once, each for itself', () => {
    const { outputs, output, publication, set, open, words, send, pushes } = world();
    outputs.published(publication);
    send(tags.metadata(), tags.videoConfig(), tags.audioConfig(), tags.picture(0, { isKey: true }));
    set(output(1), output(2));
    expect(open()).toEqual(['key-1', 'key-2']);
    // One that comes in the middle is told what a decoder needs.
    expect(pushes[0]?.written).toEqual([tags.metadata(), tags.videoConfig(), tags.audioConfig()]);
    set(output(1, { enabled: false }), output(2));
    expect([open(), words()]).toEqual([['key-2'], { o1: 'disconnected', o2: 'connecting' }]);
    set(output(1), output(2));
    expect(open()).toEqual(['key-2', 'key-1']);
    expect(pushes).toHaveLength(3);
    set(output(2));
    expect([open(), words()]).toEqual([['key-2'], { o2: 'connecting' }]);
  });
  it('wait for the farewell of the one before: a destination takes one publisher', async () => {
    const { outputs, output, publication, set, state, pushes } = world();
    state.closesAtOnce = false;
    outputs.published(publication);
    set(output(1));
    set(output(1, { enabled: false }));
    set(output(1));
    await settle();
    expect(pushes.map(({ isStarted }) => isStarted)).toEqual([true, false]);
    pushes[0]?.gone();
    await settle();
    expect(pushes.map(({ isStarted }) => isStarted)).toEqual([true, true]);
  });
  it('end with the input, and when it is switched off', () => {
    const { input, outputs, output, publication, set, open, words } = world();
    set(output(1));
    outputs.published(publication);
    if (input.now) input.now = { ...input.now, enabled: false };
    outputs.reconsider('in');
    expect([open(), words()]).toEqual([[], { o1: 'disconnected' }]);
    outputs.published({ ...publication, publicationId: 'p2' });
    input.now = undefined;
    outputs.reconsider('in');
    expect([open(), words()]).toEqual([[], {}]);
  });
  it('go on over a publisher that comes back, and know a stranger’s tags', async () => {
    const { clock, outputs, output, publication, set, open, pushes } = world();
    set(output(1));
    outputs.published(publication);
    outputs.unpublished(publication);
    await clock.advance(5_000);
    outputs.published({ inputUid: 'in', publicationId: 'p2' });
    outputs.unpublished(publication);
    outputs.tag('in', 'p1', tags.picture(0));
    outputs.tag('in', 'p2', tags.picture(40));
    await clock.advance(60_000);
    expect(open()).toEqual(['key-1']);
    expect(pushes[0]?.written).toEqual([tags.picture(40)]);
  });
  it('say how they go, and why not', () => {
    const { outputs, output, publication, set, pushes } = world();
    set(output(1), output(2, { url: 'srt://host:778', streamKey: new Secret('k') }));
    outputs.published(publication);
    const said = () => outputs.states('in').get('o1');
    const retrying = (code: ErrorCode) =>
      pushes[0]?.say({ state: 'retrying', attempt: 1, cause: new GlasscastError(code) });
    expect(outputs.states('in').get('o2')).toEqual({ state: 'error', reason: 'INVALID_PUBLISH_URL' });
    retrying('INGEST_UNREACHABLE');
    expect(said()).toEqual({ state: 'connecting', reason: 'INGEST_UNREACHABLE' });
    retrying('DESTINATION_FORBIDDEN');
    expect(said()).toEqual({ state: 'error', reason: 'DESTINATION_FORBIDDEN' });
    pushes[0]?.say({ state: 'publishing', attempt: 2 });
    expect(said()).toEqual({ state: 'connected' });
    retrying('INGEST_SILENT');
    expect(said()).toEqual({ state: 'reconnecting', reason: 'INGEST_SILENT' });
    retrying('INGEST_REFUSED_KEY');
    expect(said()).toEqual({ state: 'error', reason: 'INGEST_REFUSED_KEY' });
    set();
    // Its last words come after it was removed.
    retrying('INGEST_DROPPED');
    expect(said()).toBeUndefined();
  });
  it('lose nothing to a destination that is far away: what is on its way there has not been refused', async () => {
    const clock = createTestClock();
    const sink = await startRtmpSink();
    const url = `rtmp://127.0.0.1:${sink.port}/live`;
    const known = newLiveInput({}, 0);
    known.outputs = [{ uid: 'o1', url, streamKey: new Secret('key'), enabled: true }];
    // 8 Mbit/s with a round trip of 500 ms.
    const sendQueue = { queuedBytes: async () => 500_000 };
    const outputs = createOutputs({
      ...{ clock, log: silentLog(), allowsAddress: () => true, input: () => known },
      createPush: (options) => createRtmpPush({ ...options, sendQueue }),
    });
    outputs.published({ inputUid: 'in', publicationId: 'p' });
    outputs.tag('in', 'p', tags.videoConfig());
    await vi.waitFor(() => expect(outputs.states('in').get('o1')).toEqual({ state: 'connected' }));
    for (let n = 0; n < 40; n += 1) {
      outputs.tag('in', 'p', tags.picture(n * 100, { isKey: n % 10 === 0 }));
      await clock.advance(100);
    }
    await outputs.close();
    expect(sink.tags.filter(({ body }) => body[1] === 1)).toHaveLength(40);
    await sink.close();
  });
  it('are all over when it closes', async () => {
    const { clock, outputs, output, publication, set, state, pushes } = world();
    state.closesAtOnce = false;
    set(output(1), output(2));
    outputs.published(publication);
    outputs.unpublished(publication);
    let isClosed = false;
    const closing = outputs.close().then(() => (isClosed = true));
    await settle();
    expect([isClosed, clock.pending()]).toEqual([false, []]);
    for (const { gone } of pushes) gone();
    await closing;
    await outputs.close();
  });
});

describe('the timeline of outputs', () => {
  it('is the publisher’s own as long as one publisher goes on', () => {
    const timeline = createOutputTimeline({ clock: createTestClock() });
    const media = [tags.metadata(), tags.videoConfig(), ...stretch({ fromMs: 70_000, untilMs: 72_000 })];
    timeline.begin();
    expect(media.map(timeline.place)).toEqual(media);
    // A publisher that comes back where it stopped, with what it sent meanwhile.
    timeline.begin();
    const more = stretch({ fromMs: 72_000, untilMs: 73_000 });
    expect(more.map(timeline.place)).toEqual(more);
  });
  it('goes on when the next encoder begins at zero, after the time that has passed', async () => {
    const clock = createTestClock();
    const timeline = createOutputTimeline({ clock });
    timeline.begin();
    for (const tag of stretch({ fromMs: 50_000, untilMs: 51_000 })) timeline.place(tag);
    await clock.advance(3_000);
    timeline.begin();
    const next = [tags.metadata(), tags.videoConfig(), ...stretch({ fromMs: 0, untilMs: 200 })].map(timeline.place);
    expect(next.slice(0, 4).map(({ kind, timestampMs }) => [kind, timestampMs])).toEqual([
      ['script', 50_998],
      ['video', 50_960],
      ['video', 53_998],
      ['audio', 53_998],
    ]);
  });
  it('never goes back over any publishers, and keeps the distances within each', () => {
    const run = fc.record({
      fromMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 32 - 3_000 }), fc.constant(2 ** 32 - 1_500)),
      pauseMs: fc.integer({ min: 0, max: 9_000 }),
      count: fc.integer({ min: 1, max: 20 }),
    });
    fc.assert(
      fc.asyncProperty(fc.array(run, { minLength: 1, maxLength: 6 }), async (runs) => {
        const clock = createTestClock();
        const timeline = createOutputTimeline({ clock });
        let last: number | undefined;
        for (const { fromMs, pauseMs, count } of runs) {
          await clock.advance(pauseMs);
          timeline.begin();
          timeline.place(tags.videoConfig());
          const given = Array.from({ length: count }, (_, n) => tags.picture((fromMs + n * 100) % 2 ** 32));
          const placed = given.map(timeline.place).map(({ timestampMs }) => timestampMs);
          for (const [index, at] of placed.entries()) {
            if (last !== undefined) expect(timestampDiffMs(at, last)).toBeGreaterThan(0);
            if (last !== undefined && index === 0) expect(timestampDiffMs(at, last)).toBeLessThanOrEqual(19_001);
            if (index > 0) expect(timestampDiffMs(at, placed[index - 1] ?? 0)).toBe(100);
            last = at;
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
