/**
 * What happened to one stream, in sentences with their causes: read off its snapshots as they change, and told of what
 * no snapshot shows. Decides nothing, and holds no secret.
 */
import type { GlasscastError } from '../../shared/errors.ts';
import type { DeviceStreamStatus } from '../../shared/protocol/glasses-messages.ts';
import { deviceStatusMeaning, isStreamOver } from '../../shared/stream.ts';
import type { OperatorOutput } from '../provider/output-views.ts';
import { createEntryList } from './entry-list.ts';
import {
  type EntrySource,
  endingCodeOf,
  isErrorCode,
  ownCodes,
  type StreamStory,
  sourceOf,
  type TimelineEntry,
} from './stream-story.ts';
import type { StreamSnapshot } from './stream-views.ts';

/** A call to the provider that is made again. */
export interface ProviderTrouble {
  code: string;
  /** Until the next attempt. */
  waitMs: number;
  /** Of HTTP. */
  status?: number | undefined;
}

/** Times are wall clock. What is returned is what is new, or has changed. */
export interface StreamTimeline {
  saw(snapshot: StreamSnapshot, atMs: number): TimelineEntry[];
  /** Before the stream itself hears it: what it does then is because of it. */
  heard(status: DeviceStreamStatus, atMs: number): TimelineEntry[];
  glasses(areThere: boolean, atMs: number): TimelineEntry[];
  provider(trouble: ProviderTrouble, atMs: number): TimelineEntry[];
  /** @param awayMs without any relay, where that is known. */
  takenOver(atMs: number, awayMs: number | undefined): TimelineEntry[];
  /** Why there is no picture now, as far as it is known: the code of an entry. */
  stallCause(): string | undefined;
  /** Oldest first. */
  readonly entries: readonly TimelineEntry[];
  readonly leftOut: number;
}

export interface StreamTimelineOptions {
  createdAtMs: number;
  /** Other programs' sentences may quote an address. */
  redact: (text: string) => string;
  /** Of an earlier process. */
  kept?: Pick<StreamStory, 'entries' | 'leftOut'> | undefined;
  maxEntries?: number;
}

type NewEntry = Omit<TimelineEntry, 'id' | 'atMs' | 'source'> & { source?: EntrySource };

/** A cause told so long before the picture went still is its cause. */
const CAUSE_BEFORE_MS = 15_000;
const NARROW: readonly string[] = ['UPLINK_NARROW', 'FRAMES_DROPPED', 'UPLINK_RECOVERED'];
const TOLD_LATE_MS = 3_000;
const MAX_TEXT_CHARS = 300;
/** Of a notice: nobody's have more, but a stranger's. */
const MAX_NUMBERS = 16;

export function createStreamTimeline(options: StreamTimelineOptions): StreamTimeline {
  return new Timeline(options);
}

class Timeline implements StreamTimeline {
  readonly #options: StreamTimelineOptions;
  readonly #list: ReturnType<typeof createEntryList>;
  #before: StreamSnapshot | undefined;
  /** The glasses cannot push, for this reason. */
  #trouble: TimelineEntry | undefined;
  #controlLost: TimelineEntry | undefined;
  #interrupted: TimelineEntry | undefined;
  /** The newest loss of the line that is over. */
  #cameBack: { lost: TimelineEntry; atMs: number } | undefined;
  #isTakenOver = false;

  constructor(options: StreamTimelineOptions) {
    this.#options = options;
    this.#list = createEntryList(options);
    for (const entry of this.#list.all) this.#remember(entry);
  }

  get entries(): readonly TimelineEntry[] {
    return this.#list.all;
  }
  get leftOut(): number {
    return this.#list.leftOut;
  }

  saw(snapshot: StreamSnapshot, atMs: number): TimelineEntry[] {
    const before = this.#before;
    this.#before = snapshot;
    const news = this.#steps(snapshot, atMs);
    // Taken over: what was live counts as interrupted until it is proven anew, which is nobody's interruption.
    const isNews = before ? before.state !== snapshot.state : !this.#isTakenOver || isStreamOver(snapshot.state);
    if (isNews) {
      const entry = this.#add(this.#stateEntry(snapshot, atMs), atMs);
      if (entry.state === 'interrupted') this.#interrupted = entry;
      news.push(entry);
    }
    // With the end of the stream everything goes: that is said already.
    if (isStreamOver(snapshot.state)) return news;
    const changes = [
      ...viewerNews(before?.viewers ?? this.#knownViewers(snapshot), snapshot.viewers),
      ...outputNews(before?.outputs ?? this.#knownOutputs(snapshot), snapshot.outputs),
    ];
    return [...news, ...changes.map((entry) => this.#add(entry, atMs))];
  }

  heard(status: DeviceStreamStatus, atMs: number): TimelineEntry[] {
    const { notice, errorCode, errorDetails } = status;
    const meaning = deviceStatusMeaning[status.status];
    const news: TimelineEntry[] = [];
    // Firmware says `connecting` of every start.
    const isTrouble = meaning === 'retrying' || (meaning === 'starting' && errorCode !== undefined);
    if (isTrouble) {
      const code = errorCode === undefined ? ownCodes.pushLost : isErrorCode(errorCode) ? errorCode : 'DEVICE_REPORTED';
      const text = errorDetails ?? 'The glasses have lost their connection to the ingest';
      const trouble = this.#add({ kind: 'trouble', code, text, ...this.#toldLate(atMs) }, atMs);
      // The first one is the root: what follows may be only its echo.
      this.#trouble ??= trouble;
      news.push(trouble, ...this.#explained(trouble), ...this.#nowInterrupted(atMs));
    } else if (meaning === 'publishing' && this.#trouble) {
      const { id, source, atMs: sinceMs } = this.#trouble;
      const reconnectMs = Math.max(0, atMs - sinceMs);
      const text = `The glasses push again after ${seconds(reconnectMs)}`;
      this.#trouble = undefined;
      news.push(this.#add({ kind: 'recovery', source, text, numbers: { reconnectMs }, because: id }, atMs));
    }
    if (notice) {
      const { code, text } = notice;
      const few = notice.numbers && Object.fromEntries(Object.entries(notice.numbers).slice(0, MAX_NUMBERS));
      const numbers = few ? { numbers: few } : {};
      news.push(this.#add({ kind: 'notice', code, text, ...numbers, ...this.#lost(code) }, atMs));
    }
    return news;
  }

  glasses(areThere: boolean, atMs: number): TimelineEntry[] {
    const source = 'network';
    if (!areThere) {
      const text = 'The glasses lost their connection to the relay';
      this.#controlLost = this.#add({ kind: 'glasses', source, code: ownCodes.controlLost, text }, atMs);
      return [this.#controlLost];
    }
    const lost = this.#controlLost;
    this.#controlLost = undefined;
    if (lost) this.#cameBack = { lost, atMs };
    const awayMs = lost && Math.max(0, atMs - lost.atMs);
    const text = `The glasses are connected to the relay${awayMs === undefined ? '' : ` again after ${seconds(awayMs)}`}`;
    const because = lost ? { because: lost.id, numbers: { awayMs: awayMs ?? 0 } } : {};
    return [this.#add({ kind: 'glasses', source, code: ownCodes.controlBack, text, ...because }, atMs)];
  }

  provider({ code, waitMs, status }: ProviderTrouble, atMs: number): TimelineEntry[] {
    const said = status === undefined ? 'did not answer' : `answered ${status}`;
    const text = `The provider ${said}; asked again in ${seconds(waitMs)}`;
    const numbers = { ...(status === undefined ? {} : { status }), waitMs };
    return [this.#add({ kind: 'provider', code, text, numbers }, atMs)];
  }

  takenOver(atMs: number, awayMs: number | undefined): TimelineEntry[] {
    this.#isTakenOver = true;
    const away = awayMs === undefined ? '' : ` after ${seconds(awayMs)}`;
    const numbers = awayMs === undefined ? {} : { numbers: { awayMs } };
    const text = `Another process of the relay goes on with the stream${away}`;
    return [this.#add({ kind: 'takeover', code: ownCodes.takenOver, text, ...numbers }, atMs)];
  }

  stallCause(): string | undefined {
    return this.#list.find(this.#interrupted?.because)?.code;
  }

  #add(entry: NewEntry, atMs: number): TimelineEntry {
    const text = this.#options.redact(entry.text).slice(0, MAX_TEXT_CHARS);
    const source = entry.source ?? sourceOf(entry.code ?? '');
    return this.#list.add({ ...entry, atMs: Math.round(atMs), source, text });
  }

  /** What glasses say as soon as they are back befell them while they were away: one network was lost with all on it. */
  #toldLate(atMs: number): { because?: number } {
    const back = this.#cameBack;
    return back && !this.#trouble && atMs - back.atMs < TOLD_LATE_MS ? { because: back.lost.id } : {};
  }

  /** An interruption whose cause comes to light only now. */
  #explained(trouble: TimelineEntry): TimelineEntry[] {
    if (!this.#interrupted || this.#interrupted.because !== undefined) return [];
    this.#interrupted.because = trouble.id;
    return [this.#interrupted];
  }

  /** Not proven yet since a take-over, and now it is known that there is none. */
  #nowInterrupted(atMs: number): TimelineEntry[] {
    if (this.#interrupted || this.#before?.state !== 'interrupted') return [];
    this.#interrupted = this.#add(this.#stateEntry({ ...this.#before, message: undefined }, atMs), atMs);
    return [this.#interrupted];
  }

  /** START has left, and media flows: once each. */
  #steps({ startSentMs, publishingMs }: StreamSnapshot, atMs: number): TimelineEntry[] {
    const { startSent, publishing } = ownCodes;
    const news: TimelineEntry[] = [];
    if (startSentMs !== undefined && !this.#has(startSent)) {
      const text = 'The glasses are asked to start';
      news.push(this.#add({ kind: 'step', source: 'relay', code: startSent, text, numbers: { startSentMs } }, atMs));
    }
    if (publishingMs !== undefined && !this.#has(publishing)) {
      const because = this.#list.all.find(({ code }) => code === startSent)?.id;
      const text = 'The glasses push';
      const numbers = { publishingMs };
      const entry: NewEntry = { kind: 'step', source: 'device', code: publishing, text, numbers };
      news.push(this.#add({ ...entry, ...(because === undefined ? {} : { because }) }, atMs));
    }
    return news;
  }
  #has(wanted: string): boolean {
    return this.#list.all.some(({ code }) => code === wanted);
  }

  #stateEntry(snapshot: StreamSnapshot, atMs: number): NewEntry {
    const { state, message, viewers } = snapshot;
    const kind = 'state';
    switch (state) {
      case 'provisioning': {
        const [first] = viewers;
        return { kind, state, source: 'app', text: `Asked for${first ? ` by ${first}` : ''}` };
      }
      case 'starting':
        return { kind, state, source: 'provider', text: 'The live input is there', ...this.#after('state') };
      case 'active':
        return this.#liveEntry(snapshot, atMs);
      case 'interrupted': {
        const entry = { kind, state, source: 'relay', text: message ?? 'The picture is gone' } as const;
        const cause = this.#causeBefore(atMs);
        return cause ? { ...entry, source: cause.source, because: cause.id } : entry;
      }
      case 'stopping':
        return this.#endingEntry(snapshot);
      case 'stopped':
        return { kind, state, source: 'relay', text: 'The stream is over', ...this.#after('state') };
      case 'failed':
        return this.#failedEntry(snapshot);
    }
  }

  #liveEntry({ state, liveMs }: StreamSnapshot, atMs: number): NewEntry {
    const interrupted = this.#interrupted;
    this.#interrupted = undefined;
    if (!interrupted) {
      const wasLive = this.#list.all.some((entry) => entry.state === 'active');
      const because = this.#list.all.find(({ code }) => code === ownCodes.publishing)?.id;
      return {
        ...{ kind: 'state', state, source: 'relay', text: wasLive ? 'Live: the picture was not lost' : 'Live' },
        ...(liveMs === undefined || wasLive ? {} : { numbers: { liveMs } }),
        ...(because === undefined ? {} : { because }),
      };
    }
    const interruptedMs = Math.max(0, Math.round(atMs - interrupted.atMs));
    const text = `The picture is back after ${seconds(interruptedMs)}`;
    return { kind: 'state', state, source: 'relay', text, numbers: { interruptedMs }, because: interrupted.id };
  }

  #endingEntry({ state, message, errorCode }: StreamSnapshot): NewEntry {
    if (errorCode) return this.#failedEntry({ state, message, errorCode });
    const code = endingCodeOf(message);
    return { kind: 'state', state, code, text: message ?? 'Nobody watches any more' };
  }

  #failedEntry({ state, message, errorCode }: Pick<StreamSnapshot, 'state' | 'message' | 'errorCode'>): NewEntry {
    const code = errorCode ?? 'INTERNAL';
    const numbers = numbersOf(code, message ?? '');
    const cause = this.#rootOf(code);
    return {
      ...{ kind: 'state', state, code, text: message ?? state },
      ...(numbers ? { numbers } : {}),
      ...(cause ? { because: cause.id } : {}),
    };
  }

  /** What an end that only says "too late" or "silent" goes back to. */
  #rootOf(code: string): TimelineEntry | undefined {
    if (code.startsWith('GLASSES_') || code === 'LEASE_EXPIRED') return this.#controlLost ?? this.#interrupted;
    if (code.startsWith('PROVIDER_')) return this.#list.all.findLast(({ kind }) => kind === 'provider');
    const byNotice = { OVERHEATED: 'HEAT', BATTERY_LOW: 'BATTERY_LOW' }[code];
    if (byNotice) return this.#list.all.findLast((entry) => entry.code === byNotice);
    return this.#trouble ?? this.#interrupted ?? this.#controlLost;
  }

  /** Of a picture that has gone still: what the glasses told, or that they are gone. */
  #causeBefore(atMs: number): TimelineEntry | undefined {
    if (this.#trouble) return this.#trouble;
    const isRecent = (entry: TimelineEntry) => atMs - (entry.lastAtMs ?? entry.atMs) < CAUSE_BEFORE_MS;
    if (this.#controlLost && isRecent(this.#controlLost)) return this.#controlLost;
    const told = this.#list.all.findLast(({ code = '' }) => NARROW.includes(code));
    return told && isRecent(told) && told.code !== 'UPLINK_RECOVERED' ? told : undefined;
  }

  #after(kind: TimelineEntry['kind']): { because?: number } {
    const entry = this.#list.all.findLast((earlier) => earlier.kind === kind);
    return entry ? { because: entry.id } : {};
  }

  /** What has come back, because of what was lost. */
  #lost(code: string): { because?: number } {
    const lost = { MICROPHONE_BACK: 'MICROPHONE_LOST', UPLINK_RECOVERED: 'UPLINK_NARROW', HEAT_RECOVERED: 'HEAT' }[
      code
    ];
    const entry = lost && this.#list.all.findLast((earlier) => earlier.code === lost);
    return entry ? { because: entry.id } : {};
  }

  /** From what an earlier process wrote. */
  #remember(entry: TimelineEntry): void {
    if (entry.state === 'active') this.#interrupted = undefined;
    if (entry.state === 'interrupted') this.#interrupted = entry;
    if (entry.kind === 'trouble') this.#trouble ??= entry;
    if (entry.kind === 'recovery') this.#trouble = undefined;
    // With that process every line ended: whoever comes was not lost.
  }
  #knownViewers(snapshot: StreamSnapshot): readonly string[] {
    return this.#options.kept ? snapshot.viewers : [];
  }
  #knownOutputs(snapshot: StreamSnapshot): readonly OperatorOutput[] {
    return this.#options.kept ? snapshot.outputs : [];
  }
}

/** @param waitMs until the next attempt. */
export function troubleOf({ code, details }: GlasscastError, waitMs: number): ProviderTrouble {
  return { code, waitMs, ...(typeof details.status === 'number' ? { status: details.status } : {}) };
}

/** By which the glasses stopped: they say it in their sentence alone. */
function numbersOf(code: string, text: string): Record<string, number> | undefined {
  const [, value] = /(-?\d+(?:\.\d+)?) (?:°C|%)/.exec(text) ?? [];
  if (value === undefined) return undefined;
  if (code === 'OVERHEATED') return { temperatureC: Number(value) };
  return code === 'BATTERY_LOW' ? { batteryPercent: Number(value) } : undefined;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function viewerNews(before: readonly string[], now: readonly string[]): NewEntry[] {
  const joined = now.filter((id) => !before.includes(id)).map((id) => `${id} watches`);
  const left = before.filter((id) => !now.includes(id)).map((id) => `${id} has left`);
  return [...joined, ...left].map((text) => ({ kind: 'viewer', source: 'app', text }));
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
  return [...changed, ...removed].map((text) => ({ kind: 'output', source: 'provider', text }));
}

function nameOf({ name, url }: OperatorOutput): string {
  return `Output ${name ? `${name} (${url})` : url}`;
}

function howIt({ status, error }: OperatorOutput): string {
  const words = { active: 'the picture arrives', stopped: 'waits for a picture', error: 'does not work' };
  return `${words[status]}${error ? `, ${error}` : ''}`;
}
