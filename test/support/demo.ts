/** `npm run dev` as a test starts it: with nothing on its PATH but Node itself. */
import { dirname, join } from 'node:path';
import type { Child, ChildSpawner } from '../../shared/child-process.ts';

export interface Demo {
  demo: Child;
  /** With the token behind #. */
  address: Promise<string>;
  said: string[];
}

export function launchDemo(options: {
  children: ChildSpawner;
  /** For its temporary files. */
  folder: string;
  args?: readonly string[];
  env?: NodeJS.ProcessEnv;
}): Demo {
  const { args = [], children, env = {}, folder } = options;
  const said: string[] = [];
  let found = (_address: string) => {};
  const address = new Promise<string>((resolve) => {
    found = resolve;
  });
  const demo = children.spawn({
    name: 'demo',
    file: process.execPath,
    args: ['--import', 'tsx', 'scripts/demo.ts', '--port', '0', ...args],
    env: {
      PATH: dirname(process.execPath).startsWith('/usr') ? join(folder, 'empty') : dirname(process.execPath),
      TMPDIR: folder,
      ...env,
    },
    stdout: 'lines',
    onStdoutLine(line) {
      said.push(line);
      const open = /Open (\S+)/.exec(line)?.[1];
      if (open) found(open);
    },
    stopTimeoutMs: 20_000,
  });
  return { demo, address, said };
}
