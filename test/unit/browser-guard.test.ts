import { describe, expect, it } from 'vitest';
import { createBrowserGuard } from '../../cloud/http/browser-guard.ts';
import { codeOf } from '../support/code-of.ts';

const guard = createBrowserGuard({ publicUrl: 'wss://relay.example', allowedHosts: ['Relay.lan'] });

describe('the page that calls', () => {
  it.each([
    [undefined, '127.0.0.1:8787'],
    ['http://127.0.0.1:8787', '127.0.0.1:8787'],
    ['http://relay.lan:8787', 'relay.lan:8787'],
    ['https://relay.example', 'relay.example'],
    // The proxy in front called us by another name.
    ['https://relay.example', '10.0.0.5:8787'],
  ])('%s may call %s', (origin, host) => {
    expect(codeOf(() => guard.checkOrigin(origin, host))).toBe('in');
  });

  it.each([
    ['https://evil.example', 'relay.example'],
    ['http://127.0.0.1:3000', '127.0.0.1:8787'],
    ['https://relay.example.evil.example', 'relay.example'],
    ['null', '127.0.0.1:8787'],
    ['file://', '127.0.0.1:8787'],
    ['', ''],
    ['nonsense', undefined],
  ])('%s may not call %s', (origin, host) => {
    expect(codeOf(() => guard.checkOrigin(origin, host))).toBe('ORIGIN_REFUSED');
  });
});

describe('the name we are called by', () => {
  it.each(['127.0.0.1:8787', '[::1]:8787', '192.168.1.5', 'localhost:1', 'RELAY.example', 'relay.lan', 'a.localhost'])(
    '%s is ours',
    (host) => {
      expect(codeOf(() => guard.checkHost(host))).toBe('in');
    },
  );
  it('is ours too when it is what we listen on, or is written with its port', () => {
    const named = createBrowserGuard({ host: 'relay-box', allowedHosts: ['relay.lan:8787'] });
    for (const host of ['relay-box:8787', 'RELAY-BOX', 'relay.lan:8787', 'relay.lan']) {
      expect(codeOf(() => named.checkHost(host))).toBe('in');
    }
    const everywhere = createBrowserGuard({ host: '::' });
    expect(codeOf(() => everywhere.checkHost('[fd00::1]:8787'))).toBe('in');
    expect(codeOf(() => everywhere.checkHost('evil.example'))).toBe('HOST_REFUSED');
  });
  it.each(['evil.example:8787', 'localhost.evil.example', '127.0.0.1.evil.example', '', undefined, 'a b'])(
    '%s is not: a page can make its own name lead to us',
    (host) => {
      expect(codeOf(() => guard.checkHost(host))).toBe('HOST_REFUSED');
    },
  );
});

describe('headers', () => {
  it('forbid frames, sniffing and referrers; HTTPS for good only where it is public', () => {
    expect(guard.headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringContaining("frame-ancestors 'none'"),
      'referrer-policy': 'no-referrer',
      'strict-transport-security': expect.stringMatching(/^max-age=\d+$/),
    });
    expect(createBrowserGuard({ publicUrl: 'ws://10.0.0.5' }).headers).not.toHaveProperty('strict-transport-security');
  });
});
