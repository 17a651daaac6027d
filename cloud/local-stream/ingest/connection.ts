/**
 * One RTMP connection from accept to gone: its socket, its deadlines, its bounded send queue.
 * Never decides who may publish; reports each event once to its owner.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../../shared/clock.ts';
import type { FlvTag } from '../../../shared/rtmp/flv.ts';
import { createRtmpPeer } from './guard.ts';
import type { MediaLimits } from './media.ts';
import type { PlaceLimits } from './places.ts';

export interface IngestLimits extends PlaceLimits, MediaLimits {
  /** From accept to the end of RTMP's handshake, TLS included. Default 5000. */
  handshakeTimeoutMs: number;
  /** A publisher that sends nothing for this long is ended; also the time from handshake to publish or play. Default 8000. */
  idleTimeoutMs: number;
  /** A connection that was told to go is destroyed after this long, whether it listened or not. Default 1000. */
  farewellTimeoutMs: number;
  /** Publishers at once; each may cost some MB of pictures for viewers who join. Default 100. */
  maxPublishers: number;
  /** Largest message a publisher may send, and so the largest claim of one chunk stream. Default 4 MB. */
  maxMessageBytes: number;
  /** A connection with more than this unsent is dropped. Default 4 MB: 16 s at 2 Mbit/s. */
  maxQueuedBytes: number;
}

export const defaultIngestLimits: Readonly<IngestLimits> = {
  handshakeTimeoutMs: 5000,
  idleTimeoutMs: 8000,
  farewellTimeoutMs: 1000,
  maxConnections: 2000,
  maxConnectionsPerAddress: 500,
  maxPublishers: 100,
  maxMessageBytes: 4 * 1024 * 1024,
  maxQueuedBytes: 4 * 1024 * 1024,
  maxBitrateBps: 50_000_000,
  maxKeyFrameGapMs: 30_000,
};

export type ConnectionEnd = 'closed' | 'idle' | 'protocol-error' | 'too-slow';

export interface ConnectionEvents {
  /** Answer at once with `accept` or `end`. */
  publish(streamKey: string): void;
  play(playbackKey: string): void;
  media(tag: FlvTag): void;
  /** The connection no longer serves; once, also when the owner ended it. `detail` holds nothing the peer sent. */
  over(end: ConnectionEnd, detail: string | undefined): void;
  /** The socket is closed; always last. */
  closed(): void;
}

export interface IngestConnection {
  readonly remoteAddress: string;
  readonly receivedBytes: number;
  accept(role: 'publisher' | 'player'): void;
  send(bytes: Buffer): void;
  /** Says why, then ends: what the peer still sends is discarded, so that it can read the answer first. */
  end(level: 'status' | 'error', code: string, sentence: string): void;
  destroy(): void;
}

type Phase = 'handshake' | 'setup' | 'publishing' | 'playing' | 'farewell' | 'gone';

export interface IngestConnectionOptions {
  socket: Socket;
  clock: Clock;
  limits: IngestLimits;
  events: ConnectionEvents;
}

export function createIngestConnection({ socket, clock, limits, events }: IngestConnectionOptions): IngestConnection {
  const remoteAddress = `${socket.remoteAddress ?? 'gone'}:${socket.remotePort ?? 0}`;
  let phase: Phase = 'handshake';
  let sinceMs = clock.monotonicMs();
  let receivedBytes = 0;
  let isOver = false;
  let timer: Timer | undefined;

  const peer = createRtmpPeer(
    {
      output: send,
      publish: (streamKey) => events.publish(streamKey),
      play: (playbackKey) => events.play(playbackKey),
      stopped: farewell,
      media: (tag) => events.media(tag),
      refused: farewell,
    },
    limits,
  );

  function over(end: ConnectionEnd, detail?: string): void {
    if (isOver) return;
    isOver = true;
    events.over(end, detail);
  }
  function enter(next: Phase): void {
    if (phase === 'gone') return;
    phase = next;
    sinceMs = clock.monotonicMs();
    watch();
  }
  /** One timer per connection, set again only when it fires: data arrives far more often than deadlines pass. */
  function watch(): void {
    timer?.cancel();
    timer = undefined;
    const patienceMs = patience(phase, limits);
    if (patienceMs === undefined) return;
    const leftMs = Math.max(0, sinceMs + patienceMs - clock.monotonicMs());
    timer = clock.after('ingest-connection', leftMs, () => (isExpired(patienceMs) ? expire() : watch()));
  }
  function isExpired(patienceMs: number): boolean {
    return clock.monotonicMs() >= sinceMs + patienceMs;
  }
  function expire(): void {
    const wasPublishing = phase === 'publishing';
    over('idle', `nothing useful in phase ${phase}`);
    // Not an error of its key: a publisher that comes to life again is to come back.
    if (wasPublishing) end('status', 'NetConnection.Connect.Closed', 'Nothing was received for too long');
    else destroy();
  }
  function send(bytes: Buffer): void {
    if (phase === 'gone' || !socket.writable) return;
    // N9: nothing waits without bound for a peer that does not read.
    if (socket.writableLength + bytes.length > limits.maxQueuedBytes) {
      over('too-slow');
      destroy();
      return;
    }
    socket.write(bytes);
  }
  function farewell(): void {
    if (phase === 'farewell' || phase === 'gone') return;
    over('closed');
    peer.mute();
    enter('farewell');
    socket.end();
  }
  function end(level: 'status' | 'error', code: string, sentence: string): void {
    if (phase === 'farewell' || phase === 'gone') return;
    peer.status(level, code, sentence);
    farewell();
  }
  function destroy(): void {
    if (phase === 'gone') return;
    enter('gone');
    peer.mute();
    timer?.cancel();
    socket.destroy();
    over('closed');
  }
  function receive(bytes: Buffer): void {
    if (phase === 'farewell' || phase === 'gone') return;
    receivedBytes += bytes.length;
    if (phase === 'publishing') sinceMs = clock.monotonicMs();
    // The answers to one packet leave as one.
    socket.cork();
    const fault = peer.receive(bytes);
    socket.uncork();
    if (fault !== undefined) {
      over('protocol-error', fault);
      destroy();
    } else if (phase === 'handshake' && peer.hasHandshaken) enter('setup');
  }

  socket.on('data', receive);
  // A peer that ends its side is gone: its media would be as well, and a player reads no more.
  socket.on('end', destroy);
  socket.on('error', () => undefined);
  socket.on('close', () => {
    destroy();
    events.closed();
  });
  watch();

  return {
    remoteAddress,
    get receivedBytes() {
      return receivedBytes;
    },
    accept(role) {
      enter(role === 'publisher' ? 'publishing' : 'playing');
      peer.accept(role);
    },
    send,
    end,
    destroy,
  };
}

/** How long a phase may last; while publishing, since the last byte. */
function patience(phase: Phase, limits: IngestLimits): number | undefined {
  switch (phase) {
    case 'handshake':
      return limits.handshakeTimeoutMs;
    case 'setup':
    case 'publishing':
      return limits.idleTimeoutMs;
    case 'farewell':
      return limits.farewellTimeoutMs;
    case 'playing':
    case 'gone':
      return undefined;
    default: {
      const never: never = phase;
      return never;
    }
  }
}
