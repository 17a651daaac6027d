/** Thumbnails under a crowd: a scripted decoder in place of ffmpeg. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { createThumbnails } from '../../cloud/local-stream/thumbnails.ts';
import { createChildSpawner, type SpawnChild } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

function createWorld() {
  const clock = createSystemClock();
  const log = silentLog();
  const children = createChildSpawner({ clock, log, redactor: createRedactor() });
  let spawned = 0;
  const spawn: SpawnChild = (options) => {
    spawned += 1;
    return children.spawn({ ...options, args: ['-e', 'process.stdin.pipe(process.stdout)'] });
  };
  const thumbnails = createThumbnails({ ffmpeg: async () => process.execPath, spawn, clock, log });
  onTestFinished(async () => {
    await thumbnails.close();
    await children.close();
  });
  const ask = (heightPx: number, moment = 'm') =>
    thumbnails.jpeg({ subject: 'v', heightPx, moment }, async () => Buffer.from(`${moment} ${heightPx}`));
  return { ask, spawned: () => spawned };
}

describe('thumbnails', () => {
  it('one decoder for many who want the same', async () => {
    const { ask, spawned } = createWorld();
    const all = await Promise.all(Array.from({ length: 20 }, () => ask(360)));
    expect(new Set(all.map(String))).toEqual(new Set(['m 360']));
    expect(spawned()).toBe(1);
  });
  it('a crowd that wants each its own size does not queue without end', async () => {
    const { ask, spawned } = createWorld();
    const all = await Promise.all(Array.from({ length: 40 }, (_, index) => ask(100 + index)));
    expect(spawned()).toBeLessThanOrEqual(8);
    expect(all.filter((jpeg) => jpeg === undefined)).toHaveLength(40 - spawned());
  });
});
