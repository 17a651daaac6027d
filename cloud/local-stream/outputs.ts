/**
 * Restream outputs that really push: while somebody publishes to an input, each of its enabled outputs gets the media as it
 * is, over a connection of its own. A destination that is dead or slow loses pictures and touches nothing else.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import { type FlvTag, isConfiguration } from '../../shared/rtmp/flv.ts';
import { type PublishUrl, parsePublishUrl } from '../../shared/rtmp/publish-url.ts';
import { createRtmpPush, type RtmpPush, type RtmpPushChange } from '../../shared/rtmp/push.ts';
import { createSendQueue } from '../../shared/rtmp/send-queue.ts';
import type { LiveInput, Output, OutputState } from './api/live-input.ts';
import { createOutputTimeline, type OutputTimeline } from './output-timeline.ts';

export interface Outputs {
  published(publication: { inputUid: string; publicationId: string }): void;
  tag(inputUid: string, publicationId: string, tag: FlvTag): void;
  /** Connections are kept for 10 s, for a publisher that comes back. */
  unpublished(publication: { inputUid: string; publicationId: string }): void;
  /** After each change of an input or its outputs: begins and ends pushes accordingly, at once. */
  reconsider(inputUid: string): void;
  /** Of an input's outputs, by their uid; none until the first push. */
  states(inputUid: string): ReadonlyMap<string, OutputState>;
  /** Says goodbye to every destination, up to 1 s. */
  close(): Promise<void>;
}

export interface OutputsOptions {
  /** Undefined: no such input (any more). */
  input: (inputUid: string) => LiveInput | undefined;
  /** Which IP addresses may be pushed to, looked at on every connection. */
  allowsAddress: (address: string) => boolean;
  clock: Clock;
  log: Log;
  createPush?: typeof createRtmpPush;
}

interface Pushing {
  /** Undefined: the publisher is gone, and may come back. */
  publicationId: string | undefined;
  readonly timeline: OutputTimeline;
  /** What a decoder needs, for a push that begins in the middle. */
  readonly headers: { script?: FlvTag; video?: FlvTag; audio?: FlvTag };
  readonly pushes: Map<string, RtmpPush>;
  linger: Timer | undefined;
}

const LINGER_MS = 10_000;
/** Per output: some 8 s at 8 Mbit/s. */
const MAX_BACKLOG_BYTES = 8_000_000;
/** A second at 8 Mbit/s: what is on its way across the world is not a queue, and dropped pictures are seen by everybody. */
const MAX_QUEUED_BYTES = 1_000_000;
/** A destination across the world may pause; a connection made anew costs its viewers more. */
const STALL_TIMEOUT_MS = 5_000;

export function createOutputs(options: OutputsOptions): Outputs {
  const { allowsAddress, clock, createPush = createRtmpPush, input, log } = options;
  const live = new Map<string, Pushing>();
  /** By input, then by output; they outlive the push. */
  const states = new Map<string, Map<string, OutputState>>();
  /** Pushes that say goodbye, by output: a destination takes one publisher at a time. */
  const leaving = new Map<string, Promise<void>>();
  const sendQueue = createSendQueue();

  function say(inputUid: string, outputUid: string, state: OutputState): void {
    const known = states.get(inputUid) ?? new Map<string, OutputState>();
    states.set(inputUid, known.set(outputUid, state));
  }

  function begin(inputUid: string, { headers, pushes }: Pushing, output: Output): void {
    const url = publishUrlOf(output);
    if (!url) {
      say(inputUid, output.uid, { state: 'error', reason: 'INVALID_PUBLISH_URL' });
      return;
    }
    let wasConnected = false;
    const push = createPush({
      ...{ url, clock, sendQueue, allowsAddress },
      log: log.child({ inputUid, outputUid: output.uid }),
      // What a viewer there missed is of no use to anybody: after a gap the present goes on.
      mode: 'live',
      maxBytes: MAX_BACKLOG_BYTES,
      maxQueuedBytes: MAX_QUEUED_BYTES,
      stallTimeoutMs: STALL_TIMEOUT_MS,
      onChange(change) {
        if (pushes.get(output.uid) !== push) return;
        wasConnected ||= change.state === 'publishing';
        say(inputUid, output.uid, stateAfter(change, wasConnected));
      },
    });
    pushes.set(output.uid, push);
    say(inputUid, output.uid, { state: 'connecting' });
    for (const header of [headers.script, headers.video, headers.audio]) if (header) push.write(header);
    const former = leaving.get(output.uid);
    if (former) void former.then(() => push.start());
    else push.start();
  }

  function end(inputUid: string, { pushes }: Pushing, outputUid: string): void {
    const push = pushes.get(outputUid);
    if (!push) return;
    pushes.delete(outputUid);
    say(inputUid, outputUid, { state: 'disconnected' });
    const gone = Promise.all([leaving.get(outputUid), push.close()]).then(() => {
      if (leaving.get(outputUid) === gone) leaving.delete(outputUid);
    });
    leaving.set(outputUid, gone);
  }

  function endAll(inputUid: string, pushing: Pushing): void {
    pushing.linger?.cancel();
    live.delete(inputUid);
    for (const outputUid of [...pushing.pushes.keys()]) end(inputUid, pushing, outputUid);
  }

  function reconsider(inputUid: string): void {
    const pushing = live.get(inputUid);
    if (!pushing) return;
    const known = input(inputUid);
    if (!known?.enabled) {
      endAll(inputUid, pushing);
      return;
    }
    const wanted = known.outputs.filter(({ enabled }) => enabled);
    for (const outputUid of [...pushing.pushes.keys()]) {
      if (!wanted.some(({ uid }) => uid === outputUid)) end(inputUid, pushing, outputUid);
    }
    for (const output of wanted) if (!pushing.pushes.has(output.uid)) begin(inputUid, pushing, output);
  }

  return {
    published({ inputUid, publicationId }) {
      const pushing = live.get(inputUid) ?? {
        publicationId,
        timeline: createOutputTimeline({ clock }),
        headers: {},
        pushes: new Map<string, RtmpPush>(),
        linger: undefined,
      };
      pushing.linger?.cancel();
      pushing.linger = undefined;
      pushing.publicationId = publicationId;
      pushing.timeline.begin();
      live.set(inputUid, pushing);
      reconsider(inputUid);
    },
    tag(inputUid, publicationId, tag) {
      const pushing = live.get(inputUid);
      if (pushing?.publicationId !== publicationId) return;
      const placed = pushing.timeline.place(tag);
      if (isConfiguration(tag)) pushing.headers[tag.kind] = placed;
      for (const push of pushing.pushes.values()) push.write(placed);
    },
    unpublished({ inputUid, publicationId }) {
      const pushing = live.get(inputUid);
      if (pushing?.publicationId !== publicationId) return;
      pushing.publicationId = undefined;
      pushing.linger = clock.after('output-linger', LINGER_MS, () => endAll(inputUid, pushing));
    },
    reconsider(inputUid) {
      reconsider(inputUid);
      const known = input(inputUid)?.outputs.map(({ uid }) => uid);
      if (!known) states.delete(inputUid);
      for (const uid of states.get(inputUid)?.keys() ?? [])
        if (!known?.includes(uid)) states.get(inputUid)?.delete(uid);
    },
    states: (inputUid) => states.get(inputUid) ?? new Map(),
    async close() {
      for (const [inputUid, pushing] of [...live]) endAll(inputUid, pushing);
      await Promise.all(leaving.values());
    },
  };
}

function stateAfter({ state, cause }: RtmpPushChange, wasConnected: boolean): OutputState {
  if (state === 'publishing') return { state: 'connected' };
  if (!cause) return { state: 'connecting' };
  const isNetwork = ['INGEST_UNREACHABLE', 'INGEST_DROPPED', 'INGEST_SILENT'].includes(cause.code);
  const word = wasConnected ? 'reconnecting' : 'connecting';
  return { state: isNetwork ? word : 'error', reason: cause.code };
}

/** Undefined for what cannot be pushed to, SRT for instance. */
function publishUrlOf({ url, streamKey }: Output): PublishUrl | undefined {
  try {
    return parsePublishUrl(`${url.replace(/\/+$/, '')}/${streamKey.reveal()}`);
  } catch {
    return undefined;
  }
}
