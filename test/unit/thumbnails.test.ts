/** Thumbnails under a crowd: a scripted decoder in place of ffmpeg. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { createThumbnails, thumbnailSize } from '../../cloud/local-stream/recordings/thumbnails.ts';
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
    thumbnails.jpeg({ subject: 'v', size: { heightPx, fit: 'crop' }, moment }, async () =>
      Buffer.from(`${moment} ${heightPx}`),
    );
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
  it('are of a size that a picture can have, whatever is asked for', () => {
    expect(thumbnailSize({})).toEqual({ heightPx: 360, fit: 'crop' });
    expect(thumbnailSize({ height: '201', width: '99999', fit: 'clip' })).toEqual({
      ...{ heightPx: 202, widthPx: 2160, fit: 'clip' },
    });
    for (const odd of ['-7', '', 'abc', '1e99', 'Infinity', ['1', '2'], '0x10', '640:1,drawtext=x']) {
      const { heightPx, widthPx = 16, fit } = thumbnailSize({ height: odd, width: odd, fit: odd });
      for (const px of [heightPx, widthPx]) expect(px % 2 === 0 && px >= 16 && px <= 2160, String(odd)).toBe(true);
      expect(fit).toBe('crop');
    }
  });
});
