/**
 * The allowed origins of an input or a video: on which pages a browser may show it. Keeps pages out, not programs: whoever is no
 * browser says what it likes. Cloudflare's spelling ("Secure your Stream", hotlinking protection): `example.com` is that host alone,
 * `*.example.com` all hosts below it and not itself, a port other than the scheme's own has to be named. Pure.
 */

/** Headers by which a browser tells on which page it shows something. */
export interface PageSigns {
  origin?: string | undefined;
  referer?: string | undefined;
  /** The delivery host as the request calls it: its own player page is not another site. */
  host?: string | undefined;
  /** `Sec-Fetch-Site`: said even where a page hides its address. */
  fetchSite?: string | undefined;
}

/** @param allowed with none, every page may. */
export function mayShow(allowed: readonly string[], { origin, referer, host, fetchSite }: PageSigns): boolean {
  if (allowed.length === 0) return true;
  const page = origin ?? referer;
  // A page that hides where it is says `cross-site` all the same; what says nothing at all is no page.
  if (page === undefined) return fetchSite === undefined || fetchSite === 'same-origin' || fetchSite === 'none';
  if (!URL.canParse(page)) return false;
  const { host: pageHost } = new URL(page);
  return pageHost === host?.toLowerCase() || allowed.some((entry) => covers(entry, pageHost));
}

/** @param pageHost with its port unless that is the scheme's own, as URL writes it. */
function covers(entry: string, pageHost: string): boolean {
  const wanted = entry
    .trim()
    .toLowerCase()
    .replace(/^https?:\/\//, '')
    .replace(/\/.*$/, '');
  if (wanted === '*') return true;
  if (!wanted.startsWith('*.')) return wanted === pageHost;
  return wanted.length > 2 && pageHost.endsWith(wanted.slice(1)) && pageHost.length > wanted.length - 1;
}
