/**
 * What the command line prints: results on standard output, as tables for people or as JSON for machines; everything else
 * on standard error. Owns colours and the end of a pipe whose reader has gone.
 */

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

export interface Terminal {
  readonly isJson: boolean;
  /** The answer to the command: `value` as JSON, or `lines` for people. */
  result(value: unknown, lines: readonly string[]): void;
  /** One line of an endless answer. */
  line(value: unknown, line: string): void;
  /** For people only, on standard error. */
  note(text: string): void;
  /** A person sits there. */
  readonly isWatched: boolean;
  /** Stands on a terminal until the next word of any kind, or until it is empty; nowhere else. */
  passing(text: string): void;
  style(style: Style, text: string): string;
  /** Columns that stand under their heads. */
  table(heads: readonly string[], rows: readonly (readonly string[])[], whenEmpty: string): string[];
}

const STYLES: Record<Style, [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
};

export interface Output {
  isTTY?: boolean;
  write(text: string): unknown;
}

export interface TerminalOptions {
  isJson: boolean;
  output: Output;
  errors: Output;
  /** NO_COLOR, https://no-color.org. */
  noColor: boolean;
}

export function createTerminal({ isJson, output, errors, noColor }: TerminalOptions): Terminal {
  const isColoured = Boolean(output.isTTY) && !noColor && !isJson;
  const isWatched = Boolean(errors.isTTY) && !isJson;
  let isPassing = false;
  const settle = () => {
    if (isPassing) errors.write('\r\u001b[K');
    isPassing = false;
  };
  const style: Terminal['style'] = (name, text) => {
    const [on, off] = STYLES[name];
    return isColoured && text !== '' ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  };
  return {
    isJson,
    isWatched,
    style,
    passing(text) {
      if (!isWatched) return;
      settle();
      if (text === '') return;
      errors.write(text.slice(0, MAX_PASSING_CHARS));
      isPassing = true;
    },
    result(value, lines) {
      settle();
      if (isJson) output.write(`${JSON.stringify(value, null, 2)}\n`);
      else for (const line of lines) output.write(`${line}\n`);
    },
    line(value, line) {
      settle();
      output.write(`${isJson ? JSON.stringify(value) : line}\n`);
    },
    note(text) {
      settle();
      if (!isJson) errors.write(`${text}\n`);
    },
    table(heads, rows, whenEmpty) {
      if (rows.length === 0) return [whenEmpty];
      const widths = heads.map((head, column) =>
        Math.max(head.length, ...rows.map((row) => visible(row[column] ?? '').length)),
      );
      const lineOf = (cells: readonly string[]) =>
        cells
          .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - visible(cell).length))
          .join('  ')
          .trimEnd();
      return [style('dim', lineOf(heads)), ...rows.map(lineOf)];
    },
  };
}

/** A line that breaks could not be taken back. */
const MAX_PASSING_CHARS = 78;

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control characters
const COLOURS = /\u001b\[\d+m/g;
const visible = (text: string) => text.replace(COLOURS, '');

/** Text that others chose (apps, glasses), without what a terminal would obey. */
export function harmless(text: string | undefined): string {
  return (text ?? '').replace(/\p{Cc}/gu, ' ').trim();
}
