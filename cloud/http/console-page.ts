/** Serves the console: the page in console/. The page holds no secret; what it shows it fetches with the admin token. */
import { readFile } from 'node:fs/promises';
import type { FastifyInstance } from 'fastify';
import { bundled, pageHeaders, servePageFiles } from '../../shared/page-files.ts';

const folder = new URL('../console/', import.meta.url);

/** Playback comes from the provider's host, so media and fetches may go anywhere; scripts and styles only from here. */
const PAGE_HEADERS = pageHeaders([
  "default-src 'self'",
  // A star speaks for http and https alone; pictures also come by WebSocket. WebRTC's own traffic no policy names.
  'connect-src * blob: ws: wss:',
  'media-src * blob:',
  'img-src * data: blob:',
  'worker-src blob:',
  "frame-ancestors 'none'",
  "base-uri 'none'",
  // What is typed goes out by fetch alone.
  "form-action 'none'",
]);

/** Adds `/`, `/console.js` and `/console.css`. */
export function registerConsolePage(server: FastifyInstance): void {
  servePageFiles(server, PAGE_HEADERS, {
    '/': { type: 'text/html', load: () => readFile(new URL('index.html', folder), 'utf8') },
    '/console.css': { type: 'text/css', load: () => bundled(new URL('console.css', folder)) },
    '/console.js': { type: 'text/javascript', load: () => bundled(new URL('console.ts', folder)) },
  });
}
