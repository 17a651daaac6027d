/** Fakes with function fields for a stream's surroundings: glasses, ingest source, playback, viewers. */
import type { IngestPoint, IngestSource } from '../../cloud/provider/ingest-source.ts';
import type { Playback, PlaybackEvents } from '../../cloud/provider/playback.ts';
import type {
  Destination,
  RestreamedStream,
  Restreaming,
  RestreamOutput,
  RestreamOutputs,
} from '../../cloud/provider/restream-outputs.ts';
import type { StreamRecord } from '../../cloud/store/records.ts';
import type { AppStatus } from '../../cloud/streams/stream-words.ts';
import type { Importance, Viewer } from '../../cloud/streams/viewers.ts';
import type { ManagedStreamStatus } from '../../shared/protocol/app-messages.ts';
import type { Dialect } from '../../shared/protocol/dialects.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { Secret } from '../../shared/secrets.ts';

export function fakeGlasses() {
  const sent: ToGlasses[] = [];
  const glasses = {
    sent,
    isUp: true,
    isDialectKnown: true,
    dialects: [] as (Dialect | undefined)[],
    isConnected: () => glasses.isUp,
    knowsDialect: () => glasses.isDialectKnown,
    send(message: ToGlasses, dialect?: Dialect) {
      if (glasses.isUp) sent.push(message);
      if (message.type === 'start_stream' || dialect) glasses.dialects.push(dialect);
      return glasses.isUp;
    },
    types: () => sent.map(({ type }) => type).filter((type) => type !== 'keep_stream_alive'),
    keepAlives: () => sent.filter(({ type }) => type === 'keep_stream_alive').length,
  };
  return glasses;
}

export function fakeSource() {
  const waiting: { streamId: string; resolve: (point: IngestPoint) => void; reject: (error: unknown) => void }[] = [];
  const discarded: string[] = [];
  const source = {
    waiting,
    discarded,
    provision: (streamId: string) =>
      new Promise<IngestPoint>((resolve, reject) => {
        waiting.push({ streamId, resolve, reject });
      }),
    adopted: [] as string[],
    adopt(streamId: string, { publishUrl, ...point }: NonNullable<StreamRecord['ingest']>): IngestPoint {
      source.adopted.push(streamId);
      return { ...point, publishUrl: new Secret(publishUrl) };
    },
    discard: (streamId: string) => void discarded.push(streamId),
    forgotten: [] as string[],
    forget: (streamId: string) => void source.forgotten.push(streamId),
    /** Lets the newest creation come out well. */
    provide() {
      const newest = waiting.at(-1);
      newest?.resolve(ingestPoint(newest.streamId));
      return Promise.resolve();
    },
    provideAll() {
      for (const { resolve, streamId } of waiting) resolve(ingestPoint(streamId));
    },
  };
  return source satisfies IngestSource;
}

export function ingestPoint(streamId: string): IngestPoint {
  return {
    publishUrl: new Secret(`rtmp://127.0.0.1/live/key-of-${streamId}`),
    urls: { hlsUrl: `http://x/${streamId}.m3u8`, dashUrl: `http://x/${streamId}.mpd`, thumbnailUrl: 'http://x/t.jpg' },
    liveInputUid: `uid-${streamId}`,
    keyFrameIntervalMs: 1000,
  };
}

export function fakePlayback() {
  const watches: { events: PlaybackEvents; isOpen: boolean; hurried: boolean }[] = [];
  const playback = {
    watches,
    watch(_target: unknown, events: PlaybackEvents) {
      const entry = { events, isOpen: true, hurried: false };
      watches.push(entry);
      return {
        hurry: () => {
          entry.hurried = true;
        },
        close: () => {
          entry.isOpen = false;
        },
      };
    },
    open: () => watches.filter(({ isOpen }) => isOpen),
    prove: () => playback.open().at(-1)?.events.live(),
    advance: () => playback.open().at(-1)?.events.advanced(),
  };
  return playback satisfies Playback;
}

/** Either kind of status, as tests look at it. */
export type Heard = Partial<Omit<ManagedStreamStatus, 'type' | 'status'>> & {
  type: string;
  status: string;
  errorDetails?: string | undefined;
};

export function fakeViewer(id: string) {
  const heard: Heard[] = [];
  const viewer = {
    id,
    heard,
    importances: [] as Importance[],
    deliver(status: AppStatus, importance: Importance) {
      heard.push(status);
      viewer.importances.push(importance);
    },
    words: () => heard.map(({ status }) => status),
    last: () => heard.at(-1),
  };
  return viewer satisfies Viewer;
}

/** Outputs that come to what the test says. */
export function fakeRestreaming() {
  const opened: (RestreamedStream & {
    list: RestreamOutput[];
    unfinished: ReturnType<RestreamOutputs['unfinished']>;
    isClosed: boolean;
  })[] = [];
  const restreaming = {
    opened,
    open(stream: RestreamedStream) {
      const list: RestreamOutput[] = stream.saved.map(({ name, ...saved }) => ({
        ...saved,
        ...(name === undefined ? {} : { name }),
        state: 'unknown' as const,
      }));
      const entry: (typeof opened)[number] = { ...stream, list, unfinished: [], isClosed: false };
      opened.push(entry);
      const add = (addedBy: string, { url, name }: Destination): RestreamOutput => {
        const output: RestreamOutput = {
          outputId: `out-${list.length}`,
          ...{ url, addedBy, state: 'unknown' as const },
          ...(name === undefined ? {} : { name }),
        };
        list.push(output);
        stream.onChange();
        return output;
      };
      return {
        list: () => list,
        async addAll(appId: string, destinations: readonly Destination[]) {
          for (const destination of destinations) add(appId, destination);
        },
        add: async (appId: string, destination: Destination) => add(appId, destination),
        async remove(_appId: string, outputId: string) {
          list.splice(
            list.findIndex((output) => output.outputId === outputId),
            1,
          );
          stream.onChange();
        },
        unfinished: () => entry.unfinished,
        records: () => list.map(({ state: _, error: __, ...saved }) => saved),
        close: () => {
          entry.isClosed = true;
        },
      };
    },
  };
  return restreaming satisfies Restreaming;
}
