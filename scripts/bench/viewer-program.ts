/**
 * Many light viewers in one process of their own: they ask as players do, count the bytes and decode nothing. What to watch comes
 * over the message channel, since a key in an argument would stand in the process list.
 */
import { connect, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import { encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { createChunkWriter, messageTypes } from '../../shared/rtmp/chunk-stream.ts';

export type ViewerKind = 'rtmp' | 'http-flv' | 'ws-flv';

export type ViewerOrder =
  | { type: 'watch'; kind: ViewerKind; url: string; count: number }
  /** Answered by `bytes`, and the counts begin again at 0. */
  | { type: 'count' };

export type ViewerAnswer =
  /** Each viewer's bytes since the last count, and how many are still connected. */
  | { type: 'bytes'; bytes: number[]; open: number }
  /** The address does not play; why, without the address. */
  | { type: 'refused'; reason: string };

const say = (answer: ViewerAnswer) => process.send?.(answer);
const counts: number[] = [];
let open = 0;

function counted(index: number): { got: (bytes: number) => void; closed: () => void } {
  counts[index] = 0;
  open += 1;
  return {
    got: (bytes) => {
      counts[index] = (counts[index] ?? 0) + bytes;
    },
    closed: () => {
      open -= 1;
    },
  };
}

const HANDSHAKE_BYTES = 1536;

/** Everything is asked at once after the handshake: each server here takes it. */
function watchRtmp(url: URL, index: number): void {
  const [, app = '', key = ''] = url.pathname.split('/');
  const { got, closed } = counted(index);
  const socket: Socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
  let handshakeLeft = 1 + 2 * HANDSHAKE_BYTES;
  socket.write(Buffer.concat([Buffer.from([3]), Buffer.alloc(HANDSHAKE_BYTES, 1)]));
  socket.on('data', (bytes) => {
    if (handshakeLeft > 0) {
      handshakeLeft -= bytes.length;
      if (handshakeLeft <= 0) ask();
      return;
    }
    got(bytes.length);
  });
  socket.on('error', () => undefined).on('close', closed);
  function ask(): void {
    const writer = createChunkWriter();
    const command = (streamId: number, ...values: Parameters<typeof encodeAmf0>) =>
      writer.message(3, { type: messageTypes.command, streamId, timestampMs: 0, payload: encodeAmf0(...values) });
    const tcUrl = `rtmp://${url.host}/${app}`;
    socket.write(
      Buffer.concat([
        Buffer.alloc(HANDSHAKE_BYTES, 2),
        ...command(0, 'connect', 1, { app, tcUrl, flashVer: 'LNX 9,0,124,2' }),
        ...command(0, 'createStream', 2, null),
        ...command(1, 'play', 3, null, key, -2),
      ]),
    );
  }
}

async function watchHttp(url: string, index: number): Promise<void> {
  const response = await fetch(url);
  if (response.status !== 200 || !response.body) {
    say({ type: 'refused', reason: `HTTP ${response.status}` });
    return;
  }
  const { got, closed } = counted(index);
  try {
    for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) got(bytes.length);
  } catch {
    // Cut: counted as closed.
  }
  closed();
}

function watchSocket(url: string, index: number): void {
  const { got, closed } = counted(index);
  const socket = new WebSocket(url.replace(/^http/, 'ws'), { perMessageDeflate: false });
  socket.on('message', (data: Buffer) => got(data.length));
  socket.on('error', (error) => say({ type: 'refused', reason: error.message }));
  socket.on('close', closed);
}

process.on('message', (order: ViewerOrder) => {
  if (order.type === 'count') {
    say({ type: 'bytes', bytes: [...counts], open });
    counts.fill(0);
    return;
  }
  for (let index = 0; index < order.count; index += 1) {
    if (order.kind === 'rtmp') watchRtmp(new URL(order.url), index);
    else if (order.kind === 'http-flv') void watchHttp(order.url, index);
    else watchSocket(order.url, index);
  }
});
process.once('disconnect', () => process.exit(0));
