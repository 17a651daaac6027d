/**
 * What every part of the soak writes, kept in one file each; tells of each line that nobody expects: error level, stack
 * traces, warnings of Node. Reads lines only; decides nothing.
 */
import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';

export interface SoakLogs {
  /** Takes the lines of one part. */
  of(part: string): (line: string) => void;
  /** A line of the soak's own: what it did. */
  note(words: string): void;
  /** Copies all of it; gives the folder. */
  keep(folder: string): Promise<string>;
  close(): Promise<void>;
}

const PINO_ERROR = 50;
/** A program that ends by an exception, and what Node says of leaks. */
const BARE_TROUBLE = /^\s+at .+:\d+:\d+|^\w*Error\b.*:|Warning: |unhandled|FATAL/i;

export interface SoakLogsOptions {
  folder: string;
  /** ISO 8601 */
  nowText: () => string;
  onTrouble: (part: string, line: string) => void;
  /** Error lines that a fault makes. */
  isExpected?: (part: string, line: string) => boolean;
}

export function createSoakLogs({ folder, nowText, onTrouble, isExpected = () => false }: SoakLogsOptions): SoakLogs {
  mkdirSync(folder, { recursive: true });
  const files = new Map<string, WriteStream>();
  function file(part: string): WriteStream {
    const open = files.get(part) ?? createWriteStream(join(folder, `${part}.log`), { flags: 'a' });
    files.set(part, open);
    return open;
  }
  function isTrouble(part: string, line: string): boolean {
    const entry = parsed(line);
    if (!entry) return BARE_TROUBLE.test(line);
    return entry.level >= PINO_ERROR && !isExpected(part, line);
  }
  return {
    of: (part) => (line) => {
      file(part).write(`${line}\n`);
      if (isTrouble(part, line)) onTrouble(part, line.slice(0, 1000));
    },
    note: (words) => void file('soak').write(`${nowText()} ${words}\n`),
    async keep(target) {
      await cp(folder, target, { recursive: true });
      return target;
    },
    async close() {
      await Promise.all([...files.values()].map((open) => new Promise<void>((resolve) => open.end(resolve))));
      files.clear();
    },
  };
}

function parsed(line: string): { level: number } | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const { level } = JSON.parse(line) as { level?: unknown };
    return { level: typeof level === 'number' ? level : 0 };
  } catch {
    return undefined;
  }
}
