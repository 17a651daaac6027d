import { expect, it } from 'vitest';
import { endingCodeOf, endings, entrySources, isErrorCode, sourceOf } from '../../cloud/streams/stream-story.ts';
import { errorKinds } from '../../shared/errors.ts';
import { noticeCodes } from '../../shared/protocol/glasses-messages.ts';

it('says where what a code tells has happened', () => {
  for (const code of [...Object.keys(errorKinds), ...noticeCodes]) expect(entrySources).toContain(sourceOf(code));
  const codes = [
    'UPLINK_NARROW',
    'INGEST_DROPPED',
    'INGEST_REFUSED_KEY',
    'ENCODER_STALLED',
    'CAMERA_BUSY',
    'TAKEN_OVER',
  ];
  expect(codes.map(sourceOf)).toEqual(['network', 'network', 'provider', 'encoder', 'device', 'relay']);
  expect([sourceOf('ENDED_BY_VIEWERS'), sourceOf('PROVIDER_FAILED'), sourceOf('')]).toEqual([
    'app',
    'provider',
    'device',
  ]);
});

it('knows how a stream was ended by the words that everybody heard', () => {
  expect(Object.values(endings).map(endingCodeOf)).toEqual([
    ...['ENDED_BY_OPERATOR', 'ENDED_BY_LIMIT', 'ENDED_BY_GLASSES', 'ENDED_BY_RELAY'],
  ]);
  expect([endingCodeOf(undefined), isErrorCode('CAMERA_BUSY'), isErrorCode('toString')]).toEqual([
    ...['ENDED_BY_VIEWERS', true, false],
  ]);
});
