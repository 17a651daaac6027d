/**
 * The agent as one file of plain JavaScript, as it goes on a device. Needs only Node there, and an ffmpeg: the bundled one is
 * found when @ffmpeg-installer/ffmpeg is installed beside the file.
 */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const pathOf = (fromRoot: string) => fileURLToPath(new URL(`../../${fromRoot}`, import.meta.url));

export interface DeviceBundle {
  /** MAJOR.MINOR.PATCH */
  version: string;
  /** From the project's root. Default: the agent. */
  entry?: string;
}

/** @returns the code. Same sources and version, same bytes. */
export async function bundleForDevice({ version, entry = 'device/main.ts' }: DeviceBundle): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [pathOf(entry)],
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    minify: true,
    logLevel: 'warning',
    define: { GLASSCAST_AGENT_VERSION: JSON.stringify(version) },
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
  const [code] = outputFiles;
  if (!code) throw new Error(`${entry}: the bundler gave nothing`);
  return code.contents;
}
