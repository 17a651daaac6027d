import { describe, expect, it } from 'vitest';
import { createNodeLease } from '../../cloud/cluster/node-lease.ts';
import { silentLog } from '../../shared/log.ts';
import { createFakeRecords } from '../support/cluster-fakes.ts';
import { createTestClock } from '../support/test-clock.ts';

function setUp() {
  const clock = createTestClock();
  const records = createFakeRecords(clock);
  const lines = { up: new Set<string>(), gone: new Set<string>() };
  const peers: string[][] = [];
  const lease = (nodeId: string) =>
    createNodeLease({
      ...{ nodeId, records, clock, log: silentLog() },
      mesh: {
        setPeers: (listed) => void peers.push(listed.map((one) => one.nodeId)),
        isReachable: (other) => lines.up.has(other),
        isGone: (other) => lines.gone.has(other),
      },
    });
  return { clock, records, lines, peers, lease };
}

describe('the lease of a node', () => {
  it('is renewed twice a second, tells who lives, and ends with a word', async () => {
    const { clock, records, peers, lease } = setUp();
    const [a, b] = [lease('a'), lease('b')];
    await a.start('http://a');
    await b.start('http://b');
    await clock.advance(10_000);
    expect([a.others(), b.others(), peers.at(-1)]).toEqual([['b'], ['a'], ['a', 'b']]);
    expect([a.leadership.isLeader(), b.leadership.leaderId()]).toEqual([true, 'a']);
    await a.stepDown();
    await clock.advance(600);
    expect(b.leadership.isLeader()).toBe(true);
    await a.close();
    await a.close();
    await clock.advance(500);
    expect([b.others(), [...records.kept.nodes.keys()]]).toEqual([[], ['b']]);
    await b.close();
    expect(clock.pending()).toEqual([]);
  });

  it('that cannot be renewed says so at each beat, and goes on when Redis is back', async () => {
    const { clock, records, lease } = setUp();
    const a = lease('a');
    await a.start('http://a');
    const beats: boolean[] = [];
    a.onBeat((renewed) => void beats.push(renewed !== undefined));
    records.state = 'away';
    await clock.advance(2_500);
    expect([new Set(beats), a.leadership.isLeader()]).toEqual([new Set([false]), false]);
    records.back();
    await clock.advance(0);
    expect([beats.at(-1), a.leadership.isLeader()]).toEqual([true, true]);
    await a.close();
  });

  it('cannot begin without Redis', async () => {
    const { records, lease } = setUp();
    records.state = 'away';
    await expect(lease('a').start('http://a')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it('is not all that says whether another node lives: a line does, too, and a port that refuses', async () => {
    const { clock, lines, lease } = setUp();
    const [a, b] = [lease('a'), lease('b')];
    await b.start('http://b');
    await a.start('http://a');
    expect([a.isLiving('b'), a.isLiving('c'), a.isLiving('c', true)]).toEqual([true, false, true]);
    lines.gone.add('b');
    expect(a.isLiving('b')).toBe(false);
    await b.close();
    await clock.advance(3_000);
    lines.up.add('b');
    expect([a.others(), a.isLiving('b')]).toEqual([[], true]);
    await a.close();
  });
});
