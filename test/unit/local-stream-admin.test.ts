import { describe, expect, it } from 'vitest';
import { createAdmin } from '../../cloud/local-stream/admin.ts';
import { createBroadcastMetrics } from '../../cloud/local-stream/broadcast-metrics.ts';
import { localStreamSettings } from '../../cloud/local-stream/config.ts';
import { createFaults } from '../../cloud/local-stream/faults.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('the port that switches faults', () => {
  it('is closed unless it is asked for', () => {
    expect(localStreamSettings.read([], {})).not.toHaveProperty('adminPort');
  });

  it.each([undefined, '', 'Bearer wrong', 'the-token', 'Bearer the-token '])('refuses %j', async (authorization) => {
    const faults = createFaults({ clock: createTestClock() });
    const admin = createAdmin({
      faults,
      webhooks: { setLiveTarget() {} },
      apiToken: new Secret('the-token'),
      metrics: createBroadcastMetrics({ publications: () => [], viewers: () => ({ flv: 0, webrtc: 0 }) }),
    });
    const headers = authorization === undefined ? {} : { authorization };
    for (const [method, url] of [
      ['GET', '/faults'],
      ['GET', '/metrics'],
      ['PUT', '/faults/rate-limit'],
      ['DELETE', '/faults'],
      ['PUT', '/live-webhook'],
      ['GET', '/nowhere'],
    ] as const) {
      expect((await admin.inject({ method, url, headers })).statusCode).toBe(401);
    }
  });
});
