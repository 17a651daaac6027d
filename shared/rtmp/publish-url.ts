/**
 * Where to publish: an rtmp:// or rtmps:// address taken apart once, at the door.
 * From here on the stream key is a Secret; `printable` is the only form for logs and statuses.
 */
import { GlasscastError } from '../errors.ts';
import { Secret } from '../secrets.ts';

export interface PublishUrl {
  /** rtmps: TLS from the first byte. */
  readonly secure: boolean;
  /** Host name or IP literal, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** RTMP application: the path without its last segment, e.g. `live`. */
  readonly app: string;
  /** Last path segment with the query: what `publish` names. */
  readonly streamKey: Secret;
  /** What `connect` carries; holds no key. */
  readonly tcUrl: string;
  /** Fit for logs: `rtmps://host:443/live/***`. */
  readonly printable: string;
}

const MAX_URL_CHARS = 2048;

/**
 * Takes `rtmp[s]://host[:port]/app[/instance]/key[?query]`; ports default to 1935 and 443. Also `/app?query/key`: some
 * platforms give a server address with a query, behind which the key is pasted.
 * @throws GlasscastError INVALID_PUBLISH_URL; its text never holds the address itself, because a key may be in it.
 */
export function parsePublishUrl(text: string): PublishUrl {
  if (text.length > MAX_URL_CHARS) throw invalid(`it is longer than ${MAX_URL_CHARS} characters`);
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/i.exec(text.trim());
  if (!match) throw invalid('it has no scheme, e.g. rtmps://host/app/key');
  const [, scheme = '', authority = '', path = '', query = '', fragment] = match;
  const secure = scheme.toLowerCase() === 'rtmps';
  if (!secure && scheme.toLowerCase() !== 'rtmp') throw invalid(`the scheme is "${scheme}", not rtmp or rtmps`);
  if (authority.includes('@')) throw invalid('user name and password are not supported; put the key in the path');
  if (fragment) throw invalid('it has a # fragment');
  if (hasControls(text.trim())) throw invalid('it holds spaces or control characters');
  const { host, port } = hostAndPort(authority, secure ? 443 : 1935);

  const { app, key } = appAndKey(path, query);
  const shownHost = host.includes(':') ? `[${host}]` : host;
  const base = `${secure ? 'rtmps' : 'rtmp'}://${shownHost}:${port}/`;
  const printable = `${base}${app.replace(/\?.*/, '')}/***`;
  return { secure, host, port, app, streamKey: new Secret(key), tcUrl: base + app, printable };
}

function appAndKey(path: string, query: string): { app: string; key: string } {
  const segments = path.split('/').slice(1);
  const behindQuery = query.lastIndexOf('/');
  if (segments.length === 1 && segments[0] && behindQuery > 0) {
    const key = query.slice(behindQuery + 1);
    if (!key) throw invalid('the stream key is missing at the end');
    return { app: segments[0] + query.slice(0, behindQuery), key };
  }
  const key = segments.pop() ?? '';
  const app = segments.join('/');
  // A doubled slash is a key pasted behind an address that already ends in one: it would publish nowhere.
  if (!app || segments.includes('')) throw invalid('the path needs an application and a key: /app/key');
  if (!key) throw invalid('the stream key is missing at the end of the path');
  return { app, key: key + query };
}

function hostAndPort(authority: string, defaultPort: number): { host: string; port: number } {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::(\d*))?$/i.exec(authority);
  const host = match?.[1] ?? match?.[2];
  if (!match || !host) throw invalid(authority ? 'the host is not valid' : 'the host is missing');
  const port = match[3] ? Number(match[3]) : defaultPort;
  if (port < 1 || port > 65_535) throw invalid('the port is not between 1 and 65535');
  return { host, port };
}

function hasControls(text: string): boolean {
  for (const char of text) if (char <= ' ' || char === '\u007f') return true;
  return false;
}

function invalid(reason: string): GlasscastError {
  return new GlasscastError('INVALID_PUBLISH_URL', { reason, details: { reason } });
}
