/**
 * The viewers by WHEP, all of them: who is let in, how many, and what ends one: its wish, a connection that never came or is
 * lost, the end of the broadcast. Knows no HTTP; the connection itself is the peer's.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../shared/clock.ts';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import type { LiveFeed } from '../live-feed.ts';
import { NOT_STARTED } from '../playback/delivery-answers.ts';
import { readOffer } from './offer.ts';
import type { WhepPeers } from './peer.ts';
import { createPictureReader } from './picture.ts';
import { createWhepSession } from './session.ts';
import type { WhepSound } from './sound.ts';

export interface WhepRefusal {
  http: 400 | 406 | 409 | 503;
  /** Plain text for the viewer. */
  sentence: string;
}

export interface WhepSessions {
  /** @param address as the viewer named the input; the session is ended by the same name only. */
  begin(
    inputUid: string,
    address: string,
    sdp: string,
  ): Promise<{ sessionId: string; answer: string } | { refused: WhepRefusal }>;
  /** False: there is none. */
  end(address: string, sessionId: string): boolean;
  count(): number;
  /** Ends all of them; resolves when no child and no thread is left. */
  close(): Promise<void>;
}

export interface WhepSessionsOptions {
  peers: WhepPeers;
  sound: WhepSound;
  feed: Pick<LiveFeed, 'join' | 'describe'>;
  clock: Clock;
  log: Log;
  /** Default 100. */
  maxSessions?: number;
}

interface Session {
  address: string;
  close(reason: string): void;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** node-datachannel keeps some 4 kB of each session until the process ends: a flood would fill the memory. */
const NEW_SESSIONS = { burst: 100, perSecond: 5 };
const TOO_MANY = 'Too many viewers by WebRTC; try again, or play HLS or FLV';
const B_FRAMES =
  'The publisher sends B-frames, which WebRTC cannot show; play HLS or FLV, or publish without (ffmpeg: -bf 0)';
const UNAVAILABLE = 'WebRTC does not work on the machine that serves this; play HLS or FLV';
const refused = (http: WhepRefusal['http'], sentence: string) => ({ refused: { http, sentence } });

export function createWhepSessions(options: WhepSessionsOptions): WhepSessions {
  const { peers, sound, feed, clock, log, maxSessions = 100 } = options;
  const sessions = new Map<string, Session>();
  let isClosed = false;
  let mayBegin = NEW_SESSIONS.burst;
  let countedMs = clock.monotonicMs();

  function takeBeginning(): boolean {
    const nowMs = clock.monotonicMs();
    mayBegin = Math.min(NEW_SESSIONS.burst, mayBegin + ((nowMs - countedMs) / 1000) * NEW_SESSIONS.perSecond);
    countedMs = nowMs;
    if (mayBegin < 1) return false;
    mayBegin -= 1;
    return true;
  }

  /** What a look at the feed tells, without a place in it. */
  function look(inputUid: string) {
    const reader = createPictureReader();
    const leave = feed.join(inputUid, { tag: (tag) => void reader.read(tag), ended() {} });
    leave?.();
    return { profileIdc: reader.profileIdc(), isReordered: reader.isReordered() };
  }

  async function begin(inputUid: string, address: string, sdp: string): ReturnType<WhepSessions['begin']> {
    const onAir = feed.describe(inputUid);
    if (!onAir?.hasVideo || isClosed) return refused(409, NOT_STARTED);
    const { profileIdc, isReordered } = look(inputUid);
    const read = readOffer(sdp, { profileIdc, hasAudio: onAir.hasAudio });
    if ('refused' in read) return read;
    if (isReordered) return refused(406, B_FRAMES);
    if (sessions.size >= maxSessions || !takeBeginning()) return refused(503, TOO_MANY);
    const sessionId = randomBytes(16).toString('hex');
    const answer = await connect(sessionId, { inputUid, address }, read.offer);
    if (answer === 'unavailable') return refused(503, UNAVAILABLE);
    if (answer === 'late') return refused(503, 'No way to connect was found in time');
    return answer === 'unusable' ? refused(400, 'Unable to parse SDP') : { sessionId, answer: answer.sdp };
  }

  /**
   * `late`: the library gave no answer before the deadline, e.g. since its port is taken. `unavailable`: there is no library,
   * e.g. on a platform that it is not built for.
   */
  async function connect(
    sessionId: string,
    { inputUid, address }: { inputUid: string; address: string },
    offer: Parameters<WhepPeers['create']>[0],
  ): Promise<{ sdp: string } | 'unusable' | 'late' | 'unavailable'> {
    let isOver = false;
    let isLate = false;
    const endings: (() => void)[] = [];
    function close(reason: string): void {
      if (isOver) return;
      isOver = true;
      sessions.delete(sessionId);
      for (const ending of endings) ending();
      log.debug({ inputUid, reason, viewers: sessions.size }, 'whep-session-ended');
    }
    // Counted before anything is waited for.
    sessions.set(sessionId, { address, close });
    const deadline = clock.after('whep-connect', CONNECT_TIMEOUT_MS, () => {
      isLate = true;
      close('never-connected');
    });
    endings.push(() => deadline.cancel());
    let isAvailable = false;
    try {
      const peer = await peers.create(offer, {
        open() {
          deadline.cancel();
          session.open();
          // The first listener starts an ffmpeg, which must not keep the first picture waiting.
          if (offer.audio && !isOver) endings.push(sound.listen(inputUid, session.hear));
        },
        keyFrameWanted: () => session.keyFrameWanted(),
        closed: close,
      });
      isAvailable = true;
      const session = createWhepSession({ inputUid, peer, feed, clock, onEnded: close });
      endings.push(session.close, peer.close);
      if (isOver) {
        session.close();
        peer.close();
        return 'late';
      }
      return { sdp: await peer.answer };
    } catch (error) {
      if (isAvailable) log.info({ inputUid, cause: errorText(error), isLate }, 'whep-offer-failed');
      else log.warn({ cause: errorText(error) }, 'webrtc-unavailable');
      close('failed');
      if (!isAvailable) return 'unavailable';
      return isLate ? 'late' : 'unusable';
    }
  }

  return {
    begin,
    end(address, sessionId) {
      const session = sessions.get(sessionId);
      if (session?.address !== address) return false;
      session.close('viewer');
      return true;
    },
    count: () => sessions.size,
    async close() {
      isClosed = true;
      for (const session of [...sessions.values()]) session.close('closing');
      await sound.close();
      await peers.close();
    },
  };
}
