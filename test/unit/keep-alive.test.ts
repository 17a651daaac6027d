import { describe, expect, it } from 'vitest';
import { createKeepAliveSender, createWatchdog } from '../../shared/keep-alive.ts';
import { createTestClock } from '../support/test-clock.ts';

function setUp({ canSend = () => true }: { canSend?: () => boolean } = {}) {
  const clock = createTestClock();
  const sent: string[] = [];
  const lost: number[] = [];
  const sender = createKeepAliveSender({
    clock,
    newAckId: () => `a${sent.length}`,
    send: (ackId) => {
      sent.push(ackId);
      return canSend();
    },
    onLost: (misses) => lost.push(misses),
  });
  return { clock, sent, lost, sender };
}

describe('keep-alive sender', () => {
  it('asks at once and then every 15 s', async () => {
    const { clock, sent, sender } = setUp();
    sender.start();
    expect(sent).toEqual(['a0']);
    sender.acked('a0');
    await clock.advance(15_000);
    expect(sent).toEqual(['a0', 'a1']);
    sender.close();
    expect(clock.pending()).toEqual([]);
  });

  it('gives up after three unanswered questions, once, and leaves no timer', async () => {
    const { clock, lost, sender } = setUp();
    sender.start();
    await clock.advance(34_999);
    expect(lost).toEqual([]);
    await clock.advance(1);
    expect(lost).toEqual([3]);
    await clock.advance(120_000);
    expect(lost).toEqual([3]);
    expect(clock.pending()).toEqual([]);
  });

  it('counts a question that cannot be sent as a miss (defect 13)', async () => {
    const { clock, lost, sender } = setUp({ canSend: () => false });
    sender.start();
    await clock.advance(30_000);
    expect(lost).toEqual([3]);
  });

  it('forgives on an ack and on any sign of life', async () => {
    const { clock, sent, lost, sender } = setUp();
    sender.start();
    await clock.advance(20_500);
    expect(sender.misses).toBe(2);
    expect(sender.acked(sent.at(-1) ?? '')).toBe(false);
    sender.signOfLife();
    expect(sender.misses).toBe(0);
    await clock.advance(25_000);
    expect(lost).toEqual([]);
    sender.close();
  });

  it('takes no credit from duplicate and unknown acks (defect 14)', async () => {
    const { sender } = setUp();
    sender.start();
    expect(sender.acked('stranger')).toBe(false);
    expect(sender.acked('a0')).toBe(true);
    expect(sender.acked('a0')).toBe(false);
    sender.close();
  });
});

describe('watchdog', () => {
  it('expires only when it is not touched', async () => {
    const clock = createTestClock();
    let expired = 0;
    const watchdog = createWatchdog({ clock, name: 'lease', timeoutMs: 60_000, onExpired: () => (expired += 1) });
    await clock.advance(100_000);
    expect(expired).toBe(0);
    watchdog.touch();
    await clock.advance(59_999);
    watchdog.touch();
    await clock.advance(59_999);
    expect(expired).toBe(0);
    await clock.advance(1);
    expect(expired).toBe(1);
    watchdog.close();
    expect(clock.pending()).toEqual([]);
  });
});
