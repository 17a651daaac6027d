/**
 * The peer of a relay node: a bare `ws` server that says something to everybody twice a second and answers every other request. Its port
 * comes as an argument.
 */
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { createSystemClock } from '../../shared/clock.ts';

const SAY_MS = 500;
const clock = createSystemClock();
const server = createServer((_request, response) => response.end('{"status":"ok"}'));
const sockets = new WebSocketServer({ server, perMessageDeflate: false });

async function talk(): Promise<void> {
  for (;;) {
    for (const socket of sockets.clients) socket.send('{"type":"hello"}');
    await clock.sleep(SAY_MS);
  }
}

server.listen(Number(process.argv[2]), '127.0.0.1', () => void talk());
process.once('disconnect', () => process.exit(0));
