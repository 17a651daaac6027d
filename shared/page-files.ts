/**
 * The files of a browser page, made in memory by esbuild at the first request, so that there is no build step. What stands in a
 * page, and who may have it, its server says.
 */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { FastifyInstance } from 'fastify';

/** Path on the server to the file: its type without the charset, and where it comes from the first time. */
export type PageFiles = Readonly<Record<string, { type: string; load: () => Promise<string> }>>;

/** @param policy directives of the page's Content-Security-Policy. */
export function pageHeaders(policy: readonly string[]): Record<string, string> {
  return {
    'content-security-policy': policy.join('; '),
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-cache',
  };
}

export function servePageFiles(server: FastifyInstance, headers: Record<string, string>, files: PageFiles): void {
  for (const [path, { type, load }] of Object.entries(files)) {
    const text = kept(load);
    server.get(path, async (_request, reply) =>
      reply
        .headers(headers)
        .type(`${type}; charset=utf-8`)
        .send(await text()),
    );
  }
}

/** The script or style sheet with all that it imports. */
export async function bundled(entry: URL): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(entry)],
    ...{ bundle: true, write: false, format: 'esm', target: 'es2022', minify: true, logLevel: 'silent' },
  });
  return outputFiles[0]?.text ?? '';
}

/** Made once, unless it fails: then the next request tries again. */
export function kept(load: () => Promise<string>): () => Promise<string> {
  let loaded: Promise<string> | undefined;
  return () => {
    loaded ??= load().catch((error: unknown) => {
      loaded = undefined;
      throw error;
    });
    return loaded;
  };
}
