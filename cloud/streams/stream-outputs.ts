/**
 * The restream outputs of one stream from its side: destinations wait here until there is an ingest to push them from.
 * How an output is made and watched is the provider's part.
 */
import type { Restreaming, RestreamOutput, RestreamOutputs } from '../provider/restream-outputs.ts';
import type { StreamRecord } from '../store/records.ts';

type Destinations = readonly { url: string; name?: string | undefined }[];

const NOTHING: ReadonlyMap<string, Destinations> = new Map();

export interface StreamOutputs {
  /** Adds them, now or when the ingest is there. What fails stands in the list. */
  want(appId: string, destinations: Destinations | undefined): void;
  /** The app has left before its destinations were added. */
  forget(appId: string): void;
  /** The ingest is there. @param onBegun to be saved: another one is being asked for. */
  open(streamId: string, liveInputUid: string, onChange: () => void, onBegun: () => void): void;
  list(): readonly RestreamOutput[];
  records(): StreamRecord['outputs'];
  /** For the store: what waits for the ingest, or is being asked for. */
  wanted(): StreamRecord['wantedOutputs'];
  /** Undefined until the ingest is there. */
  live(): RestreamOutputs | undefined;
  close(): void;
}

type Saved = Pick<StreamRecord, 'outputs' | 'wantedOutputs'>;

/** What an earlier process had added, or had not come to, is taken up. */
export function createStreamOutputs(restreaming: Restreaming, saved: Saved): StreamOutputs {
  return new Outputs(restreaming, saved);
}

/** A class: made of closures each stream's would take 900 B more, and most streams have no output. */
class Outputs implements StreamOutputs {
  readonly #restreaming: Restreaming;
  readonly #saved: Saved;
  #wanted: ReadonlyMap<string, Destinations> = NOTHING;
  #outputs: RestreamOutputs | undefined;

  constructor(restreaming: Restreaming, saved: Saved) {
    this.#restreaming = restreaming;
    this.#saved = saved;
    for (const { addedBy, destination } of saved.wantedOutputs) {
      this.#want(addedBy, [...(this.#wanted.get(addedBy) ?? []), destination]);
    }
  }

  want(appId: string, destinations: Destinations | undefined): void {
    if (!destinations || destinations.length === 0) return;
    this.#want(appId, destinations);
    this.#addWanted();
  }

  forget(appId: string): void {
    if (this.#wanted.has(appId)) this.#wanted = new Map([...this.#wanted].filter(([wanting]) => wanting !== appId));
  }

  open(streamId: string, liveInputUid: string, onChange: () => void, onBegun: () => void): void {
    const { outputs: saved, wantedOutputs } = this.#saved;
    const unclear = wantedOutputs.map(({ destination }) => destination);
    this.#outputs = this.#restreaming.open({ streamId, liveInputUid, saved, unclear, onChange, onBegun });
    this.#addWanted();
  }

  list(): readonly RestreamOutput[] {
    return this.#outputs?.list() ?? [];
  }

  records(): StreamRecord['outputs'] {
    return this.#outputs?.records() ?? this.#saved.outputs;
  }

  wanted(): StreamRecord['wantedOutputs'] {
    return [
      ...[...this.#wanted].flatMap(([addedBy, all]) => all.map((destination) => ({ addedBy, destination }))),
      ...(this.#outputs?.unfinished() ?? []),
    ];
  }

  live(): RestreamOutputs | undefined {
    return this.#outputs;
  }

  close(): void {
    this.#outputs?.close();
  }

  #want(appId: string, destinations: Destinations): void {
    this.#wanted = new Map(this.#wanted).set(appId, destinations);
  }

  #addWanted(): void {
    if (!this.#outputs) return;
    const wanted = this.#wanted;
    this.#wanted = NOTHING;
    for (const [appId, destinations] of wanted) void this.#outputs.addAll(appId, destinations);
  }
}
