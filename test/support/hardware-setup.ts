/** Once before the tests of packages and boards: what they build, boot and look with. */
import { findOnPath } from '../../shared/child-process.ts';
import { canRunVirtualBoard } from './board-bench.ts';
import { hasDebianTools, letsContainersRun } from './debian-root.ts';
import { canEmulate } from './foreign-root.ts';
import { findOrInstall, type Peer } from './global-setup.ts';

const hasAll = (...names: string[]) => names.every((name) => findOnPath(name) !== undefined);

const peers: readonly Peer[] = [
  {
    packages: ['mmdebstrap', 'systemd-container'],
    for: 'the package in a booted Debian (as root alone)',
    isThere: () => hasDebianTools(),
    machineRefuses: () => (letsContainersRun() ? undefined : 'this machine lets no container run (systemd-nspawn)'),
  },
  { packages: ['e2fsprogs'], for: 'flashing images', isThere: () => hasAll('mke2fs', 'debugfs', 'e2fsck') },
  { packages: ['lintian'], for: "lintian's word on the package", isThere: () => hasAll('lintian') },
  {
    packages: ['mmdebstrap', 'qemu-user-static'],
    for: 'what is in the packages, and the programs for ARM, run (as root alone)',
    isThere: () => canEmulate(),
  },
  {
    packages: ['mmdebstrap', 'e2fsprogs', 'qemu-system-x86'],
    for: 'a whole board in a virtual machine (as root alone)',
    isThere: () => canRunVirtualBoard(),
  },
  { packages: ['openssh-client'], for: 'flashing over ssh', isThere: () => hasAll('ssh', 'ssh-keygen') },
];

export default () => findOrInstall(peers);
