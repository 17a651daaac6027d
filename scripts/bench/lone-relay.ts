/**
 * A relay that does for one pair of glasses what a stream needs and no more: the acknowledged line, START, keep-alives, STOP.
 * Notes each status with its time of arrival. So the agent is measured alone, and nobody else's policy is in the figures.
 */
import { createServer } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Timer } from '../../shared/clock.ts';
import type { StreamNotice } from '../../shared/protocol/glasses-messages.ts';
import type { Bench } from './program.ts';
import { until } from './world.ts';

export interface DeviceStatus {
  /** `Clock.monotonicMs` when it arrived. */
  atMs: number;
  status: string;
  /** `snapshot`: stats, no change. */
  kind?: string;
  errorCode?: string;
  errorDetails?: string;
  attempt?: number;
  notice?: StreamNotice;
  resolvedConfig?: unknown;
}

export interface LoneRelay {
  /** For the agent. */
  url: string;
  readonly statuses: readonly DeviceStatus[];
  readonly isConnected: boolean;
  /** Gives the moment of asking; from now on keep-alives go out. */
  start(stream: { streamId: string; publishUrl: string; video: object; audio: object }): number;
  /** Resolves with `stopped` or `error`, or when none came in time. */
  stop(): Promise<void>;
  /** Forgets the glasses, whose line may be dead without anybody's word. */
  hangUp(): void;
  close(): Promise<void>;
}

/** As the relay sends them. */
const KEEP_ALIVE_MS = 15_000;
const STOP_TIMEOUT_MS = 8_000;

type Frame = Omit<DeviceStatus, 'atMs'> & { type?: string };

/** @param host where the agent finds it */
export async function startLoneRelay(bench: Bench, host = '127.0.0.1'): Promise<LoneRelay> {
  const { clock } = bench;
  const statuses: DeviceStatus[] = [];
  let socket: WebSocket | undefined;
  let streamId: string | undefined;
  let acks = 0;
  const http = createServer();
  const sockets = new WebSocketServer({ server: http, perMessageDeflate: false });
  const send = (frame: object) => socket?.send(JSON.stringify(frame));

  sockets.on('connection', (opened) => {
    socket = opened;
    opened.on('error', () => opened.terminate());
    opened.on('close', () => {
      if (socket === opened) socket = undefined;
    });
    opened.on('message', (data) => {
      const { type, ...status } = JSON.parse(String(data)) as Frame;
      if (type === 'rtmp_stream_status' || type === 'stream_status') {
        statuses.push({ ...status, atMs: clock.monotonicMs() });
      } else if (type === 'ping') send({ type: 'pong' });
    });
    send({ type: 'connection_ack', sessionId: 'bench@glasscast.example' });
  });
  function hangUp(): void {
    for (const client of sockets.clients) client.terminate();
  }
  const keepAlive: Timer = clock.every('keep-alive', KEEP_ALIVE_MS, () => {
    acks += 1;
    if (streamId !== undefined) send({ type: 'keep_rtmp_stream_alive', streamId, ackId: `a${acks}` });
  });
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject);
    http.listen(0, host, resolve);
  });
  const address = http.address();
  const port = typeof address === 'object' && address ? address.port : 0;

  return {
    url: `ws://${host}:${port}/glasses-ws`,
    statuses,
    get isConnected() {
      return socket !== undefined;
    },
    start({ publishUrl, ...stream }) {
      streamId = stream.streamId;
      send({ type: 'start_rtmp_stream', rtmpUrl: publishUrl, stream: {}, ...stream });
      return clock.monotonicMs();
    },
    async stop() {
      const askedMs = clock.monotonicMs();
      send({ type: 'stop_rtmp_stream', streamId });
      streamId = undefined;
      const isOver = ({ status, atMs }: DeviceStatus) =>
        (status === 'stopped' || status === 'error') && atMs >= askedMs;
      const tooLate = () => clock.monotonicMs() - askedMs > STOP_TIMEOUT_MS;
      await until(bench, 'no answer to the stop', () => tooLate() || statuses.some(isOver));
    },
    hangUp,
    async close() {
      keepAlive.cancel();
      hangUp();
      await new Promise<void>((resolve) => http.close(() => resolve()));
    },
  };
}

export interface ToldStatus extends Omit<DeviceStatus, 'atMs'> {
  afterMs: number;
}

/** Changes and notices since a moment, without the mere stats. */
export function toldSince({ statuses }: Pick<LoneRelay, 'statuses'>, sinceMs: number): ToldStatus[] {
  return statuses
    .filter(({ atMs, kind, notice }) => atMs >= sinceMs && (kind !== 'snapshot' || notice !== undefined))
    .map(({ atMs, status, kind, errorCode, attempt, notice }) => ({
      afterMs: Math.round(atMs - sinceMs),
      status,
      ...(kind === undefined ? {} : { kind }),
      ...(errorCode === undefined ? {} : { errorCode }),
      ...(attempt === undefined ? {} : { attempt }),
      ...(notice === undefined ? {} : { notice }),
    }));
}
