import { describe, expect, it } from 'vitest';
import { createLoneCluster } from '../../cloud/cluster/lone-node.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('a cluster of one', () => {
  it('has everybody here, adopts each once, and hands over when it is drained', async () => {
    const clock = createTestClock();
    const events: string[] = [];
    const cluster = createLoneCluster({ nodeId: 'a', isAdopted: (userId) => userId === 'known' });
    await cluster.start('http://a', {
      async adopt(userId) {
        await clock.sleep(10);
        events.push(`adopt ${userId}`);
      },
      async handOver(userId, { isLost }) {
        events.push(`hand over ${userId} ${isLost}`);
      },
    });
    const { ownership } = cluster;
    const placed = Promise.all([ownership.place('ada'), ownership.take('ada'), ownership.place('known')]);
    await clock.advance(10);
    expect([await placed, events]).toEqual([['here', undefined, 'here'], ['adopt ada']]);
    expect([ownership.isHere('bob'), await ownership.whereIs('bob'), ownership.count()]).toEqual([true, 'here', 2]);
    ownership.letGo('known');
    await cluster.drain();
    await cluster.drain();
    expect(events).toEqual(['adopt ada', 'hand over ada false']);
    await cluster.close();
  });

  it('tries again to adopt who could not be adopted', async () => {
    const failures = ['cannot'];
    const cluster = createLoneCluster({ nodeId: 'a' });
    await cluster.start('http://a', {
      async adopt() {
        const failure = failures.pop();
        if (failure) throw new Error(failure);
      },
      async handOver() {},
    });
    await expect(cluster.ownership.take('ada')).rejects.toThrow('cannot');
    expect(await cluster.ownership.place('ada')).toBe('here');
  });

  it('leads, and talks to itself alone', async () => {
    const { mesh, leadership } = createLoneCluster({ nodeId: 'a' });
    mesh.answer('double', (body) => 2 * Number(body));
    expect([leadership.isLeader(), leadership.leaderId(), mesh.others()]).toEqual([true, 'a', []]);
    expect([await mesh.call('a', 'double', 4), mesh.tell('b', 'double', 4)]).toEqual([8, false]);
    await expect(mesh.call('b', 'double', 4)).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
    await expect(mesh.call('a', 'other', 4)).rejects.toMatchObject({ code: 'NOT_OFFERED' });
  });
});
