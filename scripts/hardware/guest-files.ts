/**
 * What the bench adds to the image of a board, beside the package: a way in that needs no network, an address by DHCP, the virtual
 * camera and sound card. Nothing of the product is in here.
 */

/** Of the virtio port to the root shell below. */
export const SHELL_PORT = 'glasscast.bench';

/** What the board's kernel loads by itself; what these need comes with them. */
export const BOARD_MODULES = [
  ...['virtio_net', 'virtio_console', 'virtio_rng', 'button', 'evdev', 'autofs4', 'battery'],
  ...['vivid', 'snd_aloop'],
];

/** In the first file system: what it takes to find the disk. */
export const DISK_MODULES = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4'];

export interface GuestFile {
  /** From the root. */
  path: string;
  text: string;
  isExecutable?: boolean;
}

/** Each line in is an id and a script in base64; each line out the id, its exit code and its output in base64. */
const SHELL = `#!/bin/sh
exec 0<>/dev/virtio-ports/${SHELL_PORT} 1>&0
while read -r id text; do
  {
    output=$(sh -c "$(printf %s "$text" | base64 -d)" 2>&1 </dev/null)
    code=$?
    printf '%s %s %s\\n' "$id" "$code" "$(printf %s "$output" | base64 -w0)"
  } &
done
`;

const SHELL_UNIT = `[Unit]
Description=Root shell of the bench
DefaultDependencies=no
After=systemd-modules-load.service
# Whoever asks may come late, and until then the port is closed.
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/local/sbin/bench-shell
Restart=always
RestartSec=200ms

[Install]
WantedBy=sysinit.target
`;

const NETWORK = `[Match]
Name=en*

[Network]
DHCP=ipv4
`;

export const guestFiles: readonly GuestFile[] = [
  { path: 'usr/local/sbin/bench-shell', text: SHELL, isExecutable: true },
  { path: 'etc/systemd/system/bench-shell.service', text: SHELL_UNIT },
  { path: 'etc/systemd/network/80-bench.network', text: NETWORK },
  { path: 'etc/hostname', text: 'glasses\n' },
  { path: 'etc/modules-load.d/bench.conf', text: `${BOARD_MODULES.join('\n')}\n` },
  // One camera: a node that captures, and nothing else of what the driver can pretend.
  { path: 'etc/modprobe.d/bench.conf', text: 'options vivid n_devs=1 node_types=0x1\n' },
  { path: 'etc/ssh/sshd_config.d/bench.conf', text: 'UseDNS no\nPermitRootLogin prohibit-password\n' },
];

export const guestUnits: readonly string[] = ['bench-shell.service', 'systemd-networkd.service'];
