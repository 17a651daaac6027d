/** The player page without ports: what it is made of and who gets it. */
import Fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { createPlayerPage } from '../../cloud/local-stream/playback/player-page.ts';

function createWorld() {
  const app = Fastify();
  app.register(
    createPlayerPage({
      access: {
        admit: ({ id }) =>
          id === 'known'
            ? { uid: id, kind: 'input', isToken: false, allowOrigin: '*' }
            : { refused: { http: 403, sentence: 'Not for you' } },
      },
    }),
  );
  return { get: (url: string) => app.inject({ method: 'GET', url }) };
}

describe('the player page', () => {
  it('runs no script but its own, may be framed, and writes nothing as HTML', async () => {
    const { get } = createWorld();
    for (const path of ['/known/iframe', '/known/watch', '/player/page.js', '/player/page.css']) {
      const { statusCode, headers, body } = await get(path);
      expect([statusCode, body.length > 100]).toEqual([200, true]);
      const policy = String(headers['content-security-policy']);
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain('frame-ancestors *');
      expect(policy).not.toContain('unsafe');
      expect(headers['x-content-type-options']).toBe('nosniff');
    }
    const { body: page } = await get('/known/iframe');
    expect(page).not.toMatch(/<script(?![^>]*\bsrc=)|\son[a-z]+=|style="/i);
    expect((await get('/player/page.js')).body).not.toMatch(/\.innerHTML\s*=|insertAdjacentHTML|document\.write\(/);
  });

  it('is there for what may be watched, and for nothing else', async () => {
    const { get } = createWorld();
    expect(await get('/other/iframe')).toMatchObject({ statusCode: 403, body: 'Not for you' });
    expect((await get('/known/other')).statusCode).toBe(404);
  });
});
