/**
 * What strangers send: malformed and hostile RTMP, and HTTP where RTMP is spoken. Facts of the protocol, no code of any peer.
 * `ends`: the ingest must end the connection by itself; otherwise it may also just go on.
 */
import { encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { chunked, type RtmpTestPeer } from './rtmp-peer.ts';

export interface Abuse {
  name: string;
  ends: boolean;
  /** `key` may publish. The peer is connected, nothing more. */
  run: (peer: RtmpTestPeer, key: string) => Promise<void> | void;
}

const COMMAND = 20;
const connectWith = (object: Parameters<typeof encodeAmf0>[0]) => encodeAmf0('connect', 1, object);

async function published(peer: RtmpTestPeer, key: string): Promise<void> {
  await peer.open();
  await peer.publish(key);
}

/** Harmless in itself; an empty message is read only when something follows it. */
function acknowledge(peer: RtmpTestPeer): void {
  peer.message(3, Buffer.alloc(4), { chunkStream: 2 });
}

/** A chunk header that claims a message of `bytes` on a chunk stream of its own, and nothing of the message. */
function claim(chunkStream: number, bytes: number): Buffer {
  const header = chunked(9, Buffer.alloc(0), { chunkStream: 2 }).subarray(1, 12);
  header.writeUIntBE(bytes, 3, 3);
  return Buffer.concat([Buffer.from([0, chunkStream - 64]), header, Buffer.alloc(128)]);
}

export const rtmpAbuse: readonly Abuse[] = [
  {
    name: 'connect without tcUrl',
    ends: false,
    run: async (peer) => {
      await peer.handshake();
      peer.message(COMMAND, connectWith({ app: 'live' }));
      await peer.wait(({ type }) => type === COMMAND);
    },
  },
  {
    name: 'connect with an invalid tcUrl',
    ends: false,
    run: async (peer) => {
      await peer.handshake();
      peer.message(COMMAND, connectWith({ app: 'live', tcUrl: 'http://[:::' }));
      await peer.wait(({ type }) => type === COMMAND);
    },
  },
  {
    name: 'connect with a null object',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      peer.message(COMMAND, connectWith(null));
    },
  },
  {
    name: 'connect to another application',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      peer.message(COMMAND, connectWith({ app: '../admin', tcUrl: 'rtmp://127.0.0.1/../admin' }));
    },
  },
  {
    name: 'publish without a name',
    ends: true,
    run: async (peer) => {
      await peer.open();
      peer.command('publish', 3, null);
    },
  },
  {
    name: 'play without a name',
    ends: true,
    run: async (peer) => {
      await peer.open();
      peer.command('play', 3, null);
    },
  },
  {
    name: 'publish before connect',
    ends: true,
    run: async (peer, key) => {
      await peer.handshake();
      peer.command('publish', 1, null, key, 'live');
    },
  },
  {
    name: 'publish twice on one connection',
    ends: true,
    run: async (peer, key) => {
      await published(peer, key);
      peer.command('publish', 4, null, key, 'live');
    },
  },
  {
    name: 'deleteStream of a wrong id',
    ends: false,
    run: async (peer, key) => {
      await published(peer, key);
      peer.command('deleteStream', 5, null, 4711);
      peer.command('deleteStream', 6, null, { id: 1 });
    },
  },
  {
    name: 'SetChunkSize without a value',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      peer.message(1, Buffer.alloc(0), { chunkStream: 2 });
      acknowledge(peer);
    },
  },
  {
    name: 'SetChunkSize 0',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      peer.message(1, Buffer.alloc(4), { chunkStream: 2 });
    },
  },
  {
    name: 'empty command',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      peer.message(COMMAND, Buffer.alloc(0));
      acknowledge(peer);
    },
  },
  {
    name: 'command cut short',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      peer.message(COMMAND, connectWith({ app: 'live', tcUrl: 'rtmp://127.0.0.1/live' }).subarray(0, 24));
    },
  },
  {
    name: 'command nested ten thousand deep',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      const nested = Buffer.alloc(10_000 * 4, Buffer.from([3, 0, 1, 97]));
      peer.message(COMMAND, Buffer.concat([encodeAmf0('connect', 1), nested]));
    },
  },
  {
    name: 'an empty video message first',
    ends: false,
    run: async (peer, key) => {
      await published(peer, key);
      peer.message(9, Buffer.alloc(0), { chunkStream: 5, stream: 1 });
      peer.message(8, Buffer.alloc(0), { chunkStream: 4, stream: 1 });
      peer.message(9, Buffer.from([0x17]), { chunkStream: 5, stream: 1 });
      peer.message(18, Buffer.alloc(0), { chunkStream: 6, stream: 1 });
      acknowledge(peer);
    },
  },
  {
    name: 'metadata cut short',
    ends: true,
    run: async (peer, key) => {
      await published(peer, key);
      peer.message(18, encodeAmf0('@setDataFrame', 'onMetaData', { width: 1280 }).subarray(0, 40), { stream: 1 });
    },
  },
  {
    name: 'media without publishing',
    ends: false,
    run: async (peer) => {
      await peer.open();
      peer.tag({ kind: 'video', timestampMs: 0, body: Buffer.alloc(500, 0x17) });
    },
  },
  {
    name: 'headers that claim 16 MB each on many chunk streams',
    ends: true,
    run: async (peer, key) => {
      await published(peer, key);
      for (let chunkStream = 64; chunkStream < 264; chunkStream += 1) peer.raw(claim(chunkStream, 0xffffff));
    },
  },
  {
    name: 'three hundred chunk streams with the largest ids',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      for (let id = 65_000; id < 65_300; id += 1) {
        const header = chunked(9, Buffer.alloc(1)).subarray(1);
        peer.raw(Buffer.concat([Buffer.from([1, (id - 64) & 0xff, (id - 64) >> 8]), header]));
      }
    },
  },
  {
    name: 'unknown message types',
    ends: false,
    run: async (peer) => {
      await peer.open();
      for (const type of [0, 7, 10, 15, 16, 19, 22, 99, 255]) peer.message(type, Buffer.alloc(40, type));
    },
  },
  {
    name: 'garbage instead of the handshake',
    ends: true,
    run: (peer) => peer.raw(Buffer.alloc(4000, 0xa5)),
  },
  {
    name: 'a handshake cut short',
    ends: true,
    run: (peer) => {
      peer.raw(Buffer.concat([Buffer.from([3]), Buffer.alloc(700)]));
      peer.socket.end();
    },
  },
  {
    name: 'garbage after the handshake',
    ends: true,
    run: async (peer) => {
      await peer.handshake();
      let seed = 1;
      const noise = () => {
        seed = (seed * 48_271) % 0x7fffffff;
        return seed & 0xff;
      };
      peer.raw(Buffer.from(Array.from({ length: 20_000 }, noise)));
      peer.socket.end();
    },
  },
];

/** The six ways that node-media-server's HTTP port could be used or crashed: here they meet RTMP, and nothing answers. */
export const httpAbuse: readonly { name: string; request: string }[] = [
  { name: 'GET of its API', request: 'GET /api/v1/streams HTTP/1.1\r\nHost: x\r\n\r\n' },
  { name: 'HTTP-FLV of a stream', request: 'GET /live/abc.flv HTTP/1.1\r\nHost: x\r\n\r\n' },
  { name: 'HTTP-FLV of an impossible name', request: 'GET /live/%24%24.flv HTTP/1.1\r\nHost: x\r\n\r\n' },
  {
    name: 'HTTP-FLV publish',
    request: 'POST /live/abc.flv HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nFLV\x01\x05',
  },
  { name: 'WebSocket to /', request: webSocket('/') },
  { name: 'WebSocket to an impossible name', request: webSocket('/live/%24.flv') },
];

function webSocket(path: string): string {
  return [
    `GET ${path} HTTP/1.1`,
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '\r\n',
  ].join('\r\n');
}
