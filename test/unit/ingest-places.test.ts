/** Places for RTMP connections: so many in all, so many of one address, each given back once. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createPlaces } from '../../cloud/local-stream/ingest/places.ts';

it('are so many in all and of one address; who leaves makes room', () => {
  const places = createPlaces({ maxConnections: 3, maxConnectionsPerAddress: 2 });
  const first = places.take('192.0.2.1');
  expect(places.take('::ffff:192.0.2.1')).toBeTypeOf('function');
  expect(places.take('192.0.2.1')).toBe('full-for-address');
  expect(places.take('2001:db8::1')).toBeTypeOf('function');
  expect(places.take('2001:db8::2')).toBe('full');
  if (typeof first === 'function') {
    first();
    first();
  }
  expect(places.take('2001:db8::2')).toBeTypeOf('function');
  expect(places.take('2001:db8::3')).toBe('full');
});

it('are never more than the limits, in whatever order peers come and go', () => {
  const step = fc.record({ address: fc.integer({ min: 1, max: 4 }), leaves: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const places = createPlaces({ maxConnections: 7, maxConnectionsPerAddress: 3 });
      const held: { address: number; leave: () => void }[] = [];
      for (const { address, leaves } of steps) {
        const ofAddress = held.filter((one) => one.address === address);
        if (leaves) {
          const [one] = ofAddress;
          one?.leave();
          if (one) held.splice(held.indexOf(one), 1);
          continue;
        }
        const place = places.take(`192.0.2.${address}`);
        const expected = held.length >= 7 ? 'full' : ofAddress.length >= 3 ? 'full-for-address' : 'taken';
        expect(typeof place === 'function' ? 'taken' : place).toBe(expected);
        if (typeof place === 'function') held.push({ address, leave: place });
      }
    }),
  );
});
