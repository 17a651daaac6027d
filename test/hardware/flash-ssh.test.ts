/** Flashing over a real sshd into a booted Debian: what comes of good and bad packages, cuts of the line and of the power. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FlashOptions, flash, undoFlash } from '../../scripts/flash/engine.ts';
import { Secret } from '../../shared/secrets.ts';
import { canBootDebian } from '../support/debian-root.ts';
import { openSshBoard, type SshBoard } from '../support/ssh-board.ts';

describe.skipIf(!canBootDebian())('flash --ssh', { timeout: 240_000 }, () => {
  let world: SshBoard;
  beforeAll(async () => {
    world = await openSshBoard({ pauseSeconds: 0.7 });
  }, 300_000);
  afterAll(() => world?.close(), 60_000);

  const seen = async () => ({ version: await world.version(), pid: await world.mainPid() });
  const reasonOf = (work: Promise<unknown>) =>
    work.then(
      () => 'nothing was refused',
      (error: Error) => error.message,
    );
  /** Settles when `find` is true of what was told. */
  const until = async (find: () => boolean) => {
    for (let i = 0; i < 600 && !find(); i += 1) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(find()).toBe(true);
  };

  it('tells each step of a dry run, and changes nothing', async () => {
    const outcome = await flash(await world.options({ version: '1.0.0' }, { isDryRun: true }));
    expect(outcome.outcome).toBe('dry-run');
    expect(world.told.map(({ name }) => name)).toEqual(['Board', 'Package', 'Code', 'Upload', 'Install', 'Relay']);
    expect((await world.root.run('ls -d /var/lib/glasscast-flash /etc/default/glasscast-agent')).output).toBe('');
  });

  it.each([
    ['a port where nothing listens', () => world.board('ada', { port: 1 }), 'nothing listens there'],
    ['a user that is unknown there', () => world.board('eve'), 'it refuses this user or key'],
    [
      'a host key that is not known',
      () => world.board('ada', { sshOptions: [`UserKnownHostsFile=/dev/null`, 'StrictHostKeyChecking=yes'] }),
      'its host key is not known here',
    ],
    ['a user who may not become root', () => world.board('bob'), 'may not become root without a password'],
  ])('says what is wrong with %s', async (_, board, reason) => {
    expect(await reasonOf(flash(await world.options({ version: '1.0.0' }, { board: board() })))).toContain(reason);
  });

  it('leaves nothing on an empty board when the first version crashes', async () => {
    const failure = await flash(await world.options({ version: '0.9.0', mood: 'crash' })).catch((error) => error);
    expect(failure.message).toContain('the agent ends again and again; nothing was left on the board');
    expect(failure.details.lines.join('\n')).toContain('the toy crashes, said with ***');
    expect(await world.version()).toBe('');
    expect((await world.root.run('ls /etc/default/glasscast-agent')).code).not.toBe(0);
  });

  it('flashes an empty board, and changes nothing the second time', async () => {
    const first = await world.options({ version: '1.0.0' });
    expect(await flash(first)).toMatchObject({ outcome: 'flashed', version: '1.0.0' });
    const before = await seen();
    expect(await flash(await sameAgain(first))).toEqual({ outcome: 'already', version: '1.0.0' });
    expect(await seen()).toEqual(before);
    const settings = await world.root.must('cat /etc/default/glasscast-agent; stat -c %a /etc/default/glasscast-agent');
    expect(settings).toContain('TOY="1.0.0"');
    expect(settings).toContain('600');
    expect(settings).not.toContain('ENROLMENT_CODE');
    expect(await world.root.must('grep -rl CODE-OF-TESTS /var/lib/glasscast-flash /etc || true')).toBe('');
  });

  /** Without the code: that would be a new order. */
  const sameAgain = async (options: FlashOptions): Promise<FlashOptions> => ({
    ...options,
    board: world.board(),
    code: undefined,
  });

  it.each([
    ['crash', 'the agent ends again and again'],
    ['sick', 'the toy is sick'],
    ['hang', 'tells no status'],
    ['mute', 'never says that it is ready'],
  ] as const)('puts the old version back when the new one is %s', async (mood, reason) => {
    const options = await world.options({ version: '2.0.0', mood }, { run: { deadlineSeconds: 8, gate: 'agent' } });
    const message = await reasonOf(flash(options));
    expect(message).toContain(reason);
    expect(message).toContain('1.0.0 is there again');
    expect(await world.version()).toBe('1.0.0');
    expect(await world.root.must('systemctl is-active glasscast-agent')).toContain('active');
    expect(await world.root.must('cat /etc/default/glasscast-agent')).toContain('TOY="1.0.0"');
  });

  it('goes on with an upload where it was cut', async () => {
    const before = await seen();
    const options = await world.options({ version: '2.1.0' });
    world.proxy.slow(2_000_000);
    const cut = flash(options);
    await until(() => world.progress.some(({ name, percent = 0 }) => name === 'Upload' && percent > 60));
    await world.proxy.refuse();
    expect(await reasonOf(cut)).toContain(
      'nothing was changed on the board; the same command goes on where the upload was',
    );
    await world.proxy.accept();
    world.proxy.slow(undefined);
    expect(await seen()).toEqual(before);
    const part = Number(await world.root.must('cat /var/lib/glasscast-flash/upload-*.part | wc -c'));
    expect(part).toBeGreaterThan(0);
    world.progress.length = 0;
    expect(await flash({ ...options, board: world.board() })).toMatchObject({ outcome: 'flashed', version: '2.1.0' });
    const sizes = world.progress.flatMap(({ name, percent }) => (name === 'Upload' && percent ? [percent] : []));
    // apply.sh, then the package from where it was cut.
    expect(sizes[1]).toBeGreaterThan((part / 4_100_000) * 100);
  });

  it('stops cleanly at Ctrl-C during the upload', async () => {
    const before = await seen();
    const stopping = new AbortController();
    const options = await world.options({ version: '2.2.0' }, { signal: stopping.signal });
    world.proxy.slow(2_000_000);
    const cut = flash(options);
    await until(() => world.progress.some(({ name, percent = 0 }) => name === 'Upload' && percent > 10));
    stopping.abort(new Error('stopped'));
    expect(await reasonOf(cut)).toContain('stopped; nothing was changed on the board');
    world.proxy.slow(undefined);
    expect(await seen()).toEqual(before);
  });

  it('installs on while the line is cut, and tells the end of it', async () => {
    const options = await world.options({ version: '2.3.0' });
    const running = flash(options);
    await until(() => world.progress.some(({ name }) => name === 'Install'));
    await world.proxy.refuse();
    await until(() => world.progress.some(({ text }) => text.includes('the board is away')));
    await world.proxy.accept();
    expect(await running).toMatchObject({ outcome: 'flashed', version: '2.3.0' });
  });

  it('undoes', async () => {
    const undo = await world.options({ version: '0.0.0' });
    expect(await undoFlash(undo)).toMatchObject({ outcome: 'undone', version: '2.1.0' });
    expect(await world.version()).toBe('2.1.0');
    expect(await reasonOf(undoFlash({ ...undo, board: world.board() }))).toContain('nothing to go back to');
  });

  it.each([0.2, 0.5, 1.2])(
    'has the old or the new version after a power cut %s s into the installation',
    async (seconds) => {
      const version = `3.${Math.round(seconds * 100)}.0`;
      const old = await world.version();
      const running = reasonOf(flash(await world.options({ version }, { code: undefinedCode() })));
      await until(() => world.progress.some(({ name }) => name === 'Install'));
      await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
      await world.root.powerCut();
      await world.root.boot();
      const message = await running;
      await world.root.must(
        'i=0; while [ -e /var/lib/glasscast-flash/journal ]; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.2; done',
      );
      expect([old, version], message).toContain(await world.version());
      expect(await world.root.must('systemctl is-active glasscast-agent')).toBe('active');
      expect((await world.root.run('dpkg --audit')).output).toBe('');
      expect((await world.root.run('ls /etc/systemd/system/glasscast-flash-recover.service')).code).not.toBe(0);
    },
  );

  const undefinedCode = () => new Secret(`CODE-${randomBytes(8).toString('hex')}`);

  it('keeps a package that somebody else installed, and puts it back', async () => {
    await world.root.must('rm -rf /var/lib/glasscast-flash');
    const before = await world.version();
    const sums = 'md5sum /usr/bin/glasscast-agent /usr/lib/glasscast/ballast; stat -c %a /usr/lib/glasscast /usr/bin';
    const files = await world.root.must(sums);
    const options = await world.options({ version: '4.0.0', mood: 'crash' });
    expect(await reasonOf(flash(options))).toContain(`${before} is there again`);
    expect(await world.root.must(sums)).toBe(files);
  });

  it('comes to its end when apply.sh itself is killed', async () => {
    const running = flash(await world.options({ version: '4.1.0' }));
    await until(() => world.progress.some(({ text }) => text.startsWith('gate')));
    await world.root.must('systemctl kill -s KILL glasscast-flash.service');
    expect(await running).toMatchObject({ outcome: 'flashed', version: '4.1.0' });
  });

  it('changes nothing when there is no room', async () => {
    const before = await seen();
    await world.root.must('mount -t tmpfs -o size=5M none /var/lib/glasscast-flash');
    const kept = await reasonOf(flash(await world.options({ version: '4.2.0' })));
    expect(kept).toContain('is there room?; nothing was changed on the board');
    await world.root.must('umount /var/lib/glasscast-flash && mount -t tmpfs -o size=2M none /var/lib/glasscast-flash');
    const brought = await reasonOf(flash(await world.options({ version: '4.2.0' }, { board: world.board() })));
    expect(brought).toContain('No space left on device');
    await world.root.must('umount /var/lib/glasscast-flash');
    expect(await seen()).toEqual(before);
  });

  it('never has a code or a script among the arguments of ssh', () => {
    const all = world.sshArguments.join('\n');
    expect(all).not.toContain('CODE-');
    expect(all).not.toContain('systemd-run');
    expect(Math.max(...world.sshArguments.map(({ length }) => length))).toBeLessThan(300);
  });
});
