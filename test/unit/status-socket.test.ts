import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askStatus, openStatusSocket } from '../../device/runtime/status-socket.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock } from '../support/test-clock.ts';

const clock = createSystemClock();
const log = silentLog();
let folder = '';
let path = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'glasscast-status-'));
  path = join(folder, 'run', 'agent.sock');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  expect(clock.pending()).toEqual([]);
});
const open = (status: () => unknown = () => ({ connected: true })) => openStatusSocket({ path, status, log });

function ask(method: string, url: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    request({ socketPath: path, method, path: url, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).end();
  });
}

describe('the status socket', () => {
  it('tells the status to its owner alone, and is gone after its close', async () => {
    const socket = await open();
    expect(await askStatus(path, clock)).toEqual({ connected: true });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, 'run'))).toEqual(['agent.sock']);
    expect([await ask('GET', '/'), await ask('POST', '/status'), await ask('GET', '/status?x')]).toEqual([
      404, 404, 404,
    ]);
    await Promise.all([socket.close(), socket.close()]);
    expect(existsSync(path)).toBe(false);
    await expect(askStatus(path, clock)).rejects.toThrow('no agent is running there');
  });

  it('does not wait for who holds a connection open', async () => {
    const socket = await open();
    const idle = connect(path);
    await new Promise((resolve) => idle.once('connect', resolve));
    await socket.close();
    idle.destroy();
  });

  it('replaces the one of a killed agent', async () => {
    const stale = createServer();
    await new Promise<void>((resolve) => stale.listen(join(folder, 'old'), resolve));
    path = join(folder, 'stale');
    // Closing removes the name it was made under only.
    renameSync(join(folder, 'old'), path);
    await new Promise((resolve) => stale.close(resolve));
    expect(existsSync(path)).toBe(true);
    const socket = await open();
    expect(await askStatus(path, clock)).toEqual({ connected: true });
    await socket.close();
  });

  it('leaves another agent’s alone', async () => {
    const first = await open(() => 'first');
    await expect(open()).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('another agent answers there'),
    });
    expect(await askStatus(path, clock)).toBe('first');
    await first.close();
  });

  it('removes at its close only what is its own', async () => {
    const socket = await open();
    rmSync(path);
    writeFileSync(path, 'somebody else’s');
    await socket.close();
    expect(existsSync(path)).toBe(true);
  });

  it('says what is wrong with its place', async () => {
    const place = (name: string) => {
      path = join(folder, name);
    };
    const refusal = async () => String(await open().catch((error: unknown) => error));
    writeFileSync(join(folder, 'file'), 'x');
    place('file');
    expect(await refusal()).toMatch(/--status-socket .*something else is there/);
    place('file/agent.sock');
    expect(await refusal()).toMatch(/EEXIST|ENOTDIR/);
    place('x'.repeat(100));
    expect(await refusal()).toMatch(/longer than/);
  });

  it('survives a status that cannot be told', async () => {
    const socket = await open(() => {
      throw new Error('no');
    });
    await expect(askStatus(path, clock)).rejects.toThrow('it answered 500');
    await socket.close();
  });

  it('is not waited for when it says nothing', async () => {
    const mute = createServer();
    path = join(folder, 'mute');
    await new Promise<void>((resolve) => mute.listen(path, resolve));
    const testClock = createTestClock();
    const asked = askStatus(path, testClock);
    asked.catch(() => {});
    await testClock.advance(3_000);
    await expect(asked).rejects.toThrow('it does not answer');
    mute.close();
  });
});
