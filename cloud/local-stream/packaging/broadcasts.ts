/**
 * What happens between a publisher's arrival and the end of its broadcast: one broadcast per live input, `live` while somebody
 * publishes, `held` for the hold window after that, then over. Within one broadcast there is one video; the next has a new one.
 * Owns the packager and the live window of each; decides nothing about keys, serves nothing.
 */
import type { Clock, Timer } from '../../../shared/clock.ts';
import type { Log } from '../../../shared/log.ts';
import { type FlvTag, isConfiguration } from '../../../shared/rtmp/flv.ts';
import type { LiveInput } from '../api/live-input.ts';
import type { Recording } from '../recordings/recordings.ts';
import type { Video } from '../recordings/video.ts';
import { createLiveWindow, type LiveWindow } from './live-window.ts';
import { createPackager, type Packager, type PackagerSink } from './packager.ts';

export interface Broadcasts {
  published(publication: { inputUid: string; publicationId: string }): void;
  tag(inputUid: string, publicationId: string, tag: FlvTag): void;
  unpublished(publication: { inputUid: string; publicationId: string }): void;
  /** After each change of an input: switched off, recording off or gone ends the broadcast at once, without a hold. */
  reconsider(inputUid: string): void;
  onAir(inputUid: string): OnAir | undefined;
  onAirVideo(videoUid: string): OnAir | undefined;
  /** Somebody publishes, and the broadcast was taken off air because its recording was switched off. */
  isTakenOff(inputUid: string): boolean;
  /** Ends all broadcasts; their videos are being finished when it returns. */
  close(): void;
}

export interface OnAir {
  /** A publisher is connected; false during the hold window. */
  isLive: boolean;
  videoUid: string;
  window: LiveWindow;
}

export interface BroadcastsOptions {
  clock: Clock;
  log: Log;
  /** Undefined: no such input (any more). */
  input: (inputUid: string) => LiveInput | undefined;
  beginVideo: (input: LiveInput, size: { width: number; height: number }) => Video;
  beginRecording: (videoUid: string) => Recording;
  endVideo: (videoUid: string, written: Promise<void>) => Promise<void>;
  /** No publisher can go on with this broadcast any more. */
  onEnded: (inputUid: string) => void;
  /** For inputs that name none. */
  defaultHoldMs: number;
  /** Added to every hold window. The real one was measured at about 3 s. */
  holdMarginMs: number;
  /** Length of parts, for inputs that prefer low latency. */
  partTargetMs: number;
}

interface Broadcast {
  inputUid: string;
  /** Undefined: held. */
  publicationId: string | undefined;
  /** Newest decoder configurations, for a packager that starts in the middle. */
  headers: { video?: FlvTag; audio?: FlvTag; script?: FlvTag };
  packager: Packager | undefined;
  onAir: { video: Video; window: LiveWindow; recording: Recording } | undefined;
  hold: Timer | undefined;
  isTakenOff: boolean;
}

/** A longer timer would fire at once: Node counts them in 31 bits. */
const MAX_HOLD_MS = 2 ** 31 - 1;

export function createBroadcasts(options: BroadcastsOptions): Broadcasts {
  const { clock, log } = options;
  const broadcasts = new Map<string, Broadcast>();

  function startPackager(broadcast: Broadcast, input: LiveInput): Packager {
    const packager = createPackager({
      sink: sinkOf(broadcast, input),
      nowMs: clock.now,
      log: log.child({ inputUid: input.uid }),
      partTargetMs: input.preferLowLatency ? options.partTargetMs : undefined,
    });
    for (const header of Object.values(broadcast.headers)) packager.tag(header);
    return packager;
  }

  /** The video begins with the first thing that can be played: a publisher that sends nothing leaves no recording. */
  function sinkOf(broadcast: Broadcast, input: LiveInput): PackagerSink {
    return {
      period(period, inits) {
        if (!broadcast.onAir) {
          const video = options.beginVideo(options.input(input.uid) ?? input, period.video);
          const recording = options.beginRecording(video.uid);
          broadcast.isTakenOff = false;
          broadcast.onAir = { video, recording, window: createLiveWindow({ startedMs: period.wallMs }) };
        }
        broadcast.onAir.window.period(period, inits);
        broadcast.onAir.recording.period(period, inits);
      },
      part(part, data) {
        broadcast.onAir?.window.part(part, data);
      },
      segment(segment, data) {
        broadcast.onAir?.window.segment(segment, data);
        broadcast.onAir?.recording.segment(segment, data);
      },
    };
  }

  function takeOffAir(broadcast: Broadcast): void {
    broadcast.packager?.flush();
    broadcast.packager = undefined;
    const { onAir } = broadcast;
    broadcast.onAir = undefined;
    if (!onAir) return;
    onAir.window.close();
    const videoUid = onAir.video.uid;
    log.info({ inputUid: broadcast.inputUid, videoUid }, 'broadcast-ended');
    void options.endVideo(videoUid, onAir.recording.finish());
  }

  function end(broadcast: Broadcast): void {
    broadcast.hold?.cancel();
    broadcasts.delete(broadcast.inputUid);
    takeOffAir(broadcast);
    options.onEnded(broadcast.inputUid);
  }

  function toOnAir(broadcast: Broadcast | undefined): OnAir | undefined {
    if (!broadcast?.onAir) return undefined;
    const { video, window } = broadcast.onAir;
    return { isLive: broadcast.publicationId !== undefined, videoUid: video.uid, window };
  }

  return {
    published({ inputUid, publicationId }) {
      const held = broadcasts.get(inputUid);
      held?.hold?.cancel();
      const broadcast = held ?? {
        inputUid,
        publicationId,
        headers: {},
        packager: undefined,
        onAir: undefined,
        hold: undefined,
        isTakenOff: false,
      };
      broadcast.hold = undefined;
      broadcast.publicationId = publicationId;
      broadcasts.set(inputUid, broadcast);
    },
    tag(inputUid, publicationId, tag) {
      const broadcast = broadcasts.get(inputUid);
      const input = options.input(inputUid);
      if (!input || broadcast?.publicationId !== publicationId) return;
      if (isConfiguration(tag)) broadcast.headers[tag.kind] = tag;
      if (input.recording.mode === 'off') return;
      // A new packager has been told the headers, this one among them; once more does not matter.
      broadcast.packager ??= startPackager(broadcast, input);
      broadcast.packager.tag(tag);
    },
    unpublished({ inputUid, publicationId }) {
      const broadcast = broadcasts.get(inputUid);
      if (broadcast?.publicationId !== publicationId) return;
      broadcast.publicationId = undefined;
      const seconds = options.input(inputUid)?.recording.timeoutSeconds;
      const askedMs = (seconds ? seconds * 1000 : options.defaultHoldMs) + options.holdMarginMs;
      const holdMs = Math.min(askedMs, MAX_HOLD_MS);
      log.info({ inputUid, holdMs }, 'broadcast-held');
      broadcast.hold = clock.after('broadcast-hold', holdMs, () => end(broadcast));
    },
    reconsider(inputUid) {
      const broadcast = broadcasts.get(inputUid);
      if (!broadcast) return;
      const input = options.input(inputUid);
      if (!input?.enabled) end(broadcast);
      else if (input.recording.mode === 'off') {
        broadcast.isTakenOff ||= broadcast.onAir !== undefined;
        takeOffAir(broadcast);
      }
    },
    isTakenOff: (inputUid) => broadcasts.get(inputUid)?.isTakenOff ?? false,
    onAir: (inputUid) => toOnAir(broadcasts.get(inputUid)),
    onAirVideo: (videoUid) => toOnAir([...broadcasts.values()].find(({ onAir }) => onAir?.video.uid === videoUid)),
    close() {
      for (const broadcast of [...broadcasts.values()]) end(broadcast);
    },
  };
}
