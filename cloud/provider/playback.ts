/**
 * Proof that viewers can see a stream: an HLS manifest whose newest segment advances, and a DASH manifest.
 * Asks the delivery host only, never the provider's API; no answer of it is taken as an offline sign.
 */

import type { Clock } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import { abortWith } from '../../shared/linked-abort.ts';
import type { Log } from '../../shared/log.ts';

export interface PlaybackTarget {
  streamId: string;
  hlsUrl: string;
  dashUrl: string;
}

export interface PlaybackEvents {
  /** Once: a newer segment has appeared since the watch began, and DASH answers. */
  live(): void;
  /** Each newer segment after that, as far as the calm pace sees them. */
  advanced(): void;
}

export interface PlaybackWatch {
  /** Media is expected now: look at the proving pace until it is proven. */
  hurry(): void;
  close(): void;
}

export interface Playback {
  /** Watches until closed. What is there at the first look is the baseline, not evidence: a frozen manifest proves nothing. */
  watch(target: PlaybackTarget, events: PlaybackEvents): PlaybackWatch;
}

export interface PlaybackLook {
  /** One look: true with a manifest, false when there is none yet (204), undefined when the answer is no evidence. */
  isPlaying(hlsUrl: string): Promise<boolean | undefined>;
}

export interface PlaybackOptions {
  clock: Clock;
  log: Log;
  /** Between looks while live is to be proven. */
  provingPollMs: number;
  /** Between looks before media is expected, and after the proof. */
  watchingPollMs: number;
  fetch?: typeof fetch;
  /** Default 5000. */
  requestTimeoutMs?: number;
}

/** Without a newer segment, before the master is asked again. */
const LOOKS_AT_ONE_VARIANT = 5;

/** Where a playlist stands. Positions compare within one variant only: a reconnect may renumber. */
interface Head {
  variantUrl: string;
  position: number;
}

/** Anything but a browser's name can be answered 403 by the delivery host. */
const USER_AGENT = 'Mozilla/5.0 (X11; Linux x64) AppleWebKit/537.36 (KHTML, like Gecko) Glasscast/1.0 Safari/537.36';

export function createPlayback(options: PlaybackOptions): Playback & PlaybackLook {
  return {
    watch(target, events) {
      const watch = new Watch(options, target, events);
      void watch.run();
      return watch;
    },
    async isPlaying(hlsUrl) {
      const page = await read(options, hlsUrl).catch(() => undefined);
      if (page?.status === 204) return false;
      return page?.status === 200 && page.body.startsWith('#EXTM3U') ? true : undefined;
    },
  };
}

async function read(options: PlaybackOptions, url: string, signal?: AbortSignal) {
  const { clock, requestTimeoutMs = 5_000 } = options;
  const timeout = new AbortController();
  const timer = clock.after('playback-request', requestTimeoutMs, () => timeout.abort());
  const release = abortWith(timeout, signal);
  try {
    const response = await (options.fetch ?? fetch)(url, {
      headers: { 'user-agent': USER_AGENT, 'cache-control': 'no-cache' },
      signal: timeout.signal,
    });
    return { status: response.status, body: await response.text() };
  } finally {
    timer.cancel();
    release();
  }
}

class Watch implements PlaybackWatch {
  readonly #options: PlaybackOptions;
  readonly #target: PlaybackTarget;
  readonly #events: PlaybackEvents;
  readonly #closed = new AbortController();
  #nap = new AbortController();
  #hurried = false;
  #proven = false;
  #head: Head | undefined;
  #hlsAdvanced = false;
  #dashReady = false;
  #variantUrl: string | undefined;
  #looksWithoutAdvance = 0;

  constructor(options: PlaybackOptions, target: PlaybackTarget, events: PlaybackEvents) {
    this.#options = options;
    this.#target = target;
    this.#events = events;
  }

  hurry(): void {
    this.#hurried = true;
    this.#nap.abort();
  }

  close(): void {
    this.#closed.abort();
    this.#nap.abort();
  }

  async run(): Promise<void> {
    const { clock, provingPollMs, watchingPollMs } = this.#options;
    while (!this.#closed.signal.aborted) {
      await this.#look();
      if (this.#closed.signal.aborted) return;
      this.#nap = new AbortController();
      const paceMs = this.#hurried && !this.#proven ? provingPollMs : watchingPollMs;
      await clock.sleep(paceMs, { signal: this.#nap.signal, name: 'playback-look' }).catch(() => {});
    }
  }

  async #look(): Promise<void> {
    // The two manifests are asked for together: the proof waits for the slower one, not for their sum.
    const [head] = await Promise.all([this.#readHead(), this.#readDash()]);
    if (this.#closed.signal.aborted) return;
    const before = this.#head;
    const advanced = head && before && head.variantUrl === before.variantUrl && head.position > before.position;
    if (head) this.#head = head;
    if (advanced) this.#hlsAdvanced = true;
    this.#looksWithoutAdvance = advanced ? 0 : this.#looksWithoutAdvance + 1;
    // A reconnect may give the variant another name and leave the old one as it was: the master tells.
    if (this.#looksWithoutAdvance >= LOOKS_AT_ONE_VARIANT) {
      this.#looksWithoutAdvance = 0;
      this.#variantUrl = undefined;
    }
    if (this.#proven) {
      if (advanced) this.#events.advanced();
    } else if (this.#hlsAdvanced && this.#dashReady) {
      this.#proven = true;
      this.#events.live();
    }
  }

  async #readHead(): Promise<Head | undefined> {
    if (this.#variantUrl === undefined) {
      const master = await this.#text(this.#target.hlsUrl);
      if (master === undefined || !master.startsWith('#EXTM3U')) return undefined;
      const variant = firstVariant(master);
      // A media playlist in place of a master is its own variant.
      if (variant === undefined) return headOf(master, this.#target.hlsUrl);
      this.#variantUrl = absolute(variant, this.#target.hlsUrl);
      if (this.#variantUrl === undefined) return undefined;
    }
    const variantUrl = this.#variantUrl;
    const playlist = (await this.#text(variantUrl)) ?? '';
    // Nothing more comes where the end is said, and its last segment may be of a stream that died.
    const isOpen = playlist.startsWith('#EXTM3U') && !/^#EXT-X-ENDLIST/m.test(playlist);
    const head = isOpen ? headOf(playlist, variantUrl) : undefined;
    // After a reconnect the variant may be called otherwise: the master tells.
    if (!head) this.#variantUrl = undefined;
    return head;
  }

  async #readDash(): Promise<void> {
    if (this.#dashReady) return;
    const manifest = await this.#text(this.#target.dashUrl);
    this.#dashReady = manifest?.includes('<MPD') ?? false;
  }

  /** The body of a 200; anything else, 204 and 403 among them, is no evidence. */
  async #text(url: string): Promise<string | undefined> {
    const { log } = this.#options;
    try {
      const { status, body } = await read(this.#options, url, this.#closed.signal);
      return status === 200 ? body : undefined;
    } catch (error) {
      if (!this.#closed.signal.aborted) {
        log.debug({ streamId: this.#target.streamId, reason: errorText(error) }, 'playback-look-failed');
      }
      return undefined;
    }
  }
}

/** Address of the first variant of a master playlist; undefined when the text is a media playlist. */
export function firstVariant(master: string): string | undefined {
  const lines = master.split(/\r?\n/);
  const tag = lines.findIndex((line) => line.startsWith('#EXT-X-STREAM-INF'));
  if (tag < 0) return undefined;
  return lines.slice(tag + 1).find((line) => line.trim() !== '' && !line.startsWith('#'));
}

/** Number of the segment after the newest one; undefined when there is none yet. */
export function newestPosition(playlist: string): number | undefined {
  const segments = playlist.match(/^#EXTINF:/gm)?.length ?? 0;
  if (segments === 0) return undefined;
  const first = /^#EXT-X-MEDIA-SEQUENCE:(\d+)/m.exec(playlist)?.[1];
  return Number(first ?? 0) + segments;
}

function headOf(playlist: string, variantUrl: string): Head | undefined {
  const position = newestPosition(playlist);
  return position === undefined ? undefined : { variantUrl, position };
}

function absolute(reference: string, base: string): string | undefined {
  return URL.canParse(reference, base) ? new URL(reference, base).href : undefined;
}
