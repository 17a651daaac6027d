import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDestinationGuard, parseDestination } from '../../cloud/provider/destination-guard.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { createTestClock } from '../support/test-clock.ts';

const names: Record<string, string[]> = {
  'live.example': ['93.184.216.34', '2606:4700::6810:84e5'],
  'mixed.example': ['93.184.216.34', '10.0.0.7'],
  'inside.example': ['127.0.0.1'],
  'empty.example': [],
};
const resolve = async (host: string) => {
  const found = names[host];
  if (!found) throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
  return found;
};
function verdict(url: string, { allowPrivate = false } = {}): Promise<string> {
  const guard = createDestinationGuard({ allowPrivate, clock: createTestClock(), resolve });
  return guard.check(parseDestination(url)).then(
    () => 'allowed',
    (error) => error.code,
  );
}

describe('where an app may have its stream pushed to', () => {
  it.each([
    ['rtmp://live.example/app/key', 'allowed'],
    ['rtmps://live.example/app/key', 'allowed'],
    ['rtmps://live.example:443/app/key?sign=a/b', 'allowed'],
    ['rtmp://live.example:80/app/key', 'allowed'],
    ['rtmp://93.184.216.34:1935/app/key', 'allowed'],
    ['rtmp://[2606:4700::6810:84e5]/app/key', 'allowed'],
    ['rtmp://live.example:22/app/key', 'DESTINATION_FORBIDDEN'],
    ['rtmp://live.example:25/app/key', 'DESTINATION_FORBIDDEN'],
    ['rtmp://mixed.example/app/key', 'DESTINATION_FORBIDDEN'],
    ['rtmp://inside.example/app/key', 'DESTINATION_FORBIDDEN'],
    ['rtmp://unknown.example/app/key', 'DESTINATION_UNRESOLVED'],
    ['rtmp://empty.example/app/key', 'DESTINATION_UNRESOLVED'],
    ['rtmp://127.0.0.1/app/key', 'DESTINATION_FORBIDDEN'],
    ['rtmp://[::1]/app/key', 'DESTINATION_FORBIDDEN'],
    ['rtmp://[::ffff:127.0.0.1]/app/key', 'DESTINATION_FORBIDDEN'],
    ['rtmp://169.254.169.254/latest/meta-data', 'DESTINATION_FORBIDDEN'],
    ['rtmp://010.8.8.8/app/key', 'DESTINATION_FORBIDDEN'],
  ])('%s: %s', async (url, expected) => {
    expect(await verdict(url)).toBe(expected);
  });
  it.each([
    'http://live.example/app/key',
    'file:///etc/passwd',
    'rtmp://user:pw@live.example/app/key',
    'rtmp://live.example/app',
    'rtmp://live.example:99999/app/key',
    'live.example/app/key',
    '',
  ])('cannot read %s', (url) => {
    expect(() => parseDestination(url)).toThrow(expect.objectContaining({ code: 'INVALID_URL_FORMAT' }));
  });
  it('says what is wrong, and never the address', () => {
    const key = 'the-very-secret-key';
    expect(() => parseDestination(`rtmp://host/${key}`)).toThrow(/application and a key/);
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), (noise) => {
        try {
          parseDestination(`${noise}/${key}`);
        } catch (error) {
          expect(String(error)).not.toContain(key);
        }
      }),
    );
  });
  it('lets private targets through when the operator says so, but no odd spelling and no odd port', async () => {
    const allowPrivate = true;
    expect(await verdict('rtmp://127.0.0.1:1936/app/key', { allowPrivate })).toBe('allowed');
    expect(await verdict('rtmp://unknown.example/app/key', { allowPrivate })).toBe('allowed');
    expect(await verdict('rtmp://127.1:1936/app/key', { allowPrivate })).toBe('DESTINATION_FORBIDDEN');
    expect(await verdict('rtmp://127.0.0.1:22/app/key', { allowPrivate })).toBe('DESTINATION_FORBIDDEN');
  });
  it('does not wait for a resolver that is silent', async () => {
    const clock = createTestClock();
    const guard = createDestinationGuard({ allowPrivate: false, clock, resolve: () => new Promise(() => {}) });
    const code = guard.check(parseDestination('rtmp://live.example/app/key')).catch((error) => error.code);
    await clock.advance(5_000);
    expect(await code).toBe('DESTINATION_UNRESOLVED');
    expect(clock.pending()).toEqual([]);
  });
});

describe('with the real resolver', () => {
  const guard = createDestinationGuard({ allowPrivate: false, clock: createSystemClock() });
  const code = (url: string) =>
    guard.check(parseDestination(url)).then(
      () => 'allowed',
      (error) => error.code,
    );
  it('refuses this machine by its name', async () => {
    expect(await code('rtmp://localhost/app/key')).toBe('DESTINATION_FORBIDDEN');
    expect(await code('rtmp://LOCALHOST/app/key')).toBe('DESTINATION_FORBIDDEN');
  });
  it('refuses 127.0.0.1 in every spelling that a resolver takes', async () => {
    const part = (value: number) =>
      fc.constantFrom(
        String(value),
        `0x${value.toString(16)}`,
        `0X${value.toString(16).toUpperCase()}`,
        `0${value.toString(8)}`,
        `000${value.toString(8)}`,
      );
    const forms = fc.oneof(
      part(0x7f000001),
      fc.tuple(part(127), part(1)).map((parts) => parts.join('.')),
      fc.tuple(part(127), part(0), part(1)).map((parts) => parts.join('.')),
      fc.tuple(part(127), part(0), part(0), part(1)).map((parts) => parts.join('.')),
      fc.constantFrom('[::1]', '[0:0:0:0:0:0:0:1]', '[::ffff:127.0.0.1]', '[::FFFF:7F00:1]', '[::127.0.0.1]', '[::]'),
    );
    await fc.assert(
      fc.asyncProperty(forms, async (host) => {
        expect(await code(`rtmp://${host}/app/key`)).toBe('DESTINATION_FORBIDDEN');
      }),
    );
  });
});
