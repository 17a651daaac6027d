/** A relay with a script: takes one pair of glasses, records every frame, says what the test says. */
import { createServer } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';

export interface GlassesFrame {
  type: string;
  status?: string;
  streamId?: string;
  ackId?: string;
  kind?: string;
  errorCode?: string;
  errorDetails?: string;
  attempt?: number;
  stats?: Record<string, number>;
  resolvedConfig?: { video?: Record<string, number>; audio?: Record<string, unknown> };
  [field: string]: unknown;
}

export interface FakeRelay {
  readonly url: string;
  readonly frames: GlassesFrame[];
  readonly connections: number;
  /** Authorization header of each upgrade. */
  readonly authorizations: (string | undefined)[];
  /** Refuses upgrades with this status while set. */
  refuseWith: number | undefined;
  /** Objects as JSON; strings and buffers as they are. */
  send(frame: object | string | Buffer): void;
  /** First frame from index `from` on that fits. */
  until(fits: (frame: GlassesFrame) => boolean, from?: number): Promise<GlassesFrame>;
  untilConnected(count?: number): Promise<void>;
  /** Cuts the line. */
  drop(): void;
  /** Reads nothing more on this connection, so that no pong goes back either. */
  freeze(): void;
  ping(): Promise<void>;
  close(): Promise<void>;
}

export async function startFakeRelay(): Promise<FakeRelay> {
  const waiting = new Set<() => void>();
  const changed = () => {
    for (const look of [...waiting]) look();
  };
  const untilTrue = <T>(find: () => T | undefined): Promise<T> =>
    new Promise((resolve) => {
      const look = () => {
        const found = find();
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  const http = createServer();
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  let socket: WebSocket | undefined;
  let connections = 0;
  const authorizations: (string | undefined)[] = [];
  const frames: GlassesFrame[] = [];
  let refuseWith: number | undefined;

  http.on('upgrade', (request, raw, head) => {
    authorizations.push(request.headers.authorization);
    changed();
    if (refuseWith !== undefined) {
      raw.end(`HTTP/1.1 ${refuseWith} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, raw, head, (opened) => {
      socket = opened;
      connections += 1;
      opened.on('error', () => {});
      opened.on('message', (data) => {
        frames.push(JSON.parse(String(data)) as GlassesFrame);
        changed();
      });
      opened.send(JSON.stringify({ type: 'connection_ack', sessionId: 'ada@example.com' }));
      changed();
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = http.address();
  const port = typeof address === 'object' && address ? address.port : 0;

  return {
    url: `ws://127.0.0.1:${port}/glasses-ws`,
    frames,
    authorizations,
    get connections() {
      return connections;
    },
    get refuseWith() {
      return refuseWith;
    },
    set refuseWith(status) {
      refuseWith = status;
    },
    send(frame) {
      socket?.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
    },
    until: (fits, from = 0) => untilTrue(() => frames.slice(from).find(fits)),
    untilConnected: async (count = 1) => void (await untilTrue(() => (connections >= count ? true : undefined))),
    drop: () => socket?.terminate(),
    freeze: () => socket?.pause(),
    ping: () =>
      new Promise((resolve) => {
        socket?.once('pong', () => resolve());
        socket?.ping();
      }),
    async close() {
      for (const client of sockets.clients) client.terminate();
      http.closeAllConnections();
      await new Promise<void>((resolve) => http.close(() => resolve()));
    },
  };
}
