/**
 * The SDK never clears the 30 s timer of a start that went well; when it fires while a later start is pending, that one
 * would never settle. In real time, because the timer is the SDK's own.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sdkLines } from '../support/sdk-app-process.ts';
import { createSdkWorld, type SdkWorld } from '../support/sdk-world.ts';

let world: SdkWorld;
beforeAll(async () => {
  world = await createSdkWorld();
});
afterAll(async () => expect(await world.close()).toEqual([]));

it('a slow start across the 30 s of an earlier one is answered before them, and asked again it succeeds (defect 58)', async () => {
  const { clock } = world.relay;
  await Promise.all(
    sdkLines.map(async (line) => {
      const { app, glasses } = await world.meet(line);
      const firstMs = performance.now();
      await app.startManagedStream();
      await app.stopManagedStream();
      await app.hears('managed-status', 'stopped');
      await clock.sleep(firstMs + 20_000 - performance.now());
      glasses.state.camera = clock.sleep(15_000);
      await expect(app.startManagedStream()).rejects.toThrow(/again/);
      const settledMs = performance.now() - firstMs;
      expect(settledMs).toBeGreaterThan(28_000);
      expect(settledMs).toBeLessThan(30_000);
      await clock.sleep(firstMs + 30_500 - performance.now());
      await app.startManagedStream();
      await app.stopManagedStream();
    }),
  );
}, 90_000);
