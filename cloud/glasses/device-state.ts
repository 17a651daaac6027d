/**
 * What is known of a user's glasses, out of the three messages in which they tell it. Pure. Words are those of MentraOS'
 * `device_state_update` towards apps and of its phones' `core_status_update` towards us.
 */
import * as z from 'zod';
import type { FromGlasses } from '../../shared/protocol/glasses-messages.ts';

const text = z.string().min(1).max(200);
const percent = z.number().min(0).max(100);

/** For apps and operators. The password of the glasses' hotspot is not among it: apps have no use for it. */
const facts = z.object({
  modelName: text,
  androidVersion: text,
  fwVersion: text,
  buildNumber: text,
  otaVersionUrl: z.string().min(1).max(2000),
  appVersion: text,
  bluetoothName: text,
  serialNumber: text,
  style: text,
  color: text,
  wifiConnected: z.boolean(),
  wifiSsid: text,
  wifiLocalIp: text,
  /** Per cent. */
  batteryLevel: percent,
  charging: z.boolean(),
  caseBatteryLevel: percent,
  caseCharging: z.boolean(),
  caseOpen: z.boolean(),
  caseRemoved: z.boolean(),
  hotspotEnabled: z.boolean(),
  hotspotSsid: text,
  hotspotGatewayIp: text,
});
export type DeviceFacts = Partial<z.output<typeof facts>>;

export interface DeviceState extends DeviceFacts {
  connected: boolean;
}

/** MentraOS' phone → `device_state_update`. */
const CORE_STATUS_NAMES: Readonly<Record<string, keyof DeviceFacts>> = {
  model_name: 'modelName',
  battery_level: 'batteryLevel',
  charging: 'charging',
  case_battery_level: 'caseBatteryLevel',
  case_charging: 'caseCharging',
  case_open: 'caseOpen',
  case_removed: 'caseRemoved',
  glasses_wifi_connected: 'wifiConnected',
  glasses_wifi_ssid: 'wifiSsid',
  glasses_wifi_local_ip: 'wifiLocalIp',
  glasses_hotspot_enabled: 'hotspotEnabled',
  glasses_hotspot_ssid: 'hotspotSsid',
  glasses_hotspot_gateway_ip: 'hotspotGatewayIp',
  glasses_app_version: 'appVersion',
  glasses_fw_version: 'fwVersion',
  glasses_build_number: 'buildNumber',
  glasses_android_version: 'androidVersion',
  glasses_ota_version_url: 'otaVersionUrl',
  glasses_serial_number: 'serialNumber',
  glasses_style: 'style',
  glasses_color: 'color',
  bluetooth_name: 'bluetoothName',
};

/** Field names of a core status that hold something no app may see. */
const SECRET_NAME = /password|token|secret|credential/i;

/** What one message tells. A value of the wrong type, or one that means "unknown" (-1, empty), is left out alone. */
export function factsOf(message: FromGlasses): DeviceFacts {
  switch (message.type) {
    case 'glasses_connection_state': {
      const { modelName, wifi } = message;
      return checked({
        modelName,
        ...(wifi ? { wifiConnected: wifi.connected, wifiSsid: wifi.ssid, wifiLocalIp: wifi.localIp } : {}),
      });
    }
    case 'glasses_battery_update':
      return checked({ batteryLevel: message.level, charging: message.charging });
    case 'core_status_update': {
      const glasses = fieldsOf(fieldsOf(fieldsOf(parsed(message.status)).status).connected_glasses);
      const named = Object.entries(CORE_STATUS_NAMES).map(([theirs, ours]) => [ours, glasses[theirs]]);
      return checked(Object.fromEntries(named));
    }
    default:
      return {};
  }
}

/** Newer facts over older ones. Other glasses start from nothing; without Wi-Fi there is no network's name. */
export function withFacts(known: DeviceFacts, news: DeviceFacts): DeviceFacts {
  const isOther = news.modelName !== undefined && known.modelName !== undefined && news.modelName !== known.modelName;
  const { wifiSsid: _, wifiLocalIp: __, ...rest } = known;
  const kept = isOther ? {} : news.wifiConnected === undefined ? known : rest;
  return { ...kept, ...news };
}

/** A core status as apps may see it, in the form it came in; undefined when it cannot be looked through. */
export function printableStatus(status: unknown): unknown {
  try {
    const masked = JSON.stringify(parsed(status), (name, value: unknown) => (SECRET_NAME.test(name) ? '***' : value));
    return typeof status === 'string' ? masked : (JSON.parse(masked) as unknown);
  } catch {
    return undefined;
  }
}

function checked(values: Partial<Record<keyof DeviceFacts, unknown>>): DeviceFacts {
  const isGood = ([name, value]: [string, unknown]) => facts.shape[name as keyof DeviceFacts].safeParse(value).success;
  return Object.fromEntries(Object.entries(values).filter(isGood)) as DeviceFacts;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function parsed(status: unknown): unknown {
  if (typeof status !== 'string') return status;
  try {
    return JSON.parse(status) as unknown;
  } catch {
    return status;
  }
}
