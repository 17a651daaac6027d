import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Backlog, createBacklog } from '../../shared/rtmp/backlog.ts';
import { type FlvTag, isKeyFrame, isMetadata, isSequenceHeader } from '../../shared/rtmp/flv.ts';

const metadata = (timestampMs = 0): FlvTag => ({
  kind: 'script',
  timestampMs,
  body: Buffer.concat([Buffer.from([2, 0, 10]), Buffer.from('onMetaData')]),
});
const videoHeader = (mark = 0, timestampMs = 0): FlvTag => ({
  kind: 'video',
  timestampMs,
  body: Buffer.from([0x17, 0, 0, 0, 0, mark]),
});
const audioHeader = (timestampMs = 0): FlvTag => ({ kind: 'audio', timestampMs, body: Buffer.from([0xaf, 0, 0x12]) });
const key = (timestampMs: number, bytes = 10): FlvTag => video(0x17, timestampMs, bytes);
const delta = (timestampMs: number, bytes = 10): FlvTag => video(0x27, timestampMs, bytes);
const sound = (timestampMs: number, bytes = 10): FlvTag => ({
  kind: 'audio',
  timestampMs,
  body: Buffer.concat([Buffer.from([0xaf, 1]), Buffer.alloc(bytes)]),
});
function video(first: number, timestampMs: number, bytes: number): FlvTag {
  return { kind: 'video', timestampMs, body: Buffer.concat([Buffer.from([first, 1, 0, 0, 0]), Buffer.alloc(bytes)]) };
}
const headers = [metadata(), videoHeader(), audioHeader()];

function drain(backlog: Backlog): FlvTag[] {
  const tags: FlvTag[] = [];
  for (let tag = backlog.next(); tag; tag = backlog.next()) tags.push(tag);
  return tags;
}
/** "vh@0" and the like, short enough to read in an expectation. */
const shown = (tags: FlvTag[]) =>
  tags.map((tag) => {
    const name = isMetadata(tag)
      ? 'meta'
      : isSequenceHeader(tag)
        ? `${tag.kind[0]}h`
        : tag.kind === 'audio'
          ? 'a'
          : isKeyFrame(tag)
            ? 'K'
            : 'd';
    return `${name}@${tag.timestampMs}`;
  });
function filled(backlog: Backlog, tags: FlvTag[]): Backlog {
  for (const tag of tags) backlog.add(tag, tag.timestampMs);
  return backlog;
}

describe('backlog', () => {
  it('begins with headers and a key frame, at their time', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [
      ...headers,
      delta(960),
      sound(970),
      key(1000),
      sound(990),
    ]);
    expect(shown(drain(backlog))).toEqual(['meta@1000', 'vh@1000', 'ah@990', 'K@1000', 'a@990']);
  });
  it('waits for a key frame', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [...headers, delta(40), delta(80)]);
    expect(drain(backlog)).toEqual([]);
    expect(backlog.stats(80)).toMatchObject({ framesDropped: 2, waitingBytes: 0 });
  });
  it('sends again from the key frame at or before what has certainly arrived', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [...headers]);
    let bytes = 0;
    for (const tag of [key(0), delta(40), key(80), delta(120), key(160), delta(200)]) {
      backlog.add(tag, tag.timestampMs);
      while (backlog.next()) {
        bytes += 100;
        backlog.sentUpTo(bytes);
      }
    }
    backlog.arrivedUpTo(bytes - 200);
    backlog.rewind();
    backlog.add(delta(240), 240);
    expect(shown(drain(backlog))).toEqual(['meta@80', 'vh@80', 'ah@0', 'K@80', 'd@120', 'K@160', 'd@200', 'd@240']);
    expect(backlog.stats(240)).toMatchObject({ tagsResent: 4, framesDropped: 0 });
  });
  it('live: sends only from the newest key frame after a loss', () => {
    const backlog = filled(createBacklog({ mode: 'live' }), [...headers, key(0), delta(40)]);
    drain(backlog);
    backlog.rewind();
    filled(backlog, [key(80), delta(120), key(160), delta(200)]);
    expect(shown(drain(backlog)).slice(3)).toEqual(['K@160', 'd@200']);
    expect(backlog.stats(200)).toMatchObject({ framesDropped: 2, tagsResent: 0 });
  });
  it('live: skips to the next key frame and does not repeat headers that have not changed', () => {
    const backlog = filled(createBacklog({ mode: 'live' }), [...headers, key(0)]);
    drain(backlog);
    backlog.add(delta(40), 40);
    backlog.skip();
    backlog.add(delta(80), 80);
    expect(drain(backlog)).toEqual([]);
    filled(backlog, [videoHeader(9), key(120), delta(160)]);
    expect(shown(drain(backlog))).toEqual(['vh@0', 'K@120', 'd@160']);
  });
  it('skips to the newest key frame in mode backfill too, and counts at once what it drops', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [...headers, key(0)]);
    drain(backlog);
    filled(backlog, [delta(40), key(80), delta(120), key(160), delta(200)]);
    backlog.skip();
    expect(backlog.stats(200)).toMatchObject({ framesDropped: 3, waitingBytes: 30 });
    expect(shown(drain(backlog))).toEqual(['K@160', 'd@200']);
  });
  it('goes on with the new encoder when it skips over a swap', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [...headers, key(0)]);
    drain(backlog);
    filled(backlog, [delta(40), key(80), delta(120), metadata(), videoHeader(9), audioHeader(), key(160), delta(200)]);
    backlog.skip();
    const sent = drain(backlog);
    expect(shown(sent).filter((name) => /^[Kdv]/.test(name))).toEqual(['vh@0', 'K@160', 'd@200']);
    expect(sent.find((tag) => tag.kind === 'video')?.body[5]).toBe(9);
  });
  it('takes nothing from a hole to the next key frame, also when the connection is lost in between', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [...headers, key(0)]);
    drain(backlog);
    filled(backlog, [delta(40), key(80)]);
    backlog.skipAll();
    filled(backlog, [delta(120), sound(130)]);
    backlog.rewind();
    filled(backlog, [delta(160), key(200), delta(240)]);
    expect(shown(drain(backlog)).slice(3)).toEqual(['K@0', 'K@200', 'd@240']);
    expect(backlog.stats(240)).toMatchObject({ framesDropped: 4, tagsDropped: 5 });
  });
  it('takes the headers that were in force at the key frame it begins with', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [...headers, key(0), videoHeader(7), key(40)]);
    drain(backlog);
    backlog.rewind();
    const marks = drain(backlog).filter((tag) => tag.kind === 'video' && isSequenceHeader(tag));
    expect(marks.map(({ body }) => body[5])).toEqual([0, 7]);
  });
  it('moves a new encoder’s header, stamped 0, to the present, and touches no other time stamp', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [...headers, key(5000), sound(5010)]);
    drain(backlog);
    for (const tag of [metadata(), videoHeader(3), audioHeader(), key(5040), sound(5031)]) backlog.add(tag, 5040);
    expect(shown(drain(backlog))).toEqual(['meta@5010', 'vh@5000', 'ah@5010', 'K@5040', 'a@5031']);
  });
  it('drops what is too old up to a key frame', () => {
    const backlog = createBacklog({ mode: 'backfill', maxAgeMs: 100 });
    filled(backlog, [...headers, key(0), delta(40), key(80), delta(120), key(160), delta(200)]);
    expect(shown(drain(backlog)).slice(3)).toEqual(['K@160', 'd@200']);
    expect(backlog.stats(200)).toMatchObject({ framesDropped: 4 });
  });
  it('goes on when one group of pictures is longer than the bounds', () => {
    const backlog = filled(createBacklog({ mode: 'backfill', maxAgeMs: 100 }), [...headers, key(0)]);
    drain(backlog);
    for (let ms = 40; ms < 1000; ms += 40) {
      backlog.add(delta(ms), ms);
      expect(shown(drain(backlog))).toEqual([`d@${ms}`]);
    }
    expect(backlog.stats(1000)).toMatchObject({ framesDropped: 0 });
  });
  it('needs no key frame where there is only sound', () => {
    const backlog = filled(createBacklog({ mode: 'backfill' }), [metadata(), audioHeader(), sound(20), sound(40)]);
    expect(shown(drain(backlog))).toEqual(['meta@20', 'ah@20', 'a@20', 'a@40']);
  });
  it('stays usable across the 32 bit wrap of the time stamps', () => {
    const backlog = createBacklog({ mode: 'backfill' });
    for (const tag of [...headers, key(0xfffffff0), delta(0x10)]) backlog.add(tag, 0);
    backlog.add(videoHeader(4, 0x20), 0);
    expect(shown(drain(backlog)).slice(3)).toEqual([`K@${0xfffffff0}`, 'd@16', 'vh@32']);
  });
});

type Step =
  | { do: 'add'; what: 'K' | 'd' | 'a' | 'vh' | 'ah' | 'meta'; afterMs: number; bytes: number }
  | { do: 'send'; count: number }
  | { do: 'arrived'; share: number }
  | { do: 'rewind' | 'skip' | 'skipAll' };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      what: fc.constantFrom('K', 'd', 'd', 'a', 'a', 'vh', 'ah', 'meta') as fc.Arbitrary<'K'>,
      afterMs: fc.nat({ max: 60 }),
      bytes: fc.nat({ max: 200 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('send' as const), count: fc.integer({ min: 1, max: 12 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('arrived' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('rewind' as const, 'skip' as const, 'skipAll' as const) }) },
);

describe('backlog, whatever happens', () => {
  it.each(['backfill', 'live'] as const)('%s: headers and a key frame first, time never back, bounds kept', (mode) => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 120 }), (steps) => {
        const backlog = createBacklog({ mode, maxAgeMs: 500, maxBytes: 1500 });
        let nowMs = 0;
        let bytes = 0;
        let sent: FlvTag[] = [];
        const before = new Map<FlvTag, FlvTag | undefined>();
        let lastPicture: FlvTag | undefined;
        for (const tag of headers) backlog.add(tag, 0);
        for (const step of steps) {
          let tag: FlvTag;
          switch (step.do) {
            case 'add':
              nowMs += step.afterMs;
              tag = made(step.what, nowMs, step.bytes);
              // Without pictures for as long as the age bound, sound may begin alone.
              if (lastPicture && nowMs - lastPicture.timestampMs > 400) tag = key(nowMs);
              if (isPicture(tag)) {
                before.set(tag, lastPicture);
                lastPicture = tag;
              }
              backlog.add(tag, nowMs);
              break;
            case 'send':
              for (let left = step.count, tag = backlog.next(); tag && left > 0; left -= 1) {
                sent.push(tag);
                bytes += tag.body.length;
                backlog.sentUpTo(bytes);
                tag = left > 1 ? backlog.next() : undefined;
              }
              break;
            case 'arrived':
              backlog.arrivedUpTo(bytes * step.share);
              break;
            case 'rewind':
              expectPlayable(sent);
              expectDecodable(sent, before);
              sent = [];
              backlog.rewind();
              bytes = 0;
              break;
            case 'skip':
            case 'skipAll':
              backlog[step.do]();
          }
          const { heldBytes, waitingBytes, waitingMs } = backlog.stats(nowMs);
          expect(heldBytes).toBeLessThanOrEqual(1500);
          expect(waitingBytes).toBeLessThanOrEqual(heldBytes);
          expect(waitingBytes).toBeGreaterThanOrEqual(0);
          expect(waitingMs).toBeLessThanOrEqual(500);
        }
        expectPlayable(sent);
        expectDecodable(sent, before);
        drain(backlog);
        expect(backlog.stats(nowMs).waitingBytes).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
  it('backfill loses nothing that fits into the bounds, over any number of losses', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat({ max: 12 }), { maxLength: 6 }), { maxLength: 6 }), (outages) => {
        const backlog = filled(createBacklog({ mode: 'backfill' }), headers);
        const got = new Set<number>();
        const added: number[] = [];
        for (const batches of outages) {
          let bytes = 0;
          for (const batch of batches) {
            for (let index = 0; index < batch; index += 1) {
              const ms = added.length * 40;
              added.push(ms);
              backlog.add(added.length % 5 === 1 ? key(ms) : delta(ms), ms);
            }
            for (let tag = backlog.next(); tag; tag = backlog.next()) {
              bytes += 1;
              backlog.sentUpTo(bytes);
              if (tag.kind === 'video' && !isSequenceHeader(tag)) got.add(tag.timestampMs);
            }
          }
          // The last half of what was sent never arrived.
          const isLost = (ms: number) => ms > (added.at(-1) ?? 0) / 2;
          backlog.arrivedUpTo(0);
          for (const ms of [...got]) if (isLost(ms)) got.delete(ms);
          backlog.rewind();
        }
        for (const tag of drain(backlog)) if (!isSequenceHeader(tag)) got.add(tag.timestampMs);
        expect(added.filter((ms) => !got.has(ms))).toEqual([]);
      }),
    );
  });
});

function made(what: 'K' | 'd' | 'a' | 'vh' | 'ah' | 'meta', ms: number, bytes: number): FlvTag {
  switch (what) {
    case 'K':
      return key(ms, bytes);
    case 'd':
      return delta(ms, bytes);
    case 'a':
      return sound(ms, bytes);
    case 'vh':
      return videoHeader(bytes);
    case 'ah':
      return audioHeader();
    case 'meta':
      return metadata();
  }
}

const isPicture = (tag: FlvTag) => tag.kind === 'video' && !isSequenceHeader(tag);

/** Each picture is a key frame or comes right after the one that was filmed before it. */
function expectDecodable(sent: FlvTag[], before: ReadonlyMap<FlvTag, FlvTag | undefined>): void {
  let last: FlvTag | undefined;
  for (const tag of sent.filter(isPicture)) {
    if (!isKeyFrame(tag)) expect(before.get(tag)).toBe(last);
    last = tag;
  }
}

function expectPlayable(sent: FlvTag[]): void {
  const media = sent.findIndex((tag) => !isSequenceHeader(tag) && tag.kind !== 'script');
  const before = media < 0 ? sent : sent.slice(0, media);
  const first = sent[media];
  if (first) {
    expect(isKeyFrame(first)).toBe(true);
    expect(before.some((tag) => tag.kind === 'video')).toBe(true);
    expect(before.some((tag) => tag.kind === 'audio')).toBe(true);
    expect(before.some(isMetadata)).toBe(true);
  }
  for (const kind of ['audio', 'video', 'script'] as const) {
    const times = sent.filter((tag) => tag.kind === kind).map(({ timestampMs }) => timestampMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  }
}
