/** The doctor's burst against relays with a script, on real sockets and a clock that moves only when told. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { measureUplink } from '../../device/runtime/uplink-burst.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

interface Burst {
  request: IncomingMessage;
  response: ServerResponse;
  /** All of the body. */
  body(): Promise<Buffer>;
}

const json = (response: ServerResponse, status: number, body: unknown) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

/** @param first how the empty probe is answered. */
async function world(onBurst: (burst: Burst) => unknown = () => {}, first = { status: 200, body: '{}' }) {
  const clock = createTestClock();
  const heads: { path: string | undefined; authorization: string | undefined; length: string | undefined }[] = [];
  const server = createServer((request, response) => {
    const { authorization, 'content-length': length } = request.headers;
    heads.push({ path: request.url, authorization, length });
    if (heads.length === 1) {
      response.writeHead(first.status).end(first.body);
      return;
    }
    const body = async () => {
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      return Buffer.concat(pieces);
    };
    void onBurst({ request, response, body });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    expect(clock.pending()).toEqual([]);
  });
  const relayUrl = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/here/glasses-ws?x=1`;
  const measure = () => measureUplink({ relayUrl, token: new Secret('good-token'), clock });
  return { clock, heads, measure };
}

describe('a burst', () => {
  it('is 8 MB that cannot be compressed, beside the address of the socket; what the relay has read counts', async () => {
    let body: Buffer = Buffer.alloc(0);
    const { heads, measure } = await world(async (burst) => {
      body = await burst.body();
      json(burst.response, 200, { bytes: 1_540_000, ms: 3_000 });
    });
    expect(await measure()).toEqual({
      state: 'ok',
      text: '4.1 Mbit/s in a burst of 3 s; the default stream needs 2.1',
    });
    expect(body.length).toBeGreaterThan(7_900_000);
    expect(body.length).toBeLessThanOrEqual(8_000_000);
    const sample = body.subarray(0, 300_000);
    expect(gzipSync(sample).length).toBeGreaterThan(sample.length);
    const head = { path: '/here/api/uplink-probe', authorization: 'Bearer good-token' };
    expect(heads).toEqual([
      { ...head, length: '0' },
      { ...head, length: undefined },
    ]);
  });

  it('ends after 3 s', async () => {
    const world3 = await world(async ({ request, body, response }) => {
      await once(request, 'readable');
      await world3.clock.advance(3_000);
      const { length } = await body();
      json(response, 200, { bytes: length, ms: 3_000 });
    });
    const { text } = await world3.measure();
    expect(text).toContain('in a burst of 3 s');
    // Sockets of this machine hold some of it; the rest was never made.
    expect(Number.parseFloat(text)).toBeLessThan(20);
  });

  it.each([
    [1_006_200, 'ok', '2.7'],
    [1_000_000, 'bad', '2.7'],
    [774_000, 'bad', '2.1'],
    [3_750, 'bad', '0.01'],
    [0, 'bad', '0.00'],
  ])('of which %i bytes came in 3 s is %s', async (bytes, state, mbit) => {
    const { measure } = await world(async ({ body, response }) => {
      await body();
      json(response, 200, { bytes, ms: 3_000 });
    });
    const finding = await measure();
    expect(finding).toMatchObject({ state, text: expect.stringMatching(`^${mbit} Mbit/s`) });
    expect(finding.text.endsWith('in reserve')).toBe(bytes === 1_000_000 || bytes === 774_000);
    expect(finding.next).toEqual(state === 'bad' ? expect.stringContaining('network') : undefined);
  });

  it('that a proxy kept until it was whole counts by our own time', async () => {
    const proxied = await world(async ({ body, response }) => {
      await body();
      await proxied.clock.advance(4_000);
      json(response, 200, { bytes: 2_000_000, ms: 2 });
    });
    expect((await proxied.measure()).text).toContain('4.0 Mbit/s in a burst of 4 s');
  });

  it('is answered in its middle where the uplink is narrow', async () => {
    const { measure } = await world(({ response }) => json(response, 200, { bytes: 250_000, ms: 5_000 }));
    expect(await measure()).toMatchObject({
      state: 'bad',
      text: expect.stringContaining('0.40 Mbit/s in a burst of 5 s'),
    });
  });

  it('of which nothing came is bad', async () => {
    const { measure } = await world(({ response }) => json(response, 408, { error: 'UPLINK_PROBE_SILENT' }));
    expect(await measure()).toMatchObject({ state: 'bad', text: expect.stringContaining('nothing') });
  });
});

describe('not measured, and no fault of the uplink', () => {
  it.each([
    [404, /older/, /glasscast-agent status/],
    [401, /refuses the core token/, undefined],
    [413, /refused \(413\)/, /proxy/],
    [429, /too often/, /minute/],
    [503, /answers 503/, /glasscast-agent status/],
  ])('is an uplink for a relay that answers %i; nothing is sent then', async (status, text, next) => {
    const { heads, measure } = await world(undefined, { status, body: 'not for us' });
    const finding = await measure();
    expect(finding).toMatchObject({ state: 'unknown', text: expect.stringMatching(text) });
    expect(finding.next ?? '').toMatch(next ?? /^$/);
    expect(heads).toHaveLength(1);
  });

  it.each<[string, (burst: Burst) => unknown, RegExp]>([
    ['a proxy refuses its size', ({ response }) => response.writeHead(413).end('<html>'), /413/],
    ['the answer is no measurement', ({ response }) => json(response, 200, { bytes: 'many' }), /does not tell/],
    ['the answer is endless', ({ response }) => response.end('x'.repeat(100_000)), /not one of a relay/],
    ['it is cut in the middle', ({ request }) => request.once('data', () => request.socket.destroy()), /not measured/],
  ])('is an uplink when %s', async (_name, onBurst, text) => {
    const { measure } = await world(onBurst);
    const finding = await measure();
    expect(finding).toMatchObject({ state: 'unknown', text: expect.stringMatching(text) });
    expect(JSON.stringify(finding)).not.toContain('good-token');
  });

  it('is an uplink when no answer comes within 15 s', async () => {
    let isHere = false;
    const { clock, measure } = await world(({ request }) => {
      isHere = true;
      request.resume();
    });
    const done = measure();
    await expect.poll(() => isHere).toBe(true);
    await clock.advance(15_000);
    expect(await done).toMatchObject({ state: 'unknown', text: 'not measured: no answer within 15 s' });
  });
});
