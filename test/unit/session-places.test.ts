import { expect, it } from 'vitest';
import { createSessionPlaces } from '../../cloud/cluster/session-places.ts';
import { createFakeCluster } from '../support/fake-cluster.ts';

function world() {
  const cluster = createFakeCluster(['a', 'b', 'c']);
  const [a] = ['a', 'b', 'c'].map((nodeId) => {
    const { mesh, ownership } = cluster.node(nodeId);
    return createSessionPlaces(mesh, ownership);
  });
  if (!a) throw new Error('three were asked for');
  cluster.owners.set('ada@example.com', 'b');
  return { cluster, a };
}

it('are asked of the store, and of nobody else while it answers', async () => {
  const { cluster, a } = world();
  expect([await a.place('ada@example.com'), await a.whereIs('eve@example.com')]).toEqual([{ nodeId: 'b' }, undefined]);
  expect(cluster.node('a').mesh.sent).toEqual([]);
});

it('are known while the store does not answer, of every session that a node has', async () => {
  const { cluster, a } = world();
  cluster.outage.isOn = true;
  expect([await a.place('ada@example.com'), await a.whereIs('ada@example.com')]).toEqual([
    { nodeId: 'b' },
    { nodeId: 'b' },
  ]);
  await expect(a.place('eve@example.com')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  cluster.cut('a', 'b');
  await expect(a.whereIs('ada@example.com')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
});

it('garbage asks for nobody', async () => {
  const { cluster } = world();
  for (const body of [null, 5, {}, '']) expect(await cluster.node('c').mesh.call('a', 'is-here', body)).toBe(false);
});
