/** Placeholder until the WebRTC player is there: this way always fails, and the next one is taken. */
import type { RunningWay, WayEvents } from './playback-ladder.ts';

export function createWhepPlayer(_video: HTMLVideoElement, _url: string, events: WayEvents): RunningWay {
  queueMicrotask(() => events.failed('WebRTC is not there yet'));
  return { latencyMs: () => undefined, close: () => undefined };
}
