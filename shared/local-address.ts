/**
 * Whether this machine still has the address that a connection was opened from. After a change of network (Wi-Fi to LTE)
 * nothing else says that the connection is dead: no packet comes back, and TCP goes on repeating for minutes.
 */
import type { NetworkInterfaceInfo } from 'node:os';

/** As `os.networkInterfaces`. */
export type NetworkInterfaces = () => NodeJS.Dict<NetworkInterfaceInfo[]>;

export interface LocalAddress {
  /**
   * No interface has had the address at this look and the one before: an interface that blinks keeps its connections.
   * @param isStuck nothing moves on the connection; else there is no need to look.
   */
  isGone(isStuck: boolean): boolean;
  /** Not there at the last look. */
  readonly isMissing: boolean;
}

export function createLocalAddress(address: string | undefined, networkInterfaces: NetworkInterfaces): LocalAddress {
  const wanted = address && plain(address);
  let misses = 0;

  /** Undefined where nobody can tell. */
  function isHere(): boolean | undefined {
    try {
      return Object.values(networkInterfaces()).some((all) => all?.some((one) => plain(one.address) === wanted));
    } catch {
      return undefined;
    }
  }
  // What is not listed to begin with (127.0.0.2, some tunnels) tells nothing when it is not listed later.
  const isListed = wanted !== undefined && isHere() === true;

  return {
    isGone(isStuck) {
      misses = isStuck && isListed && isHere() === false ? misses + 1 : 0;
      return misses > 1;
    },
    get isMissing() {
      return misses > 0;
    },
  };
}

/** Without the zone, and IPv4 as such where the socket calls it IPv6. */
function plain(address: string): string {
  return address.replace(/%.*/, '').replace(/^::ffff:(?=\d+\.)/i, '');
}
