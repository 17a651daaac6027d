/** Node's loader hook behind typescript.js: types are taken off as a file is loaded. Resolves nothing; keeps nothing. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { stop, transform } from 'esbuild';

/** Then all is loaded as a rule, and the compiler's process can end: 16 MB. What is loaded later starts another. */
const IDLE_MS = 5_000;
let running = 0;
/** @type {NodeJS.Timeout | undefined} */
let idle;

/**
 * @param {string} url
 * @param {object} context
 * @param {(url: string, context: object) => Promise<object>} next
 */
export async function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context);
  clearTimeout(idle);
  running += 1;
  try {
    return { format: 'module', source: await withoutTypes(fileURLToPath(url)), shortCircuit: true };
  } finally {
    running -= 1;
    if (running === 0) idle = setTimeout(stop, IDLE_MS).unref();
  }
}

/** @param {string} file */
async function withoutTypes(file) {
  const { code } = await transform(await readFile(file, 'utf8'), {
    loader: 'ts',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    sourcesContent: false,
    sourcefile: file,
  });
  return code;
}
