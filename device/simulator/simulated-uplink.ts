/**
 * A network between the push and its ingest, inside this process: narrow, slow, interrupted, cut, or another one from now on.
 * Carries bytes as they are (TLS too) over loopback, and tells the send queue that a kernel would show on such a network.
 *
 * Lost packets and TCP's own slowness after a pause are not simulated: what was held goes on at once.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { NetworkInterfaces } from '../../shared/local-address.ts';
import type { Dial, DialTarget } from '../../shared/rtmp/connection.ts';
import type { SendQueue } from '../../shared/rtmp/send-queue.ts';
import type { WorldState } from './timeline.ts';
import { openLane, type UplinkLane } from './uplink-lane.ts';

export type NetworkState = WorldState['network'];

export interface SimulatedUplink {
  /** The push's ways into this network. */
  readonly dial: Dial;
  /** Bytes that the push has given and the ingest's side has not got. */
  readonly sendQueue: SendQueue;
  /** The machine's own, and the address in use on this network. */
  readonly networkInterfaces: NetworkInterfaces;
  set(state: NetworkState): void;
  /** Cuts all connections. */
  reset(): void;
  /** New connections come from another address; those there are go nowhere any more, and nobody tells them. */
  changeAddress(): void;
  close(): Promise<void>;
}

export const CALM_NETWORK: NetworkState = { uplinkKbps: null, delayMs: 0, down: false };

const TICK_MS = 10;
/** A timer that comes late under load does not shut the uplink; one that comes very late does not open it wide. */
const MAX_CREDIT_MS = 100;

export async function openSimulatedUplink({ clock }: { clock: Clock }): Promise<SimulatedUplink> {
  const lanes = new Set<UplinkLane>();
  const meetings = createMeetings();
  const waitingForNetwork = new Set<() => void>();
  let state = CALM_NETWORK;
  let creditBytes = 0;
  let refilledMs = clock.monotonicMs();
  let ticking: Timer | undefined;
  let addressNumber = FIRST_ADDRESS;
  const server = await listen((carrier) => meetings.arrived(carrier));

  function dial(target: DialTarget): Socket {
    const way = openWay(target);
    const { port } = server.address() as { port: number };
    // Connected when the far end is, or failed as it did: `lookup` is what a connect waits for.
    const socket = connect({
      ...{ host: 'simulated', port, autoSelectFamily: false, lookup: way.lookup },
      ...(localAddress() === undefined ? {} : { localAddress: localAddress() }),
    });
    socket.once('connect', () => meetings.dialled(socket, (carrier) => admit(socket, carrier, way.far())));
    socket.once('close', way.giveUp);
    return socket;
  }
  /** The far end; begun when there is a network, known after its delay. */
  function openWay(target: DialTarget) {
    let far: Socket | undefined;
    let timer: Timer | undefined;
    let begin = () => {};
    const lookup = (
      _host: string,
      _options: object,
      answer: (error: Error | null, address: string, family: number) => void,
    ) => {
      begin = () => {
        const opened = connect(target);
        far = opened;
        opened.setNoDelay(true);
        opened.once('error', (error) => answer(error, '', 0));
        opened.once('connect', () => {
          opened.removeAllListeners('error').on('error', () => {});
          // Nothing of what it says is lost until somebody listens.
          opened.pause();
          timer = clock.after('simulated-connect', state.delayMs, () => answer(null, LOOPBACK, 4));
        });
      };
      if (state.down) waitingForNetwork.add(begin);
      else begin();
    };
    const giveUp = () => {
      waitingForNetwork.delete(begin);
      timer?.cancel();
      // One that was admitted ends in its lane, after what it still holds.
      if (![...lanes].some((lane) => lane.far === far)) far?.destroy();
    };
    return { lookup, giveUp, far: () => far };
  }
  function admit(socket: Socket, carrier: Socket, far: Socket | undefined): void {
    if (!far) {
      carrier.destroy();
      return;
    }
    const lane = openLane({
      ...{ socket, carrier, far, clock, state: () => state },
      takeCredit,
      onWaiting: tick,
      onClosed: () => void lanes.delete(lane),
    });
    lanes.add(lane);
  }
  function takeCredit(wantedBytes: number): number {
    if (state.uplinkKbps === null) return wantedBytes;
    const nowMs = clock.monotonicMs();
    const bytesPerMs = state.uplinkKbps / 8;
    creditBytes = Math.min(creditBytes + (nowMs - refilledMs) * bytesPerMs, MAX_CREDIT_MS * bytesPerMs);
    refilledMs = nowMs;
    const taken = Math.min(Math.floor(creditBytes), wantedBytes);
    creditBytes -= taken;
    return taken;
  }
  /** Only while something waits. */
  function tick(): void {
    ticking ??= clock.after('simulated-uplink', TICK_MS, () => {
      ticking = undefined;
      for (const lane of lanes) lane.pump();
    });
  }
  function localAddress(): string | undefined {
    // Other systems have no loopback address beyond the first: there a change is a cut.
    return process.platform === 'linux' ? `127.0.0.${addressNumber}` : undefined;
  }
  function reset(): void {
    for (const lane of lanes) lane.cut();
  }

  return {
    dial,
    sendQueue: {
      async queuedBytes({ localPort }) {
        return [...lanes].find((lane) => lane.localPort === localPort)?.queuedBytes();
      },
    },
    networkInterfaces() {
      const address = localAddress();
      const all = networkInterfaces();
      if (address === undefined) return all;
      const own = { address, netmask: '255.0.0.0', mac: '00:00:00:00:00:00', internal: true, cidr: `${address}/8` };
      return { ...all, simulated: [{ ...own, family: 'IPv4' }] };
    },
    set(next) {
      state = next;
      refilledMs = clock.monotonicMs();
      creditBytes = 0;
      if (!next.down) {
        for (const begin of waitingForNetwork) begin();
        waitingForNetwork.clear();
      }
      for (const lane of lanes) lane.pump();
    },
    reset,
    changeAddress() {
      if (localAddress() === undefined) {
        reset();
        return;
      }
      addressNumber = addressNumber === LAST_ADDRESS ? FIRST_ADDRESS : addressNumber + 1;
      for (const lane of lanes) lane.strand();
    },
    async close() {
      ticking?.cancel();
      waitingForNetwork.clear();
      reset();
      meetings.close();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const LOOPBACK = '127.0.0.1';
const FIRST_ADDRESS = 2;
const LAST_ADDRESS = 254;

function listen(onCarrier: (carrier: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, onCarrier);
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(new GlasscastError('INTERNAL', { reason: error.message, cause: error }));
    server.once('error', failed);
    server.listen(0, LOOPBACK, () => resolve(server));
  });
}

/** The two ends of one loopback connection, which become known in either order. */
function createMeetings() {
  const carriers = new Map<string, Socket>();
  const callers = new Map<string, (carrier: Socket) => void>();
  const meet = (key: string): void => {
    const [carrier, caller] = [carriers.get(key), callers.get(key)];
    if (!carrier || !caller) return;
    carriers.delete(key);
    callers.delete(key);
    caller(carrier);
  };
  return {
    arrived(carrier: Socket): void {
      carrier.on('error', () => {});
      const key = `${carrier.remoteAddress} ${carrier.remotePort}`;
      carriers.set(key, carrier);
      carrier.once('close', () => carriers.delete(key));
      meet(key);
    },
    dialled(socket: Socket, then: (carrier: Socket) => void): void {
      const key = `${socket.localAddress} ${socket.localPort}`;
      callers.set(key, then);
      socket.once('close', () => callers.delete(key));
      meet(key);
    },
    /** Ends those that nobody came for. */
    close(): void {
      for (const carrier of carriers.values()) carrier.destroy();
    },
  };
}
