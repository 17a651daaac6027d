/**
 * What browsers need to be told, and what pages of others must not do: security headers on every answer, no calls from
 * foreign origins, no operator routes under a name that is not ours (DNS rebinding). Pure.
 */
import { isIP } from 'node:net';
import { GlasscastError } from '../../shared/errors.ts';

export interface BrowserGuard {
  /** For every answer; a page brings a content security policy of its own. */
  readonly headers: Readonly<Record<string, string>>;
  /**
   * Browsers name the page that calls. Apps, glasses and tools name none; a phone's web view names ours.
   * @param host as the caller wrote it, with port. @throws GlasscastError ORIGIN_REFUSED
   */
  checkOrigin(origin: string | undefined, host: string | undefined): void;
  /**
   * A page under any name can have that name lead to us, but not send another one.
   * @param host the `Host` header itself: every other header a page writes as it likes. @throws GlasscastError HOST_REFUSED
   */
  checkHost(host: string | undefined): void;
}

export interface BrowserGuardOptions {
  /** What the relay listens on: a name that stands there is ours. */
  host?: string | undefined;
  publicUrl?: string | undefined;
  /** More names that this relay is reached under. */
  allowedHosts?: readonly string[] | undefined;
}

export function createBrowserGuard({ host: own, publicUrl, allowedHosts = [] }: BrowserGuardOptions): BrowserGuard {
  const ours = publicUrl === undefined ? undefined : new URL(publicUrl.replace(/^ws/, 'http'));
  const written = ['localhost', ...(own === undefined ? [] : [own]), ...allowedHosts];
  const names = new Set([ours?.hostname, ...written.map((host) => nameOf(`http://${host}`))]);
  const isOurName = (name: string) =>
    names.has(name) || name.endsWith('.localhost') || isIP(name.replace(/^\[|\]$/g, '')) !== 0;

  return {
    headers: {
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'cache-control': 'no-store',
      ...(ours?.protocol === 'https:' ? { 'strict-transport-security': 'max-age=31536000' } : {}),
    },
    checkOrigin(origin, host) {
      if (origin === undefined) return;
      const from = hostOf(origin);
      if (from !== undefined && (from === hostOf(`http://${host}`) || from === ours?.host)) return;
      throw new GlasscastError('ORIGIN_REFUSED');
    },
    checkHost(host) {
      const name = host === undefined ? undefined : nameOf(`http://${host}`);
      if (name === undefined || !isOurName(name)) throw new GlasscastError('HOST_REFUSED');
    },
  };
}

/** With its port, unless that is the scheme's own. */
function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).host || undefined : undefined;
}

function nameOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname || undefined : undefined;
}
