/**
 * Where RTMP and RTMPS arrive: publishers by stream key, players by playback key, media handed on as FLV tags.
 * Owns connections, takeover and fan-out to RTMP players; never decides who may publish and keeps nothing on disk.
 */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Clock } from '../../../shared/clock.ts';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import type { FlvTag } from '../../../shared/rtmp/flv.ts';
import type { CertificateFiles } from './certificate.ts';
import {
  type ConnectionEnd,
  createIngestConnection,
  defaultIngestLimits,
  type IngestConnection,
  type IngestLimits,
} from './connection.ts';
import { createInputs, type Input } from './inputs.ts';
import { createIngestListeners, type IngestPorts, type ListenAt } from './listeners.ts';
import { createMediaCheck, type MediaRefusal } from './media.ts';

/**
 * Why a publication ended. `taken-over`: a newer connection with the same key won; `cut`: `Ingest.cut`; `refused`: what it sends
 * cannot be played.
 */
export type UnpublishReason = 'closed' | 'idle' | 'taken-over' | 'cut' | 'refused' | 'protocol-error' | 'closing';

/** Declared by the ingest, implemented by the local Stream. All calls are synchronous. */
export interface IngestHost {
  /** Asked before any success is sent. `refused`: a sentence for the publisher; must hold no secret. */
  authorisePublish(streamKey: string): { inputUid: string } | { refused: string };
  /** RTMP play with the playback key of an input. */
  authorisePlay(playbackKey: string): { inputUid: string } | { refused: string };
  published(publication: { inputUid: string; publicationId: string; remoteAddress: string }): void;
  /**
   * In the order of the publisher's timeline; nothing twice (see timeline.ts). Metadata and sequence headers come
   * again with each publication, whose first picture need not be a key frame: it may go on where the former stopped.
   * `onMetaData` comes without RTMP's `@setDataFrame`. The body is the receiver's to keep.
   */
  tag(inputUid: string, publicationId: string, tag: FlvTag): void;
  /** What the publisher sends cannot be played; `unpublished` comes next. */
  refused(publication: { inputUid: string; publicationId: string }, refusal: MediaRefusal): void;
  /** One publication per input at a time: after a takeover this comes before the newcomer's `published`. */
  unpublished(publication: { inputUid: string; publicationId: string }, reason: UnpublishReason): void;
}

export interface Publication {
  inputUid: string;
  publicationId: string;
  /** `address:port` */
  remoteAddress: string;
  receivedBytes: number;
}

export interface Ingest {
  /** Listens. Errors: PORT_IN_USE, INVALID_CONFIG. After `close` it may be called again. */
  start(): Promise<IngestPorts>;
  /** Disconnects the publisher and the players of an input; `sentence` tells them why. */
  cut(inputUid: string, sentence?: string): void;
  /** As `cut`, of an input that is no more: nothing of it is remembered. */
  forget(inputUid: string): void;
  publications(): Publication[];
  /** Ends every connection and the listener, and forgets every input; idempotent. */
  close(): Promise<void>;
}

export interface IngestOptions {
  host: IngestHost;
  clock: Clock;
  log: Log;
  listen: ListenAt;
  /** Default: no RTMPS. */
  tls?: (ListenAt & CertificateFiles) | undefined;
  limits?: Partial<IngestLimits> | undefined;
}

const FLOOD_WINDOW_MS = 1000;

/** Lets RTMP in. The host decides about keys; the newest connection with a valid key wins. */
export function createIngest({ host, clock, log, listen, tls, limits: wanted = {} }: IngestOptions): Ingest {
  const limits: IngestLimits = { ...defaultIngestLimits, ...wanted };
  const connections = new Map<IngestConnection, Promise<void>>();
  const inputs = createInputs({ clock, maxCacheBytes: limits.maxQueuedBytes / 2 });
  const flood = createFloodLog(clock, log);
  const listeners = createIngestListeners({ listen, tls, limits, clock, log, flood, admit });
  let starting: Promise<IngestPorts> | undefined;

  /** The host's mistakes are ours, not the peer's. */
  function ask<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      log.error({ reason: errorText(error) }, 'ingest-host-failed');
      return undefined;
    }
  }

  function unpublish(input: Input, reason: UnpublishReason): void {
    const { publication } = input;
    if (!publication) return;
    input.publication = undefined;
    input.fanOut.reset();
    const { id: publicationId, connection, sinceMs } = publication;
    const fields = { inputUid: input.uid, publicationId, reason, bytes: connection.receivedBytes };
    log.info({ ...fields, ms: Math.round(clock.monotonicMs() - sinceMs) }, 'ingest-unpublished');
    ask(() => host.unpublished({ inputUid: input.uid, publicationId }, reason));
    inputs.keepOrRelease(input);
  }

  function publish(connection: IngestConnection, streamKey: string): Input | undefined {
    const { remoteAddress } = connection;
    const verdict = ask(() => host.authorisePublish(streamKey));
    if (!verdict || 'refused' in verdict) {
      flood('ingest-publish-refused', { remoteAddress });
      if (verdict) connection.end('error', 'NetStream.Publish.Denied', verdict.refused);
      else connection.end('error', 'NetStream.Failed', 'The ingest could not check the key; try again');
      return undefined;
    }
    const former = inputs.find(verdict.inputUid)?.publication?.connection;
    if (!former && inputs.all().filter(({ publication }) => publication).length >= limits.maxPublishers) {
      flood('ingest-publishers-full', { remoteAddress });
      connection.end('error', 'NetStream.Failed', 'The ingest has as many publishers as it can take; try again');
      return undefined;
    }
    const input = inputs.of(verdict.inputUid);
    if (former) {
      // N3, N6: the newest connection wins, at once and alone; the former may be stalled and never say so.
      unpublish(input, 'taken-over');
      former.end('error', 'NetStream.Publish.BadName', 'Another connection publishes with this key now');
    }
    const publicationId = randomUUID();
    const media = createMediaCheck({ clock, limits });
    input.publication = { id: publicationId, connection, media, sinceMs: clock.monotonicMs() };
    input.timeline.begin();
    input.shownTimeline.begin();
    input.continuity.begin();
    input.fanOut.reset();
    inputs.keepOrRelease(input);
    log.info({ inputUid: input.uid, publicationId, remoteAddress }, 'ingest-published');
    ask(() => host.published({ inputUid: input.uid, publicationId, remoteAddress }));
    // The host may have cut it meanwhile.
    if (input.publication?.connection === connection) connection.accept('publisher');
    return input;
  }

  function play(connection: IngestConnection, playbackKey: string): (() => void) | undefined {
    const verdict = ask(() => host.authorisePlay(playbackKey));
    if (!verdict || 'refused' in verdict) {
      flood('ingest-play-refused', { remoteAddress: connection.remoteAddress });
      const sentence = verdict?.refused ?? 'The ingest could not check the key; try again';
      connection.end('error', 'NetStream.Play.StreamNotFound', sentence);
      return undefined;
    }
    const input = inputs.of(verdict.inputUid);
    input.players.add(connection);
    inputs.keepOrRelease(input);
    connection.accept('player');
    const leave = input.fanOut.join(randomUUID(), (bytes) => connection.send(bytes));
    log.debug({ inputUid: input.uid, remoteAddress: connection.remoteAddress }, 'ingest-player-joined');
    return () => {
      leave();
      input.players.delete(connection);
      inputs.keepOrRelease(input);
    };
  }

  function refuse(input: Input, publicationId: string, refusal: MediaRefusal): void {
    const { code, sentence } = refusal;
    const connection = input.publication?.connection;
    log.warn({ inputUid: input.uid, publicationId, code, reason: sentence }, 'ingest-media-refused');
    ask(() => host.refused({ inputUid: input.uid, publicationId }, refusal));
    unpublish(input, 'refused');
    connection?.end('error', 'NetStream.Publish.Rejected', code ? `${code}: ${sentence}` : sentence);
  }

  function takeTag(input: Input, connection: IngestConnection, tag: FlvTag): void {
    if (input.publication?.connection !== connection) return;
    const { id, media } = input.publication;
    const refusal = media.judge(tag);
    if (refusal) {
      refuse(input, id, refusal);
      return;
    }
    if (media.isSoundAlone()) log.warn({ inputUid: input.uid, publicationId: id }, 'ingest-sound-without-picture');
    const verdict = input.timeline.judge(tag);
    if (verdict === 'drop') return;
    if (verdict === 'restart') input.continuity.restart();
    const passes = input.continuity.passes(tag);
    if (verdict === 'restart' || !passes) input.fanOut.breakPictures();
    if (!passes) return;
    input.fanOut.send(input.shownTimeline.place(tag));
    ask(() => host.tag(input.uid, id, tag));
  }

  function cut(inputUid: string, sentence = 'The live input was closed'): void {
    const input = inputs.find(inputUid);
    if (!input) return;
    const publisher = input.publication?.connection;
    unpublish(input, 'cut');
    publisher?.end('status', 'NetConnection.Connect.Closed', sentence);
    for (const player of [...input.players]) player.end('status', 'NetStream.Play.UnpublishNotify', sentence);
  }

  function admit(socket: Socket): void {
    let input: Input | undefined;
    let leave: (() => void) | undefined;
    let isOver = false;
    let markClosed: () => void = () => undefined;
    const closed = new Promise<void>((resolve) => {
      markClosed = resolve;
    });
    function over(end: ConnectionEnd, detail: string | undefined): void {
      isOver = true;
      const { remoteAddress } = connection;
      if (end !== 'closed') flood('ingest-connection-ended', { remoteAddress, reason: end, detail });
      leave?.();
      if (input?.publication?.connection === connection) unpublish(input, end === 'too-slow' ? 'closed' : end);
    }
    const connection = createIngestConnection({
      socket,
      clock,
      limits,
      events: {
        publish: (streamKey) => {
          input = publish(connection, streamKey);
        },
        play: (playbackKey) => {
          leave = play(connection, playbackKey);
          // The first burst may have been more than the player could take.
          if (isOver) leave?.();
        },
        media: (tag) => input && takeTag(input, connection, tag),
        over,
        closed: () => {
          connections.delete(connection);
          markClosed();
        },
      },
    });
    connections.set(connection, closed);
  }

  return {
    start() {
      starting ??= listeners.open().catch((error) => {
        starting = undefined;
        throw error;
      });
      return starting;
    },
    cut,
    forget(inputUid) {
      cut(inputUid);
      inputs.forget(inputUid);
    },
    publications: () =>
      inputs.all().flatMap(({ uid: inputUid, publication }) => {
        if (!publication) return [];
        const { remoteAddress, receivedBytes } = publication.connection;
        return [{ inputUid, publicationId: publication.id, remoteAddress, receivedBytes }];
      }),
    async close() {
      await starting?.catch(() => undefined);
      starting = undefined;
      const listenersClosed = listeners.close();
      for (const input of inputs.all()) unpublish(input, 'closing');
      const ended = [...connections.values()];
      for (const connection of [...connections.keys()]) connection.destroy();
      await Promise.all([...ended, listenersClosed]);
      inputs.clear();
    },
  };
}

/** At most one line a second of each event: strangers must not fill the disk. */
function createFloodLog(clock: Clock, log: Log): (event: string, fields: Record<string, unknown>) => void {
  const lines = new Map<string, { atMs: number; suppressed: number }>();
  return (event, fields) => {
    const last = lines.get(event);
    const nowMs = clock.monotonicMs();
    if (last && nowMs - last.atMs < FLOOD_WINDOW_MS) {
      last.suppressed += 1;
      return;
    }
    log.warn({ ...fields, ...(last?.suppressed ? { suppressed: last.suppressed } : {}) }, event);
    lines.set(event, { atMs: nowMs, suppressed: 0 });
  };
}
