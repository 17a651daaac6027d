/**
 * Two relay nodes, Redis and a load balancer as programs, three streams with real media: each part is killed, then the nodes are
 * restarted in turn. Short form of `npm run bench:nodes`, which measures how soon; here nothing may be lost.
 */
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import {
  nodeKilled,
  type PhaseResult,
  recordedStreams,
  redisKilled,
  rollingRestart,
  startStreams,
} from '../../scripts/bench/nodes-phases.ts';
import { startNodesWorld } from '../../scripts/bench/nodes-world.ts';
import { openTestBench, type TestBench } from '../support/board-bench.ts';

let bench: TestBench;
beforeEach(async () => {
  bench = await openTestBench(() => {});
});
afterEach(() => bench.close());

/** Everybody is served at the end of it, and nobody heard of an end. */
function expectAllServed({ name, apps }: PhaseResult): void {
  expect(apps.length, name).toBeGreaterThan(0);
  expect(
    apps.filter(({ ms }) => ms === undefined),
    name,
  ).toEqual([]);
  expect(
    apps.flatMap(({ wrongWords }) => wrongWords),
    name,
  ).toEqual([]);
}

describe.skipIf(!inject('hasRedis') || !inject('hasHaproxy'))('a cluster under live streams', () => {
  it('loses no stream, no picture and no app when a node, the other node and Redis are killed and the nodes are restarted', async () => {
    const world = await startNodesWorld(bench, { streams: 3, nodes: 2, sdkApps: 1 });
    const watches = await startStreams(bench, world);
    for (const node of world.nodes) expectAllServed(await nodeKilled(bench, world, watches, node));

    const redis = await redisKilled(bench, world, watches, 4_000);
    expectAllServed(redis);
    expect(redis.startDuring.code).toContain('STORE_UNAVAILABLE');

    for (const restart of await rollingRestart(bench, world, watches)) {
      expectAllServed(restart);
      expect(restart.exitCode).toBe(0);
    }
    const recorded = await recordedStreams(bench, world, watches);
    expect(recorded).toHaveLength(3);
    for (const { recordings, starts, framesMissing, framesExposed } of recorded) {
      expect({ recordings, starts, framesMissing }).toEqual({ recordings: 1, starts: 1, framesMissing: 0 });
      expect(framesExposed).toBeGreaterThan(100);
    }
  }, 240_000);
});
