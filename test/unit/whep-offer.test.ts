/** What is read from a viewer's offer, and what is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readOffer } from '../../cloud/local-stream/whep/offer.ts';
import { chromiumFormats, offerSdp } from '../support/whep-offers.ts';

const needs = { profileIdc: 66, hasAudio: true };
function accepted(sdp: string, wanted: Parameters<typeof readOffer>[1] = needs) {
  const read = readOffer(sdp, wanted);
  if ('refused' in read) throw new Error(read.refused.sentence);
  return read.offer;
}

describe('an offer', () => {
  it.each([
    [66, 102],
    [77, 108],
    [100, 110],
    [undefined, 102],
    [244, 102],
  ])('for profile %j is answered in payload type %i, with packetization mode 1', (profileIdc, payloadType) => {
    const { video, audio, unused } = accepted(offerSdp(), { profileIdc, hasAudio: true });
    expect(video).toMatchObject({ mid: '0', payloadType, playoutDelayId: 5 });
    expect(video.parameters).toContain('packetization-mode=1');
    expect(audio).toEqual({ mid: '1', payloadType: 111, parameters: 'minptime=10;useinbandfec=1' });
    expect(unused).toEqual([]);
  });
  it('that takes sound where there is none has that section answered with nothing', () => {
    const { audio, unused } = accepted(offerSdp(), { profileIdc: 66, hasAudio: false });
    expect(audio).toBeUndefined();
    expect(unused).toEqual([{ mid: '1', kind: 'audio', payloadType: 111, codec: 'opus/48000/2' }]);
  });
  it('loses its candidates, whose names would all be looked up', () => {
    const candidates = 'a=candidate:1 1 UDP 21 host.example.com 9 typ host\r\n'.repeat(1000);
    for (const sdp of [offerSdp() + candidates, (offerSdp() + candidates).replaceAll('\r\n', '\n')]) {
      const { sdp: used } = accepted(sdp);
      expect(used).toBe(sdp.startsWith(offerSdp()) ? offerSdp() : offerSdp().replaceAll('\r\n', '\n'));
    }
  });
  it.each(['VP8/', 'VP8/x', 'VP8', '/', 'VP8/99999999999999999999', 'VP8/90000/', 'VP8/90000/2/2'])(
    'with a codec %j keeps it from the library, which would end the process',
    (codec) => {
      const sdp = offerSdp().replace('opus/48000/2', codec);
      expect(accepted(sdp).unused).toEqual([{ mid: '1', kind: 'audio', payloadType: 111, codec: 'PCMU/8000' }]);
    },
  );
  it('knows no playout delay when it names none, or one that no header holds', () => {
    expect(accepted(offerSdp().replace(/a=extmap.*\r\n/, '')).video).not.toHaveProperty('playoutDelayId');
    expect(accepted(offerSdp().replace('a=extmap:5', 'a=extmap:99')).video).not.toHaveProperty('playoutDelayId');
  });
  it.each([
    ['without H.264', offerSdp({ video: chromiumFormats.slice(0, 2) })],
    ['with H.264 in mode 0 only', offerSdp({ video: [chromiumFormats[3]] })],
    ['of sound only', offerSdp().replace('m=video', 'm=other')],
  ])('%s is not acceptable, and told why', (_, sdp) => {
    expect(readOffer(sdp, needs)).toMatchObject({ refused: { http: 406, sentence: expect.stringContaining('H.264') } });
  });
  it.each([
    ['nothing', ''],
    ['JSON', '{"type":"offer"}'],
    ['no section', offerSdp().split('m=')[0] ?? ''],
    ['no fingerprint', offerSdp().replace(/a=fingerprint.*\r\n/g, '')],
    ['no mid', offerSdp().replace(/a=mid.*\r\n/g, '')],
    ['a media line that is none', offerSdp().replace('m=video 9', 'm=video nine')],
    ['a hundred sections', offerSdp() + offerSdp({ hasAudio: false }).slice(4).repeat(100)],
  ])('that is %s cannot be parsed', (_, sdp) => {
    expect(readOffer(sdp, needs)).toEqual({ refused: { http: 400, sentence: 'Unable to parse SDP' } });
  });
  it('of any text, and of any with lines lost, changed or doubled, is read or refused', () => {
    const lines = offerSdp().split('\r\n');
    const line = fc.oneof(fc.constantFrom(...lines), fc.string());
    fc.assert(
      fc.property(fc.array(line), fc.string(), (some, text) => {
        for (const sdp of [text, some.join('\r\n'), ['v=0', ...some].join('\n')]) {
          const read = readOffer(sdp, needs);
          if ('offer' in read) expect(read.offer.video.payloadType).toBeLessThanOrEqual(127);
        }
      }),
    );
  });
});
