/**
 * Stands between the relay and the local Stream's API: the addresses to publish to are written as the board finds them, through
 * the tap of the bench. Everything else passes as it is; nothing in the product is changed for that.
 */
import { createServer, type IncomingMessage } from 'node:http';
import { HOST_AS_SEEN_BY_BOARD } from './virtual-board.ts';

export interface GuestProviderOptions {
  /** `http://127.0.0.1:PORT` of the local Stream. */
  target: string;
  /** Where the board publishes to, on the host. */
  publishPort: number;
}

export interface GuestProvider {
  /** Gives the port. */
  listen(): Promise<number>;
  close(): Promise<void>;
}

export function createGuestProvider({ target, publishPort }: GuestProviderOptions): GuestProvider {
  const server = createServer((request, response) => {
    pass(request)
      .then(({ status, type, text }) => {
        response.writeHead(status, { 'content-type': type });
        response.end(text.replace(PUBLISH_URL, `rtmp://${HOST_AS_SEEN_BY_BOARD}:${publishPort}/live`));
      })
      .catch(() => response.destroy());
  });
  async function pass(request: IncomingMessage): Promise<{ status: number; type: string; text: string }> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { authorization, 'content-type': type } = request.headers;
    const answer = await fetch(`${target}${request.url ?? ''}`, {
      method: request.method ?? 'GET',
      headers: { ...(authorization ? { authorization } : {}), ...(type ? { 'content-type': type } : {}) },
      ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}),
    });
    const answerType = answer.headers.get('content-type') ?? 'application/json';
    return { status: answer.status, type: answerType, text: await answer.text() };
  }
  return {
    async listen() {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const address = server.address();
      return typeof address === 'object' && address ? address.port : 0;
    },
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const PUBLISH_URL = /rtmp:\/\/127\.0\.0\.1:\d+\/live/g;
