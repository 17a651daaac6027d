import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMeshLine, defaultMeshLimits, type MeshLimits } from '../../cloud/cluster/mesh-line.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { fakeWebSocket } from '../support/fake-web-socket.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

function setUp(
  limits: Partial<MeshLimits> = {},
  answer: (subject: string, body: unknown) => unknown = (_, body) => body,
) {
  const clock = createTestClock();
  const fake = fakeWebSocket();
  const closed: string[] = [];
  const line = createMeshLine({
    ...{ ws: fake.ws, peerId: 'b', clock, log: silentLog(), answer, onClose: () => void closed.push('closed') },
    limits: { ...defaultMeshLimits, ...limits },
  });
  return { clock, fake, line, closed };
}

describe('a line', () => {
  it('answers calls by their ids, in whatever order they are ready', async () => {
    const { clock, fake, line } = setUp();
    const calls = Promise.all([line.call('x', 1), line.call('x', 2)]);
    const [one, two] = fake.frames() as { id?: number }[];
    fake.receive({ kind: 'answer', id: two?.id, body: 'two' });
    fake.receive({ kind: 'answer', id: one?.id, body: 'one' });
    fake.receive({ kind: 'answer', id: 77, body: 'nobody asked' });
    expect([await calls, clock.pending(), line.isOpen]).toEqual([['one', 'two'], [], true]);
  });

  it('gives up a call that is not answered, and all of them when it is lost', async () => {
    const { clock, fake, line, closed } = setUp();
    const late = expect(line.call('x', 1, 100)).rejects.toThrow(/no answer to x within 100 ms/);
    const lost = expect(line.call('x', 1)).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
    await clock.advance(100);
    await late;
    fake.terminate();
    await lost;
    await expect(line.call('x', 1)).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
    expect([line.tell('x', 1), line.isOpen, closed, clock.pending()]).toEqual([false, false, ['closed'], []]);
  });

  it('holds so many calls, ours and theirs, and no more', async () => {
    const { fake, line, clock } = setUp({ maxCalls: 2 }, () => new Promise(() => {}));
    void line.call('x', 1).catch(() => {});
    void line.call('x', 2).catch(() => {});
    await expect(line.call('x', 3)).rejects.toThrow(/too many calls/);
    for (const id of [1, 2, 3]) fake.receive({ kind: 'call', id, subject: 'x' });
    await settle();
    expect(fake.frames().at(-1)).toMatchObject({ kind: 'error', id: 3, code: 'NODE_UNREACHABLE' });
    fake.terminate();
    await clock.advance(0);
  });

  it('cuts a node that is silent, unless it stood still itself', async () => {
    const { clock, fake, line, closed } = setUp();
    await clock.advance(2_000);
    line.ping(false);
    expect(fake.pings).toBe(1);
    await clock.advance(5_000);
    line.ping(true);
    expect(line.isOpen).toBe(true);
    fake.emit('pong');
    await clock.advance(3_000);
    line.ping(false);
    expect([line.isOpen, closed]).toEqual([false, ['closed']]);
  });

  it('cuts a node that does not read, and keeps one that is told too much at once', () => {
    const { fake, line } = setUp({ maxBacklogBytes: 100, maxFrameBytes: 200 });
    expect(() => line.tell('x', 'y'.repeat(200))).toThrow(GlasscastError);
    expect(line.tell('x', 'y')).toBe(true);
    fake.bufferedAmount = 101;
    expect([line.tell('x', 'y'), line.isOpen, fake.ended]).toEqual([false, false, 'terminated']);
  });

  it('takes a code that it does not know for a failure of ours', async () => {
    const { fake, line } = setUp();
    const call = line.call('x', 1);
    fake.receive({ kind: 'error', id: 1, code: 'toString', message: 'of a later version' });
    await expect(call).rejects.toMatchObject({ code: 'INTERNAL', message: expect.stringContaining('later version') });
  });

  it('is ended by what is no frame, whatever it is, and never throws', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (text) => {
        const { fake, line, closed } = setUp();
        fake.receive(text);
        await settle();
        expect([line.isOpen, closed]).toEqual([false, ['closed']]);
      }),
      { numRuns: 50 },
    );
  });
});
