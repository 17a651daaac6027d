/** The RTMP client against servers that say anything: it always settles, with one of our errors, and leaves nothing behind. */
import { createServer, type Server, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { createChunkWriter, messageTypes } from '../../shared/rtmp/chunk-stream.ts';
import { publishRtmp } from '../../shared/rtmp/client.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const KEY = 'the-stream-key';
const sockets = new Set<Socket>();
let script: (socket: Socket) => unknown = () => {};
let server: Server;
let port = 0;
beforeAll(async () => {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', () => {});
    script(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  port = typeof address === 'object' && address ? address.port : 0;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

const handshake = Buffer.concat([Buffer.from([3]), Buffer.alloc(3072, 7)]);
const command = (...values: Parameters<typeof encodeAmf0>): Buffer =>
  Buffer.concat(
    createChunkWriter().message(3, {
      type: messageTypes.command,
      streamId: 0,
      timestampMs: 0,
      payload: encodeAmf0(...values),
    }),
  );

/** Words and values that a server could have said, in any order, and bytes that it could not. */
const saying = fc.oneof(
  { weight: 3, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.constant(handshake) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.constantFrom('_result', '_error', 'onStatus', 'onBWDone', '', 'close'),
        fc.oneof(fc.nat({ max: 6 }), fc.constant(Number.NaN)),
        fc.constantFrom(
          null,
          {},
          1,
          -1,
          'x',
          [],
          { code: 'NetStream.Publish.Start', level: 'status' },
          { level: 'error' },
        ),
        fc.constantFrom(
          null,
          {},
          2.5,
          `about ${KEY}`,
          { code: 'NetStream.Publish.Start', level: 'status' },
          {
            level: 'error',
            code: `NetStream.Publish.${KEY}`,
            description: `no ${KEY}`,
            ex: { code: 302, redirect: `rtmp://127.0.0.1:1/${KEY}` },
          },
        ),
      )
      .map((values) => command(...values)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(...Object.values(messageTypes)), fc.uint8Array({ maxLength: 12 }))
      .map(([type, bytes]) =>
        Buffer.concat(
          createChunkWriter().message(2, { type, streamId: 0, timestampMs: 0, payload: Buffer.from(bytes) }),
        ),
      ),
  },
);
const ending = fc.constantFrom('silence', 'end', 'reset') as fc.Arbitrary<'silence' | 'end' | 'reset'>;

/** Resolves when the client has said more than its part of the handshake, or is gone. */
function commandsOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    let received = 0;
    socket.on('close', resolve);
    socket.on('data', (bytes) => {
      received += bytes.length;
      if (received > handshake.length) resolve();
    });
  });
}

/** One attempt; time passes until it is settled. */
async function attempt(said: Buffer[], how: 'silence' | 'end' | 'reset', abortAfterTurns?: number): Promise<unknown> {
  script = async (socket) => {
    const [first, ...rest] = said;
    if (first) socket.write(first);
    // What answers commands has to come after them to count.
    if (first === handshake) await commandsOf(socket);
    for (const bytes of rest) socket.write(bytes);
    if (how === 'end') socket.end();
    else if (how === 'reset') setImmediate(() => socket.resetAndDestroy());
  };
  const clock = createTestClock();
  const abort = new AbortController();
  let outcome: unknown;
  const url = parsePublishUrl(`rtmp://127.0.0.1:${port}/live/${KEY}`);
  const work = publishRtmp({ url, clock, log: silentLog(), signal: abort.signal }).then(
    (publication) => publication.close().then(() => 'published'),
    (error: unknown) => error,
  );
  void work.then((value) => {
    outcome = value;
  });
  for (let turn = 0; outcome === undefined; turn += 1) {
    if (turn === abortAfterTurns) abort.abort(new Error('enough'));
    await settle();
    // The world gets some turns before the clock decides that it is silent.
    if (turn % 20 === 19) await clock.advance(1000);
    if (turn > 2000) throw new Error('it hangs');
  }
  expect(clock.pending()).toEqual([]);
  for (let turn = 0; sockets.size > 0 && turn < 1000; turn += 1) await settle();
  expect(sockets.size).toBe(0);
  return outcome;
}

describe('whatever the server says', () => {
  it('the attempt settles with one of our errors, without the key, and no socket or timer is left', async () => {
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(saying, { maxLength: 8 }), ending, async (isPolite, said, how) => {
        const outcome = await attempt(isPolite ? [handshake, ...said] : said, how);
        if (outcome === 'published') return;
        expect(outcome).toBeInstanceOf(GlasscastError);
        const { code, message, details, cause } = outcome as GlasscastError;
        expect(code).toMatch(/^INGEST_|^INVALID_PUBLISH_URL$/);
        expect(JSON.stringify([message, details, String(cause)])).not.toContain(KEY);
      }),
      { numRuns: 150 },
    );
  });
  it('an abort at any turn of the loop leaves nothing either', async () => {
    const polite = [
      handshake,
      command('_result', 1, {}, {}),
      command('_result', 4, null, 1),
      command('onStatus', 0, null, { level: 'status', code: 'NetStream.Publish.Start' }),
    ];
    for (let said = 0; said <= polite.length; said += 1) {
      for (let turns = 0; turns < 12; turns += 1) {
        const outcome = await attempt(polite.slice(0, said), 'silence', turns);
        expect(['Error: enough', 'published']).toContain(String(outcome));
      }
    }
    expect(await attempt(polite, 'silence')).toBe('published');
  });
});
