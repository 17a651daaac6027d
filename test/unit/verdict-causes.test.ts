import { expect, it } from 'vitest';
import { ownCodes } from '../../cloud/streams/stream-story.ts';
import { causeOfCode, causes } from '../../cloud/streams/verdict-causes.ts';
import { type ErrorCode, errorKinds } from '../../shared/errors.ts';
import { noticeCodes } from '../../shared/protocol/glasses-messages.ts';

/** Of glasses, of where they push to, and of the provider: whatever they may end a stream with. */
const blamable = (Object.keys(errorKinds) as ErrorCode[]).filter((code) => {
  return /^(CAMERA|MICROPHONE|CAPTURE|ENCODER|INGEST|PROVIDER|GLASSES_(SILENT|NOT))/.test(code);
});

it('knows a cause for everything that glasses and provider can end a stream with', () => {
  expect(blamable.length).toBeGreaterThan(25);
  expect(blamable.filter((code) => causeOfCode(code) === undefined)).toEqual([]);
});

it('tells causes apart, and blames nobody for what is no fault', () => {
  const named = (code: string) => Object.entries(causes).find(([, cause]) => cause === causeOfCode(code))?.[0];
  const codes = ['INGEST_DROPPED', 'INGEST_REFUSED_KEY', 'UPLINK_NARROW', 'HEAT', 'BATTERY_LOW', 'ENCODER_CHANGED'];
  expect(codes.map(named)).toEqual(['connection', 'keyRefused', 'uplink', 'heat', 'battery', 'encoder']);
  const harmless = [ownCodes.startSent, ownCodes.publishing, ownCodes.controlBack, ownCodes.endedByOperator, ''];
  expect(harmless.map(named)).toEqual(harmless.map(() => undefined));
  const back = noticeCodes.filter((code) => code.endsWith('_RECOVERED'));
  expect(back.map(named)).toEqual(back.map(() => undefined));
});
