import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { askHidden } from '../../scripts/cli/hidden-prompt.ts';

function keyboard() {
  const raw: boolean[] = [];
  const keys = Object.assign(new EventEmitter(), {
    isTTY: true,
    setRawMode: (isRaw: boolean) => void raw.push(isRaw),
    resume: () => {},
    pause: () => {},
  });
  const shown: string[] = [];
  const output = { write: (text: string) => shown.push(text) };
  return {
    keys,
    raw,
    output,
    shown: () => shown.join(''),
    type: (text: string) => void keys.emit('data', Buffer.from(text)),
  };
}

test('takes what is typed and shows none of it', async () => {
  const { keys, raw, output, shown, type } = keyboard();
  const asked = askHidden('Password: ', keys, output);
  type('secrex');
  type('\u007ft wör');
  type('d\r');
  expect((await asked)?.reveal()).toBe('secret wörd');
  expect(shown()).toBe('Password: \n');
  expect(raw).toEqual([true, false]);
  expect(keys.listenerCount('data')).toBe(0);
});

test('Ctrl-C ends it, and gives the terminal back', async () => {
  const { keys, raw, output, type } = keyboard();
  const asked = askHidden('Password: ', keys, output);
  type('abc\u0003');
  await expect(asked).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
  expect(raw).toEqual([true, false]);
});

test('where nobody is, nobody is asked', async () => {
  const { output } = keyboard();
  expect(
    await askHidden('Password: ', Object.assign(new EventEmitter(), { resume() {}, pause() {} }), output),
  ).toBeUndefined();
});
