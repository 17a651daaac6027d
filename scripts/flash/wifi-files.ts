/**
 * Wi-Fi for a board that has never run: which files a root file system needs, by the network programs in it. The password
 * goes in as the key that is made from it (IEEE 802.11i, annex H.4: PBKDF2-SHA1, 4096 rounds), never as it was typed.
 */
import { pbkdf2Sync } from 'node:crypto';
import { GlasscastError } from '../../shared/errors.ts';
import type { Secret } from '../../shared/secrets.ts';

export interface WifiNetwork {
  ssid: string;
  /** Undefined: an open network. */
  password: Secret | undefined;
  /** ISO 3166, as DE: which channels may be used. Undefined: as the system has it. */
  country: string | undefined;
  /** As the kernel names it on the board. Default: wlan0. */
  interfaceName?: string;
}

/** What the root file system has. */
export interface NetworkPrograms {
  networkManager: boolean;
  wpaSupplicant: boolean;
  networkd: boolean;
}

export interface WifiFile {
  path: string;
  mode: number;
  content: string;
}

export interface WifiLink {
  path: string;
  target: string;
}

export interface WifiSetup {
  /** For people. */
  way: 'NetworkManager' | 'wpa_supplicant and systemd-networkd';
  files: WifiFile[];
  links: WifiLink[];
}

/** @throws GlasscastError INVALID_CONFIG: what was given; BOARD_UNFIT: nothing there that joins networks */
export function wifiSetup(network: WifiNetwork, programs: NetworkPrograms): WifiSetup {
  requireNetwork(network);
  const regulatory = countryFiles(network.country);
  if (programs.networkManager) {
    const files = [networkManagerFile(network), ...regulatory];
    return { way: 'NetworkManager', files, links: [] };
  }
  if (programs.wpaSupplicant && programs.networkd) {
    return { way: 'wpa_supplicant and systemd-networkd', ...supplicantSetup(network, regulatory) };
  }
  const missing = programs.wpaSupplicant ? 'systemd-networkd' : 'wpa_supplicant';
  const reason = `no Wi-Fi without NetworkManager, or ${missing}; install one of them in the image, or leave --wifi-ssid out`;
  throw new GlasscastError('BOARD_UNFIT', { reason });
}

/** @throws GlasscastError INVALID_CONFIG; says nothing of what the password is */
export function requireNetwork({ ssid, password, country, interfaceName }: WifiNetwork): void {
  const ssidBytes = Buffer.byteLength(ssid);
  if (ssidBytes < 1 || ssidBytes > 32) throw wrong('a Wi-Fi name (SSID) has 1 to 32 bytes');
  const text = password?.reveal();
  if (text !== undefined && !/^([\x20-\x7e]{8,63}|[0-9a-fA-F]{64})$/.test(text)) {
    throw wrong('a Wi-Fi password has 8 to 63 characters of ASCII, or is a key of 64 hexadecimal digits');
  }
  if (country !== undefined && !/^[A-Z]{2}$/.test(country)) throw wrong('a Wi-Fi country has two letters, as DE');
  if (interfaceName !== undefined && !/^[A-Za-z0-9_-]{1,15}$/.test(interfaceName)) {
    throw wrong('a Wi-Fi interface has a name as wlan0');
  }
}

/** @returns 64 hexadecimal digits */
export function wifiKey(ssid: string, password: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(password)) return password.toLowerCase();
  return pbkdf2Sync(password, Buffer.from(ssid), 4096, 32, 'sha1').toString('hex');
}

function networkManagerFile({ ssid, password, interfaceName }: WifiNetwork): WifiFile {
  const security =
    password === undefined
      ? []
      : ['', '[wifi-security]', 'key-mgmt=wpa-psk', `psk=${wifiKey(ssid, password.reveal())}`];
  const lines = [
    '# Written by glasscast flash.',
    '[connection]',
    'id=glasscast-wifi',
    `uuid=${NETWORK_MANAGER_UUID}`,
    'type=wifi',
    ...(interfaceName === undefined ? [] : [`interface-name=${interfaceName}`]),
    'autoconnect=true',
    // Glasses have nobody to try again: by default NetworkManager gives up after four times.
    'autoconnect-retries=0',
    '',
    '[wifi]',
    'mode=infrastructure',
    // As bytes, which its keyfile allows: no character of a name can then mean something else.
    `ssid=${[...Buffer.from(ssid)].map((byte) => `${byte};`).join('')}`,
    ...security,
    '',
    '[ipv4]',
    'method=auto',
    '',
    '[ipv6]',
    'method=auto',
  ];
  const path = '/etc/NetworkManager/system-connections/glasscast-wifi.nmconnection';
  return { path, mode: 0o600, content: `${lines.join('\n')}\n` };
}

/** One connection of ours per system; the same each time, so that flashing again replaces it. */
const NETWORK_MANAGER_UUID = '6f6a2f6e-3c0f-4f5e-9d0c-61a5c1a57001';

function supplicantSetup(
  { ssid, password, country, interfaceName = 'wlan0' }: WifiNetwork,
  regulatory: readonly WifiFile[],
): Pick<WifiSetup, 'files' | 'links'> {
  const supplicant = [
    '# Written by glasscast flash.',
    'ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev',
    ...(country === undefined ? [] : [`country=${country}`]),
    'network={',
    // Unquoted hexadecimal: no character of a name can end the string.
    `  ssid=${Buffer.from(ssid).toString('hex')}`,
    '  scan_ssid=1',
    ...(password === undefined ? ['  key_mgmt=NONE'] : [`  psk=${wifiKey(ssid, password.reveal())}`]),
    '}',
  ];
  const network = [
    '# Written by glasscast flash.',
    '[Match]',
    `Name=${interfaceName}`,
    '',
    '[Network]',
    'DHCP=yes',
    '',
    '[DHCPv4]',
    // Beside a cable the cable is taken.
    'RouteMetric=600',
  ];
  const unit = (name: string) => `/etc/systemd/system/multi-user.target.wants/${name}`;
  return {
    files: [
      {
        path: `/etc/wpa_supplicant/wpa_supplicant-${interfaceName}.conf`,
        mode: 0o600,
        content: `${supplicant.join('\n')}\n`,
      },
      // No secret in it, and systemd-networkd is no root.
      { path: '/etc/systemd/network/60-glasscast-wifi.network', mode: 0o644, content: `${network.join('\n')}\n` },
      ...regulatory,
    ],
    links: [
      { path: unit(`wpa_supplicant@${interfaceName}.service`), target: '/lib/systemd/system/wpa_supplicant@.service' },
      { path: unit('systemd-networkd.service'), target: '/lib/systemd/system/systemd-networkd.service' },
    ],
  };
}

/** For the kernel: neither a keyfile of NetworkManager nor systemd-networkd knows a country. */
function countryFiles(country: string | undefined): WifiFile[] {
  if (country === undefined) return [];
  const content = `# Written by glasscast flash.\noptions cfg80211 ieee80211_regdom=${country}\n`;
  return [{ path: '/etc/modprobe.d/glasscast-wifi.conf', mode: 0o644, content }];
}

const wrong = (reason: string) => new GlasscastError('INVALID_CONFIG', { reason });
