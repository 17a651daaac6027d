/**
 * Restream outputs of streams: where else a live input is pushed to, for whom, and how that goes at the provider. Owns
 * limits, ownership and polling. The failure of one output touches neither the stream nor the others.
 */
import { randomBytes } from 'node:crypto';
import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { PublishUrl } from '../../shared/rtmp/publish-url.ts';
import type { Redactor } from '../../shared/secrets.ts';
import type { StreamRecord } from '../store/records.ts';
import { type DestinationGuard, parseDestination, readableDestination } from './destination-guard.ts';
import type { LiveInputOutput, LiveInputs } from './live-inputs.ts';
import { createOutputCreation, isSameDestination, type OutputCreation } from './output-creation.ts';
import { noProgress, type OutputProgress, progressOf } from './output-progress.ts';

export interface Destination {
  url: string;
  name?: string | undefined;
}

export interface RestreamOutput {
  outputId: string;
  /** In full, with the key: a secret. */
  url: string;
  name?: string;
  /** Package name. */
  addedBy: string;
  /** The provider's word; `unknown` until the first push. */
  state: OutputProgress['state'];
  /** Holds no key. */
  error?: string;
}

/** Of one stream's live input. */
export interface RestreamOutputs {
  list(): readonly RestreamOutput[];
  /**
   * At the start or a join. What cannot be added stands in the list as `error` with its reason; what this app has added
   * already stays as it is. Never rejects.
   */
  addAll(appId: string, destinations: readonly Destination[]): Promise<void>;
  /**
   * @throws GlasscastError INVALID_URL_FORMAT, MAX_OUTPUTS_REACHED, MAX_APP_OUTPUTS_REACHED, DUPLICATE_URL,
   * DESTINATION_FORBIDDEN, DESTINATION_UNRESOLVED, PROVIDER_*; STREAM_NOT_FOUND once it is over.
   */
  add(appId: string, destination: Destination): Promise<RestreamOutput>;
  /** @throws GlasscastError OUTPUT_NOT_FOUND, NOT_AUTHORIZED, PROVIDER_*; STREAM_NOT_FOUND once it is over. */
  remove(appId: string, outputId: string): Promise<void>;
  /** For the store: only what exists at the provider. */
  records(): StreamRecord['outputs'];
  /** For the store: what is being asked for. */
  unfinished(): StreamRecord['wantedOutputs'];
  /** Polling ends, keys are no longer looked for in logs. What exists at the provider goes with its live input. */
  close(): void;
}

export interface RestreamedStream {
  streamId: string;
  liveInputUid: string;
  /** From the process before this one. */
  saved: StreamRecord['outputs'];
  /** That one may have asked for them or not: they are looked for before they are asked for again. */
  unclear: readonly Destination[];
  /** The list differs from what it was at the last call. */
  onChange: () => void;
  /** `unfinished` differs; to be saved, or what is made and then forgotten in a crash would push on for nobody. */
  onBegun: () => void;
}

export interface Restreaming {
  open(stream: RestreamedStream): RestreamOutputs;
}

export const outputLimits = { maxPerStream: 10, maxPerApp: 10 };

export interface RestreamingOptions {
  inputs: Pick<LiveInputs, 'createOutput' | 'outputs' | 'deleteOutput'>;
  guard: DestinationGuard;
  clock: Clock;
  log: Log;
  redactor: Redactor;
  /** Pace of one stream's polling while something is not connected; a third of it when nothing has moved for a minute. */
  pollMs: number;
  /** Over all streams. Default: no bound. */
  maxPollsPerSecond?: number | undefined;
  limits?: typeof outputLimits;
}

const SETTLED_AFTER_MS = 60_000;
const SETTLED_FACTOR = 3;

export function createRestreaming(options: RestreamingOptions): Restreaming {
  const polling = new Set<Outputs>();
  const minGapMs = options.maxPollsPerSecond ? 1000 / options.maxPollsPerSecond : 0;
  return { open: (stream) => new Outputs(options, stream, { polling, minGapMs }) };
}

interface Entry {
  /** adding: asked for at the provider; leaving: being deleted there; refused: exists nowhere but in our list. */
  phase: 'adding' | 'present' | 'leaving' | 'refused';
  /** Empty while it is asked for. */
  outputId: string;
  readonly destination: Destination;
  readonly addedBy: string;
  /** Undefined: the address cannot be read. */
  readonly target: PublishUrl | undefined;
  progress: OutputProgress;
}

/** What all streams share: together they keep to the bound. */
interface Pace {
  polling: Set<Outputs>;
  minGapMs: number;
}

class Outputs implements RestreamOutputs {
  readonly #options: RestreamingOptions;
  readonly #stream: RestreamedStream;
  readonly #pace: Pace;
  #entries: Entry[];
  readonly #creation: OutputCreation;
  /** Counts what we change: an answer to an earlier question does not know of it. */
  #changes = 0;
  #told = '[]';
  #movedMs: number;
  #poll: Timer | undefined;
  #pollAtMs = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(options: RestreamingOptions, stream: RestreamedStream, pace: Pace) {
    this.#options = options;
    this.#stream = stream;
    this.#pace = pace;
    this.#movedMs = options.clock.monotonicMs();
    this.#creation = createOutputCreation({
      inputs: options.inputs,
      liveInputUid: stream.liveInputUid,
      unclear: stream.unclear.flatMap(({ url }) => readableDestination(url) ?? []),
      isKnown: (uid) => this.#entries.some(({ outputId }) => outputId === uid),
      clock: options.clock,
    });
    this.#entries = stream.saved.map(({ outputId, addedBy, url, name }) =>
      this.#newEntry({
        addedBy,
        destination: { url, name },
        target: readableDestination(url),
        phase: 'present',
        outputId,
      }),
    );
    this.#told = JSON.stringify(this.list());
    // Apps that come back are told how it is now.
    if (stream.saved.length > 0) void this.#look();
  }

  list(): readonly RestreamOutput[] {
    return this.#entries.filter(({ phase }) => phase !== 'adding').map(shown);
  }

  async addAll(appId: string, destinations: readonly Destination[]): Promise<void> {
    if (this.#closed) return;
    // They are tried again, or no longer wanted.
    for (const entry of this.#entries) if (entry.phase === 'refused' && entry.addedBy === appId) this.#drop(entry);
    const before = this.#held().filter(({ addedBy }) => addedBy === appId);
    await Promise.all(
      destinations.map(async (destination) => {
        const target = readableDestination(destination.url);
        if (before.some((entry) => isSameDestination(entry.target, target))) return;
        let entry: Entry | undefined;
        try {
          entry = this.#reserve(appId, destination);
          await this.#establish(entry);
        } catch (error) {
          this.#refuse(entry ?? this.#listed({ addedBy: appId, destination, target }), asGlasscastError(error));
        }
      }),
    );
    this.#changed();
  }

  async add(appId: string, destination: Destination): Promise<RestreamOutput> {
    this.#mustBeOpen();
    const entry = this.#reserve(appId, destination);
    this.#stream.onBegun();
    try {
      await this.#establish(entry);
    } catch (error) {
      this.#drop(entry);
      this.#stream.onBegun();
      throw error;
    }
    this.#changed();
    return shown(entry);
  }

  async remove(appId: string, outputId: string): Promise<void> {
    this.#mustBeOpen();
    const removable = this.#entries.filter(({ phase }) => phase === 'present' || phase === 'refused');
    const entry = removable.find((one) => one.outputId === outputId);
    if (!entry) throw new GlasscastError('OUTPUT_NOT_FOUND');
    if (entry.addedBy !== appId) throw new GlasscastError('NOT_AUTHORIZED');
    if (entry.phase === 'present') await this.#deleteAtProvider(entry);
    this.#drop(entry);
    this.#changed();
  }

  records(): StreamRecord['outputs'] {
    const existing = this.#entries.filter(({ phase }) => phase === 'present' || phase === 'leaving');
    return existing.map(shown).map(({ state: _, error: __, ...record }) => record);
  }

  unfinished(): StreamRecord['wantedOutputs'] {
    const unfinished = this.#entries.filter(({ phase }) => phase === 'adding');
    return unfinished.map(({ addedBy, destination }) => ({ addedBy, destination }));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll?.cancel();
    this.#pace.polling.delete(this);
    for (const { target } of this.#entries) for (const key of secretsOf(target)) this.#options.redactor.forget(key);
  }

  // ── adding and removing ──

  /** Without a pause between looking and taking the place, so that two requests in one instant cannot share it. */
  #reserve(appId: string, destination: Destination): Entry {
    const { maxPerStream, maxPerApp } = this.#options.limits ?? outputLimits;
    const target = parseDestination(destination.url);
    const held = this.#held();
    if (held.length >= maxPerStream) throw new GlasscastError('MAX_OUTPUTS_REACHED');
    const own = held.filter(({ addedBy }) => addedBy === appId);
    if (own.length >= maxPerApp) throw new GlasscastError('MAX_APP_OUTPUTS_REACHED');
    if (held.some((entry) => isSameDestination(entry.target, target))) throw new GlasscastError('DUPLICATE_URL');
    return this.#listed({ addedBy: appId, destination, target });
  }

  async #establish(entry: Entry): Promise<void> {
    const { target } = entry;
    if (!target) throw new GlasscastError('INVALID_URL_FORMAT');
    await this.#options.guard.check(target);
    this.#mustBeOpen();
    const made = await this.#creation.create(target);
    if (this.#closed) {
      // Its live input is being deleted; this one may have come too late to be seen there.
      void this.#options.inputs.deleteOutput(this.#stream.liveInputUid, made.uid).catch(() => {});
      throw new GlasscastError('STREAM_NOT_FOUND');
    }
    entry.outputId = made.uid;
    entry.phase = 'present';
    this.#note(entry, made);
    // What stood for this destination until now.
    const former = this.#entries.slice(0, this.#entries.indexOf(entry)).filter(({ phase }) => phase === 'refused');
    for (const one of former) if (isSameDestination(one.target, target)) this.#drop(one);
    this.#options.log.info(this.#logged(entry), 'output-added');
    this.#touched();
  }

  async #deleteAtProvider(entry: Entry): Promise<void> {
    entry.phase = 'leaving';
    this.#touched();
    try {
      await this.#options.inputs.deleteOutput(this.#stream.liveInputUid, entry.outputId);
      this.#options.log.info(this.#logged(entry), 'output-removed');
    } catch (error) {
      // Gone already is what was wanted.
      if (asGlasscastError(error).code === 'LIVE_INPUT_NOT_FOUND') return;
      entry.phase = 'present';
      throw error;
    }
  }

  #refuse(entry: Entry, error: GlasscastError): void {
    if (this.#closed) return;
    entry.phase = 'refused';
    entry.outputId = randomBytes(16).toString('hex');
    const reason = this.#options.redactor.redact(error.message);
    entry.progress = { ...noProgress, state: 'error', error: reason };
    this.#options.log.warn({ ...this.#logged(entry), code: error.code, reason }, 'output-refused');
  }

  #listed(of: Pick<Entry, 'addedBy' | 'destination' | 'target'>): Entry {
    const entry = this.#newEntry({ ...of, phase: 'adding', outputId: '' });
    this.#entries.push(entry);
    this.#touched();
    return entry;
  }

  #newEntry(of: Pick<Entry, 'addedBy' | 'destination' | 'target' | 'phase' | 'outputId'>): Entry {
    for (const key of secretsOf(of.target)) this.#options.redactor.add(key);
    return { ...of, progress: noProgress };
  }

  #drop(entry: Entry): void {
    if (this.#closed || !this.#entries.includes(entry)) return;
    this.#entries = this.#entries.filter((one) => one !== entry);
    for (const key of secretsOf(entry.target)) this.#options.redactor.forget(key);
    this.#touched();
  }

  /** What takes up a place. */
  #held(): Entry[] {
    return this.#entries.filter(({ phase }) => phase !== 'refused');
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new GlasscastError('STREAM_NOT_FOUND');
  }

  // ── how it goes at the provider ──

  #touched(): void {
    this.#changes += 1;
    this.#movedMs = this.#options.clock.monotonicMs();
    this.#pollLater();
  }

  /** What is due sooner stays so: changes without end would put it off without end. */
  #pollLater(): void {
    const { clock, pollMs } = this.#options;
    const { polling, minGapMs } = this.#pace;
    this.#poll?.cancel();
    const held = this.#held();
    const isInDoubt = this.#creation.isInDoubt();
    if (this.#closed || (held.length === 0 && !isInDoubt)) {
      polling.delete(this);
      this.#pollAtMs = Number.POSITIVE_INFINITY;
      return;
    }
    polling.add(this);
    const nowMs = clock.monotonicMs();
    const isUp = held.every(({ progress }) => progress.state === 'connected');
    const isCalm = !isInDoubt && (isUp || nowMs - this.#movedMs > SETTLED_AFTER_MS);
    const waitMs = Math.max(isCalm ? SETTLED_FACTOR * pollMs : pollMs, polling.size * minGapMs);
    this.#pollAtMs = Math.min(this.#pollAtMs, nowMs + waitMs);
    this.#poll = clock.after('outputs-poll', Math.max(0, this.#pollAtMs - nowMs), () => void this.#look());
  }

  async #look(): Promise<void> {
    const changes = this.#changes;
    this.#pollAtMs = Number.POSITIVE_INFINITY;
    try {
      const found = await this.#options.inputs.outputs(this.#stream.liveInputUid);
      if (!this.#closed && changes === this.#changes) this.#compare(found);
    } catch (error) {
      const { streamId } = this.#stream;
      this.#options.log.debug({ streamId, code: asGlasscastError(error).code }, 'outputs-poll-failed');
    }
    this.#pollLater();
  }

  #compare(found: readonly LiveInputOutput[]): void {
    const byUid = new Map(found.map((output) => [output.uid, output]));
    for (const entry of this.#entries) {
      if (entry.phase === 'present') this.#note(entry, byUid.get(entry.outputId));
      byUid.delete(entry.outputId);
    }
    for (const { uid } of this.#creation.surplus([...byUid.values()])) {
      this.#options.log.info({ streamId: this.#stream.streamId, outputId: uid }, 'output-surplus-deleted');
      void this.#options.inputs.deleteOutput(this.#stream.liveInputUid, uid).catch(() => {});
    }
    this.#changed();
  }

  #note(entry: Entry, output: LiveInputOutput | undefined): void {
    const nowMs = this.#options.clock.monotonicMs();
    const before = entry.progress;
    entry.progress = progressOf(output, before, nowMs);
    if (before.state !== entry.progress.state) this.#movedMs = nowMs;
  }

  #changed(): void {
    const now = JSON.stringify(this.list());
    if (this.#closed || now === this.#told) return;
    this.#told = now;
    this.#stream.onChange();
  }

  #logged({ addedBy, outputId, target }: Entry) {
    return { streamId: this.#stream.streamId, appId: addedBy, outputId, url: target?.printable };
  }
}

function shown({ outputId, destination: { url, name }, addedBy, progress: { state, error } }: Entry): RestreamOutput {
  return {
    ...{ outputId, url, addedBy, state },
    ...(name === undefined ? {} : { name }),
    ...(error === undefined ? {} : { error }),
  };
}

/** The key with its query, and without. */
function secretsOf(target: PublishUrl | undefined): string[] {
  const key = target?.streamKey.reveal();
  return key === undefined ? [] : [key, key.replace(/\?.*/, '')];
}
