import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createSessionIds } from '../../cloud/apps/session-ids.ts';
import { Secret } from '../../shared/secrets.ts';

const ids = createSessionIds(new Secret('a secret of this cluster'));
const name = fc.stringMatching(/^[a-z0-9@.+-]{1,60}$/);

it('name their user to whoever has the secret, whatever hyphens are in the names', () => {
  fc.assert(
    fc.property(name, name, fc.nat(3), (userId, packageName, plus) => {
      const id = ids.of(userId, packageName) + '+'.repeat(plus);
      expect(ids.userOf(id, packageName)).toBe(userId);
      expect(ids.userOf(id, `${packageName}x`)).toBeUndefined();
      expect(createSessionIds(new Secret('another')).userOf(id, packageName)).toBeUndefined();
    }),
  );
});

it('are not made up: any other text names nobody', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), name), fc.string(), (text, packageName) => {
      expect(ids.userOf(text, packageName)).toBeUndefined();
      expect(ids.userOf(`ada@example.com-${packageName}-${text}`, packageName)).toBeUndefined();
    }),
  );
  const own = ids.of('ada@example.com', 'com.a');
  expect(ids.userOf(own.replace('ada', 'eve'), 'com.a')).toBeUndefined();
  expect(ids.userOf('x'.repeat(100_000), 'com.a')).toBeUndefined();
});
