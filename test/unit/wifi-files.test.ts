import fc from 'fast-check';
import { expect, test } from 'vitest';
import { wifiKey, wifiSetup } from '../../scripts/flash/wifi-files.ts';
import { Secret } from '../../shared/secrets.ts';

const all = { networkManager: true, wpaSupplicant: true, networkd: true };
const plain = { networkManager: false, wpaSupplicant: true, networkd: true };
const home = { ssid: 'Home; "net"', password: new Secret('correct horse'), country: 'DE' };

test('the key is that of IEEE 802.11i, annex H.4.3', () => {
  expect(wifiKey('IEEE', 'password')).toBe('f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e');
  expect(wifiKey('ThisIsASSID', 'ThisIsAPassword')).toBe(
    '0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af',
  );
});

test('NetworkManager gets a keyfile that only root reads', () => {
  const { way, files, links } = wifiSetup(home, all);
  expect([way, links]).toEqual(['NetworkManager', []]);
  const [keyfile, country] = files;
  expect(keyfile).toMatchObject({
    path: '/etc/NetworkManager/system-connections/glasscast-wifi.nmconnection',
    mode: 0o600,
    content: expect.stringContaining('\nssid=72;111;109;101;59;32;34;110;101;116;34;\n'),
  });
  expect(keyfile?.content).toContain(`\npsk=${wifiKey(home.ssid, 'correct horse')}\n`);
  expect(country).toEqual({
    path: '/etc/modprobe.d/glasscast-wifi.conf',
    mode: 0o644,
    content: '# Written by glasscast flash.\noptions cfg80211 ieee80211_regdom=DE\n',
  });
});

test('else wpa_supplicant and systemd-networkd, which are both started', () => {
  const { files, links } = wifiSetup({ ...home, interfaceName: 'wlan1' }, plain);
  expect(files.map(({ path, mode }) => [path, mode])).toEqual([
    ['/etc/wpa_supplicant/wpa_supplicant-wlan1.conf', 0o600],
    ['/etc/systemd/network/60-glasscast-wifi.network', 0o644],
    ['/etc/modprobe.d/glasscast-wifi.conf', 0o644],
  ]);
  expect(files[0]?.content).toContain('\ncountry=DE\n');
  expect(files[0]?.content).toContain(`\n  ssid=${Buffer.from(home.ssid).toString('hex')}\n`);
  expect(links.map(({ path }) => path.split('/').at(-1))).toEqual([
    'wpa_supplicant@wlan1.service',
    'systemd-networkd.service',
  ]);
});

test('an open network has no key', () => {
  const open = { ssid: 'cafe', password: undefined, country: undefined };
  expect(
    wifiSetup(open, all)
      .files.map(({ content }) => content)
      .join(),
  ).not.toMatch(/psk|security/);
  expect(wifiSetup(open, plain).files[0]?.content).toContain('key_mgmt=NONE');
});

test.each([
  [{ ...plain, wpaSupplicant: false }, 'wpa_supplicant'],
  [{ ...plain, networkd: false }, 'systemd-networkd'],
])('a system that joins no network is refused with what it lacks', (programs, missing) => {
  const reason = `no Wi-Fi without NetworkManager, or ${missing}`;
  expect(() => wifiSetup(home, programs)).toThrow(
    expect.objectContaining({ code: 'BOARD_UNFIT', message: expect.stringContaining(reason) }),
  );
});

test.each([
  { ...home, ssid: '' },
  { ...home, ssid: 'é'.repeat(17) },
  { ...home, password: new Secret('short') },
  { ...home, password: new Secret('longer\nthan') },
  { ...home, country: 'Germany' },
  { ...home, interfaceName: '../wlan0' },
])('what cannot be a network is refused, and no password told', (network) => {
  expect(() => wifiSetup(network, all)).toThrow(
    expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.not.stringMatching(/short|longer\n/) }),
  );
});

test('no name and no password gets out of its line, and no password stands in a file', () => {
  const ssid = fc
    .string({ minLength: 1, maxLength: 32, unit: 'binary' })
    .filter((text) => Buffer.byteLength(text) <= 32);
  const password = fc.string({ minLength: 10, maxLength: 63, unit: 'grapheme-ascii' });
  fc.assert(
    fc.property(ssid, password, fc.constantFrom(all, plain), (name, word, programs) => {
      const { files } = wifiSetup({ ssid: name, password: new Secret(word), country: 'US' }, programs);
      for (const { content } of files) {
        expect(content).toMatch(/^[\x20-\x7e\n]*$/);
        expect(content).not.toContain(word.trim().length < 10 ? 'never there' : word);
      }
      const count = files[0]?.content.split('\n').length;
      expect(count).toBe(programs.networkManager ? 22 : 9);
    }),
    { numRuns: 20 },
  );
});
