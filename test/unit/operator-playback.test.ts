import { expect, it } from 'vitest';
import { providerProfiles } from '../../cloud/provider/live-inputs.ts';
import { operatorPlayback } from '../../cloud/provider/operator-playback.ts';

const urls = {
  hlsUrl: 'https://play.example:8788/uid-1/manifest/video.m3u8',
  dashUrl: 'https://play.example:8788/uid-1/manifest/video.mpd',
};

it('names what the local Stream plays, and of Cloudflare only what plays there', () => {
  expect(operatorPlayback(providerProfiles.local, urls, 'uid-1')).toEqual({
    ...urls,
    llHlsUrl: 'https://play.example:8788/uid-1/manifest/video.m3u8?protocol=llhls',
    flvUrl: 'https://play.example:8788/uid-1/live.flv',
  });
  expect(operatorPlayback(providerProfiles.cloudflare, urls, 'uid-1')).toEqual(urls);
});
