import { expect, it } from 'vitest';
import { createKnownInputs } from '../../cloud/cluster/known-inputs.ts';
import type { KnownInput } from '../../cloud/provider/stray-sweep.ts';
import { GlasscastError } from '../../shared/errors.ts';

type Answer = (body: unknown, from: string) => unknown;

function world() {
  const answers = new Map<string, Answer>();
  const node = (nodeId: string, own: KnownInput[]) =>
    createKnownInputs(
      {
        others: () => ['a', 'b', 'c'].filter((other) => other !== nodeId),
        answer: (_subject, take) => void answers.set(nodeId, take),
        async call(to, _subject, body) {
          const answer = answers.get(to);
          if (!answer) throw new GlasscastError('NODE_UNREACHABLE');
          return JSON.parse(JSON.stringify(await answer(body, nodeId)));
        },
      },
      () => own,
    );
  return { answers, node };
}

it('a node hears what all others have at the provider, also what is only on its way', async () => {
  const { node } = world();
  const a = node('a', []);
  node('b', [{ streamId: 'm1', liveInputUid: 'uid-1' }]);
  node('c', [{ streamId: 'm2', liveInputUid: undefined }]);
  expect(await a.elsewhere()).toEqual([{ streamId: 'm1', liveInputUid: 'uid-1' }, { streamId: 'm2' }]);
});

it('one that does not say it makes the whole answer worthless', async () => {
  const { answers, node } = world();
  const a = node('a', []);
  node('b', [{ streamId: 'm1', liveInputUid: 'uid-1' }]);
  await expect(a.elsewhere()).rejects.toThrow('cannot be reached');
  answers.set('c', () => 'nonsense');
  await expect(a.elsewhere()).rejects.toThrow();
});
