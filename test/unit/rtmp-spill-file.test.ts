import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { type Backlog, createBacklog } from '../../shared/rtmp/backlog.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { createSpillFile, type SpillFileOptions, type SpillStorage } from '../../shared/rtmp/spill-file.ts';
import { tags } from '../support/media-tags.ts';
import { settle } from '../support/test-clock.ts';

/** A file in memory that can fail, or write less than it was given. */
function storageOf(bytes: number, fault: { writes?: boolean; reads?: boolean; shortBytes?: number } = {}) {
  const data = Buffer.alloc(bytes);
  const state = { fault, closed: 0, writes: 0 };
  const storage = {
    async write(from: Buffer, offset: number, length: number, at: number) {
      state.writes += 1;
      if (state.fault.writes) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
      const bytesWritten = Math.min(length, state.fault.shortBytes ?? length);
      if (at + bytesWritten > bytes) throw new Error('beyond the end');
      from.copy(data, at, offset, offset + bytesWritten);
      return { bytesWritten, buffer: from };
    },
    async read(to: Buffer, offset: number, length: number, at: number) {
      if (state.fault.reads) throw new Error('bad block');
      const bytesRead = Math.min(length, state.fault.shortBytes ?? length);
      data.copy(to, offset, at, at + bytesRead);
      return { bytesRead, buffer: to };
    },
    async close() {
      state.closed += 1;
    },
  };
  return { state, storage: storage as unknown as SpillStorage };
}
function spillWith(
  maxBytes: number,
  { state, storage }: ReturnType<typeof storageOf>,
  more: Partial<SpillFileOptions> = {},
) {
  const failures: unknown[] = [];
  const spill = createSpillFile({
    folder: '/nowhere',
    maxBytes,
    onReady: () => {},
    onFailed: (error) => failures.push(error),
    openFile: async () => storage,
    ...more,
  });
  return { spill, failures, state };
}
const numbered = (n: number, bytes: number) => Buffer.alloc(bytes, n);

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe('spill file', () => {
  it('gives back what it took, round and round the ring, and keeps nothing in memory meanwhile', async () => {
    const { spill } = spillWith(1000, storageOf(1000, { shortBytes: 70 }));
    for (let n = 0; n < 40; n += 1) {
      const bodies = [numbered(n, 130), numbered(n + 100, 210), numbered(n + 50, 0)];
      const held = bodies.map((body) => spill.put(body));
      await settle();
      expect(spill.memoryBytes).toBe(0);
      for (const one of held) one?.fetch();
      for (let turn = 0; turn < 5; turn += 1) await settle();
      expect(held.map((one) => one?.body?.toString('hex'))).toEqual(bodies.map((body) => body.toString('hex')));
      for (const one of held) one?.release();
      expect(spill.memoryBytes).toBe(0);
      for (const one of held) one?.free();
    }
    await spill.close();
  });
  it('takes no more than the file may hold, until the oldest is free', async () => {
    const { spill } = spillWith(1000, storageOf(1000));
    const first = spill.put(numbered(1, 600));
    expect(spill.put(numbered(2, 500))).toBeUndefined();
    first?.free();
    expect(spill.put(numbered(2, 500))).toBeDefined();
    await spill.close();
    expect(spill.put(numbered(3, 1))).toBeUndefined();
  });
  it('gives a full disk up, once, and what it had not written stays usable', async () => {
    const { spill, failures } = spillWith(1000, storageOf(1000, { writes: true }));
    const one = spill.put(numbered(1, 100));
    await settle();
    expect([failures.length, spill.hasFailed, spill.put(numbered(2, 1))]).toEqual([1, true, undefined]);
    expect(one?.body?.length).toBe(100);
    one?.free();
    expect(spill.memoryBytes).toBe(0);
    await spill.close();
  });
  it('says that a body is lost when it cannot be read, and when no file can be made', async () => {
    let ready = 0;
    const { spill, failures, state } = spillWith(1000, storageOf(1000, { reads: true }), { onReady: () => ready++ });
    const one = spill.put(numbered(1, 100));
    await settle();
    one?.fetch();
    await settle();
    expect([one?.isLost, one?.body, ready, failures.length]).toEqual([true, undefined, 1, 1]);
    await Promise.all([spill.close(), spill.close()]);
    expect(state.closed).toBe(1);
    const unopened = spillWith(1000, storageOf(1), { openFile: () => Promise.reject(new Error('read-only')) });
    const kept = unopened.spill.put(numbered(1, 10));
    await settle();
    expect([unopened.failures.length, kept?.body?.length]).toEqual([1, 10]);
    await unopened.spill.close();
  });
  it('leaves no file behind, also not of an earlier life', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'glasscast-test-'));
    folders.push(folder);
    writeFileSync(join(folder, 'glasscast-backlog-old'), 'x');
    writeFileSync(join(folder, 'other'), 'x');
    const onReady = manual();
    const spill = createSpillFile({
      ...{ folder: join(folder), maxBytes: 1_000_000, onFailed: onReady.reject },
      onReady: () => onReady.resolve(undefined),
    });
    const one = spill.put(numbered(7, 300_000));
    await expect.poll(() => [spill.memoryBytes, ...readdirSync(folder)], { timeout: 10_000 }).toEqual([0, 'other']);
    one?.fetch();
    await onReady.promise;
    expect(one?.body?.equals(numbered(7, 300_000))).toBe(true);
    await spill.close();
    expect(existsSync(join(folder, 'other'))).toBe(true);
  });
});
function manual() {
  let resolve: (value: unknown) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

type Step =
  | { do: 'add'; what: 'K' | 'd' | 'a' | 'vh' | 'ah' | 'meta'; afterMs: number; bytes: number }
  | { do: 'send'; count: number }
  | { do: 'arrived'; share: number }
  | { do: 'rewind' | 'skip' | 'skipAll' | 'wait' };
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      what: fc.constantFrom('K', 'd', 'd', 'd', 'a', 'a', 'vh', 'ah', 'meta'),
      afterMs: fc.integer({ min: 0, max: 60 }),
      bytes: fc.integer({ min: 0, max: 300 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('send' as const), count: fc.integer({ min: 1, max: 40 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('arrived' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('rewind' as const, 'skip' as const, 'skipAll' as const, 'wait' as const),
    }),
  },
);
function tagOf(step: Extract<Step, { do: 'add' }>, atMs: number, serial: number): FlvTag {
  const body = Buffer.alloc(4 + step.bytes, serial & 0xff);
  body.writeUInt32BE(serial);
  const after = (tag: FlvTag): FlvTag => ({ ...tag, timestampMs: atMs, body: Buffer.concat([tag.body, body]) });
  if (step.what === 'vh') return after(tags.videoConfig());
  if (step.what === 'ah') return after(tags.audioConfig());
  if (step.what === 'meta') return after(tags.metadata());
  return after(step.what === 'a' ? tags.sound(atMs) : tags.picture(atMs, { isKey: step.what === 'K' }));
}
const told = ({ kind, timestampMs, body }: FlvTag) => `${kind} ${timestampMs} ${body.toString('hex')}`;

/** Up to `count` tags; from the disk they come when they come. */
async function take(backlog: Backlog, count: number, connection: { bytes: number }): Promise<string[]> {
  const got: string[] = [];
  for (let turn = 0; got.length < count && turn < 6; turn += 1) {
    for (let tag = backlog.next(); tag; tag = got.length < count ? backlog.next() : undefined) {
      connection.bytes += tag.body.length + 12;
      backlog.sentUpTo(connection.bytes);
      got.push(told(tag));
      turn = 0;
    }
    await settle();
  }
  return got;
}

describe('a backlog with a spill', () => {
  it('gives the same as one with memory enough, over any schedule', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('backfill' as const, 'live' as const),
        fc.array(anyStep, { minLength: 20, maxLength: 150 }),
        async (mode, steps) => {
          const file = storageOf(200_000, { shortBytes: 5_000 });
          const { spill } = spillWith(200_000, file);
          const spilling = createBacklog({ mode, maxAgeMs: 2_000, maxBytes: 3_000, spill });
          const roomy = createBacklog({ mode, maxAgeMs: 2_000, maxBytes: 10_000_000 });
          const links: [{ bytes: number }, { bytes: number }] = [{ bytes: 0 }, { bytes: 0 }];
          let nowMs = 0;
          let headerBytes = 0;
          for (const [serial, step] of steps.entries()) {
            if (step.do === 'add') {
              nowMs += step.afterMs;
              const tag = tagOf(step, nowMs, serial);
              // Headers are never spilled: more of them than half the memory holds push media out.
              const isHeader = step.what !== 'K' && step.what !== 'd' && step.what !== 'a';
              if (isHeader && headerBytes + tag.body.length > 1_500) continue;
              if (isHeader) headerBytes += tag.body.length;
              for (const backlog of [spilling, roomy]) backlog.add(tag, nowMs);
              // A disk as fast as the media are.
              await settle();
            } else if (step.do === 'send') {
              expect(await take(spilling, step.count, links[0])).toEqual(await take(roomy, step.count, links[1]));
            } else if (step.do === 'arrived') {
              for (const backlog of [spilling, roomy]) backlog.arrivedUpTo(Math.floor(links[0].bytes * step.share));
            } else if (step.do === 'rewind') {
              for (const backlog of [spilling, roomy]) backlog.rewind();
              for (const link of links) link.bytes = 0;
            } else if (step.do === 'wait') await settle();
            else for (const backlog of [spilling, roomy]) backlog[step.do]();
            const { spilledBytes: _, ...known } = spilling.stats(nowMs);
            expect(known).toEqual({ ...roomy.stats(nowMs), spilledBytes: undefined, ...known });
          }
          expect(await take(spilling, 10_000, links[0])).toEqual(await take(roomy, 10_000, links[1]));
          expect(spill.memoryBytes).toBeLessThanOrEqual(1_500);
          await spill.close();
        },
      ),
      { numRuns: 40 },
    );
  }, 60_000);
  it('on a failing disk drops the oldest, up to a key frame, and stays within its memory', async () => {
    const file = storageOf(1_000_000);
    const { spill, failures } = spillWith(1_000_000, file);
    const backlog = createBacklog({ mode: 'backfill', maxAgeMs: 60_000, maxBytes: 10_000, spill });
    const film = async (fromMs: number, count: number) => {
      for (let n = 0; n < count; n += 1) {
        const picture = tags.picture(fromMs + n * 40, { isKey: n % 10 === 0 });
        backlog.add({ ...picture, body: Buffer.concat([picture.body, Buffer.alloc(487)]) }, fromMs + n * 40);
        await settle();
      }
    };
    await film(0, 60);
    expect(backlog.stats(0)).toMatchObject({ heldTags: 60, framesDropped: 0, spilledBytes: 25_000 });
    file.state.fault = { writes: true };
    await film(2400, 60);
    expect(failures).toHaveLength(1);
    const { heldBytes, spilledBytes } = backlog.stats(0);
    expect(heldBytes - spilledBytes).toBeLessThanOrEqual(10_000);
    const got = await take(backlog, 1000, { bytes: 0 });
    expect(got[0]).toMatch(/^video \d+ 17/);
    expect(got.at(-1)).toMatch(/^video 4760 /);
  });
  it('goes on at the next key frame when what it had written cannot be read', async () => {
    const file = storageOf(1_000_000);
    const { spill } = spillWith(1_000_000, file);
    const backlog = createBacklog({ mode: 'backfill', maxAgeMs: 60_000, maxBytes: 10_000, spill });
    for (let n = 0; n < 60; n += 1) {
      const picture = tags.picture(n * 40, { isKey: n % 10 === 0 });
      backlog.add({ ...picture, body: Buffer.concat([picture.body, Buffer.alloc(487)]) }, n * 40);
      await settle();
    }
    file.state.fault = { reads: true };
    const got = await take(backlog, 1000, { bytes: 0 });
    expect(got).toHaveLength(10);
    expect(backlog.stats(0)).toMatchObject({ waitingBytes: 0, framesDropped: 50 });
    backlog.add(tags.picture(2400), 2400);
    backlog.add(tags.picture(2440, { isKey: true }), 2440);
    expect(await take(backlog, 1000, { bytes: 0 })).toHaveLength(1);
  });
});
