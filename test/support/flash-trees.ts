/** The boards of one test file, each gone after its test, and what is true of a board that was flashed. */
import { afterEach, expect } from 'vitest';
import { createFlashTree, FLASH, type FlashTree } from './flash-tree.ts';

export function flashTrees() {
  const trees: FlashTree[] = [];
  afterEach(() => {
    for (const tree of trees.splice(0)) tree.remove();
  });
  const open = (tree = createFlashTree()) => {
    trees.push(tree);
    return tree;
  };
  return {
    open,
    flashed(version = '1.0.0'): FlashTree {
      const tree = open();
      tree.stage({ version });
      expect(tree.run('apply')).toBe(0);
      tree.write('var/lib/glasscast/agent-token.json', `token of ${version}`);
      tree.write('var/lib/glasscast/releases/slots.json', `slots of ${version}`);
      return tree;
    },
    nothingLeft(tree: FlashTree): void {
      for (const name of ['journal', 'work', 'before.new', 'trash', 'repack'])
        expect(tree.has(`${FLASH}/${name}`), name).toBe(false);
      expect(tree.has('etc/systemd/system/glasscast-flash-recover.service')).toBe(false);
    },
  };
}
