/**
 * A TCP proxy that passes every byte on at once and lets someone look at it on the way. Changes nothing that passes,
 * and costs a fraction of a millisecond; all peers of a comparison go through the same kind of tap.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Called after the bytes have been passed on. */
export interface TapObserver {
  up?(bytes: Buffer): void;
  down?(bytes: Buffer): void;
  closed?(): void;
}

export interface TcpTapOptions {
  /** Where the real server listens, asked at each connection. */
  target: () => { host: string; port: number };
  /** Somebody has connected; what he is told about. `connection` counts from 0. */
  observe: (connection: number) => TapObserver;
  /** Where it listens. Default 127.0.0.1. */
  host?: string;
}

export interface TcpTap {
  /** @param port default: a free one. */
  listen(port?: number): Promise<number>;
  /** What the kernel does when the server behind is killed: no listener, every connection reset. `listen` opens again. */
  drop(): Promise<void>;
  /** Every connection is reset; the next ones are served. */
  reset(): void;
  /** Connections that come while it is on are accepted and never answered, also not after it is off again. */
  silence(isOn: boolean): void;
}

export function createTcpTap({ target, observe, host = '127.0.0.1' }: TcpTapOptions): TcpTap {
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let connections = 0;
  let isSilent = false;

  function keep(socket: Socket): void {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  }
  function accept(client: Socket): void {
    const observer = observe(connections);
    connections += 1;
    if (isSilent) {
      keep(client);
      client.resume();
      client.on('close', () => observer.closed?.());
      return;
    }
    const remote = connect(target());
    keep(client);
    keep(remote);
    client.on('data', (bytes) => {
      remote.write(bytes);
      observer.up?.(bytes);
    });
    remote.on('data', (bytes) => {
      client.write(bytes);
      observer.down?.(bytes);
    });
    client.on('end', () => remote.end());
    remote.on('end', () => client.end());
    remote.on('close', () => client.destroy());
    client.on('close', () => {
      remote.destroy();
      observer.closed?.();
    });
  }

  function reset(): void {
    for (const socket of sockets) socket.resetAndDestroy();
  }

  return {
    listen(port = 0) {
      return new Promise((resolve, reject) => {
        const opening = createServer({ allowHalfOpen: true }, accept);
        server = opening;
        opening.once('error', reject);
        opening.listen(port, host, () => {
          const address = opening.address();
          resolve(typeof address === 'object' && address ? address.port : port);
        });
      });
    },
    reset,
    silence(isOn) {
      isSilent = isOn;
    },
    async drop() {
      const closing = server;
      server = undefined;
      reset();
      if (closing) await new Promise<void>((resolve) => closing.close(() => resolve()));
    },
  };
}
