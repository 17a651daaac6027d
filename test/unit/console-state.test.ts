import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ConsoleState, emptyState, type News, reduce } from '../../cloud/console/console-state.ts';
import type { RelayEvent, SessionView, StreamView } from '../../cloud/console/relay-shapes.ts';

const ada = 'ada@example.com';
const session = (userId: string, connected = true): SessionView => ({ userId, connected });
const stream = (fields: Partial<StreamView> = {}): StreamView => ({
  ...{ streamId: 'm1', userId: ada, state: 'active' as const },
  ...fields,
});
const playback = { hlsUrl: 'https://here/video.m3u8' };

/** Each piece of news a second after the one before. */
function after(...news: News[]): ConsoleState {
  return news.reduce((state, one, at) => reduce(state, one, (at + 1) * 1000), emptyState(0));
}
const event = (told: RelayEvent): News => ({ kind: 'event', event: told });
const snapshot = (sessions: SessionView[], streams: StreamView[] = []): News => ({
  ...{ kind: 'snapshot' as const, sessions, streams },
});

describe('glasses', () => {
  it('that go are away since then, and no longer once they are back', () => {
    const gone = after(snapshot([session(ada)]), event({ type: 'session', session: session(ada, false) }));
    expect(gone.sessions.get(ada)?.awaySinceMs).toBe(2000);
    const again = reduce(gone, event({ type: 'session', session: session(ada, false) }), 9000);
    expect(again.sessions.get(ada)?.awaySinceMs).toBe(2000);
    const back = reduce(again, event({ type: 'session', session: session(ada) }), 10_000);
    expect(back.sessions.get(ada)?.awaySinceMs).toBeUndefined();
  });
  it('that were gone before the page looked are away since nobody knows when, also after a reconnect', () => {
    const away = after(snapshot([session(ada, false)]), snapshot([session(ada, false)]));
    expect(away.sessions.get(ada)).toMatchObject({ connected: false, awaySinceMs: undefined });
  });
  it('are selected by themselves: who is live before who is there, and only when nobody is', () => {
    const away = session('b@x', false);
    expect(after(snapshot([])).selected).toBeUndefined();
    expect(after(snapshot([away, session('c@x')])).selected).toBe('c@x');
    expect(after(snapshot([away, session('c@x'), session(ada)], [stream()])).selected).toBe(ada);
    const chosen = after(
      snapshot([away, session(ada)]),
      { kind: 'select', userId: 'b@x' },
      snapshot([away, session(ada)]),
    );
    expect(chosen.selected).toBe('b@x');
    const left = reduce(chosen, event({ type: 'session-ended', userId: 'b@x' }), 0);
    expect(left.selected).toBe(ada);
    // As after a restart of the relay, when glasses come back one by one.
    expect(reduce(left, event({ type: 'session', session: away }), 0).selected).toBe('b@x');
  });
});

describe('a stream', () => {
  it('keeps its addresses while it is interrupted, and loses them with its end', () => {
    const live = after(snapshot([session(ada)]), event({ type: 'stream', stream: stream({ playback }) }));
    const waiting = reduce(live, event({ type: 'stream', stream: stream({ state: 'interrupted' }) }), 5000);
    expect(waiting.streams.get(ada)).toMatchObject({ playback, stateSinceMs: 5000 });
    const over = reduce(waiting, event({ type: 'stream', stream: stream({ state: 'stopped' }) }), 6000);
    expect(over.streams.get(ada)?.playback).toBeUndefined();
  });
  it('has its state since the relay wrote it down, where the page has not seen it begin', () => {
    const found = after(snapshot([session(ada)], [stream({ state: 'interrupted' })]));
    expect(found.streams.get(ada)?.stateSinceMs).toBeUndefined();
    const entries = [
      { atMs: 7, kind: 'state' as const, state: 'interrupted' as const, text: 'No new picture arrives' },
      { atMs: 9, kind: 'viewer' as const, text: 'app.a watches' },
    ];
    const told = reduce(found, { kind: 'timeline', streamId: 'm1', entries }, 50);
    expect(told.streams.get(ada)?.stateSinceMs).toBe(7);
    expect(reduce(found, { kind: 'timeline', streamId: 'm1', entries: [] }, 50).streams).toBe(found.streams);
  });
  it('is not replaced by the last word of an older one', () => {
    const next = stream({ streamId: 'm2', state: 'starting' });
    const state = after(
      snapshot([session(ada)], [stream()]),
      event({ type: 'stream', stream: next }),
      event({ type: 'stream', stream: stream({ state: 'stopped' }) }),
    );
    expect(state.streams.get(ada)?.streamId).toBe('m2');
  });
});

describe('a timeline', () => {
  const entry = { atMs: 1, kind: 'state' as const, text: 'Live' };
  it('takes an entry once, whichever way it comes first, and none of a stream that nobody looked at', () => {
    const known = after(
      { kind: 'timeline', streamId: 'm1', entries: [entry] },
      event({ type: 'stream-entry', streamId: 'm1', entry }),
      event({ type: 'stream-entry', streamId: 'm1', entry: { ...entry, atMs: 2 } }),
      event({ type: 'stream-entry', streamId: 'm9', entry }),
    );
    expect(known.timelines.get('m1')).toHaveLength(2);
    expect(known.timelines.has('m9')).toBe(false);
  });
  it('is kept of the streams that were looked at last', () => {
    const asked = Array.from({ length: 30 }, (_, at) => ({
      ...{ kind: 'timeline' as const, streamId: `m${at}`, entries: [entry] },
    }));
    const { timelines } = after(...asked);
    expect([timelines.size, timelines.has('m9'), timelines.has('m29')]).toEqual([20, false, true]);
  });
  it('is asked for anew after a reconnect', () => {
    const state = after({ kind: 'timeline', streamId: 'm1', entries: [entry] }, snapshot([]));
    expect(state.timelines.size).toBe(0);
  });
});

describe('the line to the relay', () => {
  it('is away since it was lost, however often it is tried', () => {
    const state = after(
      { kind: 'linked', isLinked: true },
      { kind: 'linked', isLinked: false },
      { kind: 'linked', isLinked: false },
    );
    expect(state.link).toEqual({ state: 'away', sinceMs: 2000 });
  });
});

describe('whatever the relay says', () => {
  const users = fc.constantFrom('a@x', 'b@x', 'c@x');
  const sessionViews = fc.record({ userId: users, connected: fc.boolean() });
  const streamViews = fc.record({
    ...{ streamId: fc.constantFrom('m1', 'm2', 'm3'), userId: users },
    state: fc.constantFrom(
      ...(['provisioning', 'starting', 'active', 'interrupted', 'stopping', 'stopped', 'failed'] as const),
    ),
  });
  const anyNews: fc.Arbitrary<News> = fc.oneof(
    fc.record({
      kind: fc.constant('snapshot' as const),
      sessions: fc.array(sessionViews, { maxLength: 4 }),
      streams: fc.array(streamViews, { maxLength: 4 }),
    }),
    sessionViews.map((view) => event({ type: 'session', session: view })),
    users.map((userId) => event({ type: 'session-ended', userId })),
    streamViews.map((view) => event({ type: 'stream', stream: view })),
    users.map((userId) => ({ kind: 'select' as const, userId })),
  );
  it('somebody is selected exactly when there is anybody to select', () => {
    fc.assert(
      fc.property(fc.array(anyNews, { maxLength: 20 }), (news) => {
        // What the operator chose stays until the relay speaks again.
        const state = after(...news, snapshot([session('z@x')]));
        expect(state.selected).toBe('z@x');
        expect(after(...news, snapshot([])).selected).toBeUndefined();
      }),
    );
  });
  it('no state is changed in place', () => {
    fc.assert(
      fc.property(fc.array(anyNews, { maxLength: 10 }), anyNews, (news, last) => {
        const before = after(...news);
        const copy = structuredClone(before);
        reduce(before, last, 99_000);
        expect(before).toEqual(copy);
      }),
    );
  });
});
