import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';

describe('parsePublishUrl', () => {
  it('takes what Cloudflare gives', () => {
    const url = parsePublishUrl('rtmps://live.cloudflare.com:443/live/0123abcdKEYk99');
    expect(url).toMatchObject({ secure: true, host: 'live.cloudflare.com', port: 443, app: 'live' });
    expect(url.tcUrl).toBe('rtmps://live.cloudflare.com:443/live');
    expect(url.printable).toBe('rtmps://live.cloudflare.com:443/live/***');
    expect(url.streamKey.reveal()).toBe('0123abcdKEYk99');
  });
  it.each([
    ['rtmp://127.0.0.1/live/k', { secure: false, host: '127.0.0.1', port: 1935, app: 'live' }],
    ['rtmps://host/live/k', { secure: true, port: 443 }],
    ['RTMP://Host:1936/live/k', { secure: false, host: 'Host', port: 1936 }],
    ['rtmp://[::1]:1935/live/k', { host: '::1', tcUrl: 'rtmp://[::1]:1935/live' }],
    ['rtmp://host/app/instance/k', { app: 'app/instance' }],
  ])('takes %s', (text, parts) => {
    expect(parsePublishUrl(text)).toMatchObject(parts);
  });
  it('keeps the query with the key', () => {
    expect(parsePublishUrl('rtmp://host/live/k?sign=1-2').streamKey.reveal()).toBe('k?sign=1-2');
  });
  it.each([
    ['', /no scheme/],
    ['host/live/k', /no scheme/],
    ['http://host/live/k', /scheme is "http"/],
    ['rtmp:///live/k', /host is missing/],
    ['rtmp://ho st/live/k', /spaces/],
    ['rtmp://host:0/live/k', /port is not between/],
    ['rtmp://host:70000/live/k', /port is not between/],
    ['rtmp://host/live', /application and a key/],
    ['rtmp://host/live/', /key is missing/],
    ['rtmps://host/live//k', /application and a key/],
    ['rtmp://user:pw@host/live/k', /user name/],
    ['rtmp://host/live/k#x', /fragment/],
    [`rtmp://host/live/${'k'.repeat(3000)}`, /longer than/],
  ])('refuses %s', (text, message) => {
    expect(() => parsePublishUrl(text)).toThrow(message);
  });
  it('never shows the key, neither of a good nor of a bad address', () => {
    const key = 'the-very-secret-key';
    const url = parsePublishUrl(`rtmp://host/live/${key}`);
    expect(`${inspect(url, { depth: 9 })}${JSON.stringify(url)}${url.streamKey}`).not.toContain(key);
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), (noise) => {
        try {
          parsePublishUrl(`${noise}/${key}`);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_PUBLISH_URL' });
          expect(String(error)).not.toContain(key);
        }
      }),
    );
  });
});
