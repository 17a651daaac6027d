/**
 * A program's settings as a file: one JSON object, keys as in its table. Reads and bounds it; which keys there are is the
 * table's matter. No error here quotes what the file holds.
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { GlasscastError } from './errors.ts';

export interface SettingsFile {
  /** As they stand there: text, numbers, true and false. */
  values: Map<string, string | number | boolean>;
  /** Others than its owner may read it; as `ls` counts, e.g. 644. */
  openMode: string | undefined;
}

const MAX_BYTES = 1_000_000;

/** @throws GlasscastError INVALID_CONFIG: it cannot be read, is no JSON object, or a key holds something else. */
export function readSettingsFile(file: string): SettingsFile {
  const { text, mode } = readOpened(file);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    // Its words would quote the file.
    throw invalid(`${file}: is not valid JSON`);
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw invalid(`${file}: is not a JSON object`);
  }
  const values = new Map<string, string | number | boolean>();
  const wrong: string[] = [];
  for (const [key, value] of Object.entries(content)) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') values.set(key, value);
    else wrong.push(`${key} in ${file}: must be text, a number, true or false`);
  }
  if (wrong.length > 0) throw invalid(wrong.join('; '));
  const isOpen = process.platform !== 'win32' && (mode & 0o077) !== 0;
  return { values, openMode: isOpen ? (mode & 0o777).toString(8) : undefined };
}

function readOpened(file: string): { text: string; mode: number } {
  try {
    // One opened file: its mode and its words belong together.
    const descriptor = openSync(file, 'r');
    try {
      const { mode, size } = fstatSync(descriptor);
      if (size > MAX_BYTES) throw invalid(`${file}: is larger than ${MAX_BYTES} bytes`);
      return { text: readFileSync(descriptor, 'utf8'), mode };
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof GlasscastError) throw error;
    throw invalid(`${file}: cannot be read (${error instanceof Error && 'code' in error ? error.code : 'failed'})`);
  }
}

const invalid = (reason: string) => new GlasscastError('INVALID_CONFIG', { reason });
