/**
 * `npm run build:agent`: the agent as one file of plain JavaScript, dist/agent.mjs, as it goes on a device. Needs only Node
 * there, and an ffmpeg: the bundled one is found when @ffmpeg-installer/ffmpeg is installed beside the file.
 */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const pathOf = (fromRoot: string) => fileURLToPath(new URL(`../${fromRoot}`, import.meta.url));

const outfile = pathOf('dist/agent.mjs');
await build({
  entryPoints: [pathOf('device/main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  minify: true,
  logLevel: 'warning',
  // Asked for only when their coverage build is wanted; the bundled ffmpeg is optional and belongs to one platform.
  external: ['./lib-cov/*', '@ffmpeg-installer/ffmpeg'],
  // The CommonJS packages inside ask for Node's own modules by require, and fluent-ffmpeg for its folder.
  banner: {
    js: [
      "import { createRequire as requireFor } from 'node:module';",
      "import { fileURLToPath as pathOf } from 'node:url';",
      "const require = requireFor(import.meta.url), __dirname = pathOf(new URL('.', import.meta.url));",
    ].join('\n'),
  },
});
process.stdout.write(`${outfile}\n`);
