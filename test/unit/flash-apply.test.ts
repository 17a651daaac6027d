/** apply.sh against fakes of dpkg and systemd: each outcome, each cut, and what is left afterwards. */
import { spawnSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { APPLY_SCRIPT, FLASH, type FlashTree, type Mood } from '../support/flash-tree.ts';
import { flashTrees } from '../support/flash-trees.ts';

const { open, flashed, nothingLeft } = flashTrees();

describe.skipIf(process.platform !== 'linux')('apply.sh', () => {
  it('flashes an empty board and spends the code without keeping it', () => {
    const tree = open();
    tree.stage({ version: '1.0.0', code: 'ABCD-EFGH', user: 'ada@example.com' });
    expect(tree.run('apply')).toBe(0);
    expect(tree.result()).toEqual({ id: 'run-1', outcome: 'flashed', version: '1.0.0', reason: '' });
    expect(tree.seen()).toMatchObject({ version: '1.0.0', settings: 'A=1.0.0\nkey of 1.0.0\n', runs: true });
    expect(tree.read(`${FLASH}/apply.log`)).not.toContain('ABCD');
    expect(tree.has(`${FLASH}/current/enrolment-code`)).toBe(false);
    nothingLeft(tree);
  });

  it('changes nothing when the same is flashed again', () => {
    const tree = flashed();
    const restarts = tree.read('fake/restarts');
    tree.stage({ version: '1.0.0', id: 'run-2' });
    expect(tree.run('apply')).toBe(0);
    expect(tree.result()).toMatchObject({ id: 'run-2', outcome: 'already' });
    expect(tree.read('fake/restarts')).toBe(restarts);
  });

  it.each<[Mood, string]>([
    ['crash', 'ends again and again'],
    ['sick', 'no such host'],
    ['hang', 'tells no status'],
    ['blind', 'Camera: not found'],
    ['unconfigurable', 'depends on moon'],
  ])('puts the old one back when the new one is %s', (mood, reason) => {
    const tree = flashed();
    const before = tree.seen();
    tree.stage({ version: '2.0.0', mood });
    expect(tree.run('apply')).toBe(1);
    expect(tree.result()).toMatchObject({ outcome: 'rolled_back', version: '1.0.0' });
    expect(tree.result().reason).toContain(reason);
    expect(tree.seen()).toEqual(before);
    expect(tree.read('var/lib/glasscast/releases/slots.json')).toBe('slots of 1.0.0');
    nothingLeft(tree);
  });

  it.each<Mood>(['crash', 'sick', 'unconfigurable'])(
    'leaves nothing on an empty board when the first one is %s',
    (mood) => {
      const tree = open();
      tree.stage({ version: '1.0.0', mood });
      expect(tree.run('apply')).toBe(1);
      expect(tree.seen()).toEqual({ version: '', settings: '', runs: false, token: '' });
      nothingLeft(tree);
    },
  );

  it('undoes to what was there before, and once', () => {
    const tree = flashed();
    const before = tree.seen();
    tree.stage({ version: '2.0.0' });
    tree.run('apply');
    expect(tree.seen().version).toBe('2.0.0');
    expect(tree.run('undo')).toBe(0);
    expect(tree.seen()).toEqual(before);
    expect(tree.result()).toMatchObject({ id: 'run-undo', outcome: 'undone', version: '1.0.0' });
    expect(tree.run('undo')).toBe(2);
    expect(tree.result().reason).toBe('there is nothing to go back to');
  });

  it('undoes a first flash to nothing', () => {
    const tree = flashed();
    expect(tree.run('undo')).toBe(0);
    expect(tree.seen()).toEqual({ version: '', settings: '', runs: false, token: '' });
    nothingLeft(tree);
  });

  it.each([
    ['a byte is wrong', (tree: FlashTree) => tree.write(`${FLASH}/new/settings`, 'A=other\n')],
    ['there is no manifest', (tree: FlashTree) => tree.write(`${FLASH}/new/manifest`, '')],
  ])('refuses when %s', (_, spoil) => {
    const tree = flashed();
    tree.stage({ version: '2.0.0' });
    spoil(tree);
    expect(tree.run('apply')).toBe(2);
    expect(tree.seen().version).toBe('1.0.0');
  });

  it('goes on with the old one on a full disk, where nothing can be unpacked again', () => {
    const tree = flashed();
    const before = tree.seen();
    tree.write('fake/full', '');
    tree.stage({ version: '2.0.0', hasKeys: false });
    expect(tree.run('apply')).toBe(1);
    expect(tree.result()).toMatchObject({ outcome: 'rolled_back', version: '1.0.0' });
    expect(tree.result().reason).toContain('No space left');
    expect(tree.seen()).toEqual(before);
    nothingLeft(tree);
  });

  it('refuses a masked unit, and leaves what runs alone', () => {
    const tree = flashed();
    tree.write('fake/masked', '');
    tree.stage({ version: '2.0.0' });
    expect(tree.run('apply')).toBe(2);
    expect(tree.result().reason).toContain('systemctl unmask glasscast-agent.service');
    expect(tree.seen()).toMatchObject({ version: '1.0.0', runs: true });
  });

  it('takes no code, key or user that another flash left', () => {
    const tree = open();
    tree.stage({ version: '1.0.0' });
    for (const name of ['enrolment-code', 'user', 'release-keys/two.pem', 'release-keys/onexpem'])
      tree.write(`${FLASH}/new/${name}`, 'of another\n');
    expect(tree.run('apply')).toBe(0);
    expect(tree.has('etc/glasscast/release-keys/two.pem')).toBe(false);
    for (const name of ['enrolment-code', 'user', 'release-keys/two.pem'])
      expect(tree.has(`${FLASH}/current/${name}`), name).toBe(false);
    expect(tree.has('etc/glasscast/release-keys/one.pem')).toBe(true);
  });

  it('refuses what another flash changes while it begins', () => {
    const tree = flashed();
    tree.stage({ version: '2.0.0' });
    // At the journal, which is written between the first look and the move.
    const mv =
      '#!/bin/sh\ncase $2 in */journal) echo B=other >"$GLASSCAST_FLASH_ROOT/var/lib/glasscast-flash/new/settings" ;; esac\nexec /bin/mv "$@"\n';
    rmSync(join(tree.root, 'bin/mv'));
    tree.write('bin/mv', mv);
    chmodSync(join(tree.root, 'bin/mv'), 0o755);
    expect(tree.run('apply')).toBe(2);
    expect(tree.result().reason).toContain('another flash brought its files over');
    expect(tree.seen().version).toBe('1.0.0');
    nothingLeft(tree);
  });

  it('flashes again when somebody changed the settings since', () => {
    const tree = flashed();
    tree.write('etc/default/glasscast-agent', 'A=by hand\n');
    tree.stage({ version: '1.0.0' });
    expect(tree.run('apply')).toBe(0);
    expect(tree.result()).toMatchObject({ outcome: 'flashed' });
    expect(tree.seen().settings).toBe('A=1.0.0\nkey of 1.0.0\n');
  });

  it('has the code among the arguments of no command', () => {
    const tree = open();
    for (const name of ['sed', 'tr', 'grep', 'cat', 'awk', 'cut']) {
      tree.write(
        `bin/${name}`,
        `#!/bin/sh\necho "$0 $*" >>"$GLASSCAST_FLASH_ROOT/arguments"\nexec /usr/bin/${name} "$@"\n`,
      );
      chmodSync(join(tree.root, 'bin', name), 0o755);
    }
    tree.stage({ version: '1.0.0', mood: 'crash', code: 'ABCDE-FGHJK' });
    expect(tree.run('apply')).toBe(1);
    expect(tree.read('arguments')).toContain('/sed ');
    expect(tree.read('arguments')).not.toContain('ABCDE');
    expect(tree.has(`${FLASH}/hide.sed`)).toBe(false);
  });

  it('refuses a reason that would break the result', () => {
    const tree = flashed();
    tree.stage({ version: '2.0.0', mood: 'sick' });
    tree.write(
      'agent-of-tests',
      '#!/bin/sh\nprintf \'{\\n  "connected": false,\\n  "cause": "a \\\\"b\\\\" \\\\\\\\ c"\\n}\\n\'\n',
    );
    expect(tree.run('apply')).toBe(1);
    expect(tree.result().reason).toContain('a \\"b\\"');
  });

  // Debian's busybox runs its own applets before what is on the path: only its reading can be tried with fakes.
  it.each(['dash', 'busybox sh'])('is read by %s', (shell) => {
    const [file = '', ...args] = shell.split(' ');
    const { status, error, stderr } = spawnSync(file, [...args, '-n', APPLY_SCRIPT], { encoding: 'utf8' });
    if (error === undefined) expect([status, stderr]).toEqual([0, '']);
  });
});
