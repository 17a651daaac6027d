import fc from 'fast-check';
import { expect, it } from 'vitest';
import { recordingNames } from '../../cloud/provider/recording-names.ts';
import { newStreamId } from '../../shared/stream.ts';

it('are read back with any time behind them, whoever the user is', () => {
  const user = fc.option(fc.stringMatching(/^[^<>]{1,60}$/), { nil: undefined });
  const time = fc.constantFrom('', ' 2026-11-28T10:00:00.000Z', ' 28 Nov 26 10:00 UTC');
  fc.assert(
    fc.property(user, time, (userId, suffix) => {
      const streamId = newStreamId('managed');
      expect(recordingNames.read(recordingNames.write(streamId, userId) + suffix)).toEqual({ streamId, userId });
    }),
  );
});

it('say nothing when others wrote them', () => {
  fc.assert(
    fc.property(fc.string(), (name) => {
      if (!name.startsWith('glasscast ')) expect(recordingNames.read(name)).toEqual({});
    }),
  );
});
