/** Which files of a kernel's modules a board needs: those asked for and all that they depend on, in the order to load them. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

export interface KernelModule {
  /** As the kernel writes it: with underscores. */
  name: string;
  /** In the folder of the modules: `kernel/fs/ext4/ext4.ko`. */
  path: string;
}

/** @param folder of one kernel's modules. @throws Error: one is missing */
export async function modulesWithNeeds(folder: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const paths = new Map(
    (await readdir(join(folder, 'kernel'), { recursive: true }))
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [nameOf(path), join('kernel', path)]),
  );
  const found = new Map<string, KernelModule>();
  const add = async (name: string): Promise<void> => {
    const path = paths.get(name);
    if (path === undefined) throw new Error(`the kernel has no module ${name}`);
    if (found.has(name)) return;
    for (const need of needsOf(await readFile(join(folder, path)))) await add(need);
    found.set(name, { name, path });
  };
  for (const name of wanted) await add(nameOf(name));
  return [...found.values()];
}

/** From the module's own description: `depends=jbd2,mbcache`. Soft ones too, as ext4's checksum. */
export function needsOf(module: Buffer): string[] {
  const listed = (key: string) => {
    const at = module.indexOf(`\0${key}=`, 0, 'latin1');
    if (at < 0) return [];
    const from = at + key.length + 2;
    return module.toString('latin1', from, module.indexOf(0, from)).split(',').filter(Boolean);
  };
  return listed('depends').map(nameOf);
}

const nameOf = (path: string) => basename(path, '.ko').replaceAll('-', '_');
