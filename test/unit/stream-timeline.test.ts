import { expect, it } from 'vitest';
import { createStreamTimeline, type ProviderTrouble } from '../../cloud/streams/stream-timeline.ts';
import type { StreamSnapshot } from '../../cloud/streams/stream-views.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { redactUrlsIn } from '../../shared/secrets.ts';

const output = { outputId: 'o1', url: 'rtmp://live.example', addedBy: 'app.a', status: 'stopped' as const };
const START_MS = 1_700_000_000_000;

function world(options: Partial<Parameters<typeof createStreamTimeline>[0]> = {}) {
  const timeline = createStreamTimeline({ createdAtMs: START_MS, redact: redactUrlsIn, ...options });
  let atMs = START_MS;
  let now = { state: 'provisioning', viewers: ['app.a'], outputs: [] } as unknown as StreamSnapshot;
  /** What is new once the stream looks like that. */
  const becomes = (change: Partial<StreamSnapshot>) => {
    now = { ...now, ...change };
    return timeline.saw(now, atMs);
  };
  const heard = (status: DeviceStreamStatus['status'], more: Partial<DeviceStreamStatus> = {}) =>
    timeline.heard({ type: 'stream_status', status, ...more }, atMs);
  const texts = (change: Partial<StreamSnapshot>) => becomes(change).map(({ text }) => text);
  const later = (ms: number) => {
    atMs += ms;
  };
  const retried = (trouble: ProviderTrouble) => timeline.provider(trouble, atMs);
  const glasses = (areThere: boolean) => timeline.glasses(areThere, atMs);
  return { timeline, becomes, heard, texts, later, retried, glasses, at: () => atMs };
}

it('tells each step of a start once, with when, where and why', () => {
  const { becomes, later, timeline } = world();
  expect(becomes({})).toEqual([
    ...[{ id: 0, atMs: START_MS, source: 'app', kind: 'state', state: 'provisioning', text: 'Asked for by app.a' }],
    ...[{ id: 1, atMs: START_MS, source: 'app', kind: 'viewer', text: 'app.a watches' }],
  ]);
  later(500);
  expect(becomes({ state: 'starting' })).toMatchObject([{ id: 500, source: 'provider', because: 0 }]);
  expect(becomes({})).toEqual([]);
  becomes({ startSentMs: 510 });
  later(300);
  expect(becomes({ publishingMs: 800 })).toMatchObject([
    { source: 'device', code: 'PUBLISHING', because: 501, numbers: { publishingMs: 800 } },
  ]);
  expect(becomes({ state: 'active', liveMs: 900 })).toMatchObject([
    { text: 'Live', because: 800, numbers: { liveMs: 900 } },
  ]);
  expect(timeline.entries).toHaveLength(6);
});

it('what the glasses tell is the cause of what the stream does, there and back', () => {
  const { becomes, heard, later, timeline } = world();
  becomes({ state: 'active' });
  later(1_000);
  const [trouble] = heard('reconnecting', { errorCode: 'INGEST_DROPPED', errorDetails: 'the ingest closed' });
  expect(trouble).toMatchObject({
    source: 'network',
    kind: 'trouble',
    code: 'INGEST_DROPPED',
    text: 'the ingest closed',
  });
  const [lost] = becomes({ state: 'interrupted', message: 'The glasses are reconnecting' });
  expect(lost).toMatchObject({ source: 'network', because: trouble?.id });
  later(1_000);
  // Once more the same, folded; and its echo is not the root.
  expect(heard('reconnecting', { errorCode: 'INGEST_DROPPED' })).toMatchObject([{ id: trouble?.id, times: 2 }]);
  expect(timeline.stallCause()).toBe('INGEST_DROPPED');
  later(2_200);
  expect(heard('reconnected')).toMatchObject([
    { kind: 'recovery', because: trouble?.id, numbers: { reconnectMs: 3_200 } },
  ]);
  expect(becomes({ state: 'active' })).toMatchObject([
    { text: 'The picture is back after 3.2 s', because: lost?.id, numbers: { interruptedMs: 3_200 } },
  ]);
  // What broke it then does not explain the next one.
  const [again] = becomes({ state: 'interrupted', message: 'No new picture arrives' });
  expect(again).toMatchObject({ source: 'relay', text: 'No new picture arrives' });
  expect(again?.because).toBeUndefined();
  // A cause that is told later is its cause all the same.
  heard('reconnecting', { errorCode: 'CAMERA_SILENT' });
  expect(timeline.stallCause()).toBe('CAMERA_SILENT');
});

it('a failure goes back to what was open', () => {
  const { becomes, heard, glasses } = world();
  becomes({});
  const [trouble] = heard('connecting', { errorCode: 'ENCODER_FAILED', errorDetails: 'crashed' });
  expect(becomes({ state: 'failed', errorCode: 'START_TIMEOUT' })).toMatchObject([
    { code: 'START_TIMEOUT', because: trouble?.id },
  ]);
  const other = world();
  other.becomes({ state: 'active' });
  const [away] = other.glasses(false);
  expect(other.becomes({ state: 'failed', errorCode: 'GLASSES_NOT_CONNECTED' })).toMatchObject([{ because: away?.id }]);
  expect(glasses(true)).toMatchObject([{ code: 'CONTROL_BACK', text: 'The glasses are connected to the relay' }]);
});

it('what glasses tell as soon as they are back befell them with the loss of their line', () => {
  const { becomes, glasses, heard, later } = world();
  becomes({ state: 'active' });
  const [lost] = glasses(false);
  later(9_000);
  glasses(true);
  later(500);
  expect(heard('reconnecting', { errorCode: 'INGEST_SILENT' })).toMatchObject([{ because: lost?.id }]);
  heard('reconnected');
  later(9_000);
  expect(heard('reconnecting', { errorCode: 'INGEST_DROPPED' })[0]?.because).toBeUndefined();
});

it('tells how long the line to the relay was gone, and how the provider lets a start wait', () => {
  const { becomes, glasses, later, retried } = world();
  becomes({});
  const [lost] = glasses(false);
  later(2_000);
  expect(glasses(true)).toMatchObject([{ because: lost?.id, numbers: { awayMs: 2_000 }, source: 'network' }]);
  expect(retried({ code: 'PROVIDER_FAILED', waitMs: 400, status: 500 })).toMatchObject([
    {
      source: 'provider',
      text: 'The provider answered 500; asked again in 0.4 s',
      numbers: { status: 500, waitMs: 400 },
    },
  ]);
});

it('tells who watches and leaves, and how it was ended', () => {
  const { becomes, texts } = world();
  becomes({});
  expect(texts({ viewers: ['app.a', 'app.b'] })).toEqual(['app.b watches']);
  expect(texts({ viewers: ['app.b'] })).toEqual(['app.a has left']);
  expect(becomes({ viewers: [], state: 'stopping' })).toMatchObject([
    { code: 'ENDED_BY_VIEWERS', text: 'Nobody watches any more' },
  ]);
  expect(texts({ state: 'stopped' })).toEqual(['The stream is over']);
  const message = 'The operator has ended the stream';
  expect(world().becomes({ state: 'stopping', message })).toMatchObject([{ code: 'ENDED_BY_OPERATOR', source: 'app' }]);
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

it('goes on with what another process wrote: nothing is told twice, and what was open still is', () => {
  const first = world();
  first.becomes({ state: 'active', startSentMs: 1, publishingMs: 2 });
  first.later(1_000);
  const [trouble] = first.heard('reconnecting', { errorCode: 'INGEST_SILENT' });
  first.becomes({ state: 'interrupted' });
  const kept = { entries: [...first.timeline.entries], leftOut: 3 };
  const next = world({ kept });
  next.later(5_000);
  expect(next.timeline.takenOver(next.at(), 2_000)).toMatchObject([{ code: 'TAKEN_OVER', numbers: { awayMs: 2_000 } }]);
  expect(next.becomes({ state: 'interrupted', publishingMs: 9 })).toEqual([]);
  expect(next.timeline.stallCause()).toBe('INGEST_SILENT');
  next.heard('reconnected');
  expect(next.becomes({ state: 'active' })).toMatchObject([{ text: 'The picture is back after 4.0 s' }]);
  expect(next.timeline.entries.find(({ kind }) => kind === 'recovery')).toMatchObject({ because: trouble?.id });
  expect(next.timeline.leftOut).toBe(3);
  const ids = next.timeline.entries.map(({ id }) => id);
  expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
});

it('a take-over is nobody’s interruption, unless the glasses say so', () => {
  const { becomes, heard, timeline, at } = world();
  timeline.takenOver(at(), undefined);
  expect(becomes({ state: 'interrupted', viewers: [] })).toEqual([]);
  expect(becomes({ state: 'active' })).toMatchObject([{ text: 'Live' }]);
  const other = world();
  other.timeline.takenOver(at(), undefined);
  other.becomes({ state: 'interrupted', viewers: [] });
  expect(other.heard('reconnecting')).toMatchObject([{ code: 'PUSH_LOST' }, { state: 'interrupted', because: 1 }]);
  expect(heard('streaming')).toEqual([]);
});

it('keeps no key that somebody quoted, and no endless text', () => {
  const { heard, timeline } = world();
  heard('reconnecting', { errorDetails: `rtmp://x/live/the-key ${'x'.repeat(900)}` });
  expect(timeline.entries[0]?.text.slice(0, 20)).toBe('rtmp://x/live/*** xx');
  expect(timeline.entries[0]?.text.length).toBeLessThanOrEqual(300);
  const numbers = Object.fromEntries(Array.from({ length: 900 }, (_, at) => [`n${at}`, at]));
  const [told] = heard('streaming', { notice: { code: 'HEAT', text: 'Warm', numbers } }).slice(-1);
  expect(Object.keys(told?.numbers ?? {})).toHaveLength(16);
});
