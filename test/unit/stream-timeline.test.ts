import { expect, it } from 'vitest';
import { createStreamTimeline } from '../../cloud/streams/stream-timeline.ts';
import type { StreamSnapshot } from '../../cloud/streams/stream-views.ts';
import { redactUrlsIn } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

const output = { outputId: 'o1', url: 'rtmp://live.example', addedBy: 'app.a', status: 'stopped' as const };

function world(maxEntries?: number) {
  const clock = createTestClock();
  const timeline = createStreamTimeline({
    clock,
    redact: redactUrlsIn,
    ...(maxEntries === undefined ? {} : { maxEntries }),
  });
  let now = { state: 'provisioning', viewers: ['app.a'], outputs: [] } as unknown as StreamSnapshot;
  /** What is new once the stream looks like that. */
  const becomes = (change: Partial<StreamSnapshot>) => {
    now = { ...now, ...change };
    return timeline.saw(now);
  };
  const texts = (change: Partial<StreamSnapshot>) => becomes(change).map(({ text }) => text);
  return { clock, timeline, becomes, texts };
}

it('tells each state once, with when and why', async () => {
  const { clock, timeline, becomes, texts } = world();
  expect(becomes({})).toEqual([
    { atMs: clock.now(), kind: 'state', state: 'provisioning', text: 'Asked for; the live input is being made' },
    { atMs: clock.now(), kind: 'viewer', text: 'app.a watches' },
  ]);
  await clock.advance(500);
  expect(becomes({ state: 'starting' })).toMatchObject([{ atMs: clock.now(), state: 'starting' }]);
  expect(becomes({})).toEqual([]);
  expect(becomes({ state: 'active', liveMs: 900 })).toMatchObject([{ text: 'Live', numbers: { liveMs: 900 } }]);
  timeline.because({ errorCode: 'INGEST_DROPPED', errorDetails: 'the ingest closed the connection' }, () => {
    expect(becomes({ state: 'interrupted', message: 'The glasses are reconnecting' })).toMatchObject([
      { code: 'INGEST_DROPPED', text: 'The glasses are reconnecting: the ingest closed the connection' },
    ]);
  });
  await clock.advance(3_200);
  expect(becomes({ state: 'active' })).toMatchObject([
    { text: 'The picture is back after 3.2 s', numbers: { interruptedMs: 3_200 } },
  ]);
  // What broke it then does not explain the next one.
  expect(becomes({ state: 'interrupted', message: 'No new picture arrives' })).toEqual([
    { atMs: clock.now(), kind: 'state', state: 'interrupted', text: 'No new picture arrives' },
  ]);
  const failed = { state: 'failed', errorCode: 'STREAM_INTERRUPTED', message: 'It did not come back' } as const;
  expect(becomes({ ...failed, viewers: [], outputs: [] })).toMatchObject([
    { state: 'failed', code: 'STREAM_INTERRUPTED', text: 'It did not come back' },
  ]);
  expect(texts({})).toEqual([]);
});

it('tells who watches and leaves, and says why nobody does', () => {
  const { becomes, texts } = world();
  becomes({});
  expect(texts({ viewers: ['app.a', 'app.b'] })).toEqual(['app.b watches']);
  expect(texts({ viewers: ['app.b'] })).toEqual(['app.a has left']);
  expect(texts({ viewers: [], state: 'stopping' })).toEqual(['Nobody watches any more']);
  expect(texts({ state: 'stopped' })).toEqual(['The stream is over']);
});

it('tells how each output goes', () => {
  const { becomes, texts } = world();
  becomes({});
  expect(texts({ outputs: [output] })).toEqual(['Output rtmp://live.example added by app.a']);
  expect(texts({ outputs: [{ ...output, status: 'active' }] })).toEqual([
    'Output rtmp://live.example: the picture arrives',
  ]);
  const broken = { ...output, name: 'One', status: 'error' as const, error: 'refused' };
  expect(texts({ outputs: [broken] })).toEqual(['Output One (rtmp://live.example): does not work, refused']);
  expect(texts({ outputs: [broken] })).toEqual([]);
  expect(texts({ outputs: [] })).toEqual(['Output One (rtmp://live.example) removed']);
});

it('tells what the glasses notice, with its numbers, and where they are', () => {
  const { timeline, becomes } = world();
  becomes({});
  const numbers = { uplinkBps: 400_000 };
  expect(timeline.noticed({ code: 'UPLINK_NARROW', text: 'Smaller', numbers })).toMatchObject({
    ...{ kind: 'notice', code: 'UPLINK_NARROW', text: 'Smaller', numbers },
  });
  expect(timeline.glasses(false)).toMatchObject({ kind: 'glasses' });
  expect(timeline.entries().map(({ kind }) => kind)).toEqual(['state', 'viewer', 'notice', 'glasses']);
});

it('says that a stream is older than the relay', () => {
  expect(world().texts({ state: 'interrupted', viewers: [] })).toEqual(['Taken over from the relay before a restart']);
});

it('keeps the newest, and no key that somebody quoted', () => {
  const { timeline } = world(3);
  for (const n of [1, 2, 3, 4]) timeline.noticed({ code: 'HEAT', text: `${n} rtmp://x/live/the-key` });
  expect(timeline.entries().map(({ text }) => text)).toEqual([2, 3, 4].map((n) => `${n} rtmp://x/live/***`));
});
