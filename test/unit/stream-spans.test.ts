import { describe, expect, it } from 'vitest';
import { createStreamSpans } from '../../cloud/tracing/stream-spans.ts';
import type { SpanBeginning, Tracer } from '../../cloud/tracing/tracer.ts';

interface Made {
  name: string;
  of: SpanBeginning;
  events: string[];
  attributes: Record<string, unknown>;
  ended: { atMs?: number; errorCode?: string | undefined } | undefined;
}

function world() {
  const made: Made[] = [];
  const tracer: Tracer = {
    begin(name, of = {}) {
      const span: Made = { name, of, events: [], attributes: { ...of.attributes }, ended: undefined };
      made.push(span);
      return {
        context: { traceId: of.parent?.traceId ?? `trace${made.length}`, spanId: `span${made.length}` },
        event: (event) => void span.events.push(event),
        set: (more) => void Object.assign(span.attributes, more),
        rename() {},
        end(how = {}) {
          span.ended ??= how;
        },
      };
    },
    close: async () => {},
  };
  const asking = { context: undefined as { traceId: string; spanId: string } | undefined };
  const spans = createStreamSpans(tracer, () => asking.context);
  const stream = { streamId: 's1', userId: 'ada@example.com', kind: 'managed', requestedAtMs: 1_000 } as const;
  const named = (name: string) => made.find((span) => span.name === name);
  return { asking, made, named, spans, stream, witness: spans.witness };
}

describe('the spans of a stream', () => {
  it('one for each step, each from the end of the one before', () => {
    const { asking, made, named, spans, stream, witness } = world();
    asking.context = { traceId: 'request', spanId: 'r' };
    witness.began?.(stream, false);
    expect(spans.contextOf('s1')).toEqual({ traceId: 'trace1', spanId: 'span2' });
    witness.reached?.(stream, 'live_input', { fromMs: 0, untilMs: 200 });
    witness.reached?.(stream, 'start_sent', { fromMs: 200, untilMs: 210 });
    witness.reached?.(stream, 'publishing', { fromMs: 210, untilMs: 900 });
    witness.reached?.(stream, 'first_picture', { fromMs: 900, untilMs: 1_400 });
    witness.interrupted?.(stream, 'stall', 'the words of a device');
    witness.restored?.(stream, 2_000);
    witness.ended?.(stream, 'served', undefined);
    expect(made.map(({ name, of, ended }) => [name, of.atMs, ended?.atMs])).toEqual([
      ['stream.start', 1_000, 2_400],
      ['live_input', 1_000, 1_200],
      ['start_order', 1_200, 1_210],
      ['device.publish', 1_210, 1_900],
      ['playback.proof', 1_900, 2_400],
      ['stream.live', 2_400, undefined],
    ]);
    expect(named('stream.start')?.of.link).toEqual(asking.context);
    expect(named('stream.live')).toMatchObject({
      events: ['interrupted', 'restored'],
      ended: { errorCode: undefined },
    });
    expect(JSON.stringify(made)).not.toMatch(/ada@|the words of a device/);
    expect(spans.contextOf('s1')).toBeUndefined();
  });

  it('a start that fails ends where it stood, with its code', () => {
    const { named, stream, witness } = world();
    witness.began?.(stream, false);
    witness.reached?.(stream, 'live_input', { fromMs: 0, untilMs: 200 });
    witness.ended?.(stream, 'failed_before_live', 'START_TIMEOUT');
    for (const name of ['start_order', 'stream.start'])
      expect(named(name)?.ended?.errorCode, name).toBe('START_TIMEOUT');
    expect(named('live_input')?.ended?.errorCode).toBeUndefined();
    expect(named('stream.start')?.attributes['glasscast.outcome']).toBe('failed_before_live');
  });

  it('a stream of an earlier process begins with its resumption', () => {
    const { named, spans, stream, witness } = world();
    witness.began?.(stream, true);
    expect(named('stream.resume')?.ended).toBeDefined();
    witness.interrupted?.(stream, 'reconnect', '');
    expect(named('stream.live')?.events).toEqual(['interrupted']);
    witness.moved?.(stream);
    spans.close();
    expect(named('stream.live')?.attributes['glasscast.outcome']).toBe('moved');
    expect(named('stream.live')?.ended).toBeDefined();
    expect(spans.contextOf('s1')).toBeUndefined();
  });
});
