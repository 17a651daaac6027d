/**
 * What happened to one stream, in sentences with their causes: read off its snapshots as they change, and told of what
 * no snapshot shows. Keeps the newest entries; decides nothing, and holds no secret.
 */
import type { Clock } from '../../shared/clock.ts';
import type { DeviceStreamStatus, StreamNotice } from '../../shared/protocol/glasses-messages.ts';
import { isStreamOver, type StreamState } from '../../shared/stream.ts';
import type { OperatorOutput } from '../provider/output-views.ts';
import type { StreamSnapshot } from './stream-views.ts';

export interface TimelineEntry {
  /** Wall clock. */
  atMs: number;
  kind: 'state' | 'notice' | 'viewer' | 'output' | 'glasses';
  /** With `state`: the new one. */
  state?: StreamState;
  /** Of our error table, or a notice of the glasses. */
  code?: string;
  text: string;
  /** Units in their names. */
  numbers?: Record<string, number>;
}

export interface StreamTimeline {
  /** @returns what is new since the last snapshot. */
  saw(snapshot: StreamSnapshot): TimelineEntry[];
  /** While it is taken, what the stream does is because of it. */
  because(status: Pick<DeviceStreamStatus, 'errorCode' | 'errorDetails'>, take: () => void): void;
  noticed(notice: StreamNotice): TimelineEntry;
  glasses(areThere: boolean): TimelineEntry;
  /** Oldest first. */
  entries(): readonly TimelineEntry[];
}

export interface StreamTimelineOptions {
  clock: Clock;
  /** Other programs' sentences may quote an address. */
  redact: (text: string) => string;
  /** Default 200: the newest stay. */
  maxEntries?: number;
}

type NewEntry = Omit<TimelineEntry, 'atMs'>;

export function createStreamTimeline({ clock, redact, maxEntries = 200 }: StreamTimelineOptions): StreamTimeline {
  const entries: TimelineEntry[] = [];
  let before: StreamSnapshot | undefined;
  let cause: Pick<DeviceStreamStatus, 'errorCode' | 'errorDetails'> = {};
  /** Monotonic; undefined while there is a picture. */
  let interruptedAtMs: number | undefined;

  function add(entry: NewEntry): TimelineEntry {
    const added = { atMs: clock.now(), ...entry, text: redact(entry.text) };
    entries.push(added);
    if (entries.length > maxEntries) entries.shift();
    return added;
  }

  function stateEntry(snapshot: StreamSnapshot): NewEntry {
    const { state, liveMs } = snapshot;
    if (!before && state !== 'provisioning') {
      return { kind: 'state', state, text: 'Taken over from the relay before a restart' };
    }
    if (state === 'active') {
      if (interruptedAtMs === undefined) {
        return { kind: 'state', state, text: 'Live', ...(liveMs === undefined ? {} : { numbers: { liveMs } }) };
      }
      const interruptedMs = Math.round(clock.monotonicMs() - interruptedAtMs);
      const text = `The picture is back after ${(interruptedMs / 1000).toFixed(1)} s`;
      return { kind: 'state', state, text, numbers: { interruptedMs } };
    }
    const code = snapshot.errorCode ?? cause.errorCode;
    return { kind: 'state', state, ...(code === undefined ? {} : { code }), text: sentence(snapshot) };
  }

  function sentence({ state, message }: StreamSnapshot): string {
    switch (state) {
      case 'provisioning':
        return 'Asked for; the live input is being made';
      case 'starting':
        return 'The live input is there; the glasses are asked to start';
      case 'stopped':
        return 'The stream is over';
      case 'stopping':
        return message ?? 'Nobody watches any more';
      default: {
        const { errorDetails } = cause;
        const said = message ?? state;
        return errorDetails && !said.includes(errorDetails) ? `${said}: ${errorDetails}` : said;
      }
    }
  }

  return {
    saw(snapshot) {
      const news: NewEntry[] = [];
      if (before?.state !== snapshot.state) {
        news.push(stateEntry(snapshot));
        if (snapshot.state === 'interrupted') interruptedAtMs ??= clock.monotonicMs();
        if (snapshot.state === 'active') interruptedAtMs = undefined;
      }
      // With the end of the stream everything goes: that is said already.
      if (!isStreamOver(snapshot.state)) {
        news.push(...viewerNews(before?.viewers ?? [], snapshot.viewers));
        news.push(...outputNews(before?.outputs ?? [], snapshot.outputs));
      }
      before = snapshot;
      return news.map(add);
    },
    because(status, take) {
      cause = status;
      try {
        take();
      } finally {
        cause = {};
      }
    },
    noticed: ({ code, text, numbers }) => add({ kind: 'notice', code, text, ...(numbers ? { numbers } : {}) }),
    glasses: (areThere) =>
      add({
        kind: 'glasses',
        text: areThere ? 'The glasses are connected to the relay' : 'The glasses lost their connection to the relay',
      }),
    entries: () => entries,
  };
}

function viewerNews(before: readonly string[], now: readonly string[]): NewEntry[] {
  const joined = now.filter((id) => !before.includes(id)).map((id) => `${id} watches`);
  const left = before.filter((id) => !now.includes(id)).map((id) => `${id} has left`);
  return [...joined, ...left].map((text) => ({ kind: 'viewer', text }));
}

function outputNews(before: readonly OperatorOutput[], now: readonly OperatorOutput[]): NewEntry[] {
  const was = new Map(before.map((output) => [output.outputId, output]));
  const is = new Set(now.map(({ outputId }) => outputId));
  const changed = now.flatMap((output) => {
    const earlier = was.get(output.outputId);
    const isSame = earlier?.status === output.status && earlier.error === output.error;
    if (isSame) return [];
    const verb = earlier ? '' : ` added by ${output.addedBy}`;
    return [`${nameOf(output)}${verb}${earlier || output.status === 'error' ? `: ${howIt(output)}` : ''}`];
  });
  const removed = before.filter(({ outputId }) => !is.has(outputId)).map((output) => `${nameOf(output)} removed`);
  return [...changed, ...removed].map((text) => ({ kind: 'output', text }));
}

function nameOf({ name, url }: OperatorOutput): string {
  return `Output ${name ? `${name} (${url})` : url}`;
}

function howIt({ status, error }: OperatorOutput): string {
  const words = { active: 'the picture arrives', stopped: 'waits for a picture', error: 'does not work' };
  return `${words[status]}${error ? `, ${error}` : ''}`;
}
