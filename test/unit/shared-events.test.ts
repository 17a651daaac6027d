import { expect, it } from 'vitest';
import { createSharedEvents } from '../../cloud/cluster/shared-events.ts';
import type { RelayEvent } from '../../cloud/http/event-feed.ts';
import { silentLog } from '../../shared/log.ts';
import { createFakeCluster } from '../support/fake-cluster.ts';

const ended = (userId: string): RelayEvent => ({ type: 'session-ended', userId });

function world() {
  const cluster = createFakeCluster(['a', 'b']);
  const [a, b] = ['a', 'b'].map((nodeId) => createSharedEvents({ mesh: cluster.node(nodeId).mesh, log: silentLog() }));
  if (!a || !b) throw new Error('two were asked for');
  const heard: RelayEvent[] = [];
  const missed: string[] = [];
  const listen = (feed = a) =>
    feed.listen(
      (event) => void heard.push(event),
      () => void missed.push('x'),
    );
  return { cluster, a, b, heard, missed, listen };
}

it('events of another node come to who listens here, and nothing is sent when nobody does', async () => {
  const { cluster, a, b, heard, listen } = world();
  b.publish(ended('unheard'));
  const [first, second] = [listen(), listen()];
  await cluster.arrived();
  b.publish(ended('u1'));
  a.publish(ended('u2'));
  await cluster.arrived();
  expect(heard).toEqual([ended('u2'), ended('u2'), ended('u1'), ended('u1')]);
  first();
  first();
  b.publish(ended('u3'));
  await cluster.arrived();
  second();
  await cluster.arrived();
  b.publish(ended('u4'));
  expect(heard.length).toBe(5);
  expect(cluster.node('b').mesh.sent.map(({ body }) => body)).toEqual([ended('u1'), ended('u3')]);
  // Whether events are wanted: once yes, once no.
  expect(cluster.node('a').mesh.sent.length).toBe(2);
});

it('who listens hears that something may be missing when a node goes or comes, and hears of it again from then on', async () => {
  const { cluster, b, heard, missed, listen } = world();
  listen();
  await cluster.arrived();
  cluster.cut('a', 'b');
  expect(missed.length).toBe(1);
  b.publish(ended('in between'));
  cluster.mend('a', 'b');
  await cluster.arrived();
  expect(missed.length).toBe(2);
  b.publish(ended('u1'));
  await cluster.arrived();
  expect(heard).toEqual([ended('u1')]);
});

it('knows whether anybody listens, here or elsewhere', async () => {
  const { cluster, a, b, listen } = world();
  expect([a.isHeard(), b.isHeard()]).toEqual([false, false]);
  const unlisten = listen();
  await cluster.arrived();
  expect([a.isHeard(), b.isHeard()]).toEqual([true, true]);
  unlisten();
  await cluster.arrived();
  expect([a.isHeard(), b.isHeard()]).toEqual([false, false]);
});

it('garbage of another node is no event', async () => {
  const { cluster, heard, listen } = world();
  listen();
  for (const body of [null, 5, {}, { type: 'made up' }, [], { areWanted: 'no' }]) {
    for (const subject of ['event', 'events-wanted']) cluster.node('b').mesh.tell('a', subject, body);
  }
  await cluster.arrived();
  expect(heard).toEqual([]);
});
