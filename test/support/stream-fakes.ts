/** Fakes with function fields for a stream's surroundings: glasses, ingest source, playback, viewers. */
import type { IngestPoint, IngestSource } from '../../cloud/provider/ingest-source.ts';
import type { Playback, PlaybackEvents } from '../../cloud/provider/playback.ts';
import type { Importance, Viewer } from '../../cloud/streams/viewers.ts';
import type { ManagedStreamStatus } from '../../shared/protocol/app-messages.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import { Secret } from '../../shared/secrets.ts';

export function fakeGlasses() {
  const sent: ToGlasses[] = [];
  const glasses = {
    sent,
    isUp: true,
    isConnected: () => glasses.isUp,
    send(message: ToGlasses) {
      if (glasses.isUp) sent.push(message);
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
    discard: (streamId: string) => void discarded.push(streamId),
    /** Lets the newest creation come out well. */
    provide() {
      const newest = waiting.at(-1);
      newest?.resolve(ingestPoint(newest.streamId));
      return Promise.resolve();
    },
  };
  return source satisfies IngestSource;
}

export function ingestPoint(streamId: string): IngestPoint {
  return {
    publishUrl: new Secret(`rtmp://127.0.0.1/live/key-of-${streamId}`),
    urls: { hlsUrl: `http://x/${streamId}.m3u8`, dashUrl: `http://x/${streamId}.mpd`, thumbnailUrl: 'http://x/t.jpg' },
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

export function fakeViewer(id: string) {
  const heard: ManagedStreamStatus[] = [];
  const viewer = {
    id,
    heard,
    importances: [] as Importance[],
    deliver(status: ManagedStreamStatus, importance: Importance) {
      heard.push(status);
      viewer.importances.push(importance);
    },
    words: () => heard.map(({ status }) => status),
    last: () => heard.at(-1),
  };
  return viewer satisfies Viewer;
}
