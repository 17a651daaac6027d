import { expect, test } from 'vitest';
import { createGovernor } from '../../device/publishing/governor.ts';
import { createSteering, type Steering } from '../../device/publishing/steering.ts';
import type { RtmpPushStats } from '../../shared/rtmp/push.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const asked = { widthPx: 1280, heightPx: 720, frameRate: 30, videoBitrateBps: 2_000_000 };
const idle: RtmpPushStats = {
  ...{ state: 'publishing', bytesSent: 0, queuedBytes: 0, deliveredBps: undefined, backlogBytes: 0, spilledBytes: 0 },
  ...{ backlogMs: 0, tagsDropped: 0, framesDropped: 0, isCatchingUp: false, skips: 0, narrowBps: undefined },
  ...{ tagsResent: 0, reconnects: 0, redirects: 0, connectMs: 5 },
};

test('a stop that closes it at once leaves no timer', async () => {
  const clock = createTestClock();
  const stops: string[] = [];
  const steering: Steering = createSteering({
    ...{ clock, governor: createGovernor({ asked, audioBitrateBps: 64_000 }), readPush: () => idle },
    readTelemetry: async () => ({ battery: { percent: 1, isCharging: false } }),
    onQuality: () => {},
    onNotice: () => {},
    onStop({ code }) {
      stops.push(code);
      steering.close();
    },
  });
  await settle();
  // The third reading is the first that is believed.
  await clock.advance(4_000);
  expect(stops).toEqual(['BATTERY_LOW']);
  expect(clock.pending()).toEqual([]);
});
