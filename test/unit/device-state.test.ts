import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { factsOf, printableStatus, withFacts } from '../../cloud/glasses/device-state.ts';
import { closestTier } from '../../cloud/glasses/location-tiers.ts';
import { decodeFromGlasses } from '../../shared/protocol/dialects.ts';

const connectedGlasses = {
  model_name: 'Mentra Live',
  battery_level: 71,
  glasses_wifi_connected: true,
  glasses_wifi_ssid: 'lab',
  glasses_wifi_local_ip: '192.168.0.7',
  glasses_serial_number: 'ML-1',
  glasses_hotspot_enabled: true,
  glasses_hotspot_ssid: 'live-7',
  glasses_hotspot_password: 'hotspot-secret',
  case_battery_level: -1,
  case_open: false,
  bluetooth_name: '',
};
const facts = {
  modelName: 'Mentra Live',
  batteryLevel: 71,
  wifiConnected: true,
  wifiSsid: 'lab',
  wifiLocalIp: '192.168.0.7',
  serialNumber: 'ML-1',
  hotspotEnabled: true,
  hotspotSsid: 'live-7',
  caseOpen: false,
};
const status = { status: { core_info: { core_token: 'core-secret' }, connected_glasses: connectedGlasses } };

describe('what is known of glasses', () => {
  it.each([
    ['as an object', status],
    ['as text', JSON.stringify(status)],
  ])('comes out of a core status %s, without what means "unknown" and without secrets', (_form, wire) => {
    const { message } = decodeFromGlasses(JSON.stringify({ type: 'core_status_update', status: wire }));
    expect(factsOf(message)).toEqual(facts);
    const printable = JSON.stringify(printableStatus(wire));
    expect(printable).toContain('ML-1');
    expect(printable).not.toMatch(/hotspot-secret|core-secret/);
    expect(typeof printableStatus(wire)).toBe(typeof wire);
  });

  it('keeps one bad value to itself', () => {
    const type = 'glasses_battery_update' as const;
    expect(factsOf({ type, level: 140, charging: true })).toEqual({ charging: true });
    expect(factsOf({ type, level: -1 })).toEqual({});
  });

  it('survives a core status of any shape', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const nested = { status: { connected_glasses: value } };
        for (const wire of [value, nested, JSON.stringify(nested)]) {
          const message = { type: 'core_status_update' as const, status: wire };
          expect(factsOf(message)).toBeTypeOf('object');
          expect(() => printableStatus(wire)).not.toThrow();
        }
      }),
    );
  });

  it('shows nothing of a core status that is nested too deep to be masked', () => {
    expect(printableStatus('['.repeat(100_000) + ']'.repeat(100_000))).toBeUndefined();
  });

  it('forgets the network when there is none, and everything when they are other glasses', () => {
    const offline = withFacts(facts, { wifiConnected: false });
    expect(offline).toEqual({ ...facts, wifiConnected: false, wifiSsid: undefined, wifiLocalIp: undefined });
    expect(withFacts(facts, { batteryLevel: 70 })).toEqual({ ...facts, batteryLevel: 70 });
    expect(withFacts(facts, { modelName: 'Glasscast' })).toEqual({ modelName: 'Glasscast' });
  });
});

describe('the location tier', () => {
  it.each([
    [[], 'reduced'],
    [['kilometer', 'high', 'reduced'], 'high'],
    [['realtime', 'high'], 'realtime'],
    [['by the hour'], 'standard'],
  ])('of %j is %s', (wanted, tier) => {
    expect(closestTier(wanted)).toBe(tier);
  });
});
