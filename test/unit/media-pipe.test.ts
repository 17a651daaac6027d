import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { type MediaPipe, openMediaPipe } from '../../device/encoding/media-pipe.ts';

const pipes: MediaPipe[] = [];
afterEach(() => {
  vi.unstubAllEnvs();
  for (const pipe of pipes.splice(0)) {
    pipe.childEnd.destroy();
    pipe.close();
  }
});

/** A pipe that says how much to take, and keeps it. */
async function open(goOn: () => boolean) {
  const taken: Buffer[] = [];
  let onTaken = () => {};
  const pipe = await openMediaPipe((bytes) => {
    taken.push(bytes);
    onTaken();
    return goOn();
  });
  pipes.push(pipe);
  const text = () => Buffer.concat(taken).toString();
  const until = (wanted: string) =>
    new Promise<void>((resolve) => {
      onTaken = () => text() === wanted && resolve();
      onTaken();
    });
  return { pipe, taken, text, until };
}

test('gives copies of what is written, and ends after the last of it', async () => {
  const { pipe, taken, text, until } = await open(() => true);
  pipe.childEnd.write('one');
  await until('one');
  pipe.childEnd.end('two');
  await pipe.ended;
  expect(text()).toBe('onetwo');
  expect(taken[0]?.toString()).toBe('one');
});

test('reads no more after a no until it is asked to', async () => {
  const { pipe, taken, until } = await open(() => false);
  pipe.childEnd.write('one');
  await until('one');
  await new Promise((resolve) => pipe.childEnd.write('two', resolve));
  expect(taken).toHaveLength(1);
  pipe.resume();
  await until('onetwo');
});

test('leaves no name behind; nowhere to make one is an error', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'glasscast-pipe-'));
  vi.stubEnv('TMPDIR', folder);
  await open(() => true);
  expect(readdirSync(folder)).toEqual([]);
  rmdirSync(folder);
  vi.stubEnv('TMPDIR', '/no/such/folder');
  await expect(openMediaPipe(() => true)).rejects.toThrow(/listen/);
});

test('fails when the system gives no such pipe, and does not wait for ever', async () => {
  const connect = vi.spyOn(Socket.prototype, 'connect').mockImplementationOnce(function (this: Socket) {
    this.destroy(new Error('EMFILE'));
    return this;
  });
  await expect(openMediaPipe(() => true)).rejects.toThrow();
  connect.mockRestore();
});
