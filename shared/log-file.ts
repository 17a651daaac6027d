/**
 * Lines in a file that never grows over its bound: when it is full it becomes FILE.1, in place of the one before. A disk that
 * is full or a folder that is missing costs lines, never the program, and is told once until lines are kept again.
 */
import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorText } from './errors.ts';

export interface LogFileOptions {
  file: string;
  /** Of each of the two files. */
  maxBytes: number;
  /** Told when lines are lost, and again only after some were kept. */
  onTrouble: (reason: string) => void;
}

export interface LogFile {
  /** Never throws. The line brings its own end. */
  write(line: string): void;
  close(): void;
}

/** A file that could not be written to is not tried for each of these lines. */
const LINES_PER_TRIAL = 100;

export function createLogFile({ file, maxBytes, onTrouble }: LogFileOptions): LogFile {
  let descriptor: number | undefined;
  let bytes = 0;
  let isTrouble = false;
  let skip = 0;

  function open(): number {
    if (descriptor !== undefined) return descriptor;
    mkdirSync(dirname(file), { recursive: true });
    descriptor = openSync(file, 'a', 0o600);
    bytes = fstatSync(descriptor).size;
    return descriptor;
  }
  function shut(): void {
    if (descriptor !== undefined) closeSync(descriptor);
    descriptor = undefined;
  }
  function keep(line: string): void {
    const size = Buffer.byteLength(line);
    open();
    if (bytes > 0 && bytes + size > maxBytes) {
      shut();
      renameSync(file, `${file}.1`);
    }
    writeSync(open(), line);
    bytes += size;
  }

  return {
    write(line) {
      if (skip > 0) {
        skip -= 1;
        return;
      }
      try {
        keep(line);
        isTrouble = false;
      } catch (error) {
        skip = LINES_PER_TRIAL;
        try {
          shut();
        } catch {
          // it was shut all the same
        }
        if (!isTrouble) onTrouble(errorText(error));
        isTrouble = true;
      }
    },
    close: shut,
  };
}
