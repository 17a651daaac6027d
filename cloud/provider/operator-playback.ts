/** Every way there is to watch a live input, for the operator's page; apps get those that MentraOS names. Pure. */
import type { PlaybackUrls } from '../../shared/protocol/app-messages.ts';
import type { ProviderProfile } from './live-inputs.ts';

export interface OperatorPlayback extends PlaybackUrls {
  /** HLS in parts of a segment. */
  llHlsUrl?: string;
  /** HTTP-FLV; with `ws:` in place of `http:` WS-FLV. */
  flvUrl?: string;
}

export function operatorPlayback(
  { playsLowLatencyHls, playsFlv }: Pick<ProviderProfile, 'playsLowLatencyHls' | 'playsFlv'>,
  urls: PlaybackUrls,
  liveInputUid: string,
): OperatorPlayback {
  const { origin } = new URL(urls.hlsUrl);
  return {
    ...urls,
    ...(playsLowLatencyHls ? { llHlsUrl: `${urls.hlsUrl}?protocol=llhls` } : {}),
    ...(playsFlv ? { flvUrl: `${origin}/${liveInputUid}/live.flv` } : {}),
  };
}
