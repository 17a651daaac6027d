/**
 * One RTMP(S) publication over one connection: connect, handshake, publish, media out, acknowledgements in.
 * Never reconnects and keeps no media: that is `push.ts`. Facts: Adobe RTMP 1.0 specification.
 */
import { networkInterfaces as systemInterfaces } from 'node:os';
import { type Clock, withTimeout } from '../clock.ts';
import { GlasscastError } from '../errors.ts';
import type { NetworkInterfaces } from '../local-address.ts';
import type { Log } from '../log.ts';
import { type Dial, openConnection } from './connection.ts';
import { createDeliveryGauge } from './delivery-gauge.ts';
import type { FlvTag } from './flv.ts';
import { createPublication, type PublicationMeasured, type PublicationOptions } from './publication.ts';
import { type PublishUrl, parsePublishUrl } from './publish-url.ts';
import { createSendQueue, type SendQueue } from './send-queue.ts';
import { createRtmpSession, RefusedCommand, type RtmpSession, type RtmpStatus } from './session.ts';

export interface PublishRtmpOptions {
  url: PublishUrl;
  clock: Clock;
  log: Log;
  /** Aborting ends the connection at once, without farewell, at any stage. */
  signal?: AbortSignal | undefined;
  /** For DNS, TCP and TLS together. Default 5000. */
  connectTimeoutMs?: number;
  /** For each answer of the server until it lets us publish. Default 5000. */
  silenceTimeoutMs?: number;
  /** The send queue does not drain for this long: INGEST_SILENT. Default 2000. */
  stallTimeoutMs?: number;
  /** See `ConnectionOptions`; holds for redirects too. */
  allowsAddress?: ((address: string) => boolean) | undefined;
  /** Trusted certificates (PEM) instead of the system's, for rtmps. */
  ca?: string | Buffer | undefined;
  /** See `ConnectionOptions`. */
  dial?: Dial | undefined;
  /** Default: the system's; looked at with each measurement at which nothing has moved. */
  networkInterfaces?: NetworkInterfaces | undefined;
  /** Shared by many publications of one process to read the kernel's table once; default: its own. */
  sendQueue?: SendQueue;
  /** The queue was measured or has room again: a good moment to send more and to forget what has arrived. */
  onProgress?: () => void;
  /** After each measurement, before `onProgress`; may ask for the next one sooner than usual, in ms. */
  onMeasured?: (measured: PublicationMeasured) => number | undefined;
}

export interface Publication {
  /** Queues one tag; never blocks, never throws; ignored once closed. */
  send(tag: FlvTag): void;
  /** Bytes not yet acknowledged by the peer's TCP: in Node and in the kernel, as last measured (each 250 ms while much waits, else each second). */
  queuedBytes(): number;
  /** Of these, what the kernel has not even taken: not 0 means that sending more only fills our memory. */
  unwrittenBytes(): number;
  /** All bytes given to `send`, with RTMP's overhead. */
  readonly bytesSent: number;
  /** Of `bytesSent`, what the peer's TCP has acknowledged. */
  readonly acknowledgedBytes: number;
  /** Of `bytesSent`, what the ingest has certainly read: by RTMP acknowledgements, or acknowledged by TCP 2 s of progress ago. */
  readonly certainBytes: number;
  /** What the peer's TCP acknowledged over the last second or so, by the measurements; undefined before there are two. */
  readonly deliveredBps: number | undefined;
  /** From the call to the right to publish. */
  readonly connectMs: number;
  /** How many it followed to get here. */
  readonly redirects: number;
  /** Settles when the connection is gone: with the cause, or undefined when we closed it. Never rejects. */
  readonly closed: Promise<GlasscastError | undefined>;
  /** Says goodbye (FCUnpublish, deleteStream), lets queued bytes leave for up to 1 s, ends. Idempotent. */
  close(): Promise<void>;
}

/**
 * Resolves when the ingest has accepted the stream.
 * @throws GlasscastError INGEST_UNREACHABLE, INGEST_TLS_FAILED, INGEST_REFUSED_KEY, INGEST_SILENT, INGEST_DROPPED,
 * INGEST_PROTOCOL; or the signal's reason.
 */
export async function publishRtmp(options: PublishRtmpOptions): Promise<Publication> {
  const startedMs = options.clock.monotonicMs();
  let { url } = options;
  let manner: Manner = 'pipelined';
  for (let redirects = 0; ; ) {
    const outcome = await attempt({ ...options, url }, manner, { startedMs, redirects });
    if ('publication' in outcome) return outcome.publication;
    if ('redirect' in outcome) {
      redirects += 1;
      const next = redirected(url, outcome.redirect, redirects);
      options.log.info({ url: url.printable, to: next.printable, redirects }, 'rtmp-redirected');
      url = next;
    } else {
      // Some servers read one command at a time; they get a second chance, at the cost of three more round trips.
      options.log.debug({ url: url.printable, cause: outcome.failure.code }, 'rtmp-pipelining-refused');
      manner = 'stepwise';
    }
  }
}

/** `pipelined`: all commands leave at once, guessing stream id 1, which every server we know gives; one round trip. */
type Manner = 'pipelined' | 'stepwise';
/** What led to this attempt. */
type Past = { startedMs: number; redirects: number };
type Outcome = { publication: Publication } | { redirect: string } | { failure: GlasscastError };

const MAX_REDIRECTS = 3;
/** One chunk for nearly each message. 65536 is the largest that all known servers take. */
const CHUNK_BYTES = 65_536;
/** Asked of the server; at 2 Mbit/s an acknowledgement each second. */
const ACK_WINDOW_BYTES = 250_000;
const GUESSED_STREAM_ID = 1;

async function attempt(options: PublishRtmpOptions, manner: Manner, past: Past): Promise<Outcome> {
  const { url, clock, log, connectTimeoutMs = 5000, silenceTimeoutMs = 5000 } = options;
  const signal = options.signal ?? new AbortController().signal;
  const { allowsAddress, ca, dial } = options;
  const socket = await openConnection({ url, clock, signal, timeoutMs: connectTimeoutMs, allowsAddress, ca, dial });
  const gauge = createDeliveryGauge();
  const accepted = createStatusInbox(url);
  const session = createRtmpSession({
    socket,
    url,
    onStatus: (status) => accepted.take(status, session),
    onAcknowledged: gauge.acknowledgedByIngest,
  });
  const onAbort = () => session.end(undefined);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  void session.ended.then(() => signal.removeEventListener('abort', onAbort));
  const answered = <T>(step: string, work: Promise<T>): Promise<T> =>
    withTimeout(clock, 'rtmp-silence', silenceTimeoutMs, Promise.race([work, endedBefore(session, url, step)]), () =>
      silence(url, step, silenceTimeoutMs),
    );
  const progress: Progress = { step: 'handshake', handshakenMs: 0, wasCreated: false };
  const openedMs = clock.monotonicMs();
  try {
    const streamId = await negotiate({ url, clock, session, manner, answered, accepted: accepted.start, progress });
    const connectMs = Math.round(clock.monotonicMs() - past.startedMs);
    const roundTripMs = progress.handshakenMs - openedMs;
    log.debug({ url: url.printable, ms: connectMs, manner }, 'rtmp-publish-accepted');
    accepted.publishing();
    const { redirects } = past;
    const parts = { socket, session, gauge, streamId, connectMs, redirects, roundTripMs };
    return { publication: startPublication(options, parts) };
  } catch (error) {
    const failure = negotiationError(error, url, progress);
    session.end(failure);
    signal.throwIfAborted();
    if (error instanceof RefusedCommand && error.status.redirect) return { redirect: error.status.redirect };
    if (manner === 'pipelined' && session.handshakeDone && mayBePipelining(error, failure)) return { failure };
    throw failure;
  }
}

type Parts = Pick<
  PublicationOptions,
  'socket' | 'session' | 'gauge' | 'streamId' | 'connectMs' | 'redirects' | 'roundTripMs'
>;

function startPublication(options: PublishRtmpOptions, parts: Parts): Publication {
  const { clock, onMeasured, onProgress = () => {}, stallTimeoutMs = 2000, url } = options;
  const { networkInterfaces = systemInterfaces, sendQueue = createSendQueue() } = options;
  const watching = { sendQueue, networkInterfaces, stallTimeoutMs, onProgress, onMeasured };
  return createPublication({ ...parts, ...watching, url, clock });
}

interface Progress {
  step: string;
  handshakenMs: number;
  /** The server has created a stream for us; what it refuses from here on is the key. */
  wasCreated: boolean;
}

interface Negotiation {
  url: PublishUrl;
  clock: Clock;
  session: RtmpSession;
  manner: Manner;
  answered: <T>(step: string, work: Promise<T>) => Promise<T>;
  accepted: Promise<void>;
  progress: Progress;
}

/** Handshake to Publish.Start; gives the stream's id. */
async function negotiate(negotiation: Negotiation): Promise<number> {
  const { url, clock, session, manner, answered, accepted, progress } = negotiation;
  const key = url.streamKey.reveal();
  await answered('handshake', session.handshake());
  progress.handshakenMs = clock.monotonicMs();
  progress.step = 'connect';
  const connected = session.ask('connect', {
    app: url.app,
    type: 'nonprivate',
    flashVer: 'FMLE/3.0 (compatible; Glasscast)',
    tcUrl: url.tcUrl,
  });
  if (manner === 'stepwise') await answered('connect', connected);
  session.setChunkSize(CHUNK_BYTES);
  session.askForAcknowledgements(ACK_WINDOW_BYTES);
  session.tell('releaseStream', 0, null, key);
  session.tell('FCPublish', 0, null, key);
  const created = session.ask('createStream', null);
  if (manner === 'pipelined') session.tell('publish', GUESSED_STREAM_ID, null, key, 'live');
  await answered('connect', connected);
  progress.step = 'createStream';
  const [, id] = await answered('createStream', created);
  const streamId = typeof id === 'number' ? id : GUESSED_STREAM_ID;
  progress.wasCreated = true;
  progress.step = 'publish';
  if (manner === 'pipelined' && streamId !== GUESSED_STREAM_ID) throw new WrongGuess();
  if (manner === 'stepwise') session.tell('publish', streamId, null, key, 'live');
  await answered('publish', accepted);
  return streamId;
}

class WrongGuess extends Error {
  override readonly name = 'WrongGuess';
}

/** What `onStatus` means: before the stream is accepted, and while it runs. */
function createStatusInbox(url: PublishUrl) {
  let isPublishing = false;
  let resolve: () => void = () => {};
  let reject: (error: GlasscastError) => void = () => {};
  const start = new Promise<void>((onStart, onRefused) => {
    resolve = onStart;
    reject = onRefused;
  });
  start.catch(() => {});
  return {
    start,
    publishing() {
      isPublishing = true;
    },
    take(status: RtmpStatus, session: RtmpSession): void {
      if (status.code === 'NetStream.Publish.Start') {
        resolve();
      } else if (status.level === 'error' || /BadName|Denied|Reject|Unauth/.test(status.code)) {
        const error = refused(status, url);
        if (isPublishing) session.end(error);
        else reject(error);
      } else if (isPublishing && /Unpublish|Connect\.Closed/.test(status.code)) {
        session.end(new GlasscastError('INGEST_DROPPED', { reason: `${status.code} from ${url.printable}` }));
      }
    },
  };
}

function refused({ code, description }: RtmpStatus, url: PublishUrl): GlasscastError {
  const said = `${code} ${description}`.trim() || 'no reason given';
  return new GlasscastError('INGEST_REFUSED_KEY', { reason: `${said}, from ${url.printable}` });
}

function silence(url: PublishUrl, step: string, ms: number): GlasscastError {
  return new GlasscastError('INGEST_SILENT', { reason: `no answer to ${step} in ${ms} ms from ${url.printable}` });
}

async function endedBefore(session: RtmpSession, url: PublishUrl, step: string): Promise<never> {
  const cause = await session.ended;
  throw cause ?? new GlasscastError('INGEST_DROPPED', { reason: `during ${step}, ${url.printable}` });
}

/** What stopped the negotiation, as one of ours. */
function negotiationError(error: unknown, url: PublishUrl, progress: Progress): GlasscastError {
  if (error instanceof RefusedCommand) return refused(error.status, url);
  if (error instanceof WrongGuess) return new GlasscastError('INGEST_PROTOCOL', { reason: 'unexpected stream id' });
  if (!(error instanceof GlasscastError)) return new GlasscastError('INTERNAL', { cause: error });
  if (error.code === 'INGEST_DROPPED' && progress.wasCreated) {
    // nginx-rtmp and others refuse a key without a word.
    const reason = `it closed the connection after publish, ${url.printable}`;
    return new GlasscastError('INGEST_REFUSED_KEY', { reason, cause: error });
  }
  return error;
}

/** Whether a server that wants one command at a time could have answered like this. A said refusal is one. */
function mayBePipelining(error: unknown, { code }: GlasscastError): boolean {
  if (error instanceof WrongGuess) return true;
  if (error instanceof RefusedCommand) return false;
  return code === 'INGEST_DROPPED' || code === 'INGEST_SILENT' || code === 'INGEST_PROTOCOL';
}

function redirected(from: PublishUrl, to: string, redirects: number): PublishUrl {
  const refuse = (reason: string) => new GlasscastError('INGEST_PROTOCOL', { reason: `${reason}, ${from.printable}` });
  if (redirects > MAX_REDIRECTS) throw refuse(`more than ${MAX_REDIRECTS} redirects`);
  const next = targetOf(to, from);
  if (!next) throw refuse('a redirect to something that is no rtmp:// or rtmps:// address');
  // The key was given for an encrypted connection; no server may talk us out of that.
  if (from.secure && !next.secure) throw refuse('a redirect from rtmps to rtmp');
  return next;
}

function targetOf(to: string, { streamKey }: PublishUrl): PublishUrl | undefined {
  try {
    return parsePublishUrl(`${to.replace(/\/+$/, '')}/${streamKey.reveal()}`);
  } catch {
    return undefined;
  }
}
