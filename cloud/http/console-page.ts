/**
 * Serves the console: the page in console/, bundled in memory by esbuild at the first request, so that there is no build
 * step. The page holds no secret; what it shows it fetches with the admin token.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { FastifyInstance } from 'fastify';

const folder = new URL('../console/', import.meta.url);

/** Playback comes from the provider's host, so media and fetches may go anywhere; scripts and styles only from here. */
const PAGE_HEADERS = {
  'content-security-policy': [
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
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

async function bundle(entry: 'console.ts' | 'console.css'): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(entry, folder))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    minify: true,
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}

/** Adds `/`, `/console.js` and `/console.css`. */
export function registerConsolePage(server: FastifyInstance): void {
  const files: Record<string, { type: string; load: () => Promise<string> }> = {
    '/': { type: 'text/html', load: () => readFile(new URL('index.html', folder), 'utf8') },
    '/console.css': { type: 'text/css', load: () => bundle('console.css') },
    '/console.js': { type: 'text/javascript', load: () => bundle('console.ts') },
  };
  for (const [path, { type, load }] of Object.entries(files)) {
    let loaded: Promise<string> | undefined;
    server.get(path, async (_request, reply) => {
      loaded ??= load().catch((error: unknown) => {
        // A failure is not kept: the next request tries again.
        loaded = undefined;
        throw error;
      });
      return reply
        .headers(PAGE_HEADERS)
        .type(`${type}; charset=utf-8`)
        .send(await loaded);
    });
  }
}
