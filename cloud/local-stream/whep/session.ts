/**
 * One viewer by WHEP: everything since the newest key frame in a fast and even burst, then what comes, as it comes. Owns the
 * viewer's place in the feed and its RTP clock; knows no HTTP and no library. What may wait for the viewer is bounded.
 */
import { randomInt } from 'node:crypto';
import type { Clock, Timer } from '../../../shared/clock.ts';
import type { FlvTag } from '../../../shared/rtmp/flv.ts';
import type { LiveFeed } from '../live-feed.ts';
import type { WhepPeer } from './peer.ts';
import { createPictureReader, type Picture } from './picture.ts';
import { createRtpClock, type RtpClock } from './rtp-clock.ts';

export interface WhepSession {
  /** Joins the feed: the connection stands. */
  open(): void;
  keyFrameWanted(): void;
  hear(packet: Buffer, timestampMs: number): void;
  /** Leaves the feed; the connection is its owner's to close. */
  close(): void;
}

export interface WhepSessionOptions {
  inputUid: string;
  peer: Pick<WhepPeer, 'sendPicture' | 'sendSound'>;
  feed: Pick<LiveFeed, 'join'>;
  clock: Clock;
  /** The session is over by itself. */
  onEnded: (reason: 'over' | 'b-frames') => void;
}

/** 40 Mbit/s: a receiver's socket holds some 100 packets, and what does not fit there is lost. */
const BURST = { bytes: 20_000, everyMs: 4 } as const;
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** Asked again before the last one can have arrived, a key frame is not sent again. */
const KEY_FRAME_PAUSE_MS = 500;

export function createWhepSession({ inputUid, peer, feed, clock, onEnded }: WhepSessionOptions): WhepSession {
  const reader = createPictureReader();
  let leave: (() => void) | undefined;
  let rtpClock: RtpClock | undefined;
  let isJoining = false;
  let isOver = false;
  let joinedMs = 0;
  let waiting: Picture[] = [];
  let waitingBytes = 0;
  let burst: Timer | undefined;
  let skipsToKeyFrame = false;

  function close(): void {
    isOver = true;
    leave?.();
    burst?.cancel();
    waiting = [];
  }
  function end(reason: 'over' | 'b-frames'): void {
    if (isOver) return;
    close();
    onEnded(reason);
  }
  function show({ unit, timestampMs }: Picture): void {
    // Times count from the newest picture: what is older is decoded on the way and hardly shown.
    rtpClock ??= createRtpClock({
      originMs: timestampMs,
      firstVideo: randomInt(2 ** 32),
      firstAudio: randomInt(2 ** 32),
    });
    peer.sendPicture(unit, rtpClock.video(timestampMs));
  }
  function take(tag: FlvTag): void {
    if (isOver) return;
    const picture = reader.read(tag);
    if (reader.isReordered()) end('b-frames');
    if (!picture || isOver) return;
    if (skipsToKeyFrame && !picture.isKey) return;
    skipsToKeyFrame = false;
    if (!isJoining && waiting.length === 0) {
      show(picture);
      return;
    }
    waiting.push(picture);
    waitingBytes += picture.unit.length;
    if (waitingBytes <= MAX_WAITING_BYTES) return;
    forgetWaiting();
    skipsToKeyFrame = true;
  }
  function forgetWaiting(): void {
    waiting = [];
    waitingBytes = 0;
    burst?.cancel();
    burst = undefined;
  }
  function sendSome(): void {
    let bytes = 0;
    while (waiting.length > 0 && bytes < BURST.bytes && !isOver) {
      const picture = waiting.shift();
      if (!picture) break;
      bytes += picture.unit.length;
      waitingBytes -= picture.unit.length;
      show(picture);
    }
    burst = waiting.length > 0 && !isOver ? clock.after('whep-burst', BURST.everyMs, sendSome) : undefined;
  }
  function join(): void {
    leave?.();
    forgetWaiting();
    joinedMs = clock.monotonicMs();
    isJoining = true;
    leave = feed.join(inputUid, { tag: take, ended: () => end('over') });
    isJoining = false;
    if (isOver) leave?.();
    else if (!leave) end('over');
    if (isOver) return;
    const newest = waiting.at(-1);
    if (newest && !rtpClock) {
      const first = { firstVideo: randomInt(2 ** 32), firstAudio: randomInt(2 ** 32) };
      rtpClock = createRtpClock({ originMs: newest.timestampMs, ...first });
    }
    sendSome();
  }

  return {
    open() {
      if (!leave && !isOver) join();
    },
    keyFrameWanted() {
      if (leave && !isOver && clock.monotonicMs() - joinedMs >= KEY_FRAME_PAUSE_MS) join();
    },
    hear(packet, timestampMs) {
      // Before the first picture there is nothing that it could be in time with.
      if (rtpClock && !isOver) peer.sendSound(packet, rtpClock.audio(timestampMs));
    },
    close,
  };
}
