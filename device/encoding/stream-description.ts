/** What players and ingests may want to know before the first picture, as a tag. Rates in kbit/s: Adobe's FLV specification. */
import { AmfEcmaArray, encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import type { EncoderSettings } from '../../shared/stream.ts';

export function streamDescription(settings: EncoderSettings): FlvTag {
  const fields = new AmfEcmaArray({
    width: settings.widthPx,
    height: settings.heightPx,
    framerate: settings.frameRate,
    videocodecid: 7,
    videodatarate: settings.videoBitrateBps / 1000,
    audiocodecid: 10,
    audiodatarate: settings.audioBitrateBps / 1000,
    audiosamplerate: settings.sampleRateHz,
    audiosamplesize: 16,
    stereo: false,
    encoder: 'Glasscast',
  });
  return { kind: 'script', timestampMs: 0, body: encodeAmf0('onMetaData', fields) };
}
