/**
 * The player page of the delivery host, `/<id>/iframe` and `/<id>/watch`: the page in ../player/, bundled in memory by esbuild at
 * the first request. The page may be framed by anybody, as its addresses are for pages of others; it holds nothing secret.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { type PlaybackAccess, playbackRequest } from './playback-access.ts';

const folder = new URL('../../player/', import.meta.url);

/** All comes from this host; `ws:` for browsers that do not count it as the same. */
const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self' ws: wss:",
    "media-src 'self' blob:",
    "img-src 'self' data:",
    'worker-src blob:',
    'frame-ancestors *',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('page.ts', folder))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    minify: true,
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}

/** Made once, unless it fails: then the next request tries again. */
function kept(load: () => Promise<string>): () => Promise<string> {
  let loaded: Promise<string> | undefined;
  return () => {
    loaded ??= load().catch((error: unknown) => {
      loaded = undefined;
      throw error;
    });
    return loaded;
  };
}

export function createPlayerPage({ access }: { access: Pick<PlaybackAccess, 'admit'> }): FastifyPluginCallback {
  const page = kept(() => readFile(new URL('page.html', folder), 'utf8'));
  const style = kept(() => readFile(new URL('page.css', folder), 'utf8'));
  const script = kept(bundle);

  async function show(request: FastifyRequest<{ Params: { id: string } }>, reply: FastifyReply): Promise<FastifyReply> {
    const verdict = access.admit(playbackRequest(request.params.id, request));
    void reply.headers(PAGE_HEADERS);
    if ('refused' in verdict) return reply.code(verdict.refused.http).type('text/plain').send(verdict.refused.sentence);
    return reply.type('text/html; charset=utf-8').send(await page());
  }

  return (app, _, done) => {
    app.get('/:id/iframe', show);
    app.get('/:id/watch', show);
    const files = { '/player/page.js': ['text/javascript', script], '/player/page.css': ['text/css', style] } as const;
    for (const [path, [type, load]] of Object.entries(files)) {
      app.get(path, async (_request, reply) =>
        reply
          .headers(PAGE_HEADERS)
          .type(`${type}; charset=utf-8`)
          .send(await load()),
      );
    }
    done();
  };
}
