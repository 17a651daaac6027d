/**
 * The restream outputs of one stream from its side: destinations wait here until there is an ingest to push them from.
 * How an output is made and watched is the provider's part.
 */
import type { Restreaming, RestreamOutput, RestreamOutputs } from '../provider/restream-outputs.ts';
import type { StreamRecord } from '../store/records.ts';

type Destinations = readonly { url: string; name?: string | undefined }[];

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

/** What an earlier process had added, or had not come to, is taken up. */
export function createStreamOutputs(
  restreaming: Restreaming,
  { outputs: saved, wantedOutputs }: Pick<StreamRecord, 'outputs' | 'wantedOutputs'>,
): StreamOutputs {
  const wanted = new Map<string, Destinations>();
  for (const { addedBy, destination } of wantedOutputs) {
    wanted.set(addedBy, [...(wanted.get(addedBy) ?? []), destination]);
  }
  let outputs: RestreamOutputs | undefined;

  function addWanted(): void {
    if (!outputs) return;
    for (const [appId, destinations] of wanted) void outputs.addAll(appId, destinations);
    wanted.clear();
  }
  return {
    want(appId, destinations) {
      if (!destinations || destinations.length === 0) return;
      wanted.set(appId, destinations);
      addWanted();
    },
    forget: (appId) => void wanted.delete(appId),
    open(streamId, liveInputUid, onChange, onBegun) {
      const unclear = wantedOutputs.map(({ destination }) => destination);
      outputs = restreaming.open({ streamId, liveInputUid, saved, unclear, onChange, onBegun });
      addWanted();
    },
    list: () => outputs?.list() ?? [],
    records: () => outputs?.records() ?? saved,
    wanted: () => [
      ...[...wanted].flatMap(([addedBy, all]) => all.map((destination) => ({ addedBy, destination }))),
      ...(outputs?.unfinished() ?? []),
    ],
    live: () => outputs,
    close: () => outputs?.close(),
  };
}
