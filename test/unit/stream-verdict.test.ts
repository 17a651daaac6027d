import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createServiceRecord } from '../../cloud/streams/stream-figures.ts';
import {
  entryKinds,
  type ServiceRecord,
  type TimelineEntry,
  type ToldStory,
} from '../../cloud/streams/stream-story.ts';
import { MAX_VERDICT_CHARS, verdictOf } from '../../cloud/streams/stream-verdict.ts';
import { causes } from '../../cloud/streams/verdict-causes.ts';
import { errorKinds } from '../../shared/errors.ts';
import { noticeCodes } from '../../shared/protocol/glasses-messages.ts';
import { isStreamOver, streamStates } from '../../shared/stream.ts';
import { blamed, blameWords } from '../support/blame-words.ts';

/** 14:03:10 in UTC. */
const AT_MS = Date.UTC(2026, 10, 28, 14, 3, 10);
const empty = createServiceRecord().read(0);
const spans = (...ms: number[]) => ({
  ...{ count: ms.length, totalMs: ms.reduce((sum, one) => sum + one, 0), longestMs: Math.max(0, ...ms) },
});

type Given = Partial<TimelineEntry> & { afterMs?: number };
function story(
  state: ToldStory['state'],
  given: Given[],
  record: Partial<ServiceRecord> = {},
  errorCode?: string,
): ToldStory {
  const entries = given.map(({ afterMs = 0, ...entry }, index): TimelineEntry => {
    return { id: index, atMs: AT_MS + afterMs, source: 'device', kind: 'state', text: '', ...entry };
  });
  return { state, entries, record: { ...empty, ...record }, errorCode };
}
const asked: Given = { state: 'provisioning', afterMs: -2_000 };
const live: Given = { state: 'active', afterMs: -1_000 };
const served = { timeToFirstFrameMs: 1_200, liveMs: 34_000 };

describe('a verdict', () => {
  it.each<[string, ToldStory, string]>([
    [
      'of the issue itself',
      story(
        'active',
        [asked, live, { kind: 'notice', code: 'UPLINK_NARROW' }, { kind: 'notice', code: 'UPLINK_RECOVERED' }],
        {
          ...{ ...served, stepsDown: 2, uplink: { lowestBps: 800_000, askedBps: 2_500_000 } },
        },
      ),
      'uplink 0.8 Mbit/s under the asked 2.5 Mbit/s from 14:03:10; stepped down twice; viewers never lost the picture',
    ],
    [
      'when all is well',
      story('active', [asked, live], served),
      'all well: first picture 1.2 s after the request, live for 34 s, no frame lost; viewers never lost the picture',
    ],
    [
      'on a start',
      story('starting', [{ state: 'provisioning' }, { kind: 'step', code: 'START_SENT' }]),
      'asked for at 14:03:10, on its way: the glasses are asked to start and do not push yet',
    ],
    [
      'when it was ended early',
      story('stopped', [{ state: 'provisioning' }, { code: 'ENDED_BY_OPERATOR', afterMs: 4_000 }]),
      'asked for at 14:03:10 and ended before there was a picture, and the operator ended it at 14:03:14',
    ],
    [
      'while the picture is gone',
      story(
        'interrupted',
        [asked, live, { kind: 'trouble', code: 'CAMERA_SILENT' }, { state: 'interrupted', because: 2 }],
        {
          ...{ ...served, stalls: spans(4_000), reconnects: spans(4_000) },
        },
      ),
      'the camera gave no pictures from 14:03:10 for 4.0 s; viewers have had no picture for 4.0 s; ' +
        'see to the plug of the camera and to what else uses it',
    ],
    [
      'when nobody told why',
      story('active', [asked, live, { state: 'interrupted' }, { state: 'active' }], {
        ...{ ...served, stalls: spans(5_000, 1_000), stallCauses: { UNKNOWN: { count: 2, totalMs: 6_000 } } },
      }),
      'no new picture came from 14:03:10, and nobody told why; viewers lost the picture twice, for 6.0 s in all; ' +
        'see whether the glasses and the provider were well then',
    ],
    [
      'of glasses that were never there',
      story('stopped', [asked, { state: 'stopping', code: 'GLASSES_NOT_CONNECTED' }], {}, 'GLASSES_NOT_CONNECTED'),
      'the glasses were not connected at 14:03:10; viewers never saw a picture; see to power and network of the glasses',
    ],
    [
      'when a start was late for a reason',
      story('active', [asked, { kind: 'trouble', code: 'INGEST_UNREACHABLE' }, { ...live, afterMs: 9_000 }], {
        ...{ timeToFirstFrameMs: 11_000, liveMs: 1_000, reconnects: spans(4_000) },
      }),
      'the ingest could not be reached from the glasses at 14:03:10 for 4.0 s; no frame was lost; ' +
        'viewers waited 11 s for the first picture and never lost it',
    ],
    [
      'when the whole network was gone',
      story(
        'active',
        [
          asked,
          live,
          { kind: 'glasses', code: 'CONTROL_LOST' },
          { kind: 'trouble', code: 'INGEST_SILENT', because: 2 },
        ],
        {
          ...{ ...served, controlLosses: spans(9_000), reconnects: spans(1_000) },
        },
      ),
      'the glasses lost their line to the relay from 14:03:10 for 9.0 s, and the push with it; viewers never lost the picture',
    ],
    [
      'that goes back to what made it late',
      story(
        ...(['stopped', [asked, { kind: 'trouble', code: 'ENCODER_FAILED' }] as Given[]] as const),
        {},
        'START_TIMEOUT',
      ),
      // Without a last entry of that code nothing is blamed but what entries show.
      'the encoder crashed at 14:03:10; viewers never saw a picture',
    ],
  ])('%s', (_, told, sentence) => {
    expect(verdictOf(told)).toBe(sentence);
  });

  it('names the root of an end that only says "too late"', () => {
    const told = story(
      'failed',
      [
        asked,
        { kind: 'trouble', code: 'INGEST_REFUSED_KEY' },
        { state: 'failed', code: 'START_TIMEOUT', because: 1, afterMs: 9_000 },
      ],
      {},
      'START_TIMEOUT',
    );
    expect(verdictOf(told)).toMatch(/^the ingest refused the stream key at 14:03:10; viewers never saw a picture/);
  });

  it('of several interruptions names what took most of the time', () => {
    const told = story(
      'active',
      [
        ...([
          asked,
          live,
          { kind: 'trouble', code: 'INGEST_DROPPED' },
          { state: 'interrupted', because: 2 },
        ] as Given[]),
        ...([
          { kind: 'trouble', code: 'CAMERA_NOT_FOUND', afterMs: 60_000 },
          { state: 'interrupted', because: 4 },
        ] as Given[]),
      ],
      {
        ...{ ...served, stalls: spans(1_000, 9_000), reconnects: spans(1_000, 9_000) },
        stallCauses: { INGEST_DROPPED: { count: 1, totalMs: 1_000 }, CAMERA_NOT_FOUND: { count: 1, totalMs: 9_000 } },
      },
    );
    expect(blamed(verdictOf(told))).toEqual(['camera']);
  });

  const lostTwice: Given[] = [
    ...([asked, live, { kind: 'trouble', code: 'ENCODER_FAILED' }, { state: 'interrupted', because: 2 }] as Given[]),
    ...([
      { state: 'active', afterMs: 4_000 },
      { kind: 'trouble', code: 'INGEST_DROPPED', afterMs: 60_000 },
    ] as Given[]),
    { state: 'interrupted', because: 5, afterMs: 61_000 },
  ];
  it('while the picture is gone names why it is gone now, however long it was gone before', () => {
    const record = { ...served, stallCauses: { ENCODER_FAILED: { count: 1, totalMs: 4_000 } } };
    const told = story('interrupted', lostTwice, { ...record, stalls: spans(4_000, 600_000) });
    expect(verdictOf(told)).toMatch(/^the uplink was cut at 14:04:10.*viewers have had no picture for 10 min/);
    const soon = story('interrupted', lostTwice, { ...record, stalls: spans(4_000, 1_000) });
    expect(verdictOf(soon)).toMatch(/^the uplink was cut at 14:04:10.*viewers have had no picture for 1.0 s/);
  });

  it('blames no cause for the time that nobody explained', () => {
    const told = story(
      'active',
      [...lostTwice.slice(0, 5), { state: 'interrupted', afterMs: 60_000 }, { state: 'active', afterMs: 360_000 }],
      {
        ...{ ...served, stalls: spans(1_000, 300_000) },
        stallCauses: { ENCODER_FAILED: { count: 1, totalMs: 1_000 }, UNKNOWN: { count: 1, totalMs: 300_000 } },
      },
    );
    expect(verdictOf(told)).toMatch(/^no new picture came from 14:04:10, and nobody told why; viewers lost/);
  });

  it('dates a cause by when it took the picture away, not by a trouble of the start', () => {
    const told = story(
      'active',
      [
        asked,
        { kind: 'trouble', code: 'INGEST_DROPPED', afterMs: -1_500 },
        live,
        { kind: 'trouble', code: 'INGEST_DROPPED', afterMs: 60_000 },
        { state: 'interrupted', because: 3, afterMs: 61_000 },
        { state: 'active', afterMs: 66_000 },
      ],
      { ...served, stalls: spans(5_000), stallCauses: { INGEST_DROPPED: { count: 1, totalMs: 5_000 } } },
    );
    expect(verdictOf(told)).toMatch(/^the uplink was cut at 14:04:10/);
  });

  it('of a stream that was given up says when the picture went, not when the waiting ended', () => {
    const told = story(
      'failed',
      [...lostTwice, { state: 'failed', code: 'STREAM_INTERRUPTED', because: 6, afterMs: 181_000 }],
      { ...served, stalls: spans(4_000, 120_000) },
      'STREAM_INTERRUPTED',
    );
    expect(verdictOf(told)).toMatch(/viewers had the picture for 34 s and lost it at 14:04:11/);
  });

  it('that is not proven yet after a take-over is not without a picture', () => {
    const told = story(
      'interrupted',
      [...lostTwice.slice(0, 5), { kind: 'takeover', code: 'TAKEN_OVER', afterMs: 60_000 }],
      {
        ...{ ...served, takeOvers: 1, stalls: spans(4_000) },
        stallCauses: { ENCODER_FAILED: { count: 1, totalMs: 4_000 } },
      },
    );
    expect(verdictOf(told)).toMatch(/^the encoder crashed.*viewers lost the picture for 4.0 s/);
  });

  it('does not tell of viewers where the relay cannot look', () => {
    const told = { ...story('active', [asked, live], served), kind: 'unmanaged' as const };
    expect(verdictOf(told)).toBe(
      'all well: the glasses pushed 1.2 s after the request, live for 34 s, no frame lost; ' +
        'whether viewers saw it the relay cannot tell',
    );
  });

  it('gives no advice against heat that is over', () => {
    const hot: Given[] = [asked, live, { kind: 'notice', code: 'HEAT' }];
    expect(verdictOf(story('active', hot, served))).toMatch(/let the glasses cool down$/);
    const over = story('active', [...hot, { kind: 'notice', code: 'HEAT_RECOVERED' }], served);
    expect(verdictOf(over)).not.toMatch(/cool down/);
  });

  const codes = [...Object.keys(errorKinds), ...noticeCodes, 'PUSH_LOST', 'CONTROL_LOST', 'TAKEN_OVER', 'START_SENT'];
  const nasty = fc.constantFrom('rtmp://host/app/the-key', 'One. Two! Three?', '\n', '__proto__', '');
  const figure = fc.double({ min: 0, max: 1e12, noNaN: true });
  const span = fc.record({ count: fc.nat(1_000), totalMs: figure, longestMs: figure });
  const anyEntry = fc.record(
    {
      ...{ atMs: fc.double({ noNaN: true }), id: fc.nat(30), because: fc.nat(30), text: nasty },
      source: fc.constantFrom('app' as const, 'network' as const),
      kind: fc.constantFrom(...entryKinds),
      state: fc.constantFrom(...streamStates),
      code: fc.oneof(fc.constantFrom(...codes), nasty),
      numbers: fc.dictionary(fc.constantFrom('temperatureC', 'batteryPercent', 'awayMs', 'status'), figure),
    },
    { requiredKeys: ['atMs', 'id', 'source', 'kind', 'text'] },
  );
  const anyRecord = fc.record({
    ...{ liveMs: figure, stalls: span, reconnects: span, controlLosses: span, framesLost: figure },
    ...{
      stepsDown: fc.nat(99),
      stepsUp: fc.nat(99),
      providerRetries: fc.nat(9),
      providerWaitMs: figure,
      takeOvers: fc.nat(9),
    },
    timeToFirstFrameMs: fc.option(figure, { nil: undefined }),
    uplink: fc.option(fc.record({ askedBps: figure, lowestBps: figure }), { nil: undefined }),
    stallCauses: fc.dictionary(
      fc.oneof(fc.constantFrom(...codes, 'UNKNOWN'), nasty),
      fc.record({ count: fc.nat(9), totalMs: figure }),
    ),
  });
  const anyStory = fc.record({
    ...{ state: fc.constantFrom(...streamStates), entries: fc.array(anyEntry, { maxLength: 12 }), record: anyRecord },
    errorCode: fc.option(fc.oneof(fc.constantFrom(...codes), nasty), { nil: undefined }),
  }) as fc.Arbitrary<ToldStory>;

  it('is one bounded sentence of its own words whatever happened, the same each time', () => {
    fc.assert(
      fc.property(anyStory, (told) => {
        const verdict = verdictOf(told);
        expect(verdict).toBe(verdictOf(structuredClone(told)));
        expect(verdict.length).toBeGreaterThan(10);
        expect(verdict.length).toBeLessThan(MAX_VERDICT_CHARS);
        expect(verdict).not.toMatch(/[\n\r]|:\/\/|the-key|[.!?](\s|$)|undefined|NaN|Infinity|One\./);
      }),
      { numRuns: 2_000 },
    );
  });

  it('blames nothing that no entry shows, and one cause alone', () => {
    fc.assert(
      fc.property(anyStory, (told) => {
        const names = blamed(verdictOf(told));
        expect(names.length).toBeLessThanOrEqual(1);
        for (const name of names) {
          const { codes: shown } = blameWords[name];
          const isShown = told.entries.some(
            ({ code, state }) => shown.test(code ?? '') || (name === 'unexplained' && state),
          );
          expect([name, isShown]).toEqual([name, true]);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('every error that ends a stream has a cause with words, or at least its code', () => {
    for (const code of Object.keys(errorKinds)) {
      const told = story('failed', [asked, { state: 'failed', code }], {}, code);
      expect(verdictOf(told)).toMatch(/14:03:10/);
      expect(isStreamOver(told.state)).toBe(true);
    }
    expect(Object.keys(causes)).toContain('unnamed');
  });
});
