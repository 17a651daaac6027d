/**
 * How many RTMP connections there may be, in all and of one address, so that no stranger can take every place.
 * Counts; never closes anything.
 */
import { countedAddress } from '../../../shared/network-address.ts';

export interface PlaceLimits {
  /** In all, both listeners together. Default 2000. */
  maxConnections: number;
  /** Of one address; IPv6 counts by /64. Default 500: a whole event behind one NAT fits, and the rest stays for others. */
  maxConnectionsPerAddress: number;
}

export interface Places {
  /** The way to give the place back, once; or why there is none. */
  take(address: string): (() => void) | 'full' | 'full-for-address';
}

export function createPlaces({ maxConnections, maxConnectionsPerAddress }: PlaceLimits): Places {
  const taken = new Map<string, number>();
  let total = 0;

  return {
    take(address) {
      if (total >= maxConnections) return 'full';
      const key = countedAddress(address);
      const ofAddress = taken.get(key) ?? 0;
      if (ofAddress >= maxConnectionsPerAddress) return 'full-for-address';
      taken.set(key, ofAddress + 1);
      total += 1;
      let isHeld = true;
      return () => {
        if (!isHeld) return;
        isHeld = false;
        total -= 1;
        const left = (taken.get(key) ?? 1) - 1;
        if (left > 0) taken.set(key, left);
        else taken.delete(key);
      };
    },
  };
}
