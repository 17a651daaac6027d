/** A TCP proxy on loopback that can wedge, reset, slow down and refuse: the bad network of the fault tests. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../../shared/clock.ts';

export interface TcpProxy {
  readonly port: number;
  /** Connections open now. */
  readonly connections: number;
  /** Connections ever made. */
  readonly accepted: number;
  /** From here on nothing is read from either side; the connections stay open. `flow` undoes it. */
  wedge(): void;
  flow(): void;
  /** Cuts all connections with RST. */
  reset(): void;
  /** Lets at most so many bytes per second through from the client to the target; undefined lifts it. */
  slow(bytesPerSecond: number | undefined): void;
  /** Refuses new connections (nothing listens) and cuts the open ones. */
  refuse(): Promise<void>;
  /** Listens on the same port again. */
  accept(): Promise<void>;
  close(): Promise<void>;
}

const TICK_MS = 20;

export async function startTcpProxy(options: {
  clock: Clock;
  targetPort: number;
  targetHost?: string;
}): Promise<TcpProxy> {
  const { clock, targetPort, targetHost = '127.0.0.1' } = options;
  const pairs = new Set<{ client: Socket; target: Socket; budgetBytes: number }>();
  let server: Server | undefined;
  let port = 0;
  let accepted = 0;
  let isWedged = false;
  let bytesPerSecond: number | undefined;

  function onConnection(client: Socket): void {
    accepted += 1;
    const target = connect({ port: targetPort, host: targetHost });
    const pair = { client, target, budgetBytes: 0 };
    pairs.add(pair);
    for (const socket of [client, target]) {
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        pairs.delete(pair);
        client.destroy();
        target.destroy();
      });
      if (isWedged) socket.pause();
    }
    client.on('data', (chunk: Buffer) => {
      target.write(chunk);
      if (bytesPerSecond === undefined) return;
      pair.budgetBytes -= chunk.length;
      if (pair.budgetBytes < 0) client.pause();
    });
    target.on('data', (chunk: Buffer) => client.write(chunk));
  }
  const refill = clock.every('tcp-proxy-refill', TICK_MS, () => {
    for (const pair of pairs) {
      pair.budgetBytes =
        bytesPerSecond === undefined ? 0 : Math.min(pair.budgetBytes + (bytesPerSecond * TICK_MS) / 1000, 0);
      if (pair.budgetBytes >= 0 && !isWedged && pair.client.isPaused()) pair.client.resume();
    }
  });
  function cut(): void {
    for (const { client, target } of pairs) {
      client.resetAndDestroy();
      target.destroy();
    }
  }
  async function accept(): Promise<void> {
    const next = createServer(onConnection);
    server = next;
    await new Promise<void>((resolve, reject) => {
      next.once('error', reject);
      next.listen(port, '127.0.0.1', resolve);
    });
    const address = next.address();
    port = typeof address === 'object' && address ? address.port : port;
  }
  async function refuse(): Promise<void> {
    const closing = server;
    server = undefined;
    cut();
    await new Promise<void>((resolve) => (closing ? closing.close(() => resolve()) : resolve()));
  }
  await accept();

  return {
    get port() {
      return port;
    },
    get connections() {
      return pairs.size;
    },
    get accepted() {
      return accepted;
    },
    wedge() {
      isWedged = true;
      for (const { client, target } of pairs) for (const socket of [client, target]) socket.pause();
    },
    flow() {
      isWedged = false;
      for (const { client, target } of pairs) for (const socket of [client, target]) socket.resume();
    },
    reset: cut,
    slow(limit) {
      bytesPerSecond = limit;
    },
    refuse,
    accept,
    async close() {
      refill.cancel();
      await refuse();
    },
  };
}
