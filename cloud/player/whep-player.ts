/**
 * Plays a WHEP address in a <video>: offer, answer, picture, DELETE. Holds one connection; never retries and never falls back,
 * which is its caller's to do.
 */
import { autoplay } from './autoplay.ts';

export interface WhepPlayerEvents {
  /** The first picture is there; once. */
  playing(): void;
  /** It does not go on; once, and nothing comes after it. The reason is for a log. */
  failed(reason: string): void;
}

export interface WhepPlayer {
  /**
   * How far the picture is behind what the server sent, in ms, over the last second or so: half the round trip, and the time
   * from a picture's first packet until it is decoded, which holds jitter buffer and decoder. Not in it: the way from the
   * camera to the server, and the screen. Undefined until there is something to tell.
   */
  latencyMs(): number | undefined;
  close(): void;
}

const SILENCE_MS = 5000;
const LOOK_EVERY_MS = 1000;

interface Reading {
  frames: number;
  processingS: number;
  roundTripS: number;
}

export function createWhepPlayer(video: HTMLVideoElement, url: string, events: WhepPlayerEvents): WhepPlayer {
  const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const stream = new MediaStream();
  let session: string | undefined;
  let isOver = false;
  let isPlaying = false;
  let latency: number | undefined;
  let last: Reading = { frames: 0, processingS: 0, roundTripS: 0 };
  let newestMs = performance.now();
  const looking = setInterval(() => void look(), LOOK_EVERY_MS);

  function close(): void {
    if (isOver) return;
    isOver = true;
    clearInterval(looking);
    window.removeEventListener('pagehide', leave);
    connection.close();
    if (video.srcObject === stream) video.srcObject = null;
    leave();
  }
  function leave(): void {
    // `keepalive`: also while the page goes away.
    if (session) void fetch(session, { method: 'DELETE', keepalive: true }).catch(() => {});
    session = undefined;
  }
  function fail(reason: string): void {
    if (isOver) return;
    close();
    events.failed(reason);
  }

  async function begin(): Promise<void> {
    for (const kind of ['video', 'audio'] as const) connection.addTransceiver(kind, { direction: 'recvonly' });
    const { sdp = '' } = await connection.createOffer();
    // Without this Chromium plays two channels as one.
    const offer = sdp.replace(/useinbandfec=1/g, 'useinbandfec=1;stereo=1');
    await connection.setLocalDescription({ type: 'offer', sdp: offer });
    // Candidates of ours are not waited for: the server's suffice, it learns ours from where we knock.
    const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: offer });
    const answer = await response.text();
    if (response.status !== 201) throw new Error(`${response.status} ${answer.slice(0, 200)}`);
    const location = response.headers.get('location');
    if (location) session = new URL(location, response.url).href;
    if (isOver) return leave();
    await connection.setRemoteDescription({ type: 'answer', sdp: answer });
  }

  async function look(): Promise<void> {
    const reading = readingOf(await connection.getStats());
    if (isOver) return;
    const nowMs = performance.now();
    const frames = reading.frames - last.frames;
    if (frames > 0) {
      newestMs = nowMs;
      const perFrameS = (reading.processingS - last.processingS) / frames;
      latency = Math.round((perFrameS + reading.roundTripS / 2) * 1000);
    }
    last = reading;
    if (nowMs - newestMs >= SILENCE_MS) fail(isPlaying ? 'no picture for 5 s' : 'no picture came');
  }

  connection.addEventListener('track', ({ track, receiver }) => {
    // Shown and heard as soon as possible: a picture that is late is worth nothing here.
    if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0;
    Object.assign(receiver, { playoutDelayHint: 0 });
    stream.addTrack(track);
    if (video.srcObject !== stream) video.srcObject = stream;
    autoplay(video);
  });
  connection.addEventListener('connectionstatechange', () => {
    if (connection.connectionState === 'failed') fail('the connection failed');
  });
  window.addEventListener('pagehide', leave);
  video.requestVideoFrameCallback(() => {
    if (isOver) return;
    isPlaying = true;
    events.playing();
  });
  begin().catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));

  return { latencyMs: () => latency, close };
}

/** W3C WebRTC statistics: `totalProcessingDelay` counts from the first packet of a frame until it is decoded. */
function readingOf(report: RTCStatsReport): Reading {
  const reading: Reading = { frames: 0, processingS: 0, roundTripS: 0 };
  report.forEach((entry: Record<string, unknown>) => {
    const number = (name: string) => (typeof entry[name] === 'number' ? entry[name] : 0);
    if (entry.type === 'candidate-pair' && entry.nominated) reading.roundTripS = number('currentRoundTripTime');
    if (entry.type !== 'inbound-rtp' || entry.kind !== 'video') return;
    reading.frames = number('framesDecoded');
    reading.processingS = number('totalProcessingDelay');
  });
  return reading;
}
