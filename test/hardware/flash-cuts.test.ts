/** apply.sh cut at its commands, as by the power, and run again: the old or the new is there, and nothing in between. */
import { describe, expect, it } from 'vitest';
import { FLASH, type FlashTree, type Mood } from '../support/flash-tree.ts';
import { flashTrees } from '../support/flash-trees.ts';

const { open, flashed, nothingLeft } = flashTrees();

/** Each so manieth command and end of a command; 1 tries every one, in seven minutes. */
const STEP = Number(process.env.FLASH_CUT_STEP ?? 31);
const endings: [string, () => FlashTree, Mood][] = [
  ['a good one over an old one', flashed, 'good'],
  ['a sick one over an old one', flashed, 'sick'],
  ['a good one on an empty board', () => open(), 'good'],
  ['an unconfigurable one on an empty board', () => open(), 'unconfigurable'],
];

describe.skipIf(process.platform !== 'linux')('a cut of apply.sh', () => {
  it.each(endings)('ends with the old or the new: %s', { timeout: 600_000 }, (_, start, mood) => {
    const base = start();
    const before = base.seen();
    const wanted = { ...before, version: '2.0.0', settings: 'A=2.0.0\nkey of 2.0.0\n', runs: true };
    base.stage({ version: '2.0.0', mood });
    for (let killAt = 1 + (mood.length % STEP); ; killAt += STEP) {
      const tree = base.copy();
      try {
        const code = tree.run('apply', { killAt });
        if (code !== null) break;
        tree.run('recover');
        const context = `cut at ${killAt}: ${JSON.stringify(tree.result())}\n${tree.read(`${FLASH}/apply.log`)}`;
        expect(
          [before, wanted].map((each) => JSON.stringify(each)),
          context,
        ).toContain(JSON.stringify(tree.seen()));
        if (mood !== 'good') expect(tree.seen(), context).toEqual(before);
        nothingLeft(tree);
        // And the same again comes to its end.
        tree.stage({ version: '2.0.0' });
        expect(tree.run('apply'), context).toBe(0);
        expect(tree.seen(), context).toMatchObject({ version: '2.0.0', runs: true });
      } finally {
        tree.remove();
      }
    }
  });

  it('of an undo ends with what was there before', { timeout: 600_000 }, () => {
    const base = flashed();
    const before = base.seen();
    base.stage({ version: '2.0.0' });
    base.run('apply');
    const after = base.seen();
    for (let killAt = 1; ; killAt += STEP) {
      const tree = base.copy();
      try {
        if (tree.run('undo', { killAt }) !== null) break;
        tree.run('recover');
        const seen = JSON.stringify(tree.seen());
        expect(
          [before, after].map((each) => JSON.stringify(each)),
          `cut at ${killAt}`,
        ).toContain(seen);
        nothingLeft(tree);
      } finally {
        tree.remove();
      }
    }
  });
});
