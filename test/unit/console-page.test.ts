import fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { registerConsolePage } from '../../cloud/http/console-page.ts';

describe('the console', () => {
  it('runs no script but its own, in no frame, and holds no secret', async () => {
    const server = fastify();
    registerConsolePage(server);
    for (const path of ['/', '/console.js', '/console.css']) {
      const { statusCode, headers, body } = await server.inject({ method: 'GET', url: path });
      expect([statusCode, body.length > 100]).toEqual([200, true]);
      const policy = String(headers['content-security-policy']);
      expect(policy).toContain("default-src 'self'");
      expect(policy).toContain("frame-ancestors 'none'");
      // Pictures by WebSocket, which a star does not name.
      expect(policy).toMatch(/connect-src [^;]*\bws: wss:/);
      expect(policy).not.toMatch(/unsafe-(inline|eval)|script-src/);
      expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
    }
    const { body: page } = await server.inject({ method: 'GET', url: '/' });
    expect(page).not.toMatch(/<script(?![^>]*\bsrc=)|\son[a-z]+=|style="/i);
  });

  it('writes what others said as text, never as HTML', async () => {
    const server = fastify();
    registerConsolePage(server);
    const { body } = await server.inject({ method: 'GET', url: '/console.js' });
    // hls.js, which is in the bundle, uses none of these either.
    expect(body).not.toMatch(/\.innerHTML\s*=|insertAdjacentHTML|document\.write\(/);
  });
});
