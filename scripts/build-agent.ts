/** `npm run build:agent`: the agent as one file, dist/agent.mjs. Packages for boards: `npm run package:device`. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleForDevice } from './package/agent-bundle.ts';

const outfile = fileURLToPath(new URL('../dist/agent.mjs', import.meta.url));
const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
await mkdir(fileURLToPath(new URL('../dist', import.meta.url)), { recursive: true });
await writeFile(outfile, await bundleForDevice({ version }));
process.stdout.write(`${outfile}\n`);
