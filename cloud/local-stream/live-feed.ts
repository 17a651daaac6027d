/**
 * The live media of each input as FLV tags, for viewers who join in the middle: decoder configuration, then everything since the
 * newest key frame, then what comes. One rising timeline whatever publishers come and go. Never waits for a viewer, keeps no
 * queue for one: how much may wait is each egress's own rule.
 */
import type { Clock } from '../../shared/clock.ts';
import { type FlvTag, isConfiguration, isKeyFrame } from '../../shared/rtmp/flv.ts';
import { createOutputTimeline, type OutputTimeline } from './output-timeline.ts';

export interface FeedViewer {
  /** The body is shared with every other viewer: read it, never write into it. */
  tag(tag: FlvTag): void;
  /** The broadcast is over; once, and nothing comes after it. */
  ended(): void;
}

/** What the publisher has shown so far. */
export interface FeedDescription {
  /** A publisher is connected; false during the hold window. */
  isLive: boolean;
  hasVideo: boolean;
  /** A decoder configuration came, or the metadata promise sound. */
  hasAudio: boolean;
}

export interface LiveFeed {
  published(publication: { inputUid: string; publicationId: string }): void;
  tag(inputUid: string, publicationId: string, tag: FlvTag): void;
  /** Viewers stay, for a publisher that comes back within the hold window. */
  unpublished(publication: { inputUid: string; publicationId: string }): void;
  /** The input's broadcast is over: its viewers are told. */
  end(inputUid: string): void;
  /**
   * The viewer gets what is there before this returns. Returns the way to leave; undefined when nothing is on air.
   * Video and sound begin with a key frame.
   */
  join(inputUid: string, viewer: FeedViewer): (() => void) | undefined;
  describe(inputUid: string): FeedDescription | undefined;
  /** Ends every broadcast. */
  close(): void;
}

interface Feed {
  /** Undefined: held. */
  publicationId: string | undefined;
  readonly timeline: OutputTimeline;
  headers: { script?: FlvTag; video?: FlvTag; audio?: FlvTag };
  /** Since the newest key frame; empty when there is none, or when it was too much to keep. */
  pictures: FlvTag[];
  pictureBytes: number;
  /** Value: whether it still waits for its first key frame. */
  readonly viewers: Map<FeedViewer, boolean>;
}

/** A publisher whose key frames are further apart than this makes its viewers wait for the next one. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;

export function createLiveFeed({ clock }: { clock: Clock }): LiveFeed {
  const feeds = new Map<string, Feed>();

  function keep(feed: Feed, tag: FlvTag): void {
    if (isConfiguration(tag)) {
      feed.headers[tag.kind] = tag;
      // Pictures of another configuration are of no use with this one.
      if (tag.kind === 'video') forgetPictures(feed);
      return;
    }
    if (isKeyFrame(tag)) forgetPictures(feed);
    else if (feed.pictures.length === 0) return;
    feed.pictures.push(tag);
    feed.pictureBytes += tag.body.length;
    if (feed.pictureBytes > MAX_KEPT_BYTES) forgetPictures(feed);
  }

  function show(viewers: Feed['viewers'], tag: FlvTag): void {
    const isMedia = !isConfiguration(tag);
    for (const [viewer, isWaiting] of viewers) {
      if (isWaiting && isMedia && !isKeyFrame(tag)) continue;
      if (isWaiting && isMedia) viewers.set(viewer, false);
      viewer.tag(tag);
    }
  }

  function end(inputUid: string): void {
    const feed = feeds.get(inputUid);
    if (!feeds.delete(inputUid) || !feed) return;
    const viewers = [...feed.viewers.keys()];
    feed.viewers.clear();
    for (const viewer of viewers) viewer.ended();
  }

  return {
    published({ inputUid, publicationId }) {
      const feed = feeds.get(inputUid) ?? {
        publicationId,
        timeline: createOutputTimeline({ clock }),
        headers: {},
        pictures: [],
        pictureBytes: 0,
        viewers: new Map<FeedViewer, boolean>(),
      };
      feed.publicationId = publicationId;
      feed.timeline.begin();
      feeds.set(inputUid, feed);
    },
    tag(inputUid, publicationId, tag) {
      const feed = feeds.get(inputUid);
      if (feed?.publicationId !== publicationId) return;
      const placed = feed.timeline.place(tag);
      keep(feed, placed);
      show(feed.viewers, placed);
    },
    unpublished({ inputUid, publicationId }) {
      const feed = feeds.get(inputUid);
      if (feed?.publicationId === publicationId) feed.publicationId = undefined;
    },
    end,
    join(inputUid, viewer) {
      const feed = feeds.get(inputUid);
      if (!feed) return undefined;
      const { script, video, audio } = feed.headers;
      feed.viewers.set(viewer, feed.pictures.length === 0);
      for (const tag of [script, video, audio, ...feed.pictures]) if (tag) viewer.tag(tag);
      return () => void feed.viewers.delete(viewer);
    },
    describe(inputUid) {
      const feed = feeds.get(inputUid);
      if (!feed) return undefined;
      const { script, video, audio } = feed.headers;
      const promisesAudio = script?.body.includes('audiocodecid') ?? false;
      return {
        isLive: feed.publicationId !== undefined,
        hasVideo: video !== undefined,
        hasAudio: audio !== undefined || promisesAudio,
      };
    },
    close() {
      for (const inputUid of [...feeds.keys()]) end(inputUid);
    },
  };
}

function forgetPictures(feed: Feed): void {
  feed.pictures = [];
  feed.pictureBytes = 0;
}
