import { describe, expect, it } from 'vitest';
import { createLocalStreamChild } from '../../cloud/provider/local-stream-child.ts';
import type { Child, ChildExit, ChildSpec } from '../../shared/child-process.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const ready = {
  type: 'ready',
  apiBaseUrl: 'http://127.0.0.1:5001/client/v4',
  accountId: 'a1',
  apiToken: 'the-api-token',
  httpPort: 5001,
  rtmpPort: 5002,
};

function world() {
  const clock = createTestClock();
  const runs: { spec: ChildSpec; die: (exit?: Partial<ChildExit>) => void }[] = [];
  const spawn = (spec: ChildSpec): Child => {
    let end = (_exit: ChildExit) => {};
    const exited = new Promise<ChildExit>((resolve) => {
      end = resolve;
    });
    const die = (exit: Partial<ChildExit> = {}) =>
      end({ end: 'exited', code: 1, signal: null, lastLines: [], ms: 10, ...exit });
    runs.push({ spec, die });
    return {
      pid: runs.length,
      stdin: undefined,
      stdout: undefined,
      exited,
      progressed() {},
      send() {},
      kill() {},
      stop() {
        die({ end: 'stopped' });
        return exited;
      },
    };
  };
  const child = createLocalStreamChild({
    ...{ spawn, clock, log: silentLog(), dataDir: '/data', logLevel: 'warn', outputPrivateTargets: false },
    env: { PATH: '/bin', GLASSCAST_ADMIN_TOKEN: 'mine', GLASSCAST_LOCAL_STREAM_RTMP_PORT: '0' },
    node: { file: 'node', flags: ['--import', 'tsx'] },
    program: 'main.ts',
  });
  return { clock, runs, child };
}

describe('the local Stream as a child', () => {
  it('gets its own settings and not ours, and gives its address', async () => {
    const { child, runs } = world();
    const starting = child.start();
    expect(runs[0]?.spec).toMatchObject({ args: ['--import', 'tsx', 'main.ts'], ipc: true });
    expect(runs[0]?.spec.env).toEqual({
      PATH: '/bin',
      MALLOC_ARENA_MAX: '2',
      MALLOC_TRIM_THRESHOLD_: '131072',
      GLASSCAST_LOCAL_STREAM_DATA_DIR: '/data',
      GLASSCAST_LOCAL_STREAM_LOG_LEVEL: 'warn',
      GLASSCAST_LOCAL_STREAM_OUTPUT_PRIVATE_TARGETS: 'false',
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: '0',
    });
    runs[0]?.spec.onMessage?.({ type: 'something else' });
    runs[0]?.spec.onMessage?.(ready);
    expect(await starting).toMatchObject({ kind: 'local', apiBaseUrl: ready.apiBaseUrl, accountId: 'a1' });
    await child.close();
  });

  it('comes back on the same ports with the same token, slower each time, until closed', async () => {
    const { child, runs, clock } = world();
    const starting = child.start();
    runs[0]?.spec.onMessage?.(ready);
    await starting;
    runs[0]?.die();
    await clock.advance(250);
    expect(runs[1]?.spec.env).toMatchObject({
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: '5001',
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: '5002',
      GLASSCAST_LOCAL_STREAM_API_TOKEN: 'the-api-token',
    });
    for (let count = 1; count < 6; count += 1) {
      runs.at(-1)?.die();
      await clock.advance(10_000);
    }
    expect(runs.length).toBe(7);
    await child.close();
    await clock.advance(60_000);
    expect([runs.length, clock.pending()]).toEqual([7, []]);
  });

  it('says in its own words why it could not start', async () => {
    const { child, runs, clock } = world();
    const starting = child.start();
    runs[0]?.die({ lastLines: ['The port is in use; choose another one: 1935'] });
    await expect(starting).rejects.toMatchObject({
      code: 'CHILD_START_FAILED',
      message: expect.stringContaining('1935'),
    });
    await child.close();
    const silent = world();
    const waiting = silent.child.start().catch((error: unknown) => error);
    await silent.clock.advance(20_000);
    expect(await waiting).toMatchObject({ code: 'CHILD_START_FAILED' });
    await settle();
    expect([clock.pending(), silent.clock.pending()]).toEqual([[], []]);
  });
});
