/**
 * The player page of the delivery host, `/<id>/iframe` and `/<id>/watch`: the page in ../../player/. It may be framed by anybody,
 * as its addresses are for pages of others; it holds nothing secret.
 */
import { readFile } from 'node:fs/promises';
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { bundled, kept, pageHeaders, servePageFiles } from '../../../shared/page-files.ts';
import { admittedTo } from './delivery-answers.ts';
import type { PlaybackAccess } from './playback-access.ts';

const folder = new URL('../../player/', import.meta.url);

/** All comes from this host; `ws:` for browsers that do not count it as the same. */
const PAGE_HEADERS = pageHeaders([
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
]);

export function createPlayerPage({ access }: { access: Pick<PlaybackAccess, 'admit'> }): FastifyPluginCallback {
  const page = kept(() => readFile(new URL('page.html', folder), 'utf8'));

  async function show(request: FastifyRequest<{ Params: { id: string } }>, reply: FastifyReply): Promise<FastifyReply> {
    void reply.headers(PAGE_HEADERS);
    if (!admittedTo(access, request, reply)) return reply;
    return reply.type('text/html; charset=utf-8').send(await page());
  }

  return (app, _, done) => {
    app.get('/:id/iframe', show);
    app.get('/:id/watch', show);
    servePageFiles(app, PAGE_HEADERS, {
      '/player/page.js': { type: 'text/javascript', load: () => bundled(new URL('page.ts', folder)) },
      '/player/page.css': { type: 'text/css', load: () => readFile(new URL('page.css', folder), 'utf8') },
    });
    done();
  };
}
