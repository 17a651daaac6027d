/**
 * One trace for each stream's start: `stream.start` from the request to the first picture, with a child for each step; and
 * `stream.live` from there to the end, with an event for each interruption. A stream of an earlier process has
 * `stream.resume` in its place. Made of what a watch tells; no stream knows of it.
 */
import type { StartStep, StreamWitness, WatchedStream } from '../metrics/stream-watch.ts';
import type { Span, SpanContext, Tracer } from './tracer.ts';

export interface StreamSpans {
  readonly witness: StreamWitness;
  /** What is under way of it: what happens now belongs there. */
  contextOf(streamId: string): SpanContext | undefined;
  /** Ends what is open: the next process begins its own. */
  close(): void;
}

interface Open {
  start: Span;
  /** The step that is under way. */
  step: Span | undefined;
  live: Span | undefined;
}

/** What is waited for in the step that follows. */
const nextStep: Readonly<Record<StartStep, string | undefined>> = {
  live_input: 'start_order',
  start_sent: 'device.publish',
  publishing: 'playback.proof',
  first_picture: undefined,
};

/** @param asking the request that is being served: the stream's trace is linked to it. */
export function createStreamSpans(tracer: Tracer, asking: () => SpanContext | undefined): StreamSpans {
  const open = new Map<string, Open>();

  function child(name: string, of: Open, atMs?: number): Span {
    return tracer.begin(name, { parent: of.start.context, ...(atMs === undefined ? {} : { atMs }) });
  }
  function began(stream: WatchedStream, isTakenUp: boolean): void {
    const { streamId, kind, requestedAtMs } = stream;
    const start = tracer.begin(isTakenUp ? 'stream.resume' : 'stream.start', {
      link: asking(),
      attributes: { 'glasscast.stream_id': streamId, 'glasscast.kind': kind },
      ...(isTakenUp ? {} : { atMs: requestedAtMs }),
    });
    const made: Open = { start, step: undefined, live: undefined };
    open.set(streamId, made);
    if (!isTakenUp) made.step = child('live_input', made, requestedAtMs);
    else {
      made.live = child('stream.live', made);
      start.end();
    }
  }

  return {
    witness: {
      began,
      reached({ streamId, requestedAtMs }, step, { untilMs }) {
        const of = open.get(streamId);
        if (!of) return;
        const atMs = requestedAtMs + untilMs;
        of.step?.end({ atMs });
        const next = nextStep[step];
        of.step = next === undefined ? undefined : child(next, of, atMs);
        if (next !== undefined) return;
        of.start.set({ 'glasscast.time_to_live_ms': untilMs });
        of.start.end({ atMs });
        of.live = child('stream.live', of, atMs);
      },
      interrupted: ({ streamId }, cause) => open.get(streamId)?.live?.event('interrupted', { cause }),
      restored: ({ streamId }, afterMs) =>
        open.get(streamId)?.live?.event('restored', { afterMs: Math.round(afterMs) }),
      moved({ streamId }) {
        const of = open.get(streamId);
        open.delete(streamId);
        for (const span of [of?.step, of?.live, of?.start]) {
          span?.set({ 'glasscast.outcome': 'moved' });
          span?.end();
        }
      },
      ended({ streamId }, outcome, errorCode) {
        const of = open.get(streamId);
        open.delete(streamId);
        for (const span of [of?.step, of?.live, of?.start]) {
          span?.set({ 'glasscast.outcome': outcome });
          span?.end({ errorCode });
        }
      },
    },
    contextOf(streamId) {
      const of = open.get(streamId);
      return (of?.step ?? of?.live ?? of?.start)?.context;
    },
    close() {
      for (const { step, live, start } of open.values()) for (const span of [step, live, start]) span?.end();
      open.clear();
    },
  };
}
