/** What ssh is called with, what its failures are told as, and that it is ended. */
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createSshShell, sshFailure } from '../../scripts/flash/ssh-board.ts';
import type { ChildExit, ChildSpec } from '../../shared/child-process.ts';
import { createTestClock } from '../support/test-clock.ts';

const signal = new AbortController().signal;
const shells: { close(): Promise<void> }[] = [];
/** Each has a folder of its own. */
afterEach(async () => {
  for (const shell of shells.splice(0)) await shell.close();
});

/** ssh as scripted: the master connects or ends, a session answers. */
function fakeSsh({ master = 'connected', code = 0, lines = [] as string[], output = '', noise = '', begins = true }) {
  const specs: ChildSpec[] = [];
  const given: string[] = [];
  const stopped: string[] = [];
  const spawn = (spec: ChildSpec) => {
    specs.push(spec);
    const isMaster = spec.name === 'ssh-master';
    const exit = (end: ChildExit['end'], by: number | null): ChildExit => ({
      end,
      code: by,
      signal: null,
      lastLines: lines,
      ms: 1,
    });
    let finish = (_: ChildExit) => {};
    const exited = new Promise<ChildExit>((resolve) => {
      finish = resolve;
    });
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    stdin.on('data', (chunk) => given.push(String(chunk)));
    if (isMaster && master === 'connected') spec.onStdoutLine?.('glasscast-connected');
    else if (isMaster) finish(exit('exited', 255));
    else {
      stdin.on('finish', () => {
        stdout.end(`${noise}${begins ? 'glasscast-begin\n' : ''}${output}`);
        finish(exit('exited', code));
      });
    }
    const stop = async () => {
      stopped.push(spec.name);
      finish(exit('stopped', null));
      stdout.end();
      return exited;
    };
    return { pid: 1, stdin, stdout, exited, progressed() {}, send() {}, stop, kill() {} };
  };
  const clock = createTestClock();
  const shell = createSshShell({
    ...{
      destination: 'ada@board',
      port: 2222,
      identityFiles: ['/k1', '/k2'],
      isInteractive: true,
      spawn,
      clock,
      sshFile: '/usr/bin/ssh',
    },
  });
  shells.push(shell);
  return { shell, specs, given, stopped, clock };
}

describe('createSshShell', () => {
  it('gives the script and what follows over standard input, and its length as the only argument', async () => {
    const { shell, specs, given, stopped, clock } = fakeSsh({ output: 'fine\n' });
    async function* input() {
      yield Buffer.from('CODE-1234');
    }
    expect(await shell.run('echo a secret script', { signal, input: input() })).toMatchObject({
      code: 0,
      output: 'fine\n',
    });
    await shell.run('true', { signal });
    expect(given.join('')).toBe('echo a secret scriptCODE-1234true');
    expect(specs.map(({ name }) => name)).toEqual(['ssh-master', 'ssh', 'ssh']);
    const [master, session] = specs;
    expect(session?.args.join(' ')).not.toMatch(/secret|CODE/);
    expect(session?.args.at(-1)).toMatch(/^sh -c '.*' sh 20$/);
    expect(session?.args).toEqual(expect.arrayContaining(['BatchMode=yes', '-p', '2222', '-i', '/k1', '/k2']));
    // Only the first connection may ask the person.
    expect(master?.args).not.toContain('BatchMode=yes');
    expect([master?.inTerminal, session?.inTerminal]).toEqual([true, undefined]);
    await shell.close();
    expect(stopped).toEqual(['ssh-master']);
    expect(clock.pending()).toEqual([]);
  });

  it('takes nothing for the answer that start-up files over there say', async () => {
    const { shell } = fakeSsh({ noise: 'Welcome!\nactive\n', output: 'gone\n' });
    expect((await shell.run('true', { signal })).output).toBe('gone\n');
  });

  it('says that the user has no shell, and what is said instead', async () => {
    const { shell } = fakeSsh({ noise: 'This account is currently not available.\n', begins: false, code: 1 });
    await expect(shell.run('true', { signal })).rejects.toThrow(
      'ada@board runs no commands (it said: This account is currently not available.); connect as a user with a shell',
    );
  });

  it('says that the user may not become root', async () => {
    const { shell } = fakeSsh({ code: 1, lines: ['sudo: a password is required'] });
    await expect(shell.run('true', { signal })).rejects.toMatchObject({ code: 'BOARD_UNFIT' });
    await shell.close();
  });

  it('takes a warning of sudo for what it is', async () => {
    const { shell } = fakeSsh({ code: 1, lines: ['sudo: unable to resolve host board', 'cat: write error'] });
    expect(await shell.run('cat >x', { signal })).toMatchObject({
      code: 1,
      errors: expect.stringContaining('write error'),
    });
    await shell.close();
  });

  it('ends a session that does not answer, and one that is given up', async () => {
    const { shell, clock, specs, stopped } = fakeSsh({});
    const stopping = new AbortController();
    async function* endless() {
      yield Buffer.from('x');
      await new Promise(() => {});
    }
    const given = shell.run('cat', { signal: stopping.signal, input: endless() });
    given.catch(() => {});
    await vi.waitFor(() => expect(specs).toHaveLength(2));
    stopping.abort(new Error('stopped'));
    await expect(given).rejects.toThrow('stopped');
    expect(stopped).toContain('ssh');
    await clock.advance(1);
    await shell.close();
  });

  it.each(['-oProxyCommand=x', '', 'a b'])('refuses %j as a destination', (destination) => {
    const parts = {
      isInteractive: false,
      spawn: () => expect.unreachable(),
      clock: createTestClock(),
      sshFile: '/usr/bin/ssh',
    };
    expect(() => createSshShell({ destination, ...parts })).toThrow('expected user@board');
  });
});

describe('sshFailure', () => {
  it.each([
    ['ada@board: Permission denied (publickey,password).', 'it refuses this user or key'],
    ['Host key verification failed.', 'its host key is not known here'],
    [
      '@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.',
      'its host key has changed',
    ],
    ['ssh: Could not resolve hostname board: Name or service not known', 'no such name'],
    ['ssh: connect to host board port 22: Connection refused', 'nothing listens there'],
    ['ssh: connect to host board port 22: Connection timed out', 'no answer'],
    ['ssh: connect to host board port 22: No route to host', 'no answer'],
    ['client_loop: send disconnect: Broken pipe', 'the connection was lost'],
    ['Something new', 'Something new'],
    ['', 'the connection was lost'],
  ])('%s', (said, reason) => {
    const { code, message } = sshFailure(said.split('\n'), 'ada@board');
    expect([code, message]).toEqual(['BOARD_UNREACHABLE', expect.stringContaining(`ada@board: ${reason}`)]);
  });
});
