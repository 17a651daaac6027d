/** Asks a person at the terminal for a secret and shows none of it. */
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { Output } from './terminal.ts';

export interface KeyInput {
  isTTY?: boolean;
  setRawMode?(isRaw: boolean): unknown;
  on(event: 'data', listener: (keys: Buffer) => void): unknown;
  off(event: 'data', listener: (keys: Buffer) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

const MAX_CHARS = 1_000;
const [CTRL_C, CTRL_D, BACKSPACE, DELETE] = ['\u0003', '\u0004', '\b', '\u007f'];

/** @returns undefined: nobody is there to be asked. @throws GlasscastError INVALID_CONFIG: Ctrl-C, or the input ended */
export async function askHidden(question: string, input: KeyInput, output: Output): Promise<Secret | undefined> {
  if (!input.isTTY || !input.setRawMode) return undefined;
  output.write(question);
  input.setRawMode(true);
  input.resume();
  let listener: (keys: Buffer) => void = () => {};
  try {
    return await new Promise<Secret>((resolve, reject) => {
      let text = '';
      listener = (keys) => {
        for (const key of keys.toString('utf8')) {
          if (key === '\r' || key === '\n') return resolve(new Secret(text));
          if (key === CTRL_C || key === CTRL_D)
            return reject(new GlasscastError('INVALID_CONFIG', { reason: 'no password was given' }));
          if (key === BACKSPACE || key === DELETE) text = [...text].slice(0, -1).join('');
          else if (text.length < MAX_CHARS) text += key;
        }
      };
      input.on('data', listener);
    });
  } finally {
    input.off('data', listener);
    input.setRawMode(false);
    input.pause();
    output.write('\n');
  }
}
