/** WHEP's HTTP: what each method of each address answers, to browsers of any origin. */
import Fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import type { PlaybackAccess } from '../../cloud/local-stream/playback/playback-access.ts';
import { wantsKeyFrame } from '../../cloud/local-stream/whep/peer.ts';
import { createWhep, type WhepOptions } from '../../cloud/local-stream/whep/whep.ts';

const SDP = { 'content-type': 'application/sdp' };

function createWorld(options: Partial<WhepOptions> = {}) {
  const offers: string[][] = [];
  const ended: string[][] = [];
  const access: Pick<PlaybackAccess, 'admit'> = {
    admit({ id }) {
      const open = { isToken: id === 'token', allowOrigin: '*' };
      if (id === 'token' || id === 'input') return { uid: 'input', kind: 'input', ...open };
      if (id === 'video') return { uid: 'video', kind: 'video', ...open };
      return { refused: { http: id === 'closed' ? 403 : 404, sentence: id === 'closed' ? 'Forbidden' : 'NotFound' } };
    },
  };
  const app = Fastify();
  app.register(
    createWhep({
      access,
      sessions: {
        async begin(...asked) {
          offers.push(asked);
          return asked[2] === 'full'
            ? { refused: { http: 503, sentence: 'Too many' } }
            : { sessionId: 'session', answer: 'v=0 answer' };
        },
        end(...asked) {
          ended.push(asked);
          return asked[1] === 'session';
        },
      },
      ...options,
    }),
  );
  const ask = async (
    method: 'POST' | 'DELETE' | 'GET' | 'PUT' | 'PATCH' | 'OPTIONS',
    url: string,
    payload?: string,
    headers = SDP,
  ) => {
    const {
      statusCode,
      headers: answered,
      body,
    } = await app.inject({
      ...{ method, url, headers },
      ...(payload === undefined ? {} : { payload }),
    });
    return { status: statusCode, headers: answered, body };
  };
  return { ask, offers, ended };
}

describe('an offer', () => {
  it('is answered with 201, and with where the session is', async () => {
    const { ask, offers } = createWorld();
    expect(await ask('POST', '/token/webRTC/play', 'v=0')).toMatchObject({
      status: 201,
      body: 'v=0 answer',
      headers: {
        location: '/token/webRTC/play/session',
        'content-type': 'application/sdp',
        'access-control-allow-origin': '*',
        'access-control-expose-headers': expect.stringContaining('Location'),
      },
    });
    expect(offers).toEqual([['input', 'token', 'v=0']]);
  });
  it.each([
    ['/unknown/webRTC/play', 404, 'NotFound'],
    ['/video/webRTC/play', 404, 'NotFound'],
    ['/closed/webRTC/play', 403, 'Forbidden'],
  ])('to %s is answered %i', async (url, status, body) => {
    const { ask, offers } = createWorld();
    expect(await ask('POST', url, 'v=0')).toMatchObject({
      status,
      body,
      headers: { 'access-control-allow-origin': '*' },
    });
    expect(offers).toEqual([]);
  });
  it('of another type, too large or too many gets a precise answer', async () => {
    const { ask, offers } = createWorld();
    const json = { 'content-type': 'application/json' };
    expect(await ask('POST', '/input/webRTC/play', '{"sdp":1}', json)).toMatchObject({ status: 415 });
    expect(await ask('POST', '/input/webRTC/play', 'x'.repeat(65 * 1024))).toMatchObject({ status: 413 });
    expect(offers).toEqual([]);
    expect(await ask('POST', '/input/webRTC/play')).toMatchObject({ status: 201 });
    expect(await ask('POST', '/input/webRTC/play', 'full')).toMatchObject({
      status: 503,
      headers: { 'retry-after': '5' },
    });
  });
  it('is answered 409 for all of RTMP while WebRTC is an island, as at Cloudflare', async () => {
    const { ask, offers } = createWorld({ isIsland: () => true });
    expect(await ask('POST', '/input/webRTC/play', 'v=0')).toMatchObject({
      status: 409,
      body: 'Live broadcast not started yet',
    });
    expect((await ask('POST', '/unknown/webRTC/play', 'v=0')).status).toBe(404);
    expect(offers).toEqual([]);
  });
});

describe('a session', () => {
  it('is ended by DELETE, by the name it was begun with', async () => {
    const { ask, ended } = createWorld();
    expect((await ask('DELETE', '/token/webRTC/play/session')).status).toBe(200);
    expect((await ask('DELETE', '/token/webRTC/play/other')).status).toBe(404);
    expect(ended).toEqual([
      ['token', 'session'],
      ['token', 'other'],
    ]);
  });
  it.each([
    ['GET', '/input/webRTC/play', 'POST, OPTIONS'],
    ['PATCH', '/input/webRTC/play', 'POST, OPTIONS'],
    ['DELETE', '/input/webRTC/play', 'POST, OPTIONS'],
    ['PATCH', '/input/webRTC/play/session', 'DELETE, OPTIONS'],
    ['POST', '/input/webRTC/play/session', 'DELETE, OPTIONS'],
    ['PUT', '/input/webRTC/play/session', 'DELETE, OPTIONS'],
  ] as const)('%s %s is not offered', async (method, url, allow) => {
    const { ask } = createWorld();
    expect(await ask(method, url)).toMatchObject({ status: 405, headers: { allow } });
  });
  it('may be asked for from any origin', async () => {
    const { ask } = createWorld();
    expect(await ask('OPTIONS', '/input/webRTC/play/session')).toMatchObject({
      status: 204,
      headers: { 'access-control-allow-methods': 'DELETE, OPTIONS', 'access-control-allow-origin': '*' },
    });
    expect((await ask('OPTIONS', '/input/webRTC/play')).headers).toMatchObject({ 'accept-post': 'application/sdp' });
  });
});

describe('RTCP', () => {
  const receiverReport = Buffer.from([0x80, 201, 0, 1, 0, 0, 0, 1]);
  it('asks for a key frame by a picture loss indication or a full intra request', () => {
    const pli = Buffer.from([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    const fir = Buffer.from([0x84, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    expect([pli, fir, Buffer.concat([receiverReport, pli])].map(wantsKeyFrame)).toEqual([true, true, true]);
  });
  it('of other kinds, cut short or empty asks for nothing', () => {
    const nack = Buffer.from([0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    const remb = Buffer.from([0x8f, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    const others = [nack, remb, receiverReport, Buffer.alloc(0), Buffer.from([0x81, 206, 0])];
    expect(others.map(wantsKeyFrame)).toEqual(others.map(() => false));
  });
});
